// NVRTC compiles the kernels of every sample of every op: all of them for sm_90, and for sm_80 and
// sm_100 one for each op and dtype.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "backends/cuda/compile/cuda_backend.h"
#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/compile/nvrtc.h"
#include "backends/cuda/runtime/multistage_gemm.h"
#include "backends/cuda/runtime/warpgroup_gemm.h"
#include "base/parallel_for.h"
#include "samples/sample_program.h"

namespace kiln::cuda_test {
namespace {

DeviceSpec device_of(int sm) { return DeviceSpec::gpu(sm).value(); }

// Sources of different kernels, by their text.
using Sources = std::map<std::string, cuda::KernelSource>;

// One kernel's fixed costs in NVRTC are larger than what most kernels take, so that many go into
// one program, each under a name of its own.
struct Batch {
  std::string text, names;
};
std::vector<Batch> batches(const Sources& sources, size_t size) {
  std::vector<Batch> result;
  size_t number = 0;
  for (const auto& [text, source] : sources) {
    if (number % size == 0) result.emplace_back();
    Batch& batch = result.back();
    const std::string alias = source.entry + "_" + std::to_string(number++);
    // Includes first, then each source in a namespace of its own.
    std::string includes, body;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
      const std::string line = text.substr(begin, end - begin);
      (line.starts_with("#include") ? includes : body) += line;
      begin = end;
    }
    batch.text = includes + batch.text + "#define " + source.entry + " " + alias + "\nnamespace k" +
                 std::to_string(number) + " {\n" + body + "}\n#undef " + source.entry + "\n";
    batch.names += " " + source.entry;
  }
  return result;
}

void expect_compiles(const Sources& sources, int sm) {
  const std::vector<Batch> list = batches(sources, 24);
  std::vector<Status> outcomes(list.size());
  parallel_for(static_cast<int64_t>(list.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(i);
      outcomes[at] = cuda::nvrtc_compile(list[at].text, "batch", sm).status();
    }
  });
  for (size_t i = 0; i < list.size(); ++i) {
    EXPECT_TRUE(outcomes[i].ok()) << list[i].names << "\n" << outcomes[i].to_string();
  }
}

std::string first_dtype(const OpSample& sample) {
  for (const std::optional<Type>& operand : sample.operands) {
    if (operand && operand->is_tensor()) return std::string(dtype_name(operand->tensor().dtype));
  }
  return "none";
}

// Kernels of all samples that the backend supports.
Sources sample_sources(int sm, bool one_per_dtype) {
  Sources sources;
  for (const OpDef* op : OpRegistry::global().all()) {
    if (op->samples == nullptr) continue;
    std::set<std::string> seen;
    for (const OpSample& sample : op->samples()) {
      if (one_per_dtype && !seen.insert(first_dtype(sample)).second) continue;
      const Result<SampleGraph> graph = make_sample_graph(*op, sample);
      if (!graph.ok() || !cuda::make_cuda_backend(device_of(sm))->supports(*graph->node).ok()) {
        continue;  // runs in PyTorch
      }
      for (const InputForm form : {InputForm::kContiguous, InputForm::kReversed}) {
        if (one_per_dtype && form != InputForm::kContiguous) continue;
        const auto program =
            SampleProgram::lower(*op, sample, form, cuda::make_cuda_backend(device_of(sm)));
        EXPECT_TRUE(program.ok()) << op->name << ": " << sample.why << ": "
                                  << program.status().to_string();
        if (!program.ok()) continue;
        for (const KernelDesc& kernel : (*program)->plan().kernels) {
          // Other families' sources hardly depend on the layout.
          if (form != InputForm::kContiguous && kernel.family != "tile") continue;
          Result<cuda::KernelSource> source = cuda::print_kernel(kernel);
          EXPECT_TRUE(source.ok()) << op->name << ": " << source.status().to_string();
          if (source.ok()) sources.emplace(source->text, *source);
        }
      }
    }
  }
  return sources;
}

class Nvrtc : public testing::Test {
 protected:
  void SetUp() override {
    const auto info = cuda::nvrtc_info();
    if (!info.ok()) GTEST_SKIP() << "no kernel can be compiled here: " << info.status().to_string();
  }
};

