// "copy": one element, or up to 16 bytes in a row, a thread; where the innermost dims of the two
// views differ, tiles of 32 x 32 turn in shared memory so that both sides are read and written in
// rows (Ruetsch and Micikevicius, "Optimizing Matrix Transpose in CUDA", 2009).
#include "backends/cuda/compile/copy_kernel.h"

#include <algorithm>
#include <utility>

#include "backends/cuda/compile/kernel_text.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/copy_kernel.h"
#include "core/dtype.h"

namespace kiln::cuda {
namespace {

// The dim whose neighbours are neighbours in the source, when it is worth a transpose.
int64_t cross_dim(const PlanView& from, const PlanView& to) {
  constexpr int64_t kWorth = 8;
  const auto worth = [](const DimExpr& size) {
    return !size.is_constant() || size.value() >= kWorth;
  };
  const size_t rank = to.dims.size();
  if (rank < 2 || !to.strides.back().is_value(1) || from.strides.back().is_value(1)) return -1;
  if (!worth(to.dims.back())) return -1;
  for (size_t i = 0; i + 1 < rank; ++i) {
    if (from.strides[i].is_value(1) && worth(from.dims[i])) return static_cast<int64_t>(i);
  }
  return -1;
}

Result<KernelSource> print_copy(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const CopyKernel p, CopyKernel::from_json(json));
  const int rank = static_cast<int>(p.rank);
  const std::string type(moved_type(p.bytes));
  KernelParts parts;
  parts.headers = {"device/platform.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + type + "> from", "Out<" + type + "> to"};
  if (p.cross < 0) {
    parts.comment =
        "// " + std::to_string(p.bytes) + " bytes a thread, in the order of the target.\n";
    parts.entry = "copy_" + std::to_string(p.bytes * 8);
    parts.body = thread_position(product("n", rank)) + coordinates("i", row_major(rank), "i", "n") +
                 "  " +
                 move_element(p.bytes, "to", dot("b", "i", rank), "from", dot("a", "i", rank));
    return assemble(parts, p.sizes);
  }
  const int last = rank - 1, cross = static_cast<int>(p.cross);
  std::vector<int> outer;
  for (int i = 0; i < last; ++i) {
    if (i != cross) outer.push_back(i);
  }
  const auto offset = [&](const char* prefix) {
    std::string text = "0";
    for (const int i : outer) {
      text += " + i" + std::to_string(i) + " * " + prefix + std::to_string(i);
    }
    return text;
  };
  const std::string l = std::to_string(last), c = std::to_string(cross);
  parts.comment = "// Tiles of 32 x 32: rows of the source are columns of the target.\n";
  parts.entry = "transpose_" + std::to_string(p.bytes * 8);
  parts.body =
      "  KILN_SHARED(" + type +
      ", tile, 32 * 33);\n"
      "  const int64 tiles_across = (n" +
      c + " + 31) / 32, tiles_along = (n" + l +
      " + 31) / 32;\n"
      "  const Index along = static_cast<Index>(block_x() % tiles_along * 32);\n"
      "  const Index across = static_cast<Index>(block_x() / tiles_along % tiles_across * 32);\n" +
      coordinates("static_cast<Index>(block_x() / tiles_along / tiles_across)", outer, "i", "n") +
      "  const Index source = " + offset("a") + ", target = " + offset("b") +
      ";\n"
      "  const int32 x = thread_x(), y = thread_y();\n"
      "  for (int32 r = y; r < 32; r += 8) {\n"
      "    if (along + r < n" +
      l + " && across + x < n" + c +
      ") {\n"
      "      tile[r * 33 + x] = from[source + (along + r) * a" +
      l + " + (across + x) * a" + c +
      "];\n"
      "    }\n"
      "  }\n"
      "  barrier();\n"
      "  for (int32 r = y; r < 32; r += 8) {\n"
      "    if (along + x < n" +
      l + " && across + r < n" + c +
      ") {\n"
      "      to[target + (along + x) * b" +
      l + " + (across + r) * b" + c +
      "] = tile[x * 33 + r];\n"
      "    }\n"
      "  }\n";
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(copy, CopyKernel::kFamily, print_copy);

}  // namespace

CopyLowering lower_copy(const PlanView& given_from, const PlanView& given_to, DType dtype,
                        const SymbolRanges& symbols) {
  std::vector<PlanView> views{given_from, given_to};
  collapse(views);
  CopyLowering result{views[0], views[1], {CopyKernel::kFamily, {}}};
  CopyKernel kernel;
  const int64_t element = static_cast<int64_t>(dtype_bytes(dtype));
  kernel.bytes = element;
  kernel.rank = static_cast<int64_t>(result.to.dims.size());
  kernel.wide = !all_narrow({&result.from, &result.to}, symbols);
  kernel.cross = cross_dim(result.from, result.to);
  const size_t last = result.to.dims.size() - 1;
  if (kernel.cross < 0 && kernel.rank > 0) {
    for (int64_t width = 16 / element; width > 1; width /= 2) {
      if (!takes_width(result.from, last, width) || !takes_width(result.to, last, width)) continue;
      kernel.width = width;
      kernel.bytes = element * width;
      break;
    }
  }
  kernel.sizes = KernelSizes(
      copy_sizes(widened(result.from, last, kernel.width), widened(result.to, last, kernel.width)));
  result.kernel.params = kernel.to_json();
  return result;
}

void lower_copies(EnginePlan& plan) {
  const auto index_of = [&plan](KernelDesc kernel) {
    const auto found =
        std::find_if(plan.kernels.begin(), plan.kernels.end(), [&](const KernelDesc& other) {
          return other.family == kernel.family && other.params == kernel.params;
        });
    if (found != plan.kernels.end()) return found - plan.kernels.begin();
    plan.kernels.push_back(std::move(kernel));
    return static_cast<ptrdiff_t>(plan.kernels.size()) - 1;
  };
  for (Plan* side : {&plan.init, &plan.main}) {
    for (StepDesc& step : side->steps) {
      if (step.kind != "copy") continue;
      const DType dtype = side->slots[static_cast<size_t>(step.outputs[0].slot)].dtype;
      CopyLowering copy = lower_copy(step.inputs[0], step.outputs[0], dtype, plan.symbols);
      step.kind = "cuda.copy";
      step.inputs[0] = std::move(copy.from);
      step.outputs[0] = std::move(copy.to);
      step.params.set("kernel", static_cast<int64_t>(index_of(std::move(copy.kernel))));
    }
  }
}

}  // namespace kiln::cuda
