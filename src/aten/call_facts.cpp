#include "aten/call_facts.h"

#include <set>

namespace kiln {

std::string functional_twin(const Call& call) {
  const std::string name = call.name.substr(0, call.name.size() - 1);
  if (call.name == "aten::transpose_") return name + ".int";
  return call.overload.empty() ? name : name + "." + call.overload;
}

Status check_in_place(const Call& call) {
  static const std::set<std::string, std::less<>> kViews{
      "aten::as_strided_", "aten::rename_",    "aten::set_",
      "aten::squeeze_",    "aten::swapaxes_",  "aten::swapdims_",
      "aten::t_",          "aten::transpose_", "aten::unsqueeze_"};
  if (!kViews.contains(call.name)) return {};
  return Status::error("K1304",
                       "an operator changes which memory a tensor sees: " + call.full_name());
}

std::vector<int> operands_of(const CallArg& arg) {
  if (const auto* operand = arg.get<CallArg::Operand>()) return {operand->index};
  std::vector<int> operands;
  if (const auto* list = arg.get<CallArg::List>()) {
    for (const CallArg& item : *list) {
      if (const auto* operand = item.get<CallArg::Operand>()) operands.push_back(operand->index);
    }
  }
  return operands;
}

bool is_training_dropout(const Call& call) {
  constexpr size_t kTraining = 2;
  if (!call.name.ends_with("dropout") || call.args.size() <= kTraining) return false;
  const bool* training = call.args[kTraining].get<bool>();
  return training != nullptr && *training;
}

bool is_random(const Call& call) {
  static const char* const kRandom[] = {"rand",    "bernoulli",   "multinomial", "normal",
                                        "uniform", "exponential", "dropout",     "rrelu",
                                        "poisson", "cauchy",      "geometric",   "log_normal"};
  const std::string name = call.name.substr(call.name.find("::") + 2);
  for (const char* word : kRandom) {
    if (name.find(word) != std::string::npos) return true;
  }
  return false;
}

std::string why_kept_in_torch(const Call& call, const std::string& path,
                              const std::vector<std::string>& ops,
                              const std::vector<std::string>& modules) {
  for (const std::string& op : ops) {
    if (op == call.name || op == call.name + "." + call.overload ||
        (call.overload.empty() && op == call.name + ".default")) {
      return "kept in pytorch by torch_executed_ops";
    }
  }
  for (const std::string& module : modules) {
    if (!module.empty() && path != module && !path.starts_with(module + ".")) continue;
    return "kept in pytorch by torch_executed_modules: " + (module.empty() ? "(root)" : module);
  }
  return "";
}

}  // namespace kiln
