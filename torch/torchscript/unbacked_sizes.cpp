// Sizes known only at run time: how many elements a mask selects, a number that is read from a
// tensor.
//
// Each is a symbol ("u0") with values at the sample points, as torch.export has them. Tensors with
// such sizes exist only in PyTorch: their calls are kept there, and what does not depend on the
// sizes goes on natively. Where the program uses such a size as a number, PyTorch is asked for it.
#include <ATen/ATen.h>

#include <algorithm>

#include "torch/torchscript/importer.h"

namespace kiln::torchscript {
namespace {

// Sample values of the k-th size: far from what models have, and in no simple relation.
Points samples_of(int64_t k, size_t points) {
  Points result = {37 + k * (7 * k + 13), 71 + k * (11 * k + 29), 113 + k * (19 * k + 47)};
  for (size_t point = result.size(); point < points; ++point) {
    const auto p = static_cast<int64_t>(point);
    result.push_back(43 * p + 5 * p * p + k * ((8 * p + 1) * k + 18 * p + 5));
  }
  return result;
}

at::Tensor indices(const std::vector<int64_t>& sizes) {
  return at::empty(sizes, at::TensorOptions().dtype(c10::kLong).device(c10::kMeta));
}

// One for each result, and for each item of a list; undefined for what is no tensor.
std::vector<at::Tensor> flat_tensors(const Stack& stack) {
  std::vector<at::Tensor> result;
  for (const c10::IValue& value : stack) {
    if (!value.isList()) {
      result.push_back(value.isTensor() ? value.toTensor() : at::Tensor());
      continue;
    }
    for (const c10::IValue& item : value.toListRef()) result.push_back(item.toTensor());
  }
  return result;
}

}  // namespace

DimExpr Importer::add_unbacked(const Points& at, int64_t max) {
  const std::string name = "u" + std::to_string(unbacked_.size());
  unbacked_.insert(name);
  add_symbol(name, at);
  symbols_[name] = {0, max};
  return DimExpr::symbol(name);
}

bool Importer::is_unbacked(const DimExpr& expr) const {
  if (unbacked_.empty()) return false;
  std::set<std::string> names;
  expr.collect_symbols(names);
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return unbacked_.contains(name); });
}

bool Importer::has_unbacked(const c10::IValue& value) {
  if (const SymbolicNumber* number = symbolic(value)) {
    const auto* size = symbolic_size(value);
    return size != nullptr ? is_unbacked(size->expr)
                           : std::holds_alternative<SymbolicNumber::HostResult>(number->value);
  }
  if (value.isTensor() && value.toTensor().defined()) {
    const TensorInfo& t = info(value.toTensor());
    return t.opaque == kRankUnknown || (!t.number.isNone() && has_unbacked(t.number)) ||
           std::any_of(t.dims.begin(), t.dims.end(),
                       [&](const DimExpr& dim) { return is_unbacked(dim); });
  }
  auto any = [&](const auto& items) {
    return std::any_of(items.begin(), items.end(),
                       [&](const c10::IValue& item) { return has_unbacked(item); });
  };
  if (value.isList()) return any(value.toListRef());
  if (value.isTuple()) return any(value.toTupleRef().elements());
  return false;
}

// Integers that are read from tensors stand for sizes where a call is run without data.
c10::IValue Importer::as_unbacked(const c10::IValue& value) {
  if (const SymbolicNumber* number = symbolic(value)) {
    const auto* host = std::get_if<SymbolicNumber::HostResult>(&number->value);
    if (host == nullptr || host->kind != 'i') return value;
    const auto [found, added] = host_sizes_.try_emplace(host->handle);
    if (added) {
      const Points at = samples_of(static_cast<int64_t>(unbacked_.size()), points_);
      found->second = {add_unbacked(at, DimRange::kNoBound), at};
      size_sources_[found->second.expr.to_string()] = {{}, 0, host->handle};
    }
    return symbolic_value(found->second);
  }
  if (value.isList() && contains_symbolic(value)) {
    c10::impl::GenericList list(value.toList().elementType());
    for (const c10::IValue& item : value.toListRef()) list.push_back(as_unbacked(item));
    return list;
  }
  return value;
}

