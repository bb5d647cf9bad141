// CaptureBuilder: the importer. Functionalises captured calls and turns each into IR by its rule,
// or keeps it as an aten.call.
#include <kiln/capture.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "aten/call_facts.h"
#include "aten/capture_hash.h"
#include "aten/capture_meta.h"
#include "aten/functionalizer.h"
#include "aten/hidden_writes.h"
#include "aten/import_rule.h"
#include "aten/memory_sharing.h"
#include "aten/number_functions.h"
#include "aten/schema_defaults.h"
#include "aten/weight_data.h"
#include "base/border.h"
#include "base/hash.h"
#include "ir/module.h"
#include "ir/op_def.h"

namespace kiln {

class CaptureBuilder::Impl {
 public:
  Impl() : module_(std::make_unique<Module>()), functional_(*module_) {}

  struct HandleInfo {
    int tensor = -1;         // in functional_: a tensor, also one that only the host can hold; or
    Value* value = nullptr;  // a number
    int input = -1;          // position when it is a program input as it came
    Shape strides;           // as captured, for a tensor that is not contiguous
  };

  Handle add_handle(HandleInfo info) {
    handles_.push_back(std::move(info));
    return static_cast<Handle>(handles_.size()) - 1;
  }

  // One more handle of the same tensor, as an in-place operator returns it.
  Handle add_same(Handle handle) {
    return add_handle(HandleInfo(handles_[static_cast<size_t>(handle)]));
  }

  // Tensors that only the host can hold share memory like others, so writes to them are followed or
  // refused alike.
  static bool has_memory(const Value* value) {
    return !std::holds_alternative<ScalarType>(value->type.value);
  }

  Handle add_value(Value* value) {
    HandleInfo info;
    if (has_memory(value)) {
      info.tensor = functional_.add(value);
    } else {
      info.value = value;
    }
    return add_handle(info);
  }

  Result<Value*> read(Handle handle) {
    if (handle < 0 || handle >= static_cast<Handle>(handles_.size())) {
      return Status::error("K1122", "capture names an unknown value: " + std::to_string(handle));
    }
    const HandleInfo& info = handles_[static_cast<size_t>(handle)];
    return info.tensor >= 0 ? functional_.read(info.tensor) : info.value;
  }

  // CaptureArg -> CallArg; operands are appended to `values`, their handles to `used`.
  Result<CallArg> convert(const CaptureArg& arg, std::vector<Value*>& values,
                          std::vector<Handle>& used) {
    if (const auto* list = std::get_if<CaptureArg::List>(&arg.value)) {
      CallArg::List items;
      for (const CaptureArg& item : *list) {
        KILN_ASSIGN_OR_RETURN(CallArg converted, convert(item, values, used));
        items.push_back(std::move(converted));
      }
      return CallArg(std::move(items));
    }
    if (const auto* value = std::get_if<CaptureArg::Value>(&arg.value)) {
      KILN_ASSIGN_OR_RETURN(Value * v, read(value->handle));
      values.push_back(v);
      used.push_back(value->handle);
      return CallArg(CallArg::Operand{static_cast<int>(values.size()) - 1});
    }
    if (const auto* expr = std::get_if<CaptureArg::Expr>(&arg.value)) {
      KILN_ASSIGN_OR_RETURN(DimExpr dim, DimExpr::parse(expr->text));
      return CallArg(std::move(dim));
    }
    if (const auto* flag = std::get_if<bool>(&arg.value)) return CallArg(*flag);
    if (const auto* integer = std::get_if<int64_t>(&arg.value)) return CallArg(*integer);
    if (const auto* number = std::get_if<double>(&arg.value)) return CallArg(*number);
    if (const auto* text = std::get_if<std::string>(&arg.value)) return CallArg(*text);
    if (const auto* dtype = std::get_if<DType>(&arg.value)) return CallArg(*dtype);
    if (const auto* device = std::get_if<Device>(&arg.value)) return CallArg(*device);
    if (const auto* layout = std::get_if<CaptureArg::Layout>(&arg.value)) {
      return CallArg(CallArg::Layout{layout->name});
    }
    if (const auto* format = std::get_if<CaptureArg::MemoryFormat>(&arg.value)) {
      const auto known = memory_format_from_name(format->name);
      if (!known) return Status::error("K1123", "unknown memory format: " + format->name);
      return CallArg(*known);
    }
    return CallArg();
  }

  // as_strided reads memory, not elements: with what stands around its operand, and in the order
  // in which it stands there. The importer knows that only of a contiguous tensor that is all of
  // its memory; anything else, natively or kept in PyTorch, would read other elements.
  Status check_memory_access(const Call& call, const std::vector<Handle>& used) {
    if (!call.name.starts_with("aten::as_strided") || used.empty()) return {};
    const HandleInfo& info = handles_[static_cast<size_t>(used[0])];
    if (info.tensor >= 0 && functional_.is_whole(info.tensor) && info.strides.empty() &&
        functional_.read(info.tensor)->type.is_tensor()) {
      strided_storages_.push_back(functional_.storage(info.tensor));
      return {};
    }
    return Status::error("K1306", "as_strided of a tensor that is a view or not contiguous");
  }

