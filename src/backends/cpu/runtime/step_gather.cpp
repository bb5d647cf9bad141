// "gather" and "scatter": an index tensor picks the position along one axis of a table.
//
// "gather": inputs table, index; output of the index tensor's shape. "scatter": inputs index and
// values (at least as large as the index tensor along every axis); output table, whose other
// elements stay. params: axis, and for scatter reduce and include_self as the op has them.
#include <string>

#include "backends/cpu/kernels/gather_scatter.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

using cpu::ScatterReduce;

struct Params {
  int axis = 0;
  bool scatter = false;
  ScatterReduce reduce = ScatterReduce::kReplace;
  bool include_self = true;
};

class BoundGather : public BoundStep {
 public:
  BoundGather(const cpu::GatherParams& params, const Params& step, int threads,
              const ConcreteView& index, const ConcreteView& written)
      : params_(params),
        step_(step),
        threads_(threads),
        index_span_(cpu::byte_span(index)),
        written_span_(cpu::byte_span(written)) {}

  size_t scratch_bytes() const override {
    return step_.scatter ? cpu::scatter_scratch_bytes(params_, step_.reduce, threads_) : 0;
  }
  Status run(const RunArgs& args) override {
    const void* index = step_.scatter ? args.inputs[0] : args.inputs[1];
    // Indices are checked first and read again: nothing that is written may change them.
    if (cpu::spans_overlap(index, index_span_, args.outputs[0], written_span_)) {
      return Status::error("K4315", std::string(params_.op) + ": result overlaps the indices");
    }
    if (step_.scatter) {
      return cpu::scatter(params_, step_.reduce, step_.include_self, args.inputs[1], index,
                          args.outputs[0], args.scratch, threads_);
    }
    return cpu::gather(params_, args.inputs[0], index, args.outputs[0]);
  }
  std::string implementation() const override {
    return step_.scatter ? "kiln:scatter" : "kiln:gather";
  }

 private:
  cpu::GatherParams params_;
  Params step_;
  int threads_;
  cpu::ByteSpan index_span_, written_span_;
};

class GatherStep : public Step {
 public:
  explicit GatherStep(const Params& params) : params_(params) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    const char* name = params_.scatter ? "scatter" : "gather";
    KILN_RETURN_IF_ERROR(cpu::check_views(name, context));
    const ConcreteView& table = params_.scatter ? context.outputs[0] : context.inputs[0];
    const ConcreteView& index = params_.scatter ? context.inputs[0] : context.inputs[1];
    const ConcreteView& dense = params_.scatter ? context.inputs[1] : context.outputs[0];
    KILN_RETURN_IF_ERROR(cpu::check_dtype(name, dense, table.dtype));
    KILN_RETURN_IF_ERROR(cpu::check_rank(name, index, table.rank()));
    KILN_RETURN_IF_ERROR(cpu::check_rank(name, dense, table.rank()));
    if (!params_.scatter) KILN_RETURN_IF_ERROR(cpu::check_dims(name, dense, index.dims));
    auto mismatch = [name](const char* what) {
      return Status::error("K3241", std::string(name) + ": " + what);
    };
    if (index.dtype != DType::kI64 && index.dtype != DType::kI32) {
      return mismatch("indices are neither i32 nor i64");
    }
    if (params_.axis >= table.rank()) return mismatch("axis beyond the rank");
    const auto axis = static_cast<size_t>(params_.axis);
    for (size_t i = 0; i < index.dims.size(); ++i) {
      if (index.dims[i] > dense.dims[i] || (i != axis && index.dims[i] > table.dims[i])) {
        return mismatch("index tensor is larger than what it indexes");
      }
    }
    cpu::GatherParams p;
    p.op = name;
    p.dtype = table.dtype;
    p.index_type = index.dtype == DType::kI64 ? cpu::IndexType::kI64 : cpu::IndexType::kI32;
    p.rank = table.rank();
    p.dim = params_.axis;
    p.dim_size = table.dims[axis];
    p.sizes = cpu::to_dims(index.dims);
    p.index_strides = cpu::to_dims(index.strides);
    p.table_strides = cpu::to_dims(table.strides);
    p.dense_strides = cpu::to_dims(dense.strides);
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(
        new BoundGather(p, params_, context.threads, index, context.outputs[0]));
  }

 private:
  Params params_;
};

Result<std::unique_ptr<Step>> make_gather(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 2, 2, 1));
  Params params;
  KILN_ASSIGN_OR_RETURN(const int64_t axis, desc.params.int_at("axis", 0, cpu::kMaxRank - 1));
  params.axis = static_cast<int>(axis);
  return std::unique_ptr<Step>(new GatherStep(params));
}

Result<std::unique_ptr<Step>> make_scatter(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 2, 2, 1));
  Params params;
  params.scatter = true;
  KILN_ASSIGN_OR_RETURN(const int64_t axis, desc.params.int_at("axis", 0, cpu::kMaxRank - 1));
  params.axis = static_cast<int>(axis);
  KILN_ASSIGN_OR_RETURN(params.include_self, desc.params.bool_at("include_self"));
  KILN_ASSIGN_OR_RETURN(const std::string reduce, desc.params.string_at("reduce"));
  struct Name {
    const char* text;
    ScatterReduce reduce;
  };
  for (const Name& name :
       {Name{"none", ScatterReduce::kReplace}, Name{"add", ScatterReduce::kSum},
        Name{"multiply", ScatterReduce::kProd}, Name{"mean", ScatterReduce::kMean},
        Name{"amax", ScatterReduce::kMax}, Name{"amin", ScatterReduce::kMin}}) {
    if (reduce != name.text) continue;
    params.reduce = name.reduce;
    return std::unique_ptr<Step>(new GatherStep(params));
  }
  return Status::error("K3241", "unknown reduction of a scatter step: " + reduce);
}

KILN_STEP(gather, "gather", make_gather);
KILN_STEP(scatter, "scatter", make_scatter);

}  // namespace
}  // namespace kiln
