// Attributes of modules: what they are called, and what the program makes of them.
//
// The user's module is never written: values that the program gives attributes are kept beside it,
// and lists and dicts are copied when they are first read.
#include <ATen/MemoryOverlap.h>

#include <algorithm>

#include "torch/torchscript/importer.h"
#include "torch/torchscript/module_path.h"

namespace kiln::torchscript {
namespace {

// Equal in structure, with the very same tensors and objects.
bool same_value(const c10::IValue& a, const c10::IValue& b) {
  if (a.tagKind() != b.tagKind()) return false;
  if (a.isTensor()) return a.toTensor().is_same(b.toTensor());
  if (a.isObject()) return a.toObject() == b.toObject();
  auto all = [](const auto& x, const auto& y) {
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(), same_value);
  };
  if (a.isList()) return all(a.toListRef(), b.toListRef());
  if (a.isTuple()) return all(a.toTupleRef().elements(), b.toTupleRef().elements());
  if (a.isGenericDict()) {
    const auto x = a.toGenericDict(), y = b.toGenericDict();
    if (x.size() != y.size()) return false;
    return std::all_of(x.begin(), x.end(), [&](const auto& entry) {
      const auto found = y.find(entry.key());
      return found != y.end() && same_value(entry.value(), found->value());
    });
  }
  return a == b;
}

// Calls f with the values at the same place of both and the path of the place, down to what no
// list, tuple or dict is, or differs in its items.
void for_each_pair(
    const c10::IValue& a, const c10::IValue& b, const std::string& path,
    const std::function<void(const c10::IValue&, const c10::IValue&, const std::string&)>& f) {
  const auto all = [&](const auto& x, const auto& y) {
    for (size_t i = 0; i < x.size(); ++i) {
      for_each_pair(x[i], y[i], inside(path, std::to_string(i)), f);
    }
  };
  if (a.isList() && b.isList() && a.toListRef().size() == b.toListRef().size()) {
    return all(a.toListRef(), b.toListRef());
  }
  if (a.isTuple() && b.isTuple() && a.toTupleRef().size() == b.toTupleRef().size()) {
    return all(a.toTupleRef().elements(), b.toTupleRef().elements());
  }
  if (a.isGenericDict() && b.isGenericDict()) {
    const auto x = a.toGenericDict(), y = b.toGenericDict();
    const bool same_keys =
        x.size() == y.size() &&
        std::all_of(x.begin(), x.end(), [&](const auto& entry) { return y.contains(entry.key()); });
    for (const auto& entry : x) {
      if (!same_keys) break;
      for_each_pair(entry.value(), y.at(entry.key()), path + "[...]", f);
    }
    if (same_keys) return;
  }
  f(a, b, path);
}

}  // namespace

void Importer::name_state(const torch::jit::Module& root) {
  std::function<void(const c10::intrusive_ptr<c10::ivalue::Object>&, const std::string&)> visit =
      [&](const auto& object, const std::string& path) {
        if (!paths_.try_emplace(object.get(), path).second) return;
        const c10::ClassTypePtr type = object->type();
        for (size_t slot = 0; slot < type->numAttributes(); ++slot) {
          const c10::IValue value = object->getSlot(slot);
          const std::string name = inside(path, type->getAttributeName(slot));
          if (value.isObject()) {
            visit(value.toObject(), name);
          } else if (value.isTensor() && value.toTensor().defined()) {
            tensor_slots_[{object.get(), slot}] = value.toTensor();
            const char* kind = type->is_parameter(slot) ? "parameter" : "buffer";
            state_names_.try_emplace(value.toTensor().unsafeGetTensorImpl(), Named{name, kind});
          }
        }
      };
  visit(root._ivalue(), "");
}

std::string Importer::path_of(const c10::ivalue::Object& object) const {
  const auto found = paths_.find(&object);
  if (found != paths_.end()) return found->second;
  return frames_.empty() ? "" : frames_.back().module_path;
}

