#include "backends/cuda/runtime/sort_kernel.h"

#include <array>
#include <optional>
#include <utility>

#include "backends/cuda/runtime/pad_kernel.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

using Phase = SortKernel::Phase;
constexpr std::array kPhases{Phase::kDirect, Phase::kChunks, Phase::kMerge, Phase::kOutput};

}  // namespace

const char* sort_phase_name(Phase phase) {
  constexpr const char* kNames[] = {"direct", "chunks", "merge", "output"};
  return kNames[static_cast<size_t>(phase)];
}

Json SortKernel::to_json() const {
  Json json = Json::object();
  json.set("phase", sort_phase_name(phase));
  json.set("dtype", dtype_name(dtype));
  json.set("descending", descending);
  json.set("axis", axis);
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<SortKernel> SortKernel::from_json(const Json& params) {
  SortKernel kernel;
  KILN_ASSIGN_OR_RETURN(const std::string phase, params.string_at("phase"));
  bool known = false;
  for (const Phase candidate : kPhases) {
    if (phase != sort_phase_name(candidate)) continue;
    kernel.phase = candidate;
    known = true;
  }
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.descending, params.bool_at("descending"));
  KILN_ASSIGN_OR_RETURN(kernel.axis, params.int_at("axis", 0, kMaxViewRank - 1));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  if (!known || kernel.axis >= static_cast<int64_t>(kernel.order.size())) {
    return Status::error("K3212", "sort kernel: parameters do not fit each other");
  }
  return kernel;
}

namespace {

class SortStep : public Step {
 public:
  struct Entry {
    StepKernel kernel;
    SortKernel params;
  };
  using Entries = std::array<std::optional<Entry>, kPhases.size()>;
  explicit SortStep(Entries entries) : entries_(std::move(entries)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const Entry& any = entries_[0] ? *entries_[0] : *entries_[1];
    const SortKernel& p = any.params;
    const ConcreteView& from = context.inputs[0];
    const ConcreteView& values = context.outputs[0];
    const ConcreteView& places = context.outputs[1];
    const auto axis = static_cast<size_t>(p.axis);
    KILN_RETURN_IF_ERROR(check_rank(kName, from, static_cast<int>(p.order.size())));
    KILN_RETURN_IF_ERROR(check_rank(kName, values, from.rank()));
    const int64_t length = from.dims[axis], kept = values.dims[axis];
    std::vector<int64_t> dims = from.dims;
    dims[axis] = kept;
    KILN_RETURN_IF_ERROR(check_dims(kName, values, dims));
    KILN_RETURN_IF_ERROR(check_dims(kName, places, dims));
    KILN_RETURN_IF_ERROR(check_dtype(kName, from, p.dtype));
    KILN_RETURN_IF_ERROR(check_dtype(kName, values, p.dtype));
    KILN_RETURN_IF_ERROR(check_dtype(kName, places, DType::kI64));
    KILN_RETURN_IF_ERROR(check_narrow(p.wide, {&from, &values, &places}));
    if (kept > length || length >= kOffsetLimit) {
      return Status::error("K3243", "cuda.sort: a length is out of range, " +
                                        std::to_string(length) + " and " + std::to_string(kept));
    }
    const int64_t total = from.num_elements();
    const int64_t lines = total == 0 || kept == 0 ? 0 : total / length;
    const bool direct = length <= SortKernel::kChunk;
    const auto& first = entries_[static_cast<size_t>(direct ? Phase::kDirect : Phase::kChunks)];
    if (!first) return Status::error("K3212", "cuda.sort: no kernel for lines of this length");

    const NamedSizes<int64_t> sizes = sort_sizes(from, values, places, axis);
    const std::vector<Argument> results{Argument::input(0), Argument::output(0),
                                        Argument::output(1)};
    std::vector<Launch> launches;
    if (direct) {
      std::vector<Argument> arguments = results;
      KILN_RETURN_IF_ERROR(first->params.sizes.bind(sizes, &arguments));
      launches.push_back(launch_blocks(first->kernel, lines, std::move(arguments)));
      return BoundLaunches::make(first->kernel.code, std::move(launches), context, "kiln:sort");
    }
    // Two buffers of keys and places each.
    if (lines > (int64_t{1} << 40) / length) {
      return Status::error("K3243", "cuda.sort: too many elements");
    }
    const int64_t key_bytes = ceil_div(lines * length * p.key_bytes(), 64) * 64;
    const int64_t place_bytes = ceil_div(lines * length * 4, 64) * 64;
    const auto keys = [&](int buffer) { return Argument::scratch(buffer * key_bytes); };
    const auto spots = [&](int buffer) {
      return Argument::scratch(2 * key_bytes + buffer * place_bytes);
    };
    std::vector<Argument> arguments{Argument::input(0), keys(0), spots(0)};
    KILN_RETURN_IF_ERROR(first->params.sizes.bind(sizes, &arguments));
    launches.push_back(launch_blocks(first->kernel, lines * ceil_div(length, SortKernel::kChunk),
                                     std::move(arguments)));
    int buffer = 0;
    const Entry& merge = *entries_[static_cast<size_t>(Phase::kMerge)];
    for (int64_t run = SortKernel::kChunk; run < length; run *= 2) {
      arguments = {keys(buffer), spots(buffer), keys(1 - buffer), spots(1 - buffer)};
      KILN_RETURN_IF_ERROR(merge.params.sizes.bind(sizes, &arguments));
      arguments.push_back(Argument::i64(run));
      launches.push_back(
          launch_blocks(merge.kernel, ceil_div(lines * length, kThreads), std::move(arguments)));
      buffer = 1 - buffer;
    }
    const Entry& output = *entries_[static_cast<size_t>(Phase::kOutput)];
    arguments = results;
    arguments.push_back(spots(buffer));
    KILN_RETURN_IF_ERROR(output.params.sizes.bind(sizes, &arguments));
    launches.push_back(
        launch_blocks(output.kernel, ceil_div(lines * kept, kThreads), std::move(arguments)));
    return BoundLaunches::make(first->kernel.code, std::move(launches), context, "kiln:merge_sort",
                               static_cast<size_t>(2 * (key_bytes + place_bytes)));
  }

