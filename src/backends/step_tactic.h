// Tactics that are one function: what most of Kiln's own kernels need.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fusion/engine_lowering.h"
#include "ir/op_def.h"
#include "tuning/kernel_provider.h"

namespace kiln {

using LowerFunction = Status (*)(Node&, EngineLowering&);

class StepTactic : public Tactic {
 public:
  StepTactic(std::string name, LowerFunction function)
      : name_(std::move(name)), function_(function) {}
  std::string name() const override { return name_; }
  Status lower(Node& node, EngineLowering& lowering) override { return function_(node, lowering); }

 private:
  std::string name_;
  LowerFunction function_;
};

// The empty description of a step for `node`, labelled with the op's name.
inline StepDesc step_for(Node& node, std::string kind) {
  return {std::move(kind), {}, {}, Json::object(), node.origin.to_string(),
          std::string(node.op_name())};
}

// Sizes as parameters: text of expressions over the symbols.
inline Json dims_param(const std::vector<DimExpr>& dims) {
  Json list = Json::array();
  for (const DimExpr& dim : dims) list.push_back(dim.to_string());
  return list;
}

inline bool is_f32_or_f64(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF64; }

// "no kernel for dtype f16" unless the dtype is f32 or f64; true when it is.
inline bool accept_f32_or_f64(std::string_view provider, DType dtype, Candidates& out) {
  if (is_f32_or_f64(dtype)) return true;
  out.refusals.push_back(
      {std::string(provider), "no kernel for dtype " + std::string(dtype_name(dtype))});
  return false;
}

}  // namespace kiln
