#include "backends/cuda/runtime/attention_kernel.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "backends/cuda/runtime/library_tuner.h"
#include "backends/cuda/runtime/step_operands.h"
#include "base/status.h"
#include "runtime/device_runtime.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kMaxHead = 4096, kMaxMatrixHead = 128;
constexpr int64_t kMaxShared = 227 << 10;   // dynamic; what some GPU has
constexpr int64_t kSharedBytes = 48 << 10;  // that every device has without asking; simt

std::optional<int64_t> baked(const AttentionKernel& kernel, std::string_view name) {
  for (const KernelSizes::Entry& entry : kernel.sizes.entries()) {
    if (entry.name == name) return entry.baked;
  }
  return std::nullopt;
}
bool is_baked(const AttentionKernel& kernel, std::string_view name, int64_t value) {
  return baked(kernel, name) == value;
}

bool tiling_fits(const AttentionKernel& p) {
  if (!p.matrix) {
    return !p.once && !p.tiling.warpgroup &&
           p.tiling.keys == AttentionKernel::simt_keys(p.dtype, p.head_dim, p.value_dim);
  }
  if (!is_valid(p.tiling, p.once) ||
      !AttentionKernel::takes_matrix(p.dtype, p.head_dim, p.value_dim) ||
      p.shared_bytes() > kMaxShared) {
    return false;
  }
  if (p.tiling.warpgroup && !(p.all_eight() && p.head_dim > 0 && p.value_dim > 0)) return false;
  const std::optional<int64_t> columns = baked(p, "columns");
  return !p.once || (columns && *columns <= p.tiling.keys);
}

}  // namespace

std::string AttentionTiling::to_string() const {
  return (warpgroup ? "w" : "") + std::to_string(rows) + "x" + std::to_string(keys);
}

bool is_valid(const AttentionTiling& t, bool once) {
  if ((t.rows != 64 && t.rows != 128) || t.keys < 16 || t.keys % 16 != 0) return false;
  return t.keys <= (!once ? 128 : t.warpgroup ? 256 : 208);  // what a thread has registers for
}

int64_t AttentionKernel::simt_keys(DType dtype, int64_t head_dim, int64_t value_dim) {
  const int64_t number = dtype == DType::kF64 ? 8 : 4;
  for (const int64_t keys : {32, 16, 8}) {
    const int64_t numbers =
        kSimtRows * (head_dim + 1 + keys + 1) + keys * (head_dim + 1 + value_dim);
    // Four arrays, one of them a number longer, each at a multiple of 16 bytes.
    if ((numbers + 1) * number + 4 * 15 <= kSharedBytes) return keys;
  }
  return 0;
}

bool AttentionKernel::takes_matrix(DType dtype, int64_t head_dim, int64_t value_dim) {
  return is_half(dtype) && head_dim <= kMaxMatrixHead && value_dim <= kMaxMatrixHead;
}

int64_t AttentionKernel::shared_bytes() const {
  if (!matrix) return 0;
  const int64_t rows = tiling.rows, keys = tiling.keys;
  const int64_t addends = mask_of_columns ? keys * 4 : 0;  // of one block of keys
  if (tiling.warpgroup) {
    const int64_t parts = ceil_div(head_dim, 64), value_parts = ceil_div(value_dim, 64);
    const int64_t stage = keys * 128 * (parts + value_parts) + addends;
    return 1024 + rows * 128 * parts + (once ? 1 : 2) * stage;
  }
  const int64_t d = ceil_div(head_dim, 16) * 16 + 8, e = ceil_div(value_dim, 16) * 16 + 8;
  // Keys and values of one block; at the end, the results in place of it all.
  return std::max(2 * (rows * d + keys * (d + e)) + 2 * addends, 2 * rows * e);
}