TEST_F(Nvrtc, CompilesKernelsOfAllSamplesForSm90) {
  const Sources sources = sample_sources(90, false);
  EXPECT_GT(sources.size(), 300u);
  expect_compiles(sources, 90);
}

TEST_F(Nvrtc, CompilesOneKernelPerOpAndDtypeForSm80) {
  expect_compiles(sample_sources(80, true), 80);
}

TEST_F(Nvrtc, CompilesOneKernelPerOpAndDtypeForSm100) {
  expect_compiles(sample_sources(100, true), 100);
}

// Products by clusters of blocks, and by single ones where there are no clusters.
TEST_F(Nvrtc, CompilesGemmsOfEveryTile) {
  cuda::MultistageGemm kernel;
  kernel.bias = kernel.add = kernel.four = true;
  kernel.activation.kind = cuda::KernelActivation::Kind::kGelu;
  cuda::NamedSizes<DimExpr> sizes;
  for (const auto& [name, size] : std::initializer_list<std::pair<const char*, int64_t>>{
           {"m", 197}, {"n", 768}, {"k", 3072}, {"am", 3072}, {"bn", 3072}, {"cm", 768},
           {"cn", 1}, {"h", 1}, {"dm", 768}, {"dn", 1}}) {
    sizes.add(name, DimExpr(size));
  }
  kernel.sizes = cuda::KernelSizes(sizes);
  Sources all, two;
  for (cuda::GemmTiling tiling : cuda::gemm_tiles()) {
    tiling.depth = 64;
    tiling.stages = 3;
    tiling.split = all.size() % 2 == 0 ? 4 : 1;
    kernel.tiling = tiling;
    kernel.dtype = all.size() % 4 < 2 ? DType::kF16 : DType::kBF16;
    const auto source = cuda::print_kernel({cuda::MultistageGemm::kFamily, kernel.to_json()});
    ASSERT_TRUE(source.ok()) << source.status().to_string();
    all.emplace(source->text, *source);
    if (all.size() <= 2) two.emplace(source->text, *source);
  }
  expect_compiles(all, 90);
  for (const int sm : {80, 100}) expect_compiles(two, sm);
}

// Products by warpgroups; nothing on GPUs that have no such instructions.
TEST_F(Nvrtc, CompilesGemmsByWarpgroups) {
  cuda::WarpgroupGemm kernel;
  kernel.bias = kernel.add = true;
  kernel.activation.kind = cuda::KernelActivation::Kind::kGelu;
  kernel.wide = false;
  cuda::NamedSizes<DimExpr> sizes;
  for (const char* name : {"m", "n", "k", "am", "bn", "cm", "cn", "h", "dm", "dn"}) {
    sizes.add(name, DimExpr::symbol("any"));
  }
  kernel.sizes = cuda::KernelSizes(sizes);
  Sources sources;
  for (const cuda::WarpgroupTiling& tiling : cuda::warpgroup_tilings(true)) {
    kernel.tiling = tiling;
    kernel.dtype = tiling.overlap ? DType::kF16 : DType::kBF16;
    const auto source = cuda::print_kernel({cuda::WarpgroupGemm::kFamily, kernel.to_json()});
    ASSERT_TRUE(source.ok()) << source.status().to_string();
    sources.emplace(source->text, *source);
    if (sources.size() == 2) break;  // one of each kind; each takes a second or two
  }
  for (const int sm : {80, 90, 100}) expect_compiles(sources, sm);
}

// Files with machine code are equal when their programs are.
TEST_F(Nvrtc, EqualSourcesGiveEqualCode) {
  const std::string source =
      "#include \"device/tile.h\"\nKILN_KERNEL(32) void k(In<f16> x, Out<f16> y) {\n"
      "  y[thread_x()] = x[thread_x()];\n}\n";
  const auto first = cuda::nvrtc_compile(source, "k", 90);
  const auto second = cuda::nvrtc_compile(source, "k", 90);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
}

TEST_F(Nvrtc, SaysWhatIsWrongWithASource) {
  const auto image =
      cuda::nvrtc_compile("#include \"device/tile.h\"\nKILN_KERNEL(32) void k() { x; }", "k", 90);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.status().code(), "K5306");
  EXPECT_NE(image.status().to_string().find("\"x\" is undefined"), std::string::npos)
      << image.status().to_string();
}

}  // namespace
}  // namespace kiln::cuda_test
