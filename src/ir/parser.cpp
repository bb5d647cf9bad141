// Reads the text form that printer.cpp writes (grammar: docs/ir.md).
#include <map>

#include "base/check.h"
#include "core/text.h"
#include "ir/module.h"
#include "ir/op_def.h"
#include "ir/text_names.h"

namespace kiln {
namespace {

constexpr int kMaxBodyDepth = 32;

using Scope = std::map<std::string, Value*, std::less<>>;

class ModuleParser {
 public:
  explicit ModuleParser(std::string_view text) : cursor_(text) {}

  Result<std::unique_ptr<Module>> module() {
    auto module = std::make_unique<Module>();
    if (cursor_.accept_word("symbols")) KILN_RETURN_IF_ERROR(symbols(*module));
    if (cursor_.accept_word("conditions")) KILN_RETURN_IF_ERROR(conditions(*module));
    if (cursor_.accept_word("weights")) KILN_RETURN_IF_ERROR(weights(*module));
    if (cursor_.accept_word("init")) KILN_RETURN_IF_ERROR(init(*module));
    if (!cursor_.accept_word("main")) return fail("'main' expected");
    KILN_RETURN_IF_ERROR(main(*module));
    if (!cursor_.at_end()) return fail("end of text expected");
    return module;
  }

  Result<std::unique_ptr<Graph>> graph() {
    auto graph = std::make_unique<Graph>();
    if (!cursor_.accept_word("graph")) return fail("'graph' expected");
    KILN_RETURN_IF_ERROR(closed_graph(*graph, 0));
    if (!cursor_.at_end()) return fail("end of text expected");
    return graph;
  }

 private:
  Status fail(const std::string& what) {
    cursor_.skip_space();
    return Status::error("K2310", "ir text does not parse: " + what + " at " + cursor_.place());
  }
  Status expect(std::string_view token) {
    if (cursor_.accept(token)) return {};
    return fail("'" + std::string(token) + "' expected");
  }

  // "%name"
  Status value_name(std::string* name) {
    if (cursor_.accept("%") && cursor_.identifier(name)) return {};
    return fail("a value such as %3 expected");
  }
  Status define(Scope& scope, const std::string& name, Value* value) {
    if (scope.emplace(name, value).second) return {};
    return fail("%" + name + " is defined twice");
  }
  Status use(const Scope& scope, Value** value) {
    std::string name;
    KILN_RETURN_IF_ERROR(value_name(&name));
    const auto found = scope.find(name);
    if (found == scope.end()) return fail("%" + name + " is not defined before its use");
    *value = found->second;
    return {};
  }
  Status type(Type* out) {
    KILN_ASSIGN_OR_RETURN(*out, parse_type(cursor_));
    return {};
  }
  Status loc(Origin* origin) {
    if (!cursor_.accept_word("loc")) return {};
    KILN_RETURN_IF_ERROR(expect("("));
    if (!cursor_.quoted(&origin->module_path) || !cursor_.quoted(&origin->location)) {
      return fail("two strings expected");
    }
    return expect(")");
  }
  Status order(std::vector<int>* out) {
    KILN_RETURN_IF_ERROR(expect("="));
    KILN_ASSIGN_OR_RETURN(const Attr attr, parse_attr(cursor_, AttrKind::kInts));
    for (int64_t dim : std::get<std::vector<int64_t>>(attr)) {
      if (dim < 0 || dim > 1024) return fail("dim out of range");
      out->push_back(static_cast<int>(dim));
    }
    return {};
  }

  Status symbols(Module& module) {
    KILN_RETURN_IF_ERROR(expect("{"));
    while (!cursor_.accept("}")) {
      std::string name;
      DimRange range;
      if (!cursor_.identifier(&name) || !cursor_.accept_word("in")) {
        return fail("'name in [min, max]' expected");
      }
      KILN_RETURN_IF_ERROR(expect("["));
      if (!cursor_.integer(&range.min)) return fail("an integer expected");
      KILN_RETURN_IF_ERROR(expect(","));
      if (!cursor_.accept_word("inf") && !cursor_.integer(&range.max)) {
        return fail("an integer or inf expected");
      }
      KILN_RETURN_IF_ERROR(expect("]"));
      if (!module.symbols.emplace(name, range).second) return fail(name + " is defined twice");
    }
    return {};
  }

