#include "backends/cpu/runtime/dnnl_primitive.h"

#include <algorithm>
#include <utility>

#include "backends/cpu/runtime/dnnl_api.h"
#include "backends/cpu/runtime/dnnl_table.h"
#include "base/check.h"
#include "base/parallel_for.h"

namespace kiln {
namespace {

using Kind = DnnlPostOp::Kind;

struct Eltwise {
  dnnl_alg_kind_t algorithm;
  float alpha, beta;
};

Eltwise eltwise_of(const DnnlPostOp& op) {
  switch (op.kind) {
    case Kind::kRelu: return {dnnl_eltwise_relu, 0.0f, 0.0f};
    case Kind::kLeakyRelu: return {dnnl_eltwise_relu, op.alpha, 0.0f};
    case Kind::kElu: return {dnnl_eltwise_elu, op.alpha, 0.0f};
    case Kind::kGeluErf: return {dnnl_eltwise_gelu_erf, 0.0f, 0.0f};
    case Kind::kGeluTanh: return {dnnl_eltwise_gelu_tanh, 0.0f, 0.0f};
    case Kind::kSilu: return {dnnl_eltwise_swish, 1.0f, 0.0f};
    case Kind::kHardswish: return {dnnl_eltwise_hardswish, 1.0f / 6.0f, 0.5f};
    case Kind::kHardsigmoid: return {dnnl_eltwise_hardsigmoid, 1.0f / 6.0f, 0.5f};
    case Kind::kSigmoid: return {dnnl_eltwise_logistic, 0.0f, 0.0f};
    case Kind::kTanh: return {dnnl_eltwise_tanh, 0.0f, 0.0f};
    case Kind::kClip: return {dnnl_eltwise_clip, op.alpha, op.beta};
    case Kind::kLinear: return {dnnl_eltwise_linear, op.alpha, op.beta};
    default: break;
  }
  KILN_CHECK_MSG(false, "not an eltwise post-op");
  return {};
}

dnnl_alg_kind_t binary_of(Kind kind) {
  switch (kind) {
    case Kind::kAdd: return dnnl_binary_add;
    case Kind::kSub: return dnnl_binary_sub;
    case Kind::kMul: return dnnl_binary_mul;
    case Kind::kDiv: return dnnl_binary_div;
    case Kind::kMax: return dnnl_binary_max;
    case Kind::kMin: return dnnl_binary_min;
    default: break;
  }
  KILN_CHECK_MSG(false, "not a binary post-op");
  return dnnl_alg_kind_undef;
}

const char* status_name(int status) {
  switch (status) {
    case dnnl_out_of_memory: return "out of memory";
    case dnnl_invalid_arguments: return "invalid arguments";
    case dnnl_unimplemented: return "unimplemented";
    case dnnl_runtime_error: return "runtime error";
    case dnnl_not_required: return "not required";
    default: return "unknown status";
  }
}

Result<DnnlLayout> post_op_layout(const DnnlPostOp& op, const std::vector<int>& order) {
  DnnlTensor tensor = op.tensor;
  tensor.strides = dnnl_canonical_strides(tensor, order);
  return DnnlLayout::strided(tensor);
}

}  // namespace

bool is_dnnl_reference(std::string_view implementation) {
  // Names are words joined by ':', '_' and '+': "ref:any", "gemm:ref", "conv:any+ref:any".
  size_t start = 0;
  while (start <= implementation.size()) {
    const size_t end = std::min(implementation.find_first_of(":_+", start), implementation.size());
    if (implementation.substr(start, end - start) == "ref") return true;
    start = end + 1;
  }
  return false;
}

void DnnlDeleter::operator()(dnnl_primitive* primitive) const {
  (*dnnl_api())->dnnl_primitive_destroy(primitive);
}
void DnnlDeleter::operator()(dnnl_primitive_attr* attr) const {
  (*dnnl_api())->dnnl_primitive_attr_destroy(attr);
}
void DnnlDeleter::operator()(dnnl_primitive_desc* desc) const {
  (*dnnl_api())->dnnl_primitive_desc_destroy(desc);
}

DnnlThreads::DnnlThreads(const DnnlApi* api, int threads) : api_(api) {
  if (api_->omp_get_max_threads == nullptr || api_->omp_set_num_threads == nullptr) return;
  const int current = api_->omp_get_max_threads();
  if (current == threads) return;
  api_->omp_set_num_threads(threads);
  previous_ = current;
}

DnnlThreads::~DnnlThreads() {
  if (previous_ > 0) api_->omp_set_num_threads(previous_);
}

Status dnnl_failure(int dnnl_status, std::string_view what) {
  const char* code = dnnl_status == dnnl_unimplemented || dnnl_status == dnnl_invalid_arguments
                         ? "K4601"
                         : "K4604";
  return Status::error(code, "oneDNN cannot do " + std::string(what) + ": " +
                                 status_name(dnnl_status));
}

Result<DnnlAttr> make_dnnl_attr(const std::vector<DnnlPostOp>& post_ops, const DnnlTensor& dst,
                                const std::vector<int>& order) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  dnnl_post_ops_t list = nullptr;
  if (int s = api->dnnl_post_ops_create(&list); s != dnnl_success) {
    return dnnl_failure(s, "post-ops");
  }
  struct Guard {
    const DnnlApi* api;
    dnnl_post_ops_t list;
    ~Guard() { api->dnnl_post_ops_destroy(list); }
  } guard{api, list};

