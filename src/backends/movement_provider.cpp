#include "backends/movement_provider.h"

#include <string_view>
#include <utility>

namespace kiln {
namespace {

// Literals travel in the plan as text; larger ones should have become weights.
constexpr size_t kMaxLiteralBytes = size_t{1} << 20;

class MovementProvider : public KernelProvider {
 public:
  MovementProvider(std::string name, const MovementLowerings& to)
      : name_(std::move(name)), entries_{{"reorder", to.reorder}, {"flip", to.flip},
                                         {"roll", to.roll},       {"pad", to.pad},
                                         {"cumsum", to.scan},     {"cumprod", to.scan},
                                         {"sort", to.sort},       {"topk", to.sort},
                                         {"iota", to.iota},       {"constant", to.constant}} {}
  std::string_view name() const override { return name_; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    for (const auto& [op, lower] : entries_) {
      if (op != node.op_name()) continue;
      if (!node.result()->tensor().layout.is_strided()) {
        out.refusals.push_back({name_, "result has a blocked or packed layout"});
        return;
      }
      if (node.is("constant") &&
          std::get<HostTensor>(node.attr("value")).num_bytes() > kMaxLiteralBytes) {
        out.refusals.push_back({name_, "literal is too large for a plan"});
        return;
      }
      out.tactics.push_back(std::make_unique<StepTactic>(std::string(op), lower));
    }
  }

 private:
  std::string name_;
  std::vector<std::pair<std::string_view, LowerFunction>> entries_;
};

}  // namespace

std::unique_ptr<KernelProvider> make_movement_provider(std::string name,
                                                       const MovementLowerings& lowerings) {
  return std::make_unique<MovementProvider>(std::move(name), lowerings);
}

PlanView flipped(PlanView view, const std::vector<int64_t>& axes) {
  for (const int64_t axis : axes) {
    const auto i = static_cast<size_t>(axis);
    view.offset += (view.dims[i] - 1) * view.strides[i];
    view.strides[i] = -view.strides[i];
  }
  return view;
}

std::string hex_of(const HostTensor& value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (size_t i = 0; i < value.num_bytes(); ++i) {
    const auto byte = static_cast<unsigned>(value.bytes()[i]);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

}  // namespace kiln