  Status conditions(Module& module) {
    KILN_RETURN_IF_ERROR(expect("{"));
    while (!cursor_.accept("}")) {
      std::string left, relation, right;
      SizeCondition condition;
      if (!cursor_.quoted(&left) || !cursor_.identifier(&relation) || !cursor_.quoted(&right) ||
          !cursor_.accept(":") || !cursor_.quoted(&condition.text)) {
        return fail("'\"size\" relation \"size\" : \"text\"' expected");
      }
      const auto known = relation_from_name(relation);
      if (!known) return fail("unknown relation " + relation);
      condition.relation = *known;
      KILN_ASSIGN_OR_RETURN(condition.left, DimExpr::parse(left));
      KILN_ASSIGN_OR_RETURN(condition.right, DimExpr::parse(right));
      module.conditions.push_back(std::move(condition));
    }
    return {};
  }

  Status weights(Module& module) {
    KILN_RETURN_IF_ERROR(expect("{"));
    while (!cursor_.accept("}")) {
      std::string name;
      KILN_RETURN_IF_ERROR(value_name(&name));
      KILN_RETURN_IF_ERROR(expect("="));
      Weight weight;
      bool known = false;
      for (WeightKind kind : {WeightKind::kParameter, WeightKind::kBuffer, WeightKind::kConstant}) {
        if (!known && cursor_.accept_word(weight_kind_name(kind))) {
          weight.kind = kind;
          known = true;
        }
      }
      if (!known || !cursor_.quoted(&weight.name))
        return fail("kind and name of a weight expected");
      KILN_RETURN_IF_ERROR(expect(":"));
      Type parsed;
      KILN_RETURN_IF_ERROR(type(&parsed));
      if (!parsed.is_tensor()) return fail("a tensor type expected");
      weight.type = parsed.tensor();
      if (cursor_.accept_word("hash") && !cursor_.quoted(&weight.content_hash)) {
        return fail("a string expected");
      }
      Value* value = module.add_weight(std::move(weight));
      KILN_RETURN_IF_ERROR(define(init_scope_, name, value));
    }
    return {};
  }

  Status init(Module& module) {
    KILN_RETURN_IF_ERROR(expect("{"));
    while (!cursor_.accept("}")) {
      if (!cursor_.accept_word("const")) {
        KILN_RETURN_IF_ERROR(node(module.init, init_scope_, 0));
        continue;
      }
      std::string name;
      Value* value = nullptr;
      Type parsed;
      KILN_RETURN_IF_ERROR(value_name(&name));
      KILN_RETURN_IF_ERROR(expect("="));
      KILN_RETURN_IF_ERROR(use(init_scope_, &value));
      KILN_RETURN_IF_ERROR(expect(":"));
      KILN_RETURN_IF_ERROR(type(&parsed));
      module.init.add_output(value);
      Value* constant = module.main.add_constant(std::move(parsed));
      if (cursor_.accept_word("name") && !cursor_.quoted(&constant->name)) {
        return fail("a string expected");
      }
      KILN_RETURN_IF_ERROR(loc(&constant->origin));
      KILN_RETURN_IF_ERROR(define(main_scope_, name, constant));
    }
    return {};
  }

  Status main(Module& module) {
    KILN_RETURN_IF_ERROR(expect("("));
    while (!cursor_.accept(")")) {
      if (!module.inputs.empty()) KILN_RETURN_IF_ERROR(expect(","));
      Value* value = nullptr;
      InputSpec spec;
      KILN_RETURN_IF_ERROR(argument(module.main, main_scope_, &value, &spec.name));
      if (cursor_.accept("{")) {
        while (!cursor_.accept("}")) {
          if (cursor_.accept_word("state"))
            KILN_RETURN_IF_ERROR(state(module, &spec));
          else if (cursor_.accept_word("order"))
            KILN_RETURN_IF_ERROR(order(&spec.order));
          else if (cursor_.accept_word("strides"))
            KILN_RETURN_IF_ERROR(dims(&spec.strides));
          else if (cursor_.accept_word("sizes"))
            KILN_RETURN_IF_ERROR(dims(&spec.sizes));
          else if (cursor_.accept_word("number"))
            KILN_RETURN_IF_ERROR(number(&spec.number));
          else if (!cursor_.accept_word("name") || !cursor_.accept("=") ||
                   !cursor_.quoted(&spec.name)) {
            return fail(
                "state, order=[...], strides=[...], sizes=[...], number=\"...\" or name=\"...\" "
                "expected");
          }
          if (!cursor_.accept(",") && cursor_.peek() != '}') return fail("',' expected");
        }
      }
      KILN_RETURN_IF_ERROR(loc(&value->origin));
      module.inputs.push_back(std::move(spec));
    }
    KILN_RETURN_IF_ERROR(expect("{"));
    while (!cursor_.accept_word("return")) KILN_RETURN_IF_ERROR(node(module.main, main_scope_, 0));
    while (!cursor_.accept("}")) {
      if (!module.outputs.empty()) KILN_RETURN_IF_ERROR(expect(","));
      Value* value = nullptr;
      KILN_RETURN_IF_ERROR(use(main_scope_, &value));
      module.main.add_output(value);
      KILN_RETURN_IF_ERROR(output_spec(module));
    }
    return {};
  }

