#include "aten/number_functions.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ir/graph.h"

namespace kiln {
namespace {

// Which overloads an operator has, by the kinds of its arguments.
enum class Overloads : uint8_t {
  kPair,    // int, float, int_float, float_int
  kDivide,  // int, float; two kinds: no name
  kPower,   // as kPair, and int_to_int where the result is one
  kOne,     // int, float, bool
  kLogic,   // bool, int
  kSingle   // no name
};

struct NumberFunction {
  std::string_view name, op;
  size_t arguments;
  Overloads overloads;
};

constexpr std::array kFunctions = {
    NumberFunction{"_operator::add", "aten::add", 2, Overloads::kPair},
    NumberFunction{"_operator::sub", "aten::sub", 2, Overloads::kPair},
    NumberFunction{"_operator::mul", "aten::mul", 2, Overloads::kPair},
    NumberFunction{"_operator::floordiv", "aten::floordiv", 2, Overloads::kPair},
    NumberFunction{"_operator::mod", "aten::remainder", 2, Overloads::kPair},
    NumberFunction{"_operator::truediv", "aten::div", 2, Overloads::kDivide},
    NumberFunction{"_operator::pow", "aten::pow", 2, Overloads::kPower},
    NumberFunction{"_operator::neg", "aten::neg", 1, Overloads::kOne},
    NumberFunction{"_operator::eq", "aten::eq", 2, Overloads::kPair},
    NumberFunction{"_operator::ne", "aten::ne", 2, Overloads::kPair},
    NumberFunction{"_operator::lt", "aten::lt", 2, Overloads::kPair},
    NumberFunction{"_operator::le", "aten::le", 2, Overloads::kPair},
    NumberFunction{"_operator::gt", "aten::gt", 2, Overloads::kPair},
    NumberFunction{"_operator::ge", "aten::ge", 2, Overloads::kPair},
    NumberFunction{"_operator::and_", "aten::__and__", 2, Overloads::kLogic},
    NumberFunction{"_operator::or_", "aten::__or__", 2, Overloads::kLogic},
    NumberFunction{"torch::sym_not", "aten::__not__", 1, Overloads::kSingle},
    NumberFunction{"torch::sym_max", "prim::max", 2, Overloads::kPair},
    NumberFunction{"torch::sym_min", "prim::min", 2, Overloads::kPair},
    NumberFunction{"torch::sym_int", "aten::Int", 1, Overloads::kOne},
    NumberFunction{"torch::sym_float", "aten::Float", 1, Overloads::kOne},
    NumberFunction{"torch::_sym_sqrt", "aten::sqrt", 1, Overloads::kOne},
    NumberFunction{"math::sqrt", "aten::sqrt", 1, Overloads::kOne},
    NumberFunction{"math::ceil", "aten::ceil", 1, Overloads::kOne},
    NumberFunction{"math::floor", "aten::floor", 1, Overloads::kOne},
    NumberFunction{"math::trunc", "aten::Int", 1, Overloads::kOne},
};

std::optional<ScalarType> kind_of(const CallArg& arg, const std::vector<Value*>& operands) {
  if (const auto* operand = arg.get<CallArg::Operand>()) {
    const Type& type = operands[static_cast<size_t>(operand->index)]->type;
    const auto* scalar = std::get_if<ScalarType>(&type.value);
    return scalar != nullptr ? std::optional(*scalar) : std::nullopt;
  }
  if (arg.get<bool>() != nullptr) return ScalarType::kBool;
  if (arg.get<DimExpr>() != nullptr) return ScalarType::kI64;
  if (arg.get<double>() != nullptr) return ScalarType::kF64;
  return std::nullopt;
}

std::string word(ScalarType kind) {
  switch (kind) {
    case ScalarType::kI64: return "int";
    case ScalarType::kF64: return "float";
    case ScalarType::kBool: return "bool";
  }
  return "";
}

std::string overload_of(Overloads overloads, const std::vector<ScalarType>& kinds,
                        const Type& result) {
  const bool same = kinds.size() < 2 || kinds[0] == kinds[1];
  const std::string name = same ? word(kinds[0]) : word(kinds[0]) + "_" + word(kinds[1]);
  switch (overloads) {
    case Overloads::kPair:
    case Overloads::kOne:
    case Overloads::kLogic: return name;
    case Overloads::kDivide: return same ? name : "";
    case Overloads::kPower: {
      const auto* scalar = std::get_if<ScalarType>(&result.value);
      const bool whole = scalar != nullptr && *scalar == ScalarType::kI64;
      return whole && name == "int" ? "int_to_int" : name;
    }
    case Overloads::kSingle: return "";
  }
  return name;
}

// Whether an operator with these overloads takes bools.
bool takes_bools(const NumberFunction& function, const std::vector<ScalarType>& kinds) {
  if (function.op == "aten::eq" || function.op == "aten::ne") return kinds[0] == kinds[1];
  return function.overloads == Overloads::kOne || function.overloads == Overloads::kLogic ||
         function.overloads == Overloads::kSingle;
}

}  // namespace

bool is_number_function(const Call& call) {
  return call.name.starts_with("_operator::") || call.name.starts_with("math::") ||
         call.name.starts_with("torch::");
}

Result<Call> number_operator(Call function, const std::vector<Value*>& operands,
                             const Type& result) {
  const auto refuse = [&] {
    return Status::error("K1128", "a function of numbers that no operator computes: " +
                                      function.to_string());
  };
  const auto found =
      std::find_if(kFunctions.begin(), kFunctions.end(),
                   [&](const NumberFunction& entry) { return entry.name == function.name; });
  if (found == kFunctions.end() || function.args.size() != found->arguments) return refuse();
  std::vector<ScalarType> kinds;
  for (const CallArg& arg : function.args) {
    const auto kind = kind_of(arg, operands);
    if (!kind) return refuse();
    kinds.push_back(*kind);
  }
  const bool bools = std::find(kinds.begin(), kinds.end(), ScalarType::kBool) != kinds.end();
  if (bools && !takes_bools(*found, kinds)) return refuse();
  function.overload = overload_of(found->overloads, kinds, result);
  function.name = found->op;
  return function;
}

}  // namespace kiln