  for (const DnnlPostOp& op : post_ops) {
    int s = dnnl_success;
    if (op.kind == Kind::kSum) {
      s = api->dnnl_post_ops_append_sum(list, op.alpha, 0, dnnl_data_type_undef);
    } else if (op.has_tensor()) {
      if (op.tensor.dims.size() != dst.dims.size()) {
        return Status::error("K4601", "post-op tensor of another rank than the output: " +
                                          std::to_string(op.tensor.dims.size()) + " and " +
                                          std::to_string(dst.dims.size()));
      }
      for (size_t d = 0; d < dst.dims.size(); ++d) {
        if (op.tensor.dims[d] != 1 && op.tensor.dims[d] != dst.dims[d]) {
          return Status::error("K4601", "post-op tensor that does not broadcast to the output: " +
                                            std::to_string(op.tensor.dims[d]) + " and " +
                                            std::to_string(dst.dims[d]) + " in dim " +
                                            std::to_string(d));
        }
      }
      KILN_ASSIGN_OR_RETURN(const DnnlLayout layout, post_op_layout(op, order));
      s = api->dnnl_post_ops_append_binary(list, binary_of(op.kind), layout.get());
    } else {
      const Eltwise e = eltwise_of(op);
      s = api->dnnl_post_ops_append_eltwise(list, e.algorithm, e.alpha, e.beta);
    }
    if (s != dnnl_success) return dnnl_failure(s, "this post-op");
  }

  dnnl_primitive_attr_t raw = nullptr;
  if (int s = api->dnnl_primitive_attr_create(&raw); s != dnnl_success) {
    return dnnl_failure(s, "attributes");
  }
  DnnlAttr attr(raw);
  int s = api->dnnl_primitive_attr_set_scratchpad_mode(raw, dnnl_scratchpad_mode_user);
  // ONEDNN_DEFAULT_FPMATH_MODE in the environment would otherwise turn fp32 into bf16.
  if (s == dnnl_success) s = api->dnnl_primitive_attr_set_fpmath_mode(raw, dnnl_fpmath_mode_strict);
  if (s == dnnl_success) s = api->dnnl_primitive_attr_set_post_ops(raw, list);
  if (s != dnnl_success) return dnnl_failure(s, "attributes");
  return attr;
}

Status append_post_op_operands(const std::vector<DnnlPostOp>& post_ops,
                               const std::vector<int>& order,
                               std::vector<DnnlPrimitive::Operand>& operands) {
  for (size_t i = 0; i < post_ops.size(); ++i) {
    if (!post_ops[i].has_tensor()) continue;
    KILN_ASSIGN_OR_RETURN(DnnlLayout layout, post_op_layout(post_ops[i], order));
    operands.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(static_cast<int>(i)) | DNNL_ARG_SRC_1,
                        std::move(layout)});
  }
  if (operands.size() > DnnlPrimitive::kMaxOperands) {
    return Status::error("K4601", "too many post-op tensors: " + std::to_string(operands.size()));
  }
  return Status();
}

Result<DnnlLayout> dnnl_query_layout(const DnnlPrimitiveDesc& desc, int query) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  const auto* layout =
      api->dnnl_primitive_desc_query_md(desc.get(), static_cast<dnnl_query_t>(query), 0);
  if (layout == nullptr) return Status::error("K4604", "oneDNN did not tell a layout");
  return DnnlLayout::copy_of(layout);
}

std::string dnnl_implementation(const DnnlPrimitiveDesc& desc) {
  const char* name = nullptr;
  const int s = (*dnnl_api())->dnnl_primitive_desc_query(desc.get(), dnnl_query_impl_info_str, 0,
                                                         static_cast<void*>(&name));
  return s == dnnl_success && name != nullptr ? name : "unknown";
}