c10::IValue Importer::private_copy(const c10::IValue& value, const std::string& path) {
  if (value.isTensor() && value.toTensor().defined()) {
    state_names_.try_emplace(value.toTensor().unsafeGetTensorImpl(), Named{path, "constant"});
  }
  // A list or dict that stands at several places stays one.
  if (value.isList() || value.isGenericDict()) {
    const auto known = private_copies_.find(value.internalToPointer());
    if (known != private_copies_.end()) return known->second;
  }
  if (value.isList()) {
    c10::impl::GenericList list(value.toList().elementType());
    private_copies_.emplace(value.internalToPointer(), list);
    size_t i = 0;
    for (const c10::IValue& item : value.toListRef()) {
      list.push_back(private_copy(item, path + "." + std::to_string(i++)));
    }
    return list;
  }
  if (value.isGenericDict()) {
    const auto given = value.toGenericDict();
    c10::impl::GenericDict dict(given.keyType(), given.valueType());
    private_copies_.emplace(value.internalToPointer(), dict);
    for (const auto& entry : given) {
      const std::string key = entry.key().isString()
                                  ? entry.key().toStringRef()
                                  : std::to_string(static_cast<int>(dict.size()));
      dict.insert(entry.key(), private_copy(entry.value(), path + "." + key));
    }
    return dict;
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> items;
    for (const c10::IValue& item : value.toTupleRef().elements()) {
      items.push_back(private_copy(item, path + "." + std::to_string(items.size())));
    }
    auto type = value.toTupleRef().type();
    return type->name() ? c10::ivalue::Tuple::createNamed(std::move(items), type)
                        : c10::ivalue::Tuple::create(std::move(items));
  }
  return value;
}

c10::IValue Importer::get_attribute(const c10::IValue& object, const std::string& name) {
  const auto target = object.toObject();
  const size_t slot = target->type()->getAttributeSlot(name);
  if (record_ != nullptr || fresh_objects_.contains(target.get())) return target->getSlot(slot);
  const Slot key(target.get(), slot);
  if (const auto known = attributes_.find(key); known != attributes_.end()) {
    return known->second.now;
  }
  const c10::IValue value = target->getSlot(slot);
  if (!value.isList() && !value.isGenericDict() && !value.isTuple()) return value;
  const std::string path = inside(path_of(*target), name);
  const c10::IValue copy = private_copy(value, path);
  attributes_[key] = {object, value, copy, path};
  return copy;
}

void Importer::set_attribute(const c10::IValue& object, const std::string& name,
                             c10::IValue value) {
  const auto target = object.toObject();
  const size_t slot = target->type()->getAttributeSlot(name);
  if (record_ != nullptr || fresh_objects_.contains(target.get())) {
    target->setSlot(slot, std::move(value));
    return;
  }
  const Slot key(target.get(), slot);
  const std::string path = inside(path_of(*target), name);
  const auto [found, added] =
      attributes_.try_emplace(key, Attribute{object, target->getSlot(slot), {}, path});
  if (added) private_copy(found->second.before, path);  // names its tensors
  found->second.now = std::move(value);
}

// The attributes that hold another tensor in the end. Between calls each keeps a memory of its own,
// which is where the next call finds what this one left.
void Importer::find_replaced(const c10::IValue& results) {
  const auto compare = [&](const c10::IValue& before, const c10::IValue& now,
                           const std::string& path) {
    if (same_value(before, now)) return;
    if (!before.isTensor() || !now.isTensor() || !before.toTensor().defined() ||
        !now.toTensor().defined()) {
      throw Stop("the program changes an attribute that is no tensor: " + path);
    }
    for (const c10::IValue& value : {before, now}) handle(value.toTensor());
    const CaptureMeta was = describe(info(before.toTensor()));
    const CaptureMeta is = describe(info(now.toTensor()));
    if (was.dims != is.dims || was.dtype != is.dtype || was.opaque != is.opaque) {
      throw Stop("the program changes the shape or type of an attribute: " + path);
    }
    replaced_.push_back({before.toTensor(), now.toTensor(), path});
  };
  for (const auto& [slot, attribute] : attributes_) {
    for_each_pair(attribute.before, attribute.now, attribute.path, compare);
  }
  for (const Replaced& tensor : replaced_) check_shared(tensor, results);
}