  struct Built {
    std::vector<Value*> values;
    std::vector<bool> fresh;  // memory of its own, whatever the schema says
  };

  // Runs the rule; on refusal the nodes it made are gone again.
  Result<Built> run_rule(const ImportRule& rule, const CallArg::List& args,
                         const std::vector<Value*>& values, const std::vector<Type>& captured,
                         const Origin& origin, bool in_place) {
    Built built;
    CallArg::List filled = args;
    KILN_RETURN_IF_ERROR(fill_defaults(rule.schema, filled));
    // Rules may then rely on the results that their schema names.
    const std::vector<SchemaArgument>& results = rule.schema.results;
    const bool lists = results.size() == 1 && results[0].type.ends_with("[]");
    if (!lists && captured.size() != results.size()) {
      return Status::error("K1305", "capture gives another number of results than the schema");
    }
    ImportCall call(*module_, rule.schema, std::move(filled), values, captured, origin);
    try {
      rule.run(call);
      // An in-place operator keeps the dtype of what it writes, whatever its operands promote to.
      for (size_t i = 0; i < call.results().size(); ++i) {
        Value*& result = built.values.emplace_back(call.results()[i]);
        if (in_place && result != nullptr && captured[0].is_tensor()) {
          result = call.cast(result, captured[0].tensor().dtype);
        }
        built.fresh.push_back(call.is_fresh(i));
      }
    } catch (const ImportCall::Refused&) {
    }
    auto refuse = [&](std::string reason) {
      call.set_refusal(Status::error("K1305", std::move(reason)));
    };
    if (call.refusal().ok() && built.values.size() != captured.size()) {
      refuse("rule gives another number of results");
    }
    for (size_t i = 0; call.refusal().ok() && i < captured.size(); ++i) {
      if (built.values[i] == nullptr) continue;  // a result that nothing can read
      if (!agrees(built.values[i]->type, captured[i])) {
        refuse("result differs from what was captured: " + built.values[i]->type.to_string() +
               " for " + captured[i].to_string());
      }
    }
    if (call.refusal().ok()) return built;
    for (size_t i = call.created().size(); i-- > 0;) module_->main.erase(call.created()[i]);
    return call.refusal();
  }

  Result<std::vector<Handle>> call(std::string_view name, std::string_view overload,
                                   const std::vector<CaptureArg>& args,
                                   const std::vector<CaptureMeta>& results,
                                   const CaptureOrigin& capture_origin, std::string_view schema) {
    const Origin origin{capture_origin.module_path, capture_origin.location};
    Call target{std::string(name), std::string(overload), {}};
    std::vector<Value*> values;
    std::vector<Handle> used;
    for (const CaptureArg& arg : args) {
      KILN_ASSIGN_OR_RETURN(CallArg converted, convert(arg, values, used));
      target.args.push_back(std::move(converted));
    }
    std::vector<Type> captured;
    for (const CaptureMeta& meta : results) {
      KILN_ASSIGN_OR_RETURN(Type type, type_of(meta));
      captured.push_back(std::move(type));
    }
    if (is_number_function(target) && captured.size() == 1) {
      KILN_ASSIGN_OR_RETURN(target, number_operator(std::move(target), values, captured[0]));
    }
    KILN_RETURN_IF_ERROR(check_memory_access(target, used));
    CallRecord record{target.full_name(), capture_origin, true, false, "", ""};
    KILN_ASSIGN_OR_RETURN(const std::string exposed, expose_hidden_writes(target, captured));
    if (!exposed.empty()) schema = exposed;
    const std::string kept =
        why_kept_in_torch(target, origin.module_path, torch_ops_, torch_modules_);
    Status refusal = kept.empty() ? Status() : Status::error("K1310", kept);
    if (refusal.ok() && !exposed.empty()) {
      refusal = Status::error("K1301", "batch norm in training mode");
    }

    const ImportRule* rule = ImportRules::global().find(target.full_name());
    // An in-place operator is its functional twin and a write.
    const bool in_place = rule == nullptr && target.name.ends_with("_") &&
                          !target.name.ends_with("__") && !used.empty();
    if (in_place) rule = ImportRules::global().find(functional_twin(target));
    // squeeze_, t_, ...: another look at the same memory, under the same name.
    const bool view_in_place = in_place && rule != nullptr && !rule->schema.results.empty() &&
                               !rule->schema.results[0].alias.empty();
    if (in_place && !view_in_place) KILN_RETURN_IF_ERROR(check_in_place(target));
    for (Value* value : values) {
      if (refusal.ok() && !value->type.is_tensor()) {
        refusal =
            Status::error("K1302", "operand exists only in pytorch: " + value->type.to_string());
      }
    }
    for (size_t i = 0; i < captured.size(); ++i) {
      const Type& type = captured[i];
      if (refusal.ok() && !type.is_tensor() && (i == 0 || !is_absent(type))) {
        refusal = Status::error("K1302", "result exists only in pytorch: " + type.to_string());
      }
    }
    if (refusal.ok() && rule == nullptr) {
      refusal = Status::error("K1300", "kiln has no implementation of this operator");
    }
    if (refusal.ok()) {
      std::vector<Type> wanted = captured;
      if (in_place && !view_in_place) wanted = {values[0]->type};
      auto built = run_rule(*rule, target.args, values, wanted, origin, in_place);
      if (built.ok() && view_in_place) {
        const int tensor = handles_[static_cast<size_t>(used[0])].tensor;
        if (built->values[0] != values[0]) {
          KILN_RETURN_IF_ERROR(
              look_again(tensor, functional_.add_view(tensor, built->values[0]), results[0]));
        }
        records_.push_back(std::move(record));
        return std::vector<Handle>{add_same(used[0])};
      }
      if (built.ok() && in_place) {
        // The handle of the written tensor and the result are one tensor.
        const int tensor = handles_[static_cast<size_t>(used[0])].tensor;
        const Status written = built->values[0] == values[0]
                                   ? Status()
                                   : functional_.write(tensor, built->values[0], origin);
        if (written.ok()) {
          records_.push_back(std::move(record));
          return std::vector<Handle>{add_same(used[0])};
        }
        return written;
      }
      if (built.ok()) {
        records_.push_back(std::move(record));
        return register_results(*rule, target.args, *built, values, used, results);
      }
      refusal = built.status();
    }
    record.native = false;
    record.code = refusal.code();
    record.reason = refusal.message();
    records_.push_back(std::move(record));
    if (view_in_place) {
      // PyTorch makes the view, and the tensor is that view from here on.
      target.name = rule->schema.name;
      target.overload = rule->schema.overload;
      KILN_ASSIGN_OR_RETURN(const std::vector<Handle> views,
                            keep_call(std::move(target), values, used, captured, results, origin,
                                      rule->schema.to_string(), rule, false));
      KILN_RETURN_IF_ERROR(look_again(handles_[static_cast<size_t>(used[0])].tensor,
                                      handles_[static_cast<size_t>(views[0])].tensor, results[0]));
      return std::vector<Handle>{add_same(used[0])};
    }
    KILN_ASSIGN_OR_RETURN(std::vector<Handle> handles,
                          keep_call(std::move(target), values, used, captured, results, origin,
                                    schema, rule, in_place));
    if (!exposed.empty()) handles.resize(results.size());
    return handles;
  }

