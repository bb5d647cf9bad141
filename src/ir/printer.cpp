// Text form of graphs and modules (docs/ir.md). Values are numbered by position, each graph by
// itself, so equal graphs print equally whatever their history.
#include <map>
#include <set>

#include "base/check.h"
#include "core/text.h"
#include "ir/module.h"
#include "ir/op_def.h"
#include "ir/text_names.h"

namespace kiln {
namespace {

std::string loc_text(const Origin& origin) {
  if (origin.empty()) return "";
  return " loc(" + quote_text(origin.module_path) + " " + quote_text(origin.location) + ")";
}

std::string order_text(const std::vector<int>& order) {
  std::string text = "[";
  for (size_t i = 0; i < order.size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(order[i]);
  }
  return text + "]";
}

// The properties in braces after an input or an output; empty list: nothing.
std::string properties_text(const std::vector<std::string>& properties) {
  if (properties.empty()) return "";
  std::string text = " {";
  for (size_t i = 0; i < properties.size(); ++i) {
    if (i != 0) text += ", ";
    text += properties[i];
  }
  return text + "}";
}

class GraphPrinter {
 public:
  GraphPrinter(Graph& graph, std::string indent, char input_prefix = 'a')
      : graph_(graph), indent_(std::move(indent)) {
    std::set<std::string> taken;
    for (Value* input : graph.inputs()) {
      std::string name = input->name;
      if (input_prefix != 'a' || !is_argument_name(name) || !taken.insert(name).second) {
        name = input_prefix + std::to_string(input->index());
      }
      names_[input] = std::move(name);
    }
    for (Value* constant : graph.constants()) {
      names_[constant] = "c" + std::to_string(constant->index());
    }
    int next = 0;
    for (Node* node : graph.snapshot()) {
      for (int i = 0; i < node->num_results(); ++i) {
        names_[node->result(i)] = std::to_string(next++);
      }
    }
  }

  std::string ref(Value* value) {
    if (value == nullptr) return "_";
    const auto found = names_.find(value);
    // Prints also what the verifier is about to refuse.
    return found == names_.end() ? "%<foreign>" : "%" + found->second;
  }
  const std::string& name(Value* value) { return names_.at(value); }

  std::string arguments() {
    std::string text = "(";
    for (Value* input : graph_.inputs()) {
      if (input->index() != 0) text += ", ";
      text += ref(input) + ": " + input->type.to_string() + loc_text(input->origin);
    }
    text += ")";
    if (graph_.constants().empty()) return text;
    text += " constants(";
    for (Value* constant : graph_.constants()) {
      if (constant->index() != 0) text += ", ";
      text += ref(constant) + ": " + constant->type.to_string() + loc_text(constant->origin);
    }
    return text + ")";
  }

  std::string nodes() {
    std::string text;
    for (Node* node : graph_.snapshot()) text += node_text(*node);
    return text;
  }

  // " {", nodes, return, "}"
  std::string block() {
    std::string text = " {\n" + nodes() + indent_ + "  return";
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      text += (i == 0 ? " " : ", ") + ref(graph_.outputs()[i]);
    }
    return text + "\n" + indent_ + "}";
  }

 private:
  std::string node_text(Node& node) {
    std::string text = indent_ + "  ";
    for (int i = 0; i < node.num_results(); ++i) {
      text += (i == 0 ? "" : ", ") + ref(node.result(i));
    }
    if (node.num_results() != 0) text += " = ";
    text += node.op->name + "(";
    int count = node.num_operands();
    // Absent trailing operands of an op with a limit come back by themselves.
    if (node.op->max_operands >= 0) {
      while (count > 0 && node.operand(count - 1) == nullptr) --count;
    }
    for (int i = 0; i < count; ++i) text += (i == 0 ? "" : ", ") + ref(node.operand(i));
    text += ")";
    std::vector<std::string> fields;
    for (size_t i = 0; i < node.op->fields.size(); ++i) {
      const FieldDef& field = node.op->fields[i];
      if (!field.required && attrs_equal(node.attrs()[i], field.default_value)) continue;
      fields.push_back(field.name + "=" + attr_to_text(node.attrs()[i]));
    }
    text += properties_text(fields);
    if (node.num_results() != 0) text += " : ";
    for (int i = 0; i < node.num_results(); ++i) {
      text += (i == 0 ? "" : ", ") + node.result(i)->type.to_string();
    }
    text += loc_text(node.origin);
    for (const auto& body : node.bodies) {
      GraphPrinter printer(*body, indent_ + "  ");
      text += " body" + printer.arguments() + printer.block();
    }
    return text + "\n";
  }