Json AttentionKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("matrix", matrix);
  json.set("head_dim", head_dim);
  json.set("value_dim", value_dim);
  if (matrix) {
    json.set("warpgroup", tiling.warpgroup);
    json.set("rows", tiling.rows);
    json.set("once", once);
  }
  json.set("keys", tiling.keys);
  json.set("causal", causal);
  json.set("scale", scale);
  json.set("mask", mask);
  json.set("mask_dtype", dtype_name(mask_dtype));
  if (matrix && mask) {
    json.set("mask_of_columns", mask_of_columns);
    json.set("mask_pairs", mask_pairs);
  }
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
  KILN_ASSIGN_OR_RETURN(kernel.tiling.keys, params.int_at("keys", 1, 256));
  // Files of before have none of these.
  if (params.find("rows") != nullptr) {
    KILN_ASSIGN_OR_RETURN(kernel.tiling.rows, params.int_at("rows", 64, 128));
    KILN_ASSIGN_OR_RETURN(kernel.tiling.warpgroup, params.bool_at("warpgroup"));
    KILN_ASSIGN_OR_RETURN(kernel.once, params.bool_at("once"));
  }
  if (params.find("mask_pairs") != nullptr) {
    KILN_ASSIGN_OR_RETURN(kernel.mask_of_columns, params.bool_at("mask_of_columns"));
    KILN_ASSIGN_OR_RETURN(kernel.mask_pairs, params.bool_at("mask_pairs"));
  }
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
      is_float(kernel.dtype) && std::isfinite(kernel.scale) && tiling_fits(kernel) &&
      (kernel.mask_dtype == DType::kBool || kernel.mask_dtype == DType::kF32 ||
       kernel.mask_dtype == kernel.dtype) &&
      (kernel.matrix || !(kernel.q_eight || kernel.k_eight || kernel.v_eight || kernel.o_eight)) &&
      !(kernel.mask_of_columns && !(kernel.mask && kernel.matrix && is_baked(kernel, "m2", 0))) &&
      !(kernel.mask_pairs && !(kernel.mask && kernel.matrix && is_baked(kernel, "m3", 1)));
  if (!fits) return Status::error("K3212", "attention kernel: parameters do not fit each other");
  return kernel;
}

namespace {

constexpr std::string_view kName = "cuda.attention";

struct Variant {
  StepKernel kernel;
  AttentionKernel params;
};

class AttentionStep : public Step {
 public:
  AttentionStep(std::vector<Variant> variants, bool tune, DeviceRuntime& device)
      : variants_(std::move(variants)), tune_(tune), device_(device) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    KILN_ASSIGN_OR_RETURN(const int capability,
                          compute_capability(*variants_[0].kernel.code, device_.device().index));
    const bool tune = tune_ && context.outputs[0].num_elements() != 0 &&
                      !device_.is_recording(device_.current_stream());
    std::vector<std::unique_ptr<BoundStep>> bound;
    for (const Variant& variant : variants_) {
      if (variant.params.tiling.warpgroup && capability != AttentionKernel::kWarpgroupCapability) {
        continue;
      }
      KILN_ASSIGN_OR_RETURN(std::unique_ptr<BoundStep> one, bind_variant(variant, context));
      bound.push_back(std::move(one));
      if (!tune) break;
    }
    if (bound.size() == 1) return std::move(bound[0]);
    return fastest_step(problem(), context, std::move(bound), device_);
  }

 private:
  static Result<std::unique_ptr<BoundStep>> bind_variant(const Variant& variant,
                                                         const BindContext& context) {
    const AttentionKernel& params = variant.params;
    const ConcreteView& q = context.inputs[0];
    const ConcreteView& k = context.inputs[1];
    const ConcreteView& v = context.inputs[2];
    const ConcreteView& out = context.outputs[0];
    for (const ConcreteView* view : {&q, &k, &v, &out}) {
      KILN_RETURN_IF_ERROR(check_dtype(kName, *view, params.dtype));
    }
    KILN_RETURN_IF_ERROR(check_narrow(params.wide, {&q, &k, &v, &out}));
    std::vector<Argument> arguments;
    for (int i = 0; i < static_cast<int>(context.inputs.size()); ++i) {
      arguments.push_back(Argument::input(i));
    }
    arguments.push_back(Argument::output(0));
    const ConcreteView* mask = nullptr;
    if (params.mask) {
      mask = &context.inputs[3];
      KILN_RETURN_IF_ERROR(check_dtype(kName, *mask, params.mask_dtype));
      KILN_RETURN_IF_ERROR(check_narrow(params.wide, {mask}));
    }
    KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes, attention_sizes(q, k, v, mask, out));
    const int64_t heads = q.dims[1], kv_heads = k.dims[1];
    const bool grouped = kv_heads == 0 ? heads == 0 : heads % kv_heads == 0;
    if (q.dims[3] != params.head_dim || v.dims[3] != params.value_dim || !grouped ||
        (params.q_eight && !takes_width(q, 3, 8)) || (params.k_eight && !takes_width(k, 3, 8)) ||
        (params.v_eight && !takes_width(v, 3, 8)) || (params.o_eight && !takes_width(out, 3, 8)) ||
        (params.mask_pairs && !takes_width(*mask, 3, 2))) {
      return Status::error("K3212", "attention kernel: made for other operands");
    }
    KILN_RETURN_IF_ERROR(params.sizes.bind(sizes, &arguments));
    const int64_t blocks =
        out.num_elements() == 0 ? 0 : q.dims[0] * heads * ceil_div(q.dims[2], params.rows());
    Launch launch = launch_blocks(variant.kernel, blocks, arguments, params.threads());
    launch.shared_bytes = params.shared_bytes();
    return bind_launch(
        variant.kernel, std::move(launch), context,
        params.matrix ? "kiln:attention " + params.tiling.to_string() : "kiln:attention");
  }

  // What all variants compute, but for the sizes.
  std::string problem() const {
    AttentionKernel params = variants_[0].params;
    params.tiling = {};
    params.sizes = {};
    return "attention " + params.to_json().dump();
  }

  std::vector<Variant> variants_;
  bool tune_;
  DeviceRuntime& device_;
};

