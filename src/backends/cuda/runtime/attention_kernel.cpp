#include "backends/cuda/runtime/attention_kernel.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kMaxHead = 4096;
constexpr int64_t kSharedBytes = 48 << 10;  // that every device has without asking; simt

}  // namespace

int64_t AttentionKernel::keys_for(DType dtype, bool matrix, int64_t head_dim, int64_t value_dim) {
  if (matrix) {
    return is_half(dtype) && head_dim <= 128 && value_dim <= 128 ? 64 : 0;
  }
  const int64_t number = dtype == DType::kF64 ? 8 : 4;
  for (const int64_t keys : {32, 16, 8}) {
    const int64_t numbers =
        kSimtRows * (head_dim + 1 + keys + 1) + keys * (head_dim + 1 + value_dim);
    // Four arrays, one of them a number longer, each at a multiple of 16 bytes.
    if ((numbers + 1) * number + 4 * 15 <= kSharedBytes) return keys;
  }
  return 0;
}

int64_t AttentionKernel::shared_bytes() const {
  if (!matrix) return 0;
  const int64_t d = ceil_div(head_dim, 16) * 16 + 8, e = ceil_div(value_dim, 16) * 16 + 8;
  // Keys and values of one block; at the end, the results in place of it all.
  return 2 * std::max(kMatrixRows * d + keys * (d + e), kMatrixRows * e);
}

Json AttentionKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("matrix", matrix);
  json.set("head_dim", head_dim);
  json.set("value_dim", value_dim);
  json.set("keys", keys);
  json.set("causal", causal);
  json.set("scale", scale);
  json.set("mask", mask);
  json.set("mask_dtype", dtype_name(mask_dtype));
  json.set("q_eight", q_eight);
  json.set("k_eight", k_eight);
  json.set("v_eight", v_eight);
  json.set("o_eight", o_eight);
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<AttentionKernel> AttentionKernel::from_json(const Json& params) {
  AttentionKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.matrix, params.bool_at("matrix"));
  KILN_ASSIGN_OR_RETURN(kernel.head_dim, params.int_at("head_dim", 0, kMaxHead));
  KILN_ASSIGN_OR_RETURN(kernel.value_dim, params.int_at("value_dim", 0, kMaxHead));
  KILN_ASSIGN_OR_RETURN(kernel.keys, params.int_at("keys", 1, 64));
  KILN_ASSIGN_OR_RETURN(kernel.causal, params.bool_at("causal"));
  KILN_ASSIGN_OR_RETURN(kernel.scale, params.double_at("scale"));
  KILN_ASSIGN_OR_RETURN(kernel.mask, params.bool_at("mask"));
  KILN_ASSIGN_OR_RETURN(kernel.mask_dtype, kernel_dtype(params, "mask_dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.q_eight, params.bool_at("q_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.k_eight, params.bool_at("k_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.v_eight, params.bool_at("v_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.o_eight, params.bool_at("o_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const bool fits =
      is_float(kernel.dtype) && std::isfinite(kernel.scale) &&
      kernel.keys == keys_for(kernel.dtype, kernel.matrix, kernel.head_dim, kernel.value_dim) &&
      (kernel.mask_dtype == DType::kBool || kernel.mask_dtype == DType::kF32 ||
       kernel.mask_dtype == kernel.dtype) &&
      (kernel.matrix || !(kernel.q_eight || kernel.k_eight || kernel.v_eight || kernel.o_eight));
  if (!fits) return Status::error("K3212", "attention kernel: parameters do not fit each other");
  return kernel;
}

namespace {

class AttentionStep : public Step {
 public:
  AttentionStep(StepKernel kernel, AttentionKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& q = context.inputs[0];
    const ConcreteView& k = context.inputs[1];
    const ConcreteView& v = context.inputs[2];
    const ConcreteView& out = context.outputs[0];
    for (const ConcreteView* view : {&q, &k, &v, &out}) {
      KILN_RETURN_IF_ERROR(check_dtype(kName, *view, params_.dtype));
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&q, &k, &v, &out}));
    std::vector<Argument> arguments;
    for (int i = 0; i < static_cast<int>(context.inputs.size()); ++i) {
      arguments.push_back(Argument::input(i));
    }
    arguments.push_back(Argument::output(0));
    const ConcreteView* mask = nullptr;
    if (params_.mask) {
      mask = &context.inputs[3];
      KILN_RETURN_IF_ERROR(check_dtype(kName, *mask, params_.mask_dtype));
      KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {mask}));
    }
    KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes, attention_sizes(q, k, v, mask, out));
    const int64_t heads = q.dims[1], kv_heads = k.dims[1];
    const bool grouped = kv_heads == 0 ? heads == 0 : heads % kv_heads == 0;
    if (q.dims[3] != params_.head_dim || v.dims[3] != params_.value_dim || !grouped ||
        (params_.q_eight && !takes_width(q, 3, 8)) || (params_.k_eight && !takes_width(k, 3, 8)) ||
        (params_.v_eight && !takes_width(v, 3, 8)) ||
        (params_.o_eight && !takes_width(out, 3, 8))) {
      return Status::error("K3212", "attention kernel: made for other operands");
    }
    KILN_RETURN_IF_ERROR(params_.sizes.bind(sizes, &arguments));
    const int64_t rows = params_.matrix ? AttentionKernel::kMatrixRows : AttentionKernel::kSimtRows;
    const int64_t blocks =
        out.num_elements() == 0 ? 0 : q.dims[0] * heads * ceil_div(q.dims[2], rows);
    Launch launch = launch_blocks(kernel_, blocks, arguments, 128);
    launch.shared_bytes = params_.shared_bytes();
    return bind_launch(kernel_, std::move(launch), context,
                       params_.matrix ? "kiln:attention_mma" : "kiln:attention");
  }

 private:
  static constexpr std::string_view kName = "cuda.attention";
  StepKernel kernel_;
  AttentionKernel params_;
};

Result<std::unique_ptr<Step>> make_attention(const StepDesc& desc,
                                             const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(StepKernel kernel,
                        step_kernel(desc, environment, AttentionKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(AttentionKernel params, AttentionKernel::from_json(*kernel.params));
  const size_t inputs = params.mask ? 4 : 3;
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  return std::unique_ptr<Step>(new AttentionStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_attention, "cuda.attention", make_attention);

}  // namespace
}  // namespace kiln::cuda