  Graph& graph_;
  std::string indent_;
  std::map<Value*, std::string> names_;
};

std::string bound_text(int64_t bound) {
  return bound == DimRange::kNoBound ? "inf" : std::to_string(bound);
}

std::string input_properties(Module& module, size_t i, const std::string& printed_name) {
  if (i >= module.inputs.size()) return "";
  const InputSpec& spec = module.inputs[i];
  std::vector<std::string> properties;
  if (spec.kind == InputSpec::Kind::kState) {
    std::string text = "state";
    for (size_t w = 0; w < module.weights.size(); ++w) {
      if (module.weights[w].name == spec.initial) text += "=%w" + std::to_string(w);
    }
    properties.push_back(std::move(text));
  }
  if (!spec.order.empty()) properties.push_back("order=" + order_text(spec.order));
  if (!spec.strides.empty()) properties.push_back("strides=" + attr_to_text(Attr(spec.strides)));
  if (!spec.sizes.empty()) properties.push_back("sizes=" + attr_to_text(Attr(spec.sizes)));
  if (spec.number) properties.push_back("number=" + quote_text(spec.number->to_string()));
  if (spec.name != printed_name) properties.push_back("name=" + quote_text(spec.name));
  return properties_text(properties);
}

std::string output_properties(Module& module, size_t i, GraphPrinter& printer) {
  if (i >= module.outputs.size()) return "";
  const OutputSpec& spec = module.outputs[i];
  std::vector<std::string> properties;
  if (spec.kind == OutputSpec::Kind::kViewOfOutput) {
    properties.push_back("view_of=#" + std::to_string(spec.target));
  } else if (spec.kind != OutputSpec::Kind::kResult) {
    const auto& inputs = module.main.inputs();
    const bool known = spec.target >= 0 && spec.target < static_cast<int>(inputs.size());
    properties.push_back(
        std::string(spec.kind == OutputSpec::Kind::kWriteInput ? "writes=" : "view_of=") +
        (known ? printer.ref(inputs[static_cast<size_t>(spec.target)]) : "%<foreign>"));
  }
  if (!spec.view.empty()) properties.push_back("view=" + view_chain_to_text(spec.view));
  if (!spec.order.empty()) properties.push_back("order=" + order_text(spec.order));
  if (!spec.name.empty()) properties.push_back("name=" + quote_text(spec.name));
  return properties_text(properties);
}

std::string symbols_text(Module& module) {
  if (module.symbols.empty()) return "";
  std::string text = "symbols {\n";
  for (const auto& [name, range] : module.symbols) {
    text += "  " + name + " in [" + bound_text(range.min) + ", " + bound_text(range.max) + "]\n";
  }
  return text + "}\n";
}

std::string conditions_text(Module& module) {
  if (module.conditions.empty()) return "";
  std::string text = "conditions {\n";
  for (const SizeCondition& condition : module.conditions) {
    text += "  " + quote_text(condition.left.to_string()) + " " +
            std::string(relation_name(condition.relation)) + " " +
            quote_text(condition.right.to_string()) + " : " + quote_text(condition.text) + "\n";
  }
  return text + "}\n";
}

std::string weights_text(Module& module) {
  if (module.weights.empty()) return "";
  std::string text = "weights {\n";
  for (size_t i = 0; i < module.weights.size(); ++i) {
    const Weight& weight = module.weights[i];
    text += "  %w" + std::to_string(i) + " = " + std::string(weight_kind_name(weight.kind)) + " " +
            quote_text(weight.name) + " : " + Type(weight.type).to_string();
    if (!weight.content_hash.empty()) text += " hash " + quote_text(weight.content_hash);
    text += "\n";
  }
  return text + "}\n";
}

std::string init_text(Module& module) {
  if (module.init.empty() && module.init.outputs().empty()) return "";
  GraphPrinter printer(module.init, "", 'w');
  std::string text = "init {\n" + printer.nodes();
  const auto& outputs = module.init.outputs();
  const auto& constants = module.main.constants();
  for (size_t i = 0; i < outputs.size(); ++i) {
    text += "  const %c" + std::to_string(i) + " = " + printer.ref(outputs[i]);
    if (i < constants.size()) {
      text += " : " + constants[i]->type.to_string();
      if (!constants[i]->name.empty()) text += " name " + quote_text(constants[i]->name);
      text += loc_text(constants[i]->origin);
    }
    text += "\n";
  }
  return text + "}\n";
}

std::string main_text(Module& module) {
  GraphPrinter printer(module.main, "");
  const auto& inputs = module.main.inputs();
  std::string text = "main(";
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i != 0) text += ", ";
    text += printer.ref(inputs[i]) + ": " + inputs[i]->type.to_string() +
            input_properties(module, i, printer.name(inputs[i])) + loc_text(inputs[i]->origin);
  }
  text += ") {\n" + printer.nodes() + "  return";
  const auto& outputs = module.main.outputs();
  for (size_t i = 0; i < outputs.size(); ++i) {
    text += (i == 0 ? " " : ", ") + printer.ref(outputs[i]) + output_properties(module, i, printer);
  }
  return text + "\n}\n";
}

}  // namespace

bool is_argument_name(std::string_view name) {
  if (name.empty()) return false;
  bool digits_only = true;  // after the first character
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool digit = c >= '0' && c <= '9';
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!letter && !digit) return false;
    if (i == 0 && digit) return false;
    if (i > 0 && !digit) digits_only = false;
  }
  // "_" is the absent operand; a0, c0 and w0 are what nameless arguments, constants and weights
  // are called.
  if (name == "_") return false;
  const bool reserved = name[0] == 'a' || name[0] == 'c' || name[0] == 'w';
  return !(reserved && digits_only && name.size() > 1);
}

std::string_view weight_kind_name(WeightKind kind) {
  switch (kind) {
    case WeightKind::kParameter: return "parameter";
    case WeightKind::kBuffer: return "buffer";
    case WeightKind::kConstant: return "constant";
  }
  KILN_CHECK_MSG(false, "unknown weight kind");
  return "";
}

std::string print(Graph& graph) {
  GraphPrinter printer(graph, "");
  return "graph" + printer.arguments() + printer.block() + "\n";
}

std::string print(Module& module) {
  return symbols_text(module) + conditions_text(module) + weights_text(module) +
         init_text(module) + main_text(module);
}

}  // namespace kiln
