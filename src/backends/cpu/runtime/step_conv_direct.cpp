// "conv_direct": convolution or transposed convolution on Kiln's own kernel, any strides.
//
// Inputs x [batch, in, spatial...], weight (as torch has it: [out, in / groups, spatial...], or
// [in, out / groups, spatial...] when transposed) and, when there are three, bias [out]
// (contiguous); output [batch, out, spatial...]. params: transposed, groups, and per spatial dim
// stride, padding (at the low end), dilation.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "backends/cpu/kernels/conv_direct.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

constexpr std::string_view kName = "conv_direct";
constexpr int64_t kMaxEntry = int64_t{1} << 31;

class BoundConv : public BoundStep {
 public:
  BoundConv(const cpu::ConvParams& params, int threads) : plan_(params, threads) {}

  size_t scratch_bytes() const override { return plan_.scratch_bytes(); }
  Status run(const RunArgs& args) override {
    plan_.run(args.inputs[0], args.inputs[1], plan_.params.has_bias ? args.inputs[2] : nullptr,
              args.outputs[0], args.scratch);
    return {};
  }
  std::string implementation() const override { return "kiln:conv_direct"; }

 private:
  cpu::ConvPlan plan_;
};

std::array<int64_t, 5> strides_of(const ConcreteView& view) {
  std::array<int64_t, 5> strides{};
  std::copy(view.strides.begin(), view.strides.end(), strides.begin());
  return strides;
}

class ConvStep : public Step {
 public:
  explicit ConvStep(const cpu::ConvParams& params) : params_(params) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views(kName, context));
    const ConcreteView& x = context.inputs[0];
    const ConcreteView& weight = context.inputs[1];
    const ConcreteView& out = context.outputs[0];
    cpu::ConvParams p = params_;
    for (const ConcreteView* view : {&x, &weight, &out}) {
      KILN_RETURN_IF_ERROR(cpu::check_rank(kName, *view, p.spatial_rank + 2));
      KILN_RETURN_IF_ERROR(cpu::check_dtype(kName, *view, x.dtype));
    }
    p.dtype = x.dtype;
    p.batch = x.dims[0];
    p.in_channels = x.dims[1];
    p.out_channels = out.dims[1];
    // In what order the weights have their channels.
    const int64_t first = p.transposed ? p.in_channels : p.out_channels;
    const int64_t second = p.transposed ? p.out_channels : p.in_channels;
    if (out.dims[0] != p.batch || second % p.groups != 0 || first % p.groups != 0 ||
        weight.dims[0] != first || weight.dims[1] != second / p.groups) {
      return mismatch("channels of the operands do not fit");
    }
    for (size_t i = 0; i < static_cast<size_t>(p.spatial_rank); ++i) {
      p.in_sizes[i] = x.dims[2 + i];
      p.out_sizes[i] = out.dims[2 + i];
      p.kernel[i] = weight.dims[2 + i];
      // Products with strides and dilations stay far from overflow.
      if (p.in_sizes[i] > kMaxEntry || p.out_sizes[i] > kMaxEntry || p.kernel[i] > kMaxEntry / 2) {
        return mismatch("a size is out of range");
      }
    }
    p.in_strides = strides_of(x);
    p.out_strides = strides_of(out);
    p.weight_strides = strides_of(weight);
    if (p.transposed) std::swap(p.weight_strides[0], p.weight_strides[1]);
    if (context.inputs.size() == 3) {
      const ConcreteView& bias = context.inputs[2];
      KILN_RETURN_IF_ERROR(cpu::check_dims(kName, bias, {p.out_channels}));
      KILN_RETURN_IF_ERROR(cpu::check_dtype(kName, bias, x.dtype));
      if (!bias.is_contiguous()) return mismatch("bias is not contiguous");
      p.has_bias = true;
    }
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundConv(p, context.threads));
  }

 private:
  static Status mismatch(const char* what) {
    return Status::error("K3246", std::string(kName) + ": " + what);
  }

  cpu::ConvParams params_;
};

Status read_entries(const Json& params, std::string_view key, int64_t low, int* rank,
                    std::array<int64_t, 3>* out) {
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> values, params.ints_at(key));
  if (*rank == 0) *rank = static_cast<int>(values.size());
  if (*rank < 1 || *rank > 3 || static_cast<int>(values.size()) != *rank) {
    return Status::error("K3246", "conv_direct: not one entry per spatial dim in " +
                                      std::string(key));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < low || values[i] > kMaxEntry / 2) {
      return Status::error("K3246", "conv_direct: entry out of range in " + std::string(key) +
                                        ", " + std::to_string(values[i]));
    }
    (*out)[i] = values[i];
  }
  return {};
}

Result<std::unique_ptr<Step>> make_conv(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 2, 3, 1));
  cpu::ConvParams p;
  KILN_ASSIGN_OR_RETURN(p.transposed, desc.params.bool_at("transposed"));
  KILN_ASSIGN_OR_RETURN(p.groups, desc.params.int_at("groups", 1, kMaxEntry));
  int rank = 0;
  KILN_RETURN_IF_ERROR(read_entries(desc.params, "stride", 1, &rank, &p.stride));
  KILN_RETURN_IF_ERROR(read_entries(desc.params, "padding", 0, &rank, &p.padding));
  KILN_RETURN_IF_ERROR(read_entries(desc.params, "dilation", 1, &rank, &p.dilation));
  p.spatial_rank = rank;
  return std::unique_ptr<Step>(new ConvStep(p));
}

KILN_STEP(conv_direct, "conv_direct", make_conv);

}  // namespace
}  // namespace kiln