// TorchScript gives the attribute the tensor itself, whoever else has it; the program keeps a copy
// of its elements. That is the same as long as no call writes what they share.
void Importer::check_shared(const Replaced& replaced, const c10::IValue& results) {
  const at::Tensor &before = replaced.before, &now = replaced.now;
  const auto is_written = [&](const at::Tensor& tensor) {
    const auto known = tensors_.find(tensor.unsafeGetTensorImpl());
    return known != tensors_.end() && capture_.is_written(known->second.handle);
  };
  const auto shares = [&](const at::Tensor& other) {
    return tensors_.contains(other.unsafeGetTensorImpl()) && share_memory(now, other);
  };
  const auto refuse = [&] {
    throw Stop("an attribute is replaced by a tensor that something else shares, and is written " +
                   ("in place: " + replaced.path),
               "replace it by a copy (clone())");
  };
  // What one of them holds now, another may hold at the next call, which writes it.
  const bool written = std::any_of(replaced_.begin(), replaced_.end(),
                                   [&](const Replaced& one) { return is_written(one.before); });
  if (written) {
    for_each_tensor(results, [&](const at::Tensor& result) {
      if (shares(result)) refuse();
    });
  }
  std::vector<at::Tensor> inputs;
  for (const auto& [impl, t] : tensors_) {
    if (t.given) inputs.push_back(t.keep);
  }
  for (const at::Tensor& input : inputs) {
    if (shares(input) && (written || is_written(input))) refuse();
  }
  const auto compare = [&](const at::Tensor& other_before, const at::Tensor& other_now) {
    if (other_before.is_same(before) && other_now.is_same(now)) return;  // it is this one
    if (shares(other_now) && (written || is_written(other_before))) refuse();
    const bool tied = before.has_storage() && other_before.has_storage() &&
                      before.storage().is_alias_of(other_before.storage()) &&
                      at::get_overlap_status(before, other_before) != at::MemOverlapStatus::No;
    if (tied && !other_now.is_same(now)) {
      throw Stop("an attribute is replaced whose tensor another attribute has too: " +
                 replaced.path);
    }
  };
  for (const auto& [slot, tensor] : tensor_slots_) {
    if (!attributes_.contains(slot)) compare(tensor, tensor);
  }
  for (const auto& [slot, attribute] : attributes_) {
    for_each_pair(attribute.before, attribute.now, "",
                  [&](const c10::IValue& was, const c10::IValue& is, const std::string&) {
                    if (was.isTensor() && is.isTensor()) compare(was.toTensor(), is.toTensor());
                  });
  }
}

// What comes back for a tensor that the program returns: where it lies in the memory of an
// attribute that holds another tensor from now on, it is the caller's alone.
at::Tensor Importer::returned(const at::Tensor& tensor) {
  const bool replaced = std::any_of(replaced_.begin(), replaced_.end(), [&](const Replaced& one) {
    return share_memory(one.before, tensor);
  });
  if (!replaced) return tensor;
  at::Tensor& copy = returned_[tensor.unsafeGetTensorImpl()];
  if (!copy.defined()) copy = cloned(tensor);
  return copy;
}

at::Tensor Importer::cloned(const at::Tensor& tensor) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("aten::clone", "");
  return emit(op, {tensor, c10::IValue()})[0].toTensor();
}

// What the program leaves in the attributes of the module.
void Importer::hand_over_writes() {
  // All are read before one is written.
  std::vector<int32_t> contents;
  for (const Replaced& tensor : replaced_) contents.push_back(handle(cloned(tensor.now)));
  for (size_t i = 0; i < replaced_.size(); ++i) {
    const int32_t before = handle(replaced_[i].before);
    const auto weight = std::find_if(weights_.begin(), weights_.end(), [&](const auto& entry) {
      return entry.second.second == before;
    });
    if (weight == weights_.end()) {
      throw Stop("the program changes an attribute that it keeps no memory for: " +
                 replaced_[i].path);
    }
    check(capture_.mutates_buffer(weight->first, contents[i]));
  }
}

}  // namespace kiln::torchscript