  // A tensor becomes a second name for `view`, a view of it, under all its handles.
  Status look_again(int tensor, int view, const CaptureMeta& meta) {
    const bool given =
        std::find(input_tensors_.begin(), input_tensors_.end(), tensor) != input_tensors_.end() ||
        std::any_of(weight_tensors_.begin(), weight_tensors_.end(),
                    [&](const WeightTensor& weight) { return weight.tensor == tensor; });
    if (given) {
      return Status::error("K1304",
                           "the shape or strides of an input or weight are changed in place",
                           "change a view of it, as x.view_as(x) is");
    }
    KILN_ASSIGN_OR_RETURN(const Shape strides, strides_of(meta));
    functional_.rebind(tensor, view);
    for (HandleInfo& info : handles_) {
      if (info.tensor == tensor) info.strides = strides;
    }
    return {};
  }

  Result<std::vector<Handle>> register_results(const ImportRule& rule, const CallArg::List& args,
                                               const Built& built,
                                               const std::vector<Value*>& values,
                                               const std::vector<Handle>& used,
                                               const std::vector<CaptureMeta>& metas) {
    std::vector<Handle> handles;
    const bool composite = may_share(rule.schema);
    for (size_t i = 0; i < built.values.size(); ++i) {
      Value* value = built.values[i];
      if (value == nullptr) {
        handles.push_back(-1);
        continue;
      }
      const auto& schema_results = rule.schema.results;
      const SchemaArgument& result = schema_results[std::min(i, schema_results.size() - 1)];
      // The operand whose memory the result may share: the one that it is, or a followable view
      // of; else the first.
      int source = -1;
      for (size_t j = 0; j < values.size() && source < 0; ++j) {
        if (values[j] == value) source = static_cast<int>(j);
      }
      for (size_t j = 0; composite && j < values.size() && source < 0; ++j) {
        const int tensor = handles_[static_cast<size_t>(used[j])].tensor;
        if (tensor >= 0 && functional_.is_followable(tensor, value)) source = static_cast<int>(j);
      }
      if (source < 0 && !composite && !values.empty()) source = 0;
      KILN_ASSIGN_OR_RETURN(Shape strides, strides_of(metas[i]));
      bool shared = source >= 0 && !built.fresh[i] && (composite || !result.alias.empty());
      bool by_strides = false;
      if (shared && composite) {
        const size_t j = static_cast<size_t>(source);
        const Sharing found =
            sharing(rule.schema, args, handles_[static_cast<size_t>(used[j])].strides, values[j],
                    value, strides);
        shared = found.shares;
        by_strides = found.by_strides;
      }
      HandleInfo info;
      if (shared) {
        const int base = handles_[static_cast<size_t>(used[static_cast<size_t>(source)])].tensor;
        info = handles_[static_cast<size_t>(used[static_cast<size_t>(source)])];
        const bool same = values[static_cast<size_t>(source)] == value;
        info.tensor = same ? functional_.add_alias(base) : functional_.add_view(base, value);
        if (!same) info.input = -1;
      } else {
        info.tensor = functional_.add(value);
      }
      if (by_strides) {
        functional_.decided_by_strides(
            handles_[static_cast<size_t>(used[static_cast<size_t>(source)])].tensor, info.tensor);
      }
      info.strides = std::move(strides);
      handles.push_back(add_handle(std::move(info)));
    }
    return handles;
  }

