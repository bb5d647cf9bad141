// "index" and "index_put": elements at positions that index tensors give.
//
// The table is the tensor with indexed axes, the dense tensor has, in place of these, the joint
// dims of the index tensors, from dim `at` on. "index": inputs table, index tensors; output dense.
// "index_put": inputs dense values (broadcast), index tensors; output table, whose other elements
// stay. params: op (for messages), axes (of the table, ascending, one for each index tensor), at,
// negative (whether indices may count from the end), and for index_put accumulate.
#include <algorithm>
#include <string>
#include <utility>

#include "backends/cpu/kernels/index.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

struct Params {
  const char* op = "index";
  std::vector<int64_t> axes;
  int64_t at = 0;
  bool negative = false;
  bool put = false, accumulate = false;
};

class BoundIndex : public BoundStep {
 public:
  BoundIndex(const cpu::IndexParams& params, const Params& step, DType dtype)
      : params_(params), put_(step.put), accumulate_(step.accumulate), dtype_(dtype) {}

  size_t scratch_bytes() const override { return cpu::index_scratch_bytes(params_); }
  Status run(const RunArgs& args) override {
    const void* const* indices = args.inputs + 1;
    if (put_) {
      return cpu::index_put(params_, dtype_, accumulate_, args.inputs[0], indices,
                            args.outputs[0], args.scratch);
    }
    return cpu::index_gather(params_, args.inputs[0], indices, args.outputs[0], args.scratch);
  }
  std::string implementation() const override { return put_ ? "kiln:index_put" : "kiln:index"; }

 private:
  cpu::IndexParams params_;
  bool put_, accumulate_;
  DType dtype_;
};

// The strides of `view` seen as `dims` by broadcasting; false where it does not fit.
bool broadcast_to(const ConcreteView& view, const std::vector<int64_t>& dims,
                  std::vector<int64_t>* strides) {
  if (view.dims.size() > dims.size()) return false;
  strides->assign(dims.size(), 0);
  const size_t added = dims.size() - view.dims.size();
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] == dims[added + i]) {
      (*strides)[added + i] = view.strides[i];
    } else if (view.dims[i] != 1) {
      return false;
    }
  }
  return true;
}

