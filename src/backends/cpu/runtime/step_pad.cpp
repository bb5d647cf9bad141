// "pad": constant, reflect, replicate, circular, and roll, which is circular without a change of
// size. params: mode, low (elements before index 0, expressions, negative crops; what comes after
// the end follows from the sizes), value (rounded to the dtype).
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "backends/cpu/kernels/pad.h"
#include "backends/cpu/runtime/step_views.h"
#include "core/host_tensor.h"
#include "runtime/step.h"

namespace kiln {
namespace {

// Any sum of two of them and a size fits.
constexpr int64_t kMaxPad = int64_t{1} << 46;

class BoundPad : public BoundStep {
 public:
  BoundPad(const cpu::PadParams& params, DType dtype, double value) : params_(params) {
    HostTensor rounded(dtype, {});
    rounded.set_double(0, value);
    std::memcpy(value_.data(), rounded.bytes(), rounded.num_bytes());
  }

  size_t scratch_bytes() const override { return cpu::pad_scratch_bytes(params_); }
  Status run(const RunArgs& args) override {
    cpu::pad(params_, args.inputs[0], value_.data(), args.outputs[0], args.scratch);
    return {};
  }
  std::string implementation() const override { return "kiln:pad"; }

 private:
  cpu::PadParams params_;
  alignas(16) std::array<std::byte, 16> value_{};
};

class PadStep : public Step {
 public:
  PadStep(cpu::PadMode mode, bool roll, std::vector<DimExpr> low, double value)
      : mode_(mode), roll_(roll), low_(std::move(low)), value_(value) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    const char* name = roll_ ? "roll" : "pad";
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views(name, context));
    const ConcreteView& source = context.inputs[0];
    const ConcreteView& target = context.outputs[0];
    KILN_RETURN_IF_ERROR(cpu::check_rank(name, source, static_cast<int>(low_.size())));
    KILN_RETURN_IF_ERROR(cpu::check_rank(name, target, static_cast<int>(low_.size())));
    KILN_RETURN_IF_ERROR(cpu::check_dtype(name, target, source.dtype));
    if (roll_) KILN_RETURN_IF_ERROR(cpu::check_dims(name, target, source.dims));
    KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> low, evaluate(low_, *context.symbols));
    cpu::PadParams p;
    p.op = name;
    p.element_bytes = static_cast<int>(dtype_bytes(source.dtype));
    p.mode = mode_;
    p.rank = source.rank();
    p.sizes = cpu::to_dims(source.dims);
    p.src_strides = cpu::to_dims(source.strides);
    p.dst_strides = cpu::to_dims(target.strides);
    for (size_t i = 0; i < low.size(); ++i) {
      if (low[i] > kMaxPad || low[i] < -kMaxPad) {
        return Status::error("K3242", std::string(name) + ": padding is out of range, " +
                                          std::to_string(low[i]));
      }
      p.before[i] = low[i];
      p.after[i] = target.dims[i] - source.dims[i] - low[i];
    }
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundPad(p, source.dtype, value_));
  }

 private:
  cpu::PadMode mode_;
  bool roll_;
  std::vector<DimExpr> low_;
  double value_;
};

Result<std::unique_ptr<Step>> make_pad(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 1, 1, 1));
  KILN_ASSIGN_OR_RETURN(const std::string mode, desc.params.string_at("mode"));
  KILN_ASSIGN_OR_RETURN(const double value, desc.params.double_at("value"));
  KILN_ASSIGN_OR_RETURN(const std::vector<std::string> texts, desc.params.strings_at("low"));
  std::vector<DimExpr> low;
  for (const std::string& text : texts) {
    KILN_ASSIGN_OR_RETURN(DimExpr dim, DimExpr::parse(text));
    low.push_back(std::move(dim));
  }
  using cpu::PadMode;
  for (const auto& [name, kind] :
       {std::pair{"constant", PadMode::kConstant}, std::pair{"reflect", PadMode::kReflect},
        std::pair{"replicate", PadMode::kReplicate}, std::pair{"circular", PadMode::kCircular},
        std::pair{"roll", PadMode::kCircular}}) {
    if (mode != name) continue;
    return std::unique_ptr<Step>(new PadStep(kind, mode == "roll", std::move(low), value));
  }
  return Status::error("K3242", "unknown mode of a pad step: " + mode);
}

KILN_STEP(pad, "pad", make_pad);

}  // namespace
}  // namespace kiln