  // The host writes a copy of each tensor that an operator writes: of two that share memory,
  // neither copy would see what is written to the other.
  Status check_apart(const Call& call, const std::vector<int>& written,
                     const std::vector<Handle>& used) const {
    const auto tensor_of = [&](size_t k) {
      return handles_[static_cast<size_t>(used[static_cast<size_t>(written[k])])].tensor;
    };
    for (size_t k = 1; k < written.size(); ++k) {
      for (size_t j = 0; j < k; ++j) {
        const int a = tensor_of(j), b = tensor_of(k);
        if (a < 0 || b < 0 || functional_.are_apart(a, b)) continue;
        return Status::error(
            "K1304", "an operator writes two tensors that may share memory: " + call.full_name());
      }
    }
    return {};
  }

  Result<std::vector<Handle>> keep_call(Call target, const std::vector<Value*>& values,
                                        const std::vector<Handle>& used,
                                        const std::vector<Type>& captured,
                                        const std::vector<CaptureMeta>& metas, const Origin& origin,
                                        std::string_view schema_text, const ImportRule* rule,
                                        bool in_place) {
    std::vector<Type> types = captured;
    std::string effect = "none";
    // Arguments that the operator writes: the host works on a copy and returns it as one more
    // result each, after the operator's own.
    std::vector<int> written;
    std::vector<int> viewed;  // per result: the operand whose memory it shares, or -1
    std::optional<Schema> schema;
    if (!schema_text.empty()) {
      KILN_ASSIGN_OR_RETURN(Schema parsed, Schema::parse(schema_text));
      schema = std::move(parsed);
    } else if (rule != nullptr && !in_place) {
      schema = rule->schema;
    }
    if (schema) {
      for (size_t i = 0; i < schema->arguments.size() && i < target.args.size(); ++i) {
        if (!schema->arguments[i].written) continue;
        const bool list = schema->arguments[i].type.find('[') != std::string::npos;
        if (list && target.args[i].get<CallArg::Operand>() != nullptr) {
          return Status::error("K1304", "an operator writes a list that exists only in pytorch: " +
                                            target.full_name());
        }
        for (int operand : operands_of(target.args[i])) {
          written.push_back(operand);
          types.push_back(values[static_cast<size_t>(operand)]->type);
          effect = "write";
        }
      }
      KILN_RETURN_IF_ERROR(check_apart(target, written, used));
    } else if (in_place) {
      written.push_back(0);
      types.push_back(values[0]->type);
      effect = "write";
    }
    if (schema) {
      for (size_t i = 0; i < captured.size() && !schema->results.empty(); ++i) {
        const SchemaArgument& result = schema->results[std::min(i, schema->results.size() - 1)];
        int shared = -1;
        bool unsaid = result.alias.empty() && may_share(*schema) && !is_training_dropout(target);
        for (size_t k = 0; k < schema->arguments.size() && k < target.args.size(); ++k) {
          const std::vector<int> operands = operands_of(target.args[k]);
          if (operands.empty()) continue;
          const bool named = !result.alias.empty() && schema->arguments[k].alias == result.alias;
          if (operands.size() == 1 || operands.size() == captured.size()) {
            if (named || unsaid) shared = operands[std::min(i, operands.size() - 1)];
          } else if (named) {
            return Status::error("K1304", "a result may share memory with any tensor of a list: " +
                                              target.full_name());
          }
          unsaid = false;  // it may share with what comes first
        }
        viewed.push_back(shared);
      }
    }
    viewed.resize(captured.size(), -1);
    for (size_t i = 0; i < captured.size(); ++i) {
      if (std::find(written.begin(), written.end(), viewed[i]) == written.end()) continue;
      const Type& before = values[static_cast<size_t>(viewed[i])]->type;
      if (!before.is_tensor() || !captured[i].is_tensor() || agrees(before, captured[i])) continue;
      return Status::error("K1304", "an operator changes the shape of the tensor that it writes: " +
                                        before.to_string() + " to " + captured[i].to_string());
    }
    if (is_random(target)) effect = "random";
    // A call for nothing but its effect (an assertion) must not be dropped.
    if (captured.empty() && written.empty()) effect = "unknown";
    const OpDef& def = OpRegistry::global().get("aten.call");
    std::vector<Attr> attrs;
    for (const FieldDef& f : def.fields) attrs.push_back(f.default_value);
    attrs[static_cast<size_t>(def.field_index("call"))] = std::move(target);
    attrs[static_cast<size_t>(def.field_index("effect"))] = effect;
    Node* node =
        module_->main.create_unchecked(def, values, std::move(attrs), types, nullptr, origin);
    std::vector<Handle> handles;
    for (size_t i = 0; i < captured.size(); ++i) {
      Value* value = node->result(static_cast<int>(i));
      const int source = viewed[i];
      const int base =
          source < 0 ? -1 : handles_[static_cast<size_t>(used[static_cast<size_t>(source)])].tensor;
      const bool is_written = std::find(written.begin(), written.end(), source) != written.end();
      if (base < 0 || is_written || !has_memory(value)) {
        handles.push_back(add_value(value));
      } else {
        handles.push_back(add_handle({functional_.add_view(base, value), nullptr, -1, {}}));
      }
      // Results beyond the captured ones (expose_hidden_writes) are nobody's.
      if (i < metas.size()) {
        KILN_ASSIGN_OR_RETURN(handles_.back().strides, strides_of(metas[i]));
      }
    }
    for (size_t k = 0; k < written.size(); ++k) {
      Value* after = node->result(static_cast<int>(captured.size() + k));
      HandleInfo& info = handles_[static_cast<size_t>(used[static_cast<size_t>(written[k])])];
      if (info.tensor < 0) {
        info.value = after;
        continue;
      }
      KILN_RETURN_IF_ERROR(functional_.write(info.tensor, after, origin));
      // What an in-place operator returns is the tensor it wrote.
      for (size_t i = 0; i < handles.size(); ++i) {
        if (viewed[i] == written[k] || (!schema && in_place && handles.size() == 1)) {
          handles[i] = add_same(used[static_cast<size_t>(written[k])]);
        }
      }
    }
    return handles;
  }

