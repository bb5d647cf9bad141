// Attributes of modules: what they are called, and what the program makes of them.
//
// The user's module is never written: values that the program gives attributes are kept beside it,
// and lists and dicts are copied when they are first read.
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
  if (value.isList()) {
    c10::impl::GenericList list(value.toList().elementType());
    size_t i = 0;
    for (const c10::IValue& item : value.toListRef()) {
      list.push_back(private_copy(item, path + "." + std::to_string(i++)));
    }
    return list;
  }
  if (value.isGenericDict()) {
    const auto given = value.toGenericDict();
    c10::impl::GenericDict dict(given.keyType(), given.valueType());
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
  const std::pair key(static_cast<const c10::ivalue::Object*>(target.get()), slot);
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
  const std::pair key(static_cast<const c10::ivalue::Object*>(target.get()), slot);
  const auto [found, added] = attributes_.try_emplace(
      key, Attribute{object, target->getSlot(slot), {}, inside(path_of(*target), name)});
  found->second.now = std::move(value);
}

// What the program leaves in the attributes of the module.
void Importer::hand_over_writes() {
  for (auto& [key, attribute] : attributes_) {
    if (same_value(attribute.before, attribute.now)) continue;
    if (!attribute.before.isTensor() || !attribute.now.isTensor() ||
        !attribute.before.toTensor().defined() || !attribute.now.toTensor().defined()) {
      throw Stop("the program changes an attribute that is no tensor: " + attribute.path);
    }
    const int32_t before = handle(attribute.before.toTensor());
    if (state_names_.contains(attribute.now.toTensor().unsafeGetTensorImpl())) {
      throw Stop("the program gives an attribute the tensor of another one: " + attribute.path);
    }
    const int32_t given = handle(attribute.now.toTensor());
    const CaptureMeta was = describe(info(attribute.before.toTensor()));
    const CaptureMeta is = describe(info(attribute.now.toTensor()));
    if (was.dims != is.dims || was.dtype != is.dtype || was.opaque != is.opaque) {
      throw Stop("the program changes the shape or type of an attribute: " + attribute.path);
    }
    // The attribute keeps a memory of its own between calls; what is returned is the caller's.
    const CaptureArg value{CaptureArg::Value{given}};
    const int32_t now = check(capture_.call("aten::clone", "", {value}, {is}, origin(), ""))[0];
    for (const auto& [name, weight] : weights_) {
      if (weight.second == before) check(capture_.mutates_buffer(name, now));
    }
  }
}

}  // namespace kiln::torchscript