  Status dims(Shape* out) {
    KILN_RETURN_IF_ERROR(expect("="));
    KILN_ASSIGN_OR_RETURN(Attr attr, parse_attr(cursor_, AttrKind::kDims));
    *out = std::get<std::vector<DimExpr>>(std::move(attr));
    return {};
  }

  Status number(std::optional<DimExpr>* out) {
    std::string text;
    if (!cursor_.accept("=") || !cursor_.quoted(&text)) return fail("=\"EXPRESSION\" expected");
    KILN_ASSIGN_OR_RETURN(*out, DimExpr::parse(text));
    return {};
  }

  // "state" or "state=%w0", after the word.
  Status state(Module& module, InputSpec* spec) {
    spec->kind = InputSpec::Kind::kState;
    if (!cursor_.accept("=")) return {};
    Value* weight = nullptr;
    KILN_RETURN_IF_ERROR(use(init_scope_, &weight));
    if (weight->producer() != nullptr) return fail("a weight expected");
    spec->initial = module.weights[static_cast<size_t>(weight->index())].name;
    return {};
  }

  Status output_spec(Module& module) {
    OutputSpec spec;
    if (cursor_.accept("{")) {
      while (!cursor_.accept("}")) {
        const bool writes = cursor_.accept_word("writes");
        if (writes || cursor_.accept_word("view_of")) {
          Value* target = nullptr;
          KILN_RETURN_IF_ERROR(expect("="));
          if (!writes && cursor_.accept("#")) {
            int64_t position = 0;
            if (!cursor_.integer(&position) || position < 0 || position > 1'000'000) {
              return fail("position of an output expected");
            }
            spec.kind = OutputSpec::Kind::kViewOfOutput;
            spec.target = static_cast<int>(position);
            if (!cursor_.accept(",") && cursor_.peek() != '}') return fail("',' expected");
            continue;
          }
          KILN_RETURN_IF_ERROR(use(main_scope_, &target));
          if (target->producer() != nullptr || target->is_constant_argument()) {
            return fail("an input expected");
          }
          spec.kind = writes ? OutputSpec::Kind::kWriteInput : OutputSpec::Kind::kViewOfInput;
          spec.target = target->index();
        } else if (cursor_.accept_word("order")) {
          KILN_RETURN_IF_ERROR(order(&spec.order));
        } else if (cursor_.accept_word("view")) {
          if (!cursor_.accept("=") || !parse_view_chain(cursor_, &spec.view)) {
            return fail("views such as [slice(0, 1, 4, 1), permute(1, 0)] expected");
          }
        } else if (!cursor_.accept_word("name") || !cursor_.accept("=") ||
                   !cursor_.quoted(&spec.name)) {
          return fail(
              "writes=%x, view_of=%x, view_of=#0, view=[...], order=[...] or "
              "name=\"...\" expected");
        }
        if (!cursor_.accept(",") && cursor_.peek() != '}') return fail("',' expected");
      }
    }
    module.outputs.push_back(std::move(spec));
    return {};
  }

  // "%x: f32[2]"; the printed name is the value's name unless it is one of the generated ones.
  Status argument(Graph& graph, Scope& scope, Value** value, std::string* name) {
    KILN_RETURN_IF_ERROR(value_name(name));
    KILN_RETURN_IF_ERROR(expect(":"));
    Type parsed;
    KILN_RETURN_IF_ERROR(type(&parsed));
    *value = graph.add_input(std::move(parsed), is_argument_name(*name) ? *name : std::string());
    return define(scope, *name, *value);
  }