// The number of the program that has this size.
int32_t Importer::size_handle(const DimExpr& expr) {
  const auto found = size_sources_.find(expr.to_string());
  if (found == size_sources_.end()) {
    throw Stop("a number is computed from a size known only at run time: " + expr.to_string());
  }
  SizeSource& source = found->second;
  if (source.handle >= 0) return source.handle;
  CaptureMeta meta;
  meta.scalar = 'i';
  const bool all = source.dim < 0;
  const char *name = all ? "aten::sym_numel" : "aten::sym_size", *overload = all ? "" : "int";
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
  std::vector<CaptureArg> args = {CaptureArg{CaptureArg::Value{handle(source.tensor)}}};
  if (!all) args.push_back(CaptureArg{source.dim});
  return source.handle =
             check(capture_.call(name, overload, args, {meta}, origin(), toString(op.schema())))[0];
}

// Where the program finds the sizes of a tensor that it made.
void Importer::note_sizes(const at::Tensor& tensor, const TensorInfo& t) {
  for (size_t d = 0; d < t.dims.size(); ++d) {
    if (!is_unbacked(t.dims[d])) continue;
    size_sources_.try_emplace(t.dims[d].to_string(),
                              SizeSource{tensor, static_cast<int64_t>(d), -1});
  }
}

// How many elements are found, `max` at most. The same question about the same tensor has the same
// answer until something is written.
SymbolicNumber::Size Importer::count_in(const char* question, const at::Tensor& tensor,
                                        int64_t max) {
  const auto [found, added] = counts_.try_emplace(
      std::pair<std::string, const void*>(question, tensor.unsafeGetTensorImpl()));
  if (added) {
    const Points at = samples_of(static_cast<int64_t>(unbacked_.size()), points_);
    found->second = {add_unbacked(at, max), at};
  }
  return found->second;
}

namespace {

bool is_mask(const c10::IValue& index) {
  if (!index.isTensor() || !index.toTensor().defined()) return false;
  const c10::ScalarType type = index.toTensor().scalar_type();
  return type == c10::kBool || type == c10::kByte;
}

bool is_index_read(const std::string& name) {
  return name.starts_with("aten::index") || name.starts_with("aten::_index") ||
         name.starts_with("aten::_unsafe_index");
}

}  // namespace

bool Importer::counts_elements(const c10::OperatorHandle& op, const Stack& inputs) {
  const std::string& name = op.schema().name();
  if (name == "aten::nonzero_numpy") return true;
  if (name == "aten::where") return inputs.size() == 1;
  if (op.schema().overload_name() == "self_Tensor" && name == "aten::repeat_interleave") {
    return inputs[3].isNone();  // (self, repeats, dim, output_size)
  }
  if (!op.hasTag(at::Tag::dynamic_output_shape) && name != "aten::_unsafe_index") return false;
  if (name == "aten::one_hot") return !inputs[1].isInt() || inputs[1].toInt() < 0;
  if (name == "aten::repeat_interleave") return inputs[1].isNone();
  if (!is_index_read(name) || inputs.size() < 2 || !inputs[1].isList()) return true;
  const auto given = inputs[1].toListRef();
  return std::any_of(given.begin(), given.end(), [&](const c10::IValue& index) {
    if (!index.isTensor() || !index.toTensor().defined()) return false;
    TensorInfo& t = info(index.toTensor());
    ensure_metas(t, index.toTensor());
    return is_mask(t.metas[0]);
  });
}

