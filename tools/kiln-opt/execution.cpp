#include "kiln-opt/execution.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "interp/interpreter.h"

namespace kiln {
namespace {

// Distinct where the ranges allow it, so that mixed-up symbols show.
SymbolValues typical_sizes(Module& module) {
  SymbolValues sizes;
  int64_t next = 2;
  for (const auto& [name, range] : module.symbols) {
    sizes[name] = std::clamp(std::max(range.min, next), range.min, range.max);
    next = sizes[name] + 1;
  }
  return sizes;
}

SymbolValues smallest_sizes(Module& module) {
  SymbolValues sizes;
  for (const auto& [name, range] : module.symbols) sizes[name] = range.min;
  return sizes;
}

DataRule rule_for(const ExecutionRules& rules, const std::string& name) {
  const auto found = rules.data.find(name);
  return found == rules.data.end() ? DataRule{} : found->second;
}

Result<std::vector<HostTensor>> make_inputs(Module& module, const SymbolValues& sizes,
                                            const ExecutionRules& rules) {
  std::vector<HostTensor> inputs;
  for (size_t i = 0; i < module.inputs.size(); ++i) {
    const Type& type = module.main.inputs()[i]->type;
    const std::string& name = module.inputs[i].name;
    const DataRule rule = rule_for(rules, name);
    const uint64_t seed = seed_of("input " + std::to_string(i));
    if (const auto* scalar = std::get_if<ScalarType>(&type.value)) {
      inputs.push_back(random_data(scalar_dtype(*scalar), {}, rule.kind, seed, rule.limit));
      continue;
    }
    if (!type.is_tensor()) return Status::error("K2503", "input is no tensor: " + name);
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> shape, evaluate(type.tensor().shape, sizes));
    inputs.push_back(
        random_data(type.tensor().dtype, std::move(shape), rule.kind, seed, rule.limit));
  }
  return inputs;
}

Result<std::vector<HostTensor>> make_weights(Module& module, const ExecutionRules& rules) {
  std::vector<HostTensor> weights;
  for (const Weight& weight : module.weights) {
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> shape, evaluate(weight.type.shape, {}));
    HostTensor tensor(weight.type.dtype, shape);
    if (weight.data.data != nullptr && weight.data.bytes == tensor.num_bytes()) {
      std::memcpy(tensor.bytes(), weight.data.data, weight.data.bytes);
    } else {
      const DataRule rule = rule_for(rules, weight.name);
      tensor = random_data(weight.type.dtype, std::move(shape), rule.kind, seed_of(weight.name),
                           rule.limit);
    }
    weights.push_back(std::move(tensor));
  }
  return weights;
}

Result<std::vector<HostTensor>> execute(Module& module, const std::vector<HostTensor>& inputs,
                                        const ExecutionRules& rules) {
  KILN_ASSIGN_OR_RETURN(const std::vector<HostTensor> weights, make_weights(module, rules));
  return interpret(module, inputs, weights);
}

Status compare_floats(const HostTensor& a, const HostTensor& b, const std::string& name,
                      const ExecutionRules& rules) {
  double error = 0;
  double power = 0;
  int64_t finite = 0;
  for (int64_t i = 0; i < a.num_elements(); ++i) {
    const double x = a.get_double(i);
    const double y = b.get_double(i);
    const bool same_class = std::isnan(x) == std::isnan(y) && std::isinf(x) == std::isinf(y) &&
                            (!std::isinf(x) || x == y);
    if (!same_class) {
      return Status::error("K9101", "outputs differ: " + name + " at " + std::to_string(i) + ": " +
                                        std::to_string(x) + " vs " + std::to_string(y));
    }
    if (!std::isfinite(x)) continue;
    ++finite;
    error += (x - y) * (x - y);
    power += x * x;
  }
  if (a.num_elements() != 0 && (finite == 0 || (power == 0 && !rules.trivial_outputs))) {
    return Status::error("K9102",
                         "output is zero or not finite everywhere, which proves nothing: " + name);
  }
  if (std::sqrt(error) <= rules.tolerance * std::sqrt(power)) return {};
  return Status::error("K9101", "outputs differ: " + name + ": relative error " +
                                    std::to_string(std::sqrt(error / power)));
}

Status compare(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b,
               const ExecutionRules& rules) {
  if (a.size() != b.size()) return Status::error("K9101", "number of outputs differs");
  for (size_t i = 0; i < a.size(); ++i) {
    const std::string name = "output " + std::to_string(i);
    if (a[i].dtype() != b[i].dtype() || a[i].shape() != b[i].shape()) {
      return Status::error("K9101", "outputs differ in type: " + name);
    }
    if (is_float(a[i].dtype())) {
      KILN_RETURN_IF_ERROR(compare_floats(a[i], b[i], name, rules));
      if (rules.tolerance > 0) continue;
    }
    if (!(a[i] == b[i])) return Status::error("K9101", "outputs differ in bits: " + name);
  }
  return {};
}

std::string sizes_text(const SymbolValues& sizes) {
  std::string text = "sizes";
  for (const auto& [name, value] : sizes) text += " " + name + "=" + std::to_string(value);
  return text;
}

}  // namespace

Status compare_by_execution(Module& original, Module& changed, const ExecutionRules& rules) {
  std::vector<SymbolValues> cases{typical_sizes(original)};
  if (smallest_sizes(original) != cases[0]) cases.push_back(smallest_sizes(original));
  for (const SymbolValues& sizes : cases) {
    Result<std::vector<HostTensor>> inputs = make_inputs(original, sizes, rules);
    if (!inputs.ok()) {
      return Status::error("K9103", "input cannot be made: " + inputs.status().to_string());
    }
    Result<std::vector<HostTensor>> before = execute(original, *inputs, rules);
    if (!before.ok()) {
      return Status::error("K9103", "original does not execute: " + before.status().to_string());
    }
    Result<std::vector<HostTensor>> after = execute(changed, *inputs, rules);
    if (!after.ok()) {
      return Status::error("K9104", "result does not execute: " + after.status().to_string());
    }
    if (Status status = compare(*before, *after, rules); !status.ok()) {
      return std::move(status).at(sizes_text(sizes));
    }
  }
  return {};
}

}  // namespace kiln