  // "(%a: f32[2]) constants(%c0: f32[3]) { nodes return ... }"
  Status closed_graph(Graph& graph, int depth) {
    if (depth > kMaxBodyDepth) return fail("bodies nested too deeply");
    Scope scope;
    KILN_RETURN_IF_ERROR(expect("("));
    while (!cursor_.accept(")")) {
      if (!graph.inputs().empty()) KILN_RETURN_IF_ERROR(expect(","));
      Value* value = nullptr;
      std::string name;
      KILN_RETURN_IF_ERROR(argument(graph, scope, &value, &name));
      KILN_RETURN_IF_ERROR(loc(&value->origin));
    }
    if (cursor_.accept_word("constants")) {
      KILN_RETURN_IF_ERROR(expect("("));
      while (!cursor_.accept(")")) {
        if (!graph.constants().empty()) KILN_RETURN_IF_ERROR(expect(","));
        std::string name;
        Type parsed;
        KILN_RETURN_IF_ERROR(value_name(&name));
        KILN_RETURN_IF_ERROR(expect(":"));
        KILN_RETURN_IF_ERROR(type(&parsed));
        Value* value = graph.add_constant(std::move(parsed));
        KILN_RETURN_IF_ERROR(loc(&value->origin));
        KILN_RETURN_IF_ERROR(define(scope, name, value));
      }
    }
    KILN_RETURN_IF_ERROR(expect("{"));
    while (!cursor_.accept_word("return")) KILN_RETURN_IF_ERROR(node(graph, scope, depth));
    while (!cursor_.accept("}")) {
      if (!graph.outputs().empty()) KILN_RETURN_IF_ERROR(expect(","));
      Value* value = nullptr;
      KILN_RETURN_IF_ERROR(use(scope, &value));
      graph.add_output(value);
    }
    return {};
  }

  Status operands(const Scope& scope, std::vector<Value*>* out) {
    KILN_RETURN_IF_ERROR(expect("("));
    for (bool first = true; !cursor_.accept(")"); first = false) {
      if (!first) KILN_RETURN_IF_ERROR(expect(","));
      Value* value = nullptr;
      if (!cursor_.accept_word("_")) KILN_RETURN_IF_ERROR(use(scope, &value));
      out->push_back(value);
    }
    return {};
  }

  Status fields(const OpDef& op, std::vector<Attr>* attrs) {
    std::vector<bool> set(op.fields.size(), false);
    for (const FieldDef& field : op.fields) attrs->push_back(field.default_value);
    if (cursor_.accept("{")) {
      for (bool first = true; !cursor_.accept("}"); first = false) {
        if (!first) KILN_RETURN_IF_ERROR(expect(","));
        std::string name;
        if (!cursor_.identifier(&name)) return fail("a field name expected");
        const int index = op.field_index(name);
        if (index < 0) return fail(op.name + " has no field " + name);
        const auto i = static_cast<size_t>(index);
        if (set[i]) return fail("field is given twice: " + name);
        KILN_RETURN_IF_ERROR(expect("="));
        KILN_ASSIGN_OR_RETURN((*attrs)[i], parse_attr(cursor_, op.fields[i].kind));
        set[i] = true;
      }
    }
    for (size_t i = 0; i < set.size(); ++i) {
      if (op.fields[i].required && !set[i]) return fail("field is missing: " + op.fields[i].name);
    }
    return {};
  }

  // "%0, %1 = op(%x, _) {field=1} : type, type loc(...) body(...) {...}"
  Status node(Graph& graph, Scope& scope, int depth) {
    std::vector<std::string> names;
    if (cursor_.peek() == '%') {
      do {
        KILN_RETURN_IF_ERROR(value_name(&names.emplace_back()));
      } while (cursor_.accept(","));
      KILN_RETURN_IF_ERROR(expect("="));
    }
    std::string op_name;
    if (!cursor_.identifier(&op_name, ".")) return fail("an op expected");
    const OpDef* op = OpRegistry::global().find(op_name);
    if (op == nullptr) return fail("unknown op " + op_name);
    std::vector<Value*> values;
    KILN_RETURN_IF_ERROR(operands(scope, &values));
    std::vector<Attr> attrs;
    KILN_RETURN_IF_ERROR(fields(*op, &attrs));
    std::vector<Type> types(names.size());
    for (size_t i = 0; i < types.size(); ++i) {
      KILN_RETURN_IF_ERROR(expect(i == 0 ? ":" : ","));
      KILN_RETURN_IF_ERROR(type(&types[i]));
    }
    Origin origin;
    KILN_RETURN_IF_ERROR(loc(&origin));
    Node* node = graph.create_unchecked(*op, std::move(values), std::move(attrs), std::move(types),
                                        nullptr, std::move(origin));
    while (cursor_.accept_word("body")) {
      node->bodies.push_back(std::make_unique<Graph>());
      KILN_RETURN_IF_ERROR(closed_graph(*node->bodies.back(), depth + 1));
    }
    for (size_t i = 0; i < names.size(); ++i) {
      KILN_RETURN_IF_ERROR(define(scope, names[i], node->result(static_cast<int>(i))));
    }
    return {};
  }

  TextCursor cursor_;
  Scope init_scope_;
  Scope main_scope_;
};

}  // namespace

Result<std::unique_ptr<Module>> parse_module(std::string_view text) {
  return ModuleParser(text).module();
}

Result<std::unique_ptr<Graph>> parse_graph(std::string_view text) {
  return ModuleParser(text).graph();
}

}  // namespace kiln