  // What a captured program states of an input or buffer that it writes. Where it returns the
  // written value too, it is the input or buffer itself that comes back, as in torch.
  Status write_at_end(int tensor, Handle handle) {
    KILN_ASSIGN_OR_RETURN(Value * contents, read(handle));
    if (tensor < 0 || !contents->type.is_tensor()) {
      return Status::error("K1304", "an input is written that exists only in pytorch");
    }
    if (contents != functional_.read(tensor)) {
      KILN_RETURN_IF_ERROR(functional_.write(tensor, contents, {}));
    }
    HandleInfo& info = handles_[static_cast<size_t>(handle)];
    const int storage = functional_.storage(info.tensor);
    bool computed = functional_.is_whole(info.tensor);
    for (int input : input_tensors_) {
      computed = computed && (input < 0 || functional_.storage(input) != storage);
    }
    for (const WeightTensor& weight : weight_tensors_) {
      computed = computed && functional_.storage(weight.tensor) != storage;
    }
    if (computed) info.tensor = functional_.add_alias(tensor);
    return {};
  }

  // What an output shares memory with in eager, it shares here: the caller's tensor or a buffer of
  // the state, written or not, or an output that is all of the same fresh tensor.
  void find_alias(size_t position, OutputSpec* spec) {
    const HandleInfo& info = handles_[static_cast<size_t>(outputs_[position].handle)];
    if (info.tensor < 0) {
      if (info.input >= 0) {
        spec->kind = OutputSpec::Kind::kViewOfInput;
        spec->target = info.input;
        return;
      }
      // A number that is returned again.
      for (size_t i = 0; i < position; ++i) {
        const HandleInfo& other = handles_[static_cast<size_t>(outputs_[i].handle)];
        if (other.tensor >= 0 || other.value != info.value) continue;
        spec->kind = OutputSpec::Kind::kViewOfOutput;
        spec->target = static_cast<int>(i);
        return;
      }
      return;
    }
    const int storage = functional_.storage(info.tensor);
    auto alias = [&](OutputSpec::Kind kind, size_t target) {
      ViewChain view;
      if (!functional_.view_of_storage(info.tensor, &view)) return;
      spec->kind = kind;
      spec->target = static_cast<int>(target);
      spec->view = std::move(view);
    };
    for (size_t i = 0; i < input_tensors_.size(); ++i) {
      if (input_tensors_[i] < 0 || functional_.storage(input_tensors_[i]) != storage) continue;
      return alias(OutputSpec::Kind::kViewOfInput, i);
    }
    size_t state = input_tensors_.size();  // as finish_mutations() will number it
    for (const WeightTensor& weight : weight_tensors_) {
      const int of_weight = functional_.storage(weight.tensor);
      if (!functional_.written(of_weight)) continue;
      if (of_weight == storage) return alias(OutputSpec::Kind::kViewOfInput, state);
      ++state;
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const int other = handles_[static_cast<size_t>(outputs_[i].handle)].tensor;
      if (other < 0 || functional_.storage(other) != storage || !functional_.is_whole(other)) {
        continue;
      }
      // The first that is all of the tensor is the result itself.
      if (i != position) alias(OutputSpec::Kind::kViewOfOutput, i);
      return;
    }
  }