 private:
  static constexpr std::string_view kName = "cuda.sort";
  Entries entries_;
};

Result<std::unique_ptr<Step>> make_sort(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 1, 1, 2));
  SortStep::Entries entries;
  for (const Phase phase : kPhases) {
    if (desc.params.find(sort_phase_name(phase)) == nullptr) continue;
    SortStep::Entry entry;
    KILN_ASSIGN_OR_RETURN(
        entry.kernel, step_kernel(desc, environment, SortKernel::kFamily, sort_phase_name(phase)));
    KILN_ASSIGN_OR_RETURN(entry.params, SortKernel::from_json(*entry.kernel.params));
    for (const auto& other : entries) {
      // Phases hand keys to each other.
      if (entry.params.phase != phase || (other && (other->params.dtype != entry.params.dtype ||
                                                    other->params.axis != entry.params.axis ||
                                                    other->params.order != entry.params.order ||
                                                    other->params.wide != entry.params.wide))) {
        return Status::error("K3212", "cuda.sort: kernels do not fit each other");
      }
    }
    entries[static_cast<size_t>(phase)] = std::move(entry);
  }
  const bool chunks = entries[1] && entries[2] && entries[3];
  if (!entries[0] && !chunks) return Status::error("K3212", "cuda.sort: kernels are missing");
  if (!chunks) entries[1].reset();
  return std::unique_ptr<Step>(new SortStep(std::move(entries)));
}

KILN_STEP(cuda_sort, "cuda.sort", make_sort);

}  // namespace
}  // namespace kiln::cuda