// Kernels of one step differ in how they divide the work.
bool same_attention(const AttentionKernel& x, const AttentionKernel& y) {
  return x.dtype == y.dtype && x.head_dim == y.head_dim && x.value_dim == y.value_dim &&
         x.causal == y.causal && x.scale == y.scale && x.mask == y.mask &&
         x.mask_dtype == y.mask_dtype;
}

Result<std::unique_ptr<Step>> make_attention(const StepDesc& desc,
                                             const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(const AttentionStepParams params,
                        AttentionStepParams::from_json(desc.params));
  KILN_ASSIGN_OR_RETURN(DeviceRuntime * device, cuda_device_of(kName, environment));
  std::vector<Variant> variants;
  bool everywhere = false;
  for (int64_t i = 0; i < params.kernels; ++i) {
    Variant variant;
    const std::string key = AttentionStepParams::kernel_key(i);
    auto kernel = step_kernel(desc, environment, AttentionKernel::kFamily, key);
    if (kernel.ok()) {
      variant.kernel = std::move(*kernel);
    } else {
      KILN_ASSIGN_OR_RETURN(variant.kernel,
                            step_kernel(desc, environment, AttentionKernel::kWarpgroupFamily, key));
    }
    KILN_ASSIGN_OR_RETURN(variant.params, AttentionKernel::from_json(*variant.kernel.params));
    if (variant.params.tiling.warpgroup == kernel.ok() ||
        (i > 0 && !same_attention(variants[0].params, variant.params))) {
      return Status::error("K3212", "attention step: its kernels do not fit each other");
    }
    everywhere = everywhere || !variant.params.tiling.warpgroup;
    variants.push_back(std::move(variant));
  }
  if (!everywhere) {
    return Status::error("K3212", "attention step: its kernels are for some GPUs only");
  }
  const size_t inputs = variants[0].params.mask ? 4 : 3;
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  return std::unique_ptr<Step>(new AttentionStep(std::move(variants), params.tune, *device));
}

KILN_STEP(cuda_attention, kName, make_attention);

}  // namespace

void AttentionStepParams::add_to(Json& params) const {
  if (kernels > 1) params.set("kernels", kernels);
  if (tune) params.set("tune", tune);
  if (preferred_keys > 0) params.set("preferred_keys", preferred_keys);
}

Result<AttentionStepParams> AttentionStepParams::from_json(const Json& json) {
  AttentionStepParams p;
  if (json.find("kernels") != nullptr) {
    KILN_ASSIGN_OR_RETURN(p.kernels, json.int_at("kernels", 1, kMaxKernels));
  }
  if (json.find("tune") != nullptr) {
    KILN_ASSIGN_OR_RETURN(p.tune, json.bool_at("tune"));
  }
  if (json.find("preferred_keys") != nullptr) {
    KILN_ASSIGN_OR_RETURN(p.preferred_keys, json.int_at("preferred_keys", 0, INT32_MAX));
  }
  return p;
}

}  // namespace kiln::cuda
