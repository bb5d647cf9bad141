// "scan" (params: op sum or prod, axis) and "sort" (params: axis, descending, sorted): along one
// axis. The outputs of "sort" are values and i64 places; where they are shorter than the input
// along the axis they take the first ones, which is topk.
#include <string>

#include "backends/cpu/kernels/scan.h"
#include "backends/cpu/kernels/sort.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

// Kernels want at least one dim: a tensor of rank 0 is one of rank 1 and size 1.
void lift_scalars(BindContext& context) {
  for (std::vector<ConcreteView>* list : {&context.inputs, &context.outputs}) {
    for (ConcreteView& view : *list) {
      if (!view.dims.empty()) continue;
      view.dims.push_back(1);
      view.strides.push_back(1);
    }
  }
}

Status axis_error(const char* step) {
  return Status::error("K3243", std::string(step) + ": axis beyond the rank");
}

class BoundScan : public BoundStep {
 public:
  explicit BoundScan(const cpu::ScanParams& params) : params_(params) {}
  Status run(const RunArgs& args) override {
    cpu::scan(params_, args.inputs[0], args.outputs[0]);
    return {};
  }
  std::string implementation() const override { return "kiln:scan"; }

 private:
  cpu::ScanParams params_;
};

class ScanStep : public Step {
 public:
  ScanStep(cpu::ScanOp op, int axis) : op_(op), axis_(axis) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views("scan", context));
    lift_scalars(context);
    const ConcreteView& source = context.inputs[0];
    const ConcreteView& target = context.outputs[0];
    KILN_RETURN_IF_ERROR(cpu::check_dtype("scan", target, source.dtype));
    KILN_RETURN_IF_ERROR(cpu::check_dims("scan", target, source.dims));
    if (axis_ >= source.rank()) return axis_error("scan");
    cpu::ScanParams p;
    p.op = op_;
    p.dtype = source.dtype;
    p.rank = source.rank();
    p.dim = axis_;
    p.sizes = cpu::to_dims(source.dims);
    p.src_strides = cpu::to_dims(source.strides);
    p.dst_strides = cpu::to_dims(target.strides);
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundScan(p));
  }

 private:
  cpu::ScanOp op_;
  int axis_;
};

class BoundSort : public BoundStep {
 public:
  BoundSort(const cpu::SortParams& params, int threads)
      : params_(params),
        threads_(threads),
        scratch_bytes_(cpu::sort_scratch_bytes(params, threads)) {}

  size_t scratch_bytes() const override { return scratch_bytes_; }
  Status run(const RunArgs& args) override {
    cpu::sort(params_, args.inputs[0], args.outputs[0], static_cast<int64_t*>(args.outputs[1]),
              args.scratch, threads_);
    return {};
  }
  std::string implementation() const override { return "kiln:sort"; }

 private:
  cpu::SortParams params_;
  int threads_;
  size_t scratch_bytes_;
};

class SortStep : public Step {
 public:
  SortStep(int axis, bool descending, bool sorted)
      : axis_(axis), descending_(descending), sorted_(sorted) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views("sort", context));
    lift_scalars(context);
    const ConcreteView& source = context.inputs[0];
    const ConcreteView& values = context.outputs[0];
    const ConcreteView& places = context.outputs[1];
    if (axis_ >= source.rank()) return axis_error("sort");
    const auto axis = static_cast<size_t>(axis_);
    KILN_RETURN_IF_ERROR(cpu::check_rank("sort", values, source.rank()));
    std::vector<int64_t> dims = source.dims;
    dims[axis] = values.dims[axis];
    KILN_RETURN_IF_ERROR(cpu::check_dims("sort", values, dims));
    KILN_RETURN_IF_ERROR(cpu::check_dims("sort", places, dims));
    KILN_RETURN_IF_ERROR(cpu::check_dtype("sort", values, source.dtype));
    KILN_RETURN_IF_ERROR(cpu::check_dtype("sort", places, DType::kI64));
    cpu::SortParams p;
    p.dtype = source.dtype;
    p.rank = source.rank();
    p.dim = axis_;
    p.sizes = cpu::to_dims(source.dims);
    p.src_strides = cpu::to_dims(source.strides);
    p.value_strides = cpu::to_dims(values.strides);
    p.index_strides = cpu::to_dims(places.strides);
    p.descending = descending_;
    p.sorted = sorted_;
    p.k = sorted_ && dims[axis] == source.dims[axis] ? -1 : dims[axis];
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundSort(p, context.threads));
  }

 private:
  int axis_;
  bool descending_, sorted_;
};

Result<std::unique_ptr<Step>> make_scan(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 1, 1, 1));
  KILN_ASSIGN_OR_RETURN(const int64_t axis, desc.params.int_at("axis", 0, cpu::kMaxRank - 1));
  KILN_ASSIGN_OR_RETURN(const std::string op, desc.params.string_at("op"));
  if (op != "sum" && op != "prod") return Status::error("K3243", "unknown op of a scan: " + op);
  const auto kind = op == "sum" ? cpu::ScanOp::kSum : cpu::ScanOp::kProd;
  return std::unique_ptr<Step>(new ScanStep(kind, static_cast<int>(axis)));
}

Result<std::unique_ptr<Step>> make_sort(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 1, 1, 2));
  KILN_ASSIGN_OR_RETURN(const int64_t axis, desc.params.int_at("axis", 0, cpu::kMaxRank - 1));
  KILN_ASSIGN_OR_RETURN(const bool descending, desc.params.bool_at("descending"));
  KILN_ASSIGN_OR_RETURN(const bool sorted, desc.params.bool_at("sorted"));
  return std::unique_ptr<Step>(new SortStep(static_cast<int>(axis), descending, sorted));
}

KILN_STEP(scan, "scan", make_scan);
KILN_STEP(sort, "sort", make_sort);

}  // namespace
}  // namespace kiln