struct DnnlPrimitive::Call {
  const DnnlApi* api = nullptr;
  dnnl_stream_t stream = nullptr;
  std::vector<dnnl_exec_arg_t> args;
  std::vector<const void*> set;  // the pointers that the memory objects hold now

  ~Call() {
    for (const dnnl_exec_arg_t& arg : args) api->dnnl_memory_destroy(arg.memory);
    if (stream != nullptr) api->dnnl_stream_destroy(stream);
  }
};

Result<std::unique_ptr<DnnlPrimitive::Call>> DnnlPrimitive::new_call() const {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  auto call = std::make_unique<Call>();
  call->api = api;
  if (int s = api->dnnl_stream_create(&call->stream, api->engine, dnnl_stream_default_flags);
      s != dnnl_success) {
    return dnnl_failure(s, "a stream");
  }
  for (const Operand& operand : operands_) {
    dnnl_memory_t memory = nullptr;
    if (int s = api->dnnl_memory_create(&memory, operand.layout.get(), api->engine,
                                        DNNL_MEMORY_NONE);
        s != dnnl_success) {
      return dnnl_failure(s, "a memory object");
    }
    call->args.push_back({operand.arg, memory});
    call->set.push_back(nullptr);
  }
  return call;
}

Result<std::unique_ptr<DnnlPrimitive>> DnnlPrimitive::create(DnnlPrimitiveDesc desc,
                                                             std::vector<Operand> operands) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  KILN_CHECK_LE(operands.size(), kMaxOperands);
  std::unique_ptr<DnnlPrimitive> result(new DnnlPrimitive);
  result->implementation_ = dnnl_implementation(desc);
  KILN_ASSIGN_OR_RETURN(DnnlLayout scratchpad, dnnl_query_layout(desc, dnnl_query_scratchpad_md));
  result->scratchpad_bytes_ = scratchpad.bytes();
  result->operands_ = std::move(operands);
  if (result->scratchpad_bytes_ > 0) {
    result->operands_.push_back({DNNL_ARG_SCRATCHPAD, std::move(scratchpad)});
  }
  result->threads_ = num_threads();
  const DnnlThreads threads(api, result->threads_);
  dnnl_primitive_t primitive = nullptr;
  if (int s = api->dnnl_primitive_create(&primitive, desc.get()); s != dnnl_success) {
    return dnnl_failure(s, "primitive " + result->implementation_);
  }
  result->primitive_.reset(primitive);
  KILN_ASSIGN_OR_RETURN(std::unique_ptr<Call> call, result->new_call());
  result->idle_[0].store(call.release(), std::memory_order_release);
  return result;
}

DnnlPrimitive::~DnnlPrimitive() {
  for (auto& slot : idle_) delete slot.load(std::memory_order_acquire);
}

Status DnnlPrimitive::run(std::span<const void* const> pointers, void* scratchpad) const {
  const size_t given = pointers.size();
  KILN_CHECK_EQ(given + (scratchpad_bytes_ > 0 ? 1 : 0), operands_.size());
  std::unique_ptr<Call> call;
  for (auto& slot : idle_) {
    if (slot.load(std::memory_order_relaxed) == nullptr) continue;
    call.reset(slot.exchange(nullptr, std::memory_order_acquire));
    if (call) break;
  }
  if (!call) {
    KILN_ASSIGN_OR_RETURN(call, new_call());
  }

  const DnnlApi* api = call->api;
  const DnnlThreads threads(api, threads_);
  int s = dnnl_success;
  for (size_t i = 0; i < operands_.size() && s == dnnl_success; ++i) {
    const void* pointer = i < given ? pointers[i] : scratchpad;
    if (call->set[i] == pointer) continue;
    s = api->dnnl_memory_set_data_handle(call->args[i].memory, const_cast<void*>(pointer));
    call->set[i] = pointer;
  }
  if (s == dnnl_success) {
    s = api->dnnl_primitive_execute(primitive_.get(), call->stream,
                                    static_cast<int>(call->args.size()), call->args.data());
  }
  if (s == dnnl_success) s = api->dnnl_stream_wait(call->stream);

  for (auto& slot : idle_) {
    Call* expected = nullptr;
    if (slot.compare_exchange_strong(expected, call.get(), std::memory_order_release,
                                     std::memory_order_relaxed)) {
      call.release();
      break;
    }
  }
  if (s != dnnl_success) {
    return Status::error("K4604", "oneDNN failed at run time: " + std::string(status_name(s)) +
                                      " in " + implementation_);
  }
  return Status();
}

}  // namespace kiln