class IndexStep : public Step {
 public:
  explicit IndexStep(Params params) : params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views(params_.op, context));
    const ConcreteView& table = params_.put ? context.outputs[0] : context.inputs[0];
    const ConcreteView& dense = params_.put ? context.inputs[0] : context.outputs[0];
    KILN_RETURN_IF_ERROR(cpu::check_dtype(params_.op, dense, table.dtype));

    cpu::IndexParams p;
    p.op = params_.op;
    p.element_bytes = static_cast<int>(dtype_bytes(table.dtype));
    p.allow_negative = params_.negative;
    p.index_count = static_cast<int>(params_.axes.size());
    if (params_.axes.back() >= table.rank()) return mismatch("axis beyond the table's rank");
    const DType index_dtype = context.inputs[1].dtype;
    if (index_dtype != DType::kI64 && index_dtype != DType::kI32) {
      return mismatch("indices are neither i32 nor i64");
    }
    p.index_type = index_dtype == DType::kI64 ? cpu::IndexType::kI64 : cpu::IndexType::kI32;

    // The joint dims of the index tensors.
    std::vector<int64_t> joint;
    for (size_t k = 1; k < context.inputs.size(); ++k) {
      const std::vector<int64_t>& dims = context.inputs[k].dims;
      KILN_RETURN_IF_ERROR(cpu::check_dtype(params_.op, context.inputs[k], index_dtype));
      if (dims.size() > joint.size()) joint.insert(joint.begin(), dims.size() - joint.size(), 1);
      for (size_t i = 0; i < dims.size(); ++i) {
        int64_t& size = joint[joint.size() - dims.size() + i];
        if (size == 1) size = dims[i];
      }
    }
    p.index_rank = static_cast<int>(joint.size());
    p.index_sizes = cpu::to_dims(joint);
    for (size_t k = 1; k < context.inputs.size(); ++k) {
      std::vector<int64_t> strides;
      if (!broadcast_to(context.inputs[k], joint, &strides)) {
        return mismatch("index tensors do not broadcast");
      }
      p.index_strides[k - 1] = cpu::to_dims(strides);
    }

    // Dims of the table that are taken whole, and the dense tensor's in the same order.
    std::vector<int64_t> dense_dims, slice_table;
    size_t next = 0;
    for (size_t d = 0; d < table.dims.size(); ++d) {
      if (next < params_.axes.size() && params_.axes[next] == static_cast<int64_t>(d)) {
        p.table_sizes[next] = table.dims[d];
        p.table_strides[next] = table.strides[d];
        ++next;
        continue;
      }
      dense_dims.push_back(table.dims[d]);
      slice_table.push_back(table.strides[d]);
    }
    p.slice_rank = static_cast<int>(dense_dims.size());
    p.slice_sizes = cpu::to_dims(dense_dims);
    p.slice_table_strides = cpu::to_dims(slice_table);
    const auto at = static_cast<size_t>(params_.at);
    if (at > dense_dims.size() || dense_dims.size() + joint.size() > cpu::kMaxRank) {
      return mismatch("too many dims");
    }
    dense_dims.insert(dense_dims.begin() + static_cast<ptrdiff_t>(at), joint.begin(), joint.end());
    std::vector<int64_t> dense_strides;
    if (params_.put) {
      if (!broadcast_to(dense, dense_dims, &dense_strides)) {
        return mismatch("values do not broadcast to the indexed elements");
      }
    } else {
      KILN_RETURN_IF_ERROR(cpu::check_dims(params_.op, dense, dense_dims));
      dense_strides = dense.strides;
    }
    for (size_t i = 0, slice = 0; i < dense_strides.size(); ++i) {
      if (i >= at && i < at + joint.size()) {
        p.index_dense_strides[i - at] = dense_strides[i];
      } else {
        p.slice_dense_strides[slice++] = dense_strides[i];
      }
    }
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundIndex(p, params_, table.dtype));
  }

 private:
  Status mismatch(const std::string& what) const {
    return Status::error("K3241", std::string(params_.op) + ": " + what);
  }

  Params params_;
};

Result<Params> parse_params(const StepDesc& desc) {
  Params params;
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 2, 1 + cpu::kMaxRank, 1));
  KILN_ASSIGN_OR_RETURN(const std::string op, desc.params.string_at("op"));
  params.op = nullptr;
  // Messages hold on to the name, so it has to outlive the step.
  for (const char* known : {"index", "embedding", "index_select", "index_put"}) {
    if (op == known) params.op = known;
  }
  if (params.op == nullptr) return Status::error("K3241", "unknown op of an index step: " + op);
  KILN_ASSIGN_OR_RETURN(params.axes, desc.params.ints_at("axes"));
  KILN_ASSIGN_OR_RETURN(params.at, desc.params.int_at("at", 0, cpu::kMaxRank));
  KILN_ASSIGN_OR_RETURN(params.negative, desc.params.bool_at("negative"));
  if (params.axes.size() + 1 != desc.inputs.size()) {
    return Status::error("K3241", "index step needs one axis for each index tensor");
  }
  for (size_t i = 0; i < params.axes.size(); ++i) {
    const int64_t low = i == 0 ? 0 : params.axes[i - 1] + 1;
    if (params.axes[i] < low || params.axes[i] >= cpu::kMaxRank) {
      return Status::error("K3241", "axes of an index step are not ascending axes");
    }
  }
  return params;
}

Result<std::unique_ptr<Step>> make_index(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(Params params, parse_params(desc));
  return std::unique_ptr<Step>(new IndexStep(std::move(params)));
}

Result<std::unique_ptr<Step>> make_index_put(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(Params params, parse_params(desc));
  params.put = true;
  KILN_ASSIGN_OR_RETURN(params.accumulate, desc.params.bool_at("accumulate"));
  return std::unique_ptr<Step>(new IndexStep(std::move(params)));
}

KILN_STEP(index, "index", make_index);
KILN_STEP(index_put, "index_put", make_index_put);

}  // namespace
}  // namespace kiln