// The results of a call for which counts_elements() holds, at the sample points. The sizes that
// only running tells are appended to `counts`.
std::vector<Stack> Importer::evaluate_counts(const c10::OperatorHandle& op, const Stack& inputs,
                                             Stack& counts) {
  const std::string& name = op.schema().name();
  const at::Tensor& self = inputs[0].toTensor();
  TensorInfo& t = info(self);
  ensure_metas(t, self);
  auto largest = [](const TensorInfo& of) {
    const bool known = of.metas.size() <= 1 && !of.metas.empty();
    return known ? of.metas[0].numel() : DimRange::kNoBound;
  };
  auto use = [&](const SymbolicNumber::Size& size) {
    counts.push_back(symbolic_value(size));
    return size.at;
  };
  auto fresh = [&] {
    const Points at = samples_of(static_cast<int64_t>(unbacked_.size()), points_);
    return use({add_unbacked(at, DimRange::kNoBound), at});
  };
  std::vector<Stack> results(points_);
  auto at_each_point = [&](auto&& shape) {
    for (size_t p = 0; p < points_; ++p) {
      Stack stack;
      for (const c10::IValue& input : inputs) stack.push_back(at_point(input, p, false));
      results[p] = shape(stack, p);
    }
    return results;
  };
  using Values = std::vector<c10::IValue>;
  if (is_index_read(name)) {
    std::map<const void*, Points> found;
    std::vector<const void*> keys;
    for (const c10::IValue& index : inputs[1].toListRef()) {
      keys.push_back(nullptr);
      if (!index.isTensor() || !index.toTensor().defined()) continue;
      const at::Tensor& mask = index.toTensor();
      TensorInfo& of = info(mask);
      ensure_metas(of, mask);
      if (!is_mask(of.metas[0])) continue;
      if (of.metas[0].dim() == 0) throw Stop("an index that is a single truth value");
      keys.back() = mask.unsafeGetTensorImpl();
      found[keys.back()] = use(count_in("nonzero", mask, largest(of)));
    }
    return at_each_point([&](Stack stack, size_t p) {
      c10::impl::GenericList expanded(c10::OptionalType::ofTensor());
      const std::vector<c10::IValue> given = stack[1].toListRef().vec();
      for (size_t i = 0; i < given.size(); ++i) {
        if (keys[i] == nullptr) {
          expanded.push_back(given[i]);
          continue;
        }
        for (int64_t d = 0; d < given[i].toTensor().dim(); ++d) {
          expanded.push_back(indices({found[keys[i]][p]}));
        }
      }
      stack[1] = expanded;
      try {
        op.callBoxed(&stack);
      } catch (const c10::Error&) {
        throw Stop("whether a call is possible is known only at run time: " + name);
      }
      return stack;
    });
  }
  if (name == "aten::nonzero" || name == "aten::argwhere") {
    const Points n = use(count_in("nonzero", self, largest(t)));
    return at_each_point([&](const Stack& stack, size_t p) {
      return Values{indices({n[p], stack[0].toTensor().dim()})};
    });
  }
  if (name == "aten::nonzero_numpy" || name == "aten::where") {
    const Points n = use(count_in("nonzero", self, largest(t)));
    return at_each_point([&](const Stack& stack, size_t p) {
      c10::impl::GenericList list(c10::TensorType::get());
      const int64_t rank = std::max<int64_t>(stack[0].toTensor().dim(), 1);
      for (int64_t d = 0; d < rank; ++d) list.push_back(indices({n[p]}));
      return Values{list};
    });
  }
  if (name == "aten::masked_select") {
    const Points n = fresh();
    return at_each_point([&](const Stack& stack, size_t p) {
      return Values{stack[0].toTensor().new_empty({n[p]})};
    });
  }
  if (name.starts_with("aten::unique") || name == "aten::_unique2") {
    // (self, dim, sorted, inverse, counts), (self, sorted, inverse, counts),
    // (self, inverse, counts, dim), (self, dim, inverse, counts)
    const bool by_dim = name.starts_with("aten::unique_dim");
    const bool consecutive = name.ends_with("consecutive");
    const size_t first = by_dim ? (consecutive ? 2 : 3) : consecutive ? 1 : 2;
    const c10::IValue dim = by_dim                                     ? inputs[1]
                            : consecutive && inputs.size() > first + 2 ? inputs[first + 2]
                                                                       : c10::IValue();
    const bool inverse = inputs[first].toBool(), counted = inputs[first + 1].toBool();
    const Points n =
        dim.isNone() ? use(count_in(consecutive ? "runs" : "unique", self, largest(t))) : fresh();
    // What was not asked for has no size to rely on.
    const Points unasked = inverse && counted ? Points{} : fresh();
    return at_each_point([&](const Stack& stack, size_t p) {
      const at::Tensor& x = stack[0].toTensor();
      std::vector<int64_t> sizes = {n[p]}, places = x.sizes().vec();
      if (!dim.isNone()) {
        sizes = x.sizes().vec();
        const auto d = static_cast<size_t>(c10::maybe_wrap_dim(dim.toInt(), x.dim()));
        places = {sizes.at(d)};
        sizes.at(d) = n[p];
      }
      return Values{x.new_empty(sizes), inverse ? indices(places) : indices({unasked[p]}),
                    indices({counted ? n[p] : unasked[p]})};
    });
  }
  if (name == "aten::bincount") {
    const Points n = fresh();
    return at_each_point([&](const Stack& stack, size_t p) {
      c10::ScalarType type = c10::kLong;
      if (stack[1].isTensor()) {
        const bool narrow = stack[1].toTensor().scalar_type() == c10::kFloat;
        type = narrow ? c10::kFloat : c10::kDouble;
      }
      return Values{indices({n[p]}).to(type)};
    });
  }
  if (name == "aten::repeat_interleave") {
    const Points n = fresh();
    return at_each_point([&](const Stack& stack, size_t p) {
      const at::Tensor& x = stack[0].toTensor();
      std::vector<int64_t> sizes = {n[p]};
      if (stack.size() > 2 && !stack[2].isNone()) {
        sizes = x.sizes().vec();
        sizes.at(static_cast<size_t>(c10::maybe_wrap_dim(stack[2].toInt(), x.dim()))) = n[p];
      }
      return Values{x.new_empty(sizes)};
    });
  }
  if (name == "aten::one_hot") {
    const Points n = fresh();
    return at_each_point([&](const Stack& stack, size_t p) {
      std::vector<int64_t> sizes = stack[0].toTensor().sizes().vec();
      sizes.push_back(n[p]);
      return Values{indices(sizes)};
    });
  }
  throw Stop("the shape of a result depends on the values of a tensor: " + name);
}

