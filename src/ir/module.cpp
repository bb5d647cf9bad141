#include "ir/module.h"

#include <algorithm>

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {

Value* Module::add_weight(Weight weight) {
  Value* value = init.add_input(weight.type, weight.name);
  weights.push_back(std::move(weight));
  return value;
}

Value* Module::constant_for(Value* value) {
  KILN_CHECK_MSG(value->graph() == &init, "value is not of the init graph");
  const auto& outputs = init.outputs();
  const auto found = std::find(outputs.begin(), outputs.end(), value);
  if (found != outputs.end()) {
    return main.constants()[static_cast<size_t>(found - outputs.begin())];
  }
  KILN_CHECK_EQ(outputs.size(), main.constants().size());
  init.add_output(value);
  Value* constant = main.add_constant(value->type, value->name);
  constant->origin = value->origin;
  return constant;
}

Value* Module::init_value(Value* constant) {
  KILN_CHECK_MSG(constant->is_constant_argument() && constant->graph() == &main,
                 "value is no constant of the main graph");
  return init.outputs()[static_cast<size_t>(constant->index())];
}

bool Module::prune() {
  KILN_CHECK_EQ(init.outputs().size(), main.constants().size());
  const auto size = [this] { return weights.size() + init.nodes().size() + init.outputs().size(); };
  const size_t size_before = size();
  for (int i = static_cast<int>(main.constants().size()) - 1; i >= 0; --i) {
    Value* constant = main.constants()[static_cast<size_t>(i)];
    if (!constant->uses().empty() || main.is_output(constant)) continue;
    main.erase_constant(i);
    init.erase_output(i);
  }
  std::vector<Node*> nodes = init.snapshot();
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Node* node = *it;
    bool used = node->op->has(kEffect);
    for (int i = 0; i < node->num_results() && !used; ++i) {
      used = !node->result(i)->uses().empty() || init.is_output(node->result(i));
    }
    if (!used) init.erase(node);
  }
  for (int i = static_cast<int>(init.inputs().size()) - 1; i >= 0; --i) {
    Value* input = init.inputs()[static_cast<size_t>(i)];
    if (!input->uses().empty() || init.is_output(input)) continue;
    const std::string& name = weights[static_cast<size_t>(i)].name;
    if (std::any_of(inputs.begin(), inputs.end(),
                    [&](const InputSpec& spec) { return spec.initial == name; })) {
      continue;
    }
    init.erase_input(i);
    weights.erase(weights.begin() + i);
  }
  return size() != size_before;
}

std::unique_ptr<Module> Module::clone() {
  auto copy = std::make_unique<Module>();
  copy->main.copy_from(main);
  copy->init.copy_from(init);
  copy->weights = weights;
  copy->symbols = symbols;
  copy->conditions = conditions;
  copy->inputs = inputs;
  copy->outputs = outputs;
  return copy;
}

}  // namespace kiln