  // A written buffer is an input of the program: the caller passes it and sees it change.
  Status finish_mutations() {
    std::vector<std::pair<int, std::string>> targets;  // storage -> input or buffer
    for (size_t i = 0; i < input_tensors_.size(); ++i) {
      const int tensor = input_tensors_[i];
      if (tensor < 0) continue;
      const int storage = functional_.storage(tensor);
      if (!functional_.written(storage)) continue;
      if (!functional_.base(storage)->type.is_tensor()) {
        return Status::error(
            "K1304", "an input is written that exists only in pytorch: " + module_->inputs[i].name);
      }
      module_->main.add_output(functional_.base(storage));
      module_->outputs.push_back({OutputSpec::Kind::kWriteInput, static_cast<int>(i),
                                  module_->inputs[i].name, module_->inputs[i].order});
    }
    std::map<Value*, Value*> states;  // by the constants that they stand for
    std::vector<std::pair<Value*, OutputSpec>> writes;
    for (auto& [name, tensor, constant, memory] : weight_tensors_) {
      const int storage = functional_.storage(tensor);
      if (!functional_.written(storage)) continue;
      for (const WeightTensor& other : weight_tensors_) {
        if (other.constant == constant || !memory.overlaps(other.memory)) continue;
        return Status::error(
            "K1130",
            "a buffer that is written shares memory with another one: " + name + " with " +
                other.name,
            "write it through one buffer, and take the other as a view in forward");
      }
      // A constant's value is no longer the one that was compiled in.
      for (Weight& weight : module_->weights) {
        if (weight.name != name || weight.kind != WeightKind::kConstant) continue;
        weight.kind = WeightKind::kBuffer;
        weight.content_hash.clear();
      }
      Value* input = module_->main.add_input(constant->type, name);
      module_->inputs.push_back({name, InputSpec::Kind::kState, {}, std::nullopt, name});
      module_->main.replace_all_uses(constant, input);
      states[constant] = input;
      writes.emplace_back(functional_.base(storage),
                          OutputSpec{OutputSpec::Kind::kWriteInput,
                                     static_cast<int>(module_->inputs.size()) - 1,
                                     name,
                                     {}});
    }
    for (auto& [base, spec] : writes) {
      // The contents of one may be what another one held.
      const auto state = states.find(base);
      module_->main.add_output(state == states.end() ? base : state->second);
      module_->outputs.push_back(std::move(spec));
    }
    return {};
  }

  // What capture made of the strides of inputs, and of tensors computed from them, holds for inputs
  // with these strides. Inputs whose strides matter say so; the run refuses others.
  Status finish_strides() {
    std::vector<int> inputs;
    for (int tensor : input_tensors_) {
      if (tensor >= 0) inputs.push_back(functional_.storage(tensor));
    }
    std::vector<int> storages = functional_.storages_that_decide(inputs);
    storages.insert(storages.end(), strided_storages_.begin(), strided_storages_.end());
    for (int storage : storages) {
      const bool of_weight = std::any_of(weight_tensors_.begin(), weight_tensors_.end(),
                                         [&](const WeightTensor& weight) {
                                           return functional_.storage(weight.tensor) == storage;
                                         });
      if (of_weight) continue;  // whose strides are the same at every run
      // Operators keep the order of memory of what they compute from: any input may be that.
      const bool all = std::find(inputs.begin(), inputs.end(), storage) == inputs.end();
      for (size_t i = 0; i < input_tensors_.size(); ++i) {
        if (input_tensors_[i] < 0) continue;
        if (all || functional_.storage(input_tensors_[i]) == storage) {
          KILN_RETURN_IF_ERROR(need_strides(i));
        }
      }
    }
    return {};
  }

  Status need_strides(size_t input) {
    Value* value = module_->main.inputs()[input];
    if (!value->type.is_tensor() || !may_have_strides(value->shape())) return {};
    Shape strides = input_strides_[input];
    if (strides.empty()) strides = row_major(value->shape());
    std::set<std::string> needed;
    for (const DimExpr& stride : strides) stride.collect_symbols(needed);
    const std::set<std::string> known = symbols_of_inputs(*module_);
    if (!std::includes(known.begin(), known.end(), needed.begin(), needed.end())) {
      return Status::error("K1304",
                           "the strides of an input decide what is written, and do not follow "
                           "from sizes: " +
                               module_->inputs[input].name);
    }
    module_->inputs[input].strides = std::move(strides);
    return {};
  }

  struct WeightTensor {
    std::string name;
    int tensor;
    Value* constant;
    MemorySpan memory;  // the user's, not the copy that the program may hold
  };