// Few elements, or none, are special: they are broadcast, squeezed, and cut no shorter. A size of a
// result that the sample points tell otherwise for them is one that only running tells.
void Importer::check_small_counts(const c10::OperatorHandle& op, const Stack& inputs,
                                  const std::vector<TensorInfo*>& results) {
  for (const int64_t count : {0, 1}) {
    SymbolValues values;
    for (const auto& [name, at] : samples_) values[name] = unbacked_.contains(name) ? count : at[0];
    std::function<c10::IValue(const c10::IValue&)> small =
        [&](const c10::IValue& value) -> c10::IValue {
      if (const auto* size = symbolic_size(value)) return check(size->expr.evaluate(values));
      if (value.isTensor() && value.toTensor().defined()) {
        TensorInfo& t = info(value.toTensor());
        ensure_metas(t, value.toTensor());
        if (!has_unbacked(value)) return t.metas[0];
        std::vector<int64_t> sizes;
        for (const DimExpr& dim : t.dims) sizes.push_back(check(dim.evaluate(values)));
        return at::empty(sizes, t.metas[0].options());
      }
      if (!value.isList()) return at_point(value, 0, false);
      c10::impl::GenericList list(value.toList().elementType());
      for (const c10::IValue& item : value.toListRef()) list.push_back(small(item));
      return list;
    };
    Stack stack = arguments_without_data(op, inputs, 0, small);
    try {
      op.callBoxed(&stack);
    } catch (const std::exception&) {
      continue;  // so it will be when the program runs
    }
    const std::vector<at::Tensor> found = flat_tensors(stack);
    if (found.size() != results.size()) {
      throw Stop("the number of results is known only at run time: " + op.schema().name());
    }
    for (size_t i = 0; i < found.size(); ++i) {
      TensorInfo& t = *results[i];
      if (t.metas.empty() || !found[i].defined()) continue;
      if (found[i].dim() != t.metas[0].dim()) {
        t.opaque = kRankUnknown;
        continue;
      }
      for (int64_t d = 0; d < found[i].dim(); ++d) {
        const auto k = static_cast<size_t>(d);
        const int64_t size =
            t.dims.empty() ? t.metas[0].size(d) : check(t.dims[k].evaluate(values));
        if (size == found[i].size(d)) continue;
        t.metas.resize(points_, t.metas[0]);
        Points at(points_);
        for (size_t p = 0; p < points_; ++p) at[p] = t.metas[p].size(d);
        if (t.dims.empty()) {
          t.dims.assign(t.metas[0].sizes().begin(), t.metas[0].sizes().end());
          t.strides.assign(t.metas[0].strides().begin(), t.metas[0].strides().end());
        }
        t.dims[k] = add_unbacked(at, DimRange::kNoBound);
        values[t.dims[k].symbol_name()] = found[i].size(d);
      }
    }
  }
}

}  // namespace kiln::torchscript