  CaptureHash hash_;
  std::unique_ptr<Module> module_;
  Functionalizer functional_;
  std::vector<HandleInfo> handles_;
  std::vector<int> input_tensors_;    // per input, -1 for scalars
  std::vector<Shape> input_strides_;  // as captured; empty: contiguous
  std::vector<WeightTensor> weight_tensors_;
  std::vector<int> strided_storages_;  // read in the order of memory (as_strided)
  MemorySpans weight_memory_;          // of the same weights
  std::vector<CallRecord> records_;
  std::vector<std::string> torch_ops_, torch_modules_;
  // Outputs in order, with the explicit mutations.
  struct PendingOutput {
    Handle handle;
    std::string name;
  };
  std::vector<PendingOutput> outputs_;
  std::map<Handle, std::vector<int>> orders_;  // memory order seen at capture
};

CaptureBuilder::CaptureBuilder() : impl_(std::make_unique<Impl>()) {}
CaptureBuilder::~CaptureBuilder() = default;

Status CaptureBuilder::symbol(std::string_view name, int64_t min, int64_t max) {
  impl_->hash_.symbol(name, min, max);
  if (min > max)
    return Status::error("K1126", "range of a size symbol is empty: " + std::string(name));
  impl_->module_->symbols[std::string(name)] = {min, max};
  return {};
}

Result<bool> CaptureBuilder::condition(std::string_view relation, const CaptureDim& left,
                                       const CaptureDim& right, std::string_view text) {
  impl_->hash_.condition(relation, left, right, text);
  KILN_ASSIGN_OR_RETURN(SizeCondition condition, condition_of(relation, left, right, text));
  Module& module = *impl_->module_;
  if (const auto decided = condition.decide(module.symbols)) {
    if (*decided) return false;
    return Status::error("K1131", "no size in the ranges meets a condition of the program: " +
                                      condition.text + " (" + condition.to_string() + ")");
  }
  const bool repeated =
      std::any_of(module.conditions.begin(), module.conditions.end(),
                  [&](const SizeCondition& other) { return other.same_relation(condition); });
  if (!repeated) module.conditions.push_back(std::move(condition));
  return true;
}

Result<CaptureBuilder::Handle> CaptureBuilder::input(std::string_view name,
                                                     const CaptureMeta& meta) {
  impl_->hash_.input(name, meta);
  KILN_ASSIGN_OR_RETURN(Type type, type_of(meta));
  KILN_ASSIGN_OR_RETURN(std::vector<int> order, order_of(meta));
  KILN_ASSIGN_OR_RETURN(Shape strides, strides_of(meta));
  Value* value = impl_->module_->main.add_input(std::move(type), std::string(name));
  const int position = static_cast<int>(impl_->module_->inputs.size());
  InputSpec spec{std::string(name), InputSpec::Kind::kUser, std::move(order)};
  if (!meta.opaque.empty()) {
    KILN_ASSIGN_OR_RETURN(spec.sizes, dims_of(meta));
  }
  impl_->module_->inputs.push_back(std::move(spec));
  Impl::HandleInfo info;
  info.input = position;
  impl_->input_strides_.push_back(strides);
  info.strides = std::move(strides);
  info.tensor = impl_->functional_.add(value);
  impl_->input_tensors_.push_back(info.tensor);
  return impl_->add_handle(info);
}

Result<CaptureBuilder::Handle> CaptureBuilder::scalar_input(std::string_view name,
                                                            const CaptureMeta& meta,
                                                            std::string_view expr) {
  impl_->hash_.scalar_input(name, meta, expr);
  KILN_ASSIGN_OR_RETURN(Type type, type_of(meta));
  std::optional<DimExpr> number;
  if (!expr.empty()) {
    KILN_ASSIGN_OR_RETURN(number, DimExpr::parse(expr));
  }
  Value* value = impl_->module_->main.add_input(std::move(type), std::string(name));
  impl_->module_->inputs.push_back({std::string(name), InputSpec::Kind::kUser, {}, number});
  impl_->input_tensors_.push_back(-1);
  impl_->input_strides_.emplace_back();
  return impl_->add_handle({-1, value, static_cast<int>(impl_->module_->inputs.size()) - 1, {}});
}

Result<CaptureBuilder::Handle> CaptureBuilder::weight(std::string_view name,
                                                      const CaptureWeight& weight,
                                                      std::string_view kind) {
  const MemorySpan memory = span_of(weight);
  impl_->hash_.weight(name, weight, kind, impl_->weight_memory_.add(memory));
  if (!weight.strides.empty() && weight.strides.size() != weight.shape.size()) {
    return Status::error("K1129", "capture gives another number of strides than dims");
  }
  Weight entry;
  entry.name = name;
  entry.kind = kind == "parameter" ? WeightKind::kParameter
               : kind == "buffer"  ? WeightKind::kBuffer
                                   : WeightKind::kConstant;
  entry.type.dtype = weight.dtype;
  int64_t elements = 1;
  for (int64_t extent : weight.shape) {
    entry.type.shape.emplace_back(extent);
    elements *= extent;
  }
  entry.data.bytes = static_cast<size_t>(elements) * dtype_bytes(weight.dtype);
  entry.data = borrow_or_copy(weight, entry.data.bytes);
  // torch.export folds what is computed from a constant's value, such as the size of a slice.
  if (entry.kind == WeightKind::kConstant && (entry.data.data != nullptr || elements == 0)) {
    entry.content_hash = hash128(entry.data.data, entry.data.bytes).hex();
  }
  Value* init_value = impl_->module_->add_weight(std::move(entry));
  Value* constant = impl_->module_->constant_for(init_value);
  const int tensor = impl_->functional_.add(constant);
  impl_->weight_tensors_.push_back({std::string(name), tensor, constant, memory});
  Shape strides;
  for (int64_t stride : weight.strides) strides.emplace_back(stride);
  if (is_contiguous(weight)) strides.clear();
  return impl_->add_handle({tensor, nullptr, -1, std::move(strides)});
}

Result<std::vector<CaptureBuilder::Handle>> CaptureBuilder::call(
    std::string_view name, std::string_view overload, const std::vector<CaptureArg>& args,
    const std::vector<CaptureMeta>& results, const CaptureOrigin& origin, std::string_view schema) {
  impl_->hash_.call(name, overload, args, results, origin, schema);
  auto handles =
      guarded([&] { return impl_->call(name, overload, args, results, origin, schema); });
  if (!handles.ok()) {
    return std::move(handles).status().at(std::string(name) + " in " + origin.module_path + " " +
                                          origin.location);
  }
  for (size_t i = 0; i < results.size() && i < handles->size(); ++i) {
    KILN_ASSIGN_OR_RETURN(std::vector<int> order, order_of(results[i]));
    if (!order.empty()) impl_->orders_[(*handles)[i]] = std::move(order);
  }
  return handles;
}

Result<CaptureMeta> CaptureBuilder::describe(Handle handle) const {
  KILN_ASSIGN_OR_RETURN(const Value* value, impl_->read(handle));
  CaptureMeta meta;
  if (!value->type.is_tensor()) {
    meta.opaque = value->type.to_string();
    return meta;
  }
  meta.dtype = value->type.tensor().dtype;
  for (const DimExpr& dim : value->type.tensor().shape) meta.dims.push_back(dim.to_string());
  return meta;
}

bool CaptureBuilder::may_share_memory(Handle a, Handle b) const {
  if (a < 0 || b < 0) return false;
  const int first = impl_->handles_[static_cast<size_t>(a)].tensor;
  const int second = impl_->handles_[static_cast<size_t>(b)].tensor;
  return first >= 0 && second >= 0 && !impl_->functional_.are_apart(first, second);
}

bool CaptureBuilder::is_written(Handle value) const {
  if (value < 0) return false;
  const int tensor = impl_->handles_[static_cast<size_t>(value)].tensor;
  return tensor >= 0 && impl_->functional_.written(impl_->functional_.storage(tensor));
}

Status CaptureBuilder::output(Handle value, std::string_view name) {
  impl_->hash_.output(value, name);
  KILN_RETURN_IF_ERROR(impl_->read(value).status());
  impl_->outputs_.push_back({value, std::string(name)});
  return {};
}

Status CaptureBuilder::mutates_input(std::string_view target, Handle value) {
  impl_->hash_.mutates_input(target, value);
  for (size_t i = 0; i < impl_->module_->inputs.size(); ++i) {
    if (impl_->module_->inputs[i].name != target) continue;
    const int tensor = impl_->input_tensors_[i];
    return impl_->write_at_end(tensor, value);
  }
  return Status::error("K1127", "mutation of an unknown input: " + std::string(target));
}

Status CaptureBuilder::mutates_buffer(std::string_view target, Handle value) {
  impl_->hash_.mutates_buffer(target, value);
  for (auto& weight : impl_->weight_tensors_) {
    if (weight.name != target) continue;
    return impl_->write_at_end(weight.tensor, value);
  }
  return Status::error("K1127", "mutation of an unknown buffer: " + std::string(target));
}

const std::vector<CaptureBuilder::CallRecord>& CaptureBuilder::records() const {
  return impl_->records_;
}

void CaptureBuilder::device(DeviceKind kind) {
  impl_->hash_.device(kind);
  impl_->module_->device = kind;
}

void CaptureBuilder::keep_in_torch(std::vector<std::string> ops,
                                   std::vector<std::string> module_prefixes) {
  impl_->hash_.keep_in_torch(ops, module_prefixes);
  impl_->torch_ops_ = std::move(ops);
  impl_->torch_modules_ = std::move(module_prefixes);
}

void CaptureBuilder::restart() {
  const auto former = std::exchange(impl_, std::make_unique<Impl>());
  keep_in_torch(std::move(former->torch_ops_), std::move(former->torch_modules_));
}

std::string CaptureBuilder::content_hash() const { return impl_->hash_.finish().hex(); }

Result<std::unique_ptr<Module>> CaptureBuilder::finish() {
  return guarded([&]() -> Result<std::unique_ptr<Module>> {
    Module& module = *impl_->module_;
    for (const Impl::PendingOutput& output : impl_->outputs_) {
      KILN_ASSIGN_OR_RETURN(Value * value, impl_->read(output.handle));
      OutputSpec spec;
      spec.name = output.name;
      impl_->find_alias(module.outputs.size(), &spec);
      if (auto order = impl_->orders_.find(output.handle); order != impl_->orders_.end()) {
        spec.order = order->second;
      }
      module.main.add_output(value);
      module.outputs.push_back(std::move(spec));
    }
    KILN_RETURN_IF_ERROR(impl_->finish_strides());
    KILN_RETURN_IF_ERROR(impl_->finish_mutations());
    module.prune();
    return std::move(impl_->module_);
  });
}

}  // namespace kiln
