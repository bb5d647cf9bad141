// What holds at some sizes of a range only: a call that raises at its end, a list that is longer at
// some sizes, a dim that squeeze() drops. The range ends there, the program checks it, or the
// import stops.
#include <algorithm>

#include "torch/torchscript/importer.h"

namespace kiln::torchscript {
namespace {

constexpr int64_t kMaxChecked = int64_t{1} << 14;

DimExpr parts_of(const DimExpr& whole, const DimExpr& size) {
  return DimExpr::floordiv(whole + size - DimExpr(1), size);
}

}  // namespace

// "s0 = 1, s1 = 3"
std::string Importer::text_at(size_t point) const {
  std::string text;
  for (const auto& [name, range] : symbols_) {
    if (unbacked_.contains(name)) continue;
    text += (text.empty() ? "" : ", ") + name + " = " + std::to_string(samples_.at(name)[point]);
  }
  return text;
}

// The arguments without data at sizes that are no sample point; nothing where the sizes of one of
// them are not known.
std::optional<Stack> Importer::arguments_at(const c10::OperatorHandle& op, const Stack& inputs,
                                            const SymbolValues& values) {
  bool known = true;
  auto size_at = [&](const DimExpr& expr) {
    const auto size = expr.evaluate(values);
    known = known && size.ok();
    return size.ok() ? *size : 0;
  };
  std::function<c10::IValue(const c10::IValue&)> value_at =
      [&](const c10::IValue& value) -> c10::IValue {
    if (const auto* size = symbolic_size(value)) return size_at(size->expr);
    if (value.isTensor() && value.toTensor().defined()) {
      TensorInfo& t = info(value.toTensor());
      ensure_metas(t, value.toTensor());
      if (t.metas.size() == 1) return t.metas[0];
      known = known && t.strides.size() == t.dims.size() &&
              static_cast<int64_t>(t.dims.size()) == t.metas[0].dim();
      if (!known) return t.metas[0];
      std::vector<int64_t> sizes, strides;
      for (const DimExpr& dim : t.dims) sizes.push_back(size_at(dim));
      for (const DimExpr& stride : t.strides) strides.push_back(size_at(stride));
      known = known && std::all_of(sizes.begin(), sizes.end(), [](int64_t n) { return n >= 0; }) &&
              std::all_of(strides.begin(), strides.end(), [](int64_t n) { return n >= 0; });
      return known ? at::empty_strided(sizes, strides, t.metas[0].options()) : t.metas[0];
    }
    if (!value.isList()) return at_point(value, 0, false);
    c10::impl::GenericList list(value.toList().elementType());
    for (const c10::IValue& item : value.toListRef()) list.push_back(value_at(item));
    return list;
  };
  Stack stack = arguments_without_data(op, inputs, 0, value_at);
  return known ? std::optional(std::move(stack)) : std::nullopt;
}

// A call that raises at some sample points and not at others. Where these are an end of the range
// of one size, the range ends before it.
void Importer::raise_at_points(const c10::OperatorHandle& op, const Stack& inputs,
                               const std::vector<std::optional<std::string>>& raised) {
  size_t first = 0;
  while (!raised[first]) ++first;
  auto raises = [&](const SymbolValues& values) {
    auto stack = arguments_at(op, inputs, values);
    if (!stack) return false;
    try {
      static_cast<void>(evaluate_without_data(op, inputs, std::move(*stack), false, false));
    } catch (const Raised&) {
      return true;
    }
    return false;
  };
  // Whether the call raises for all these values of a symbol, as far as is to be known.
  auto is_end = [&](SymbolValues values, const std::string& name, int64_t low, int64_t high) {
    constexpr int64_t kLooks = 64;
    for (size_t point = 0; point < raised.size(); ++point) {
      const int64_t at = samples_[name][point];
      if (!raised[point] && low <= at && at <= high) return false;
    }
    const int64_t step = std::max<int64_t>(1, (high - low) / kLooks);
    for (int64_t value = low; value <= high && high - value >= 0; value += step) {
      values[name] = value;
      if (!raises(values)) return false;
    }
    return true;
  };
  for (size_t good = 0; good < raised.size(); ++good) {
    for (size_t bad = 0; bad < raised.size(); ++bad) {
      if (raised[good] || !raised[bad]) continue;
      const SymbolValues& values = values_at_[good];
      for (const auto& [name, range] : symbols_) {
        if (unbacked_.contains(name)) continue;
        int64_t holds = samples_[name][good], fails = samples_[name][bad];
        // What is special can be possible where all sizes above are not: it is broadcast, or empty.
        if (holds == fails || (holds < fails && good >= kFitPoints)) continue;
        SymbolValues other = values;
        other[name] = fails;
        if (!raises(other)) continue;
        while (std::abs(holds - fails) > 1) {
          const int64_t middle = holds + (fails - holds) / 2;
          other[name] = middle;
          (raises(other) ? fails : holds) = middle;
        }
        const bool below = fails < holds;
        const int64_t largest =
            std::min(range.max, std::max(samples_[name][bad], int64_t{1} << 20));
        DimRange left = range;
        (below ? left.min : left.max) = holds;
        if (left.min >= left.max) continue;
        if (!is_end(values, name, below ? range.min : fails, below ? fails : largest)) continue;
        throw Narrow(name, left,
                     name + " is " + std::to_string(holds) + " at " + (below ? "least" : "most") +
                         ": otherwise " + op.schema().name() +
                         " raises an exception: " + *raised[bad]);
      }
    }
  }
  if (first < kFitPoints) throw Raised(*raised[first]);
  throw Stop("at some sizes of the ranges " + op.schema().name() + " raises an exception, as for " +
                 text_at(first) + ": " + *raised[first],
             "give ranges without such sizes");
}

// Whether something holds for all values that an expression has where sizes are in their ranges and
// meet what was demanded so far; false also where they are too many to look at.
bool Importer::holds_everywhere(const DimExpr& expr,
                                const std::function<bool(int64_t)>& holds) const {
  std::set<std::string> names;
  expr.collect_symbols(names);
  SymbolValues values;
  int64_t number = 1;
  for (const std::string& name : names) {
    const auto range = symbols_.find(name);
    if (range == symbols_.end() || range->second.max == DimRange::kNoBound) return false;
    const int64_t count = range->second.max - range->second.min + 1;
    if (count > kMaxChecked / number) return false;
    number *= count;
    values[name] = range->second.min;
  }
  for (int64_t i = 0; i < number; ++i) {
    const bool possible =
        std::all_of(demanded_.begin(), demanded_.end(), [&](const SizeCondition& condition) {
          std::set<std::string> of;
          condition.collect_symbols(of);
          return !std::includes(names.begin(), names.end(), of.begin(), of.end()) ||
                 condition.check(values).ok();
        });
    const auto value = expr.evaluate(values);
    if (possible && (!value.ok() || !holds(*value))) return false;
    for (const std::string& name : names) {
      const DimRange& range = symbols_.find(name)->second;
      if (++values[name] <= range.max) break;
      values[name] = range.min;
    }
  }
  return true;
}

// How many tensors a list has that a call returns. Of chunk() and split() it is known for which
// sizes; of others the sample points say it.
size_t Importer::length_of_list(const c10::OperatorHandle& op, const Stack& inputs,
                                const std::vector<Stack>& at, size_t result) {
  const std::string& name = op.schema().name();
  const size_t length = at[0][result].toListRef().size();
  auto stop = [&](const std::string& where) {
    throw Stop("the number of results depends on sizes that vary: " + name + where,
               "give ranges in which it is the same");
  };
  const bool chunks = name == "aten::chunk" || name == "aten::unsafe_chunk";
  const bool splits = (name == "aten::split" || name == "aten::unsafe_split") &&
                      op.schema().overload_name() == "Tensor";
  // As many tensors as the program takes out of the list; TorchScript raises otherwise.
  size_t wanted = length;
  bool unpacked = false;
  if (node_ != nullptr && node_->outputs().size() == 1) {
    const auto& uses = node_->output()->uses();
    unpacked = !uses.empty() && std::all_of(uses.begin(), uses.end(), [](const auto& use) {
      return use.user->kind() == c10::prim::ListUnpack;
    });
    if (unpacked) wanted = uses[0].user->outputs().size();
  }
  if (chunks || splits) {
    const at::Tensor& tensor = inputs[0].toTensor();
    const TensorInfo& t = info(tensor);
    int64_t dim = inputs[2].toInt();
    if (dim < 0) dim += t.metas[0].dim();
    const DimExpr whole = dim_of(t, static_cast<size_t>(dim)).expr;
    const auto given = as_size(inputs[1]);
    if (given && !is_unbacked(whole) && !is_unbacked(given->expr)) {
      const DimExpr size = chunks ? parts_of(whole, given->expr) : given->expr;
      const DimExpr parts = parts_of(whole, DimExpr::max(size, 1));
      const auto n = static_cast<int64_t>(wanted);
      bool proven = parts.is_constant() && parts.value() == n;
      // ceil(d / ceil(d / k)) is k for all d > (k - 1)^2.
      const bool enough = chunks && inputs[1].isInt() && inputs[1].toInt() == n &&
                          whole.range(symbols_).min > (n - 1) * (n - 1);
      // Of nothing, chunk() makes as many parts as it was asked for, split() one.
      proven =
          proven || enough || holds_everywhere(parts, [&](int64_t count) {
            return count == n ||
                   (count == 0 && (chunks ? inputs[1].isInt() && inputs[1].toInt() == n : n == 1));
          });
      if (proven && wanted == length) return length;
      if (!whole.is_constant() || !size.is_constant()) {
        if (!unpacked) stop(": " + parts.to_string() + " parts");
        demand("eq", parts, n, name + " has to give as many tensors as the program unpacks");
      }
    }
  }
  for (size_t point = 0; point < at.size(); ++point) {
    if (at[point].empty() || at[point][result].toListRef().size() == length) continue;
    stop(": " + std::to_string(length) + " for " + text_at(0) + ", but " +
         std::to_string(at[point][result].toListRef().size()) + " for " + text_at(point));
  }
  return length;
}

// squeeze() drops dims of size 1 only.
void Importer::keep_rank(const c10::OperatorHandle& op, const Stack& inputs) {
  const std::string& name = op.schema().name();
  if (name != "aten::squeeze" && name != "aten::squeeze_" && name != "aten::squeeze_copy") return;
  const TensorInfo& t = info(inputs[0].toTensor());
  const auto rank = static_cast<int64_t>(t.dims.size());
  std::set<int64_t> meant;
  if (inputs.size() > 1) {
    auto add = [&](int64_t dim) { meant.insert(dim < 0 ? dim + rank : dim); };
    if (inputs[1].isInt()) add(inputs[1].toInt());
    if (inputs[1].isIntList()) {
      for (const int64_t dim : inputs[1].toIntVector()) add(dim);
    }
  }
  for (int64_t d = 0; d < rank; ++d) {
    const DimExpr& dim = t.dims[static_cast<size_t>(d)];
    if (dim.is_constant() || is_unbacked(dim)) continue;
    if (inputs.size() > 1 && !meant.contains(d)) continue;
    const SizeCondition stays{SizeRelation::kNe, dim, 1, ""};
    if (stays.decide(symbols_) == std::optional(true)) continue;
    if (holds_everywhere(dim, [](int64_t size) { return size != 1; })) continue;
    throw Stop("the rank of a result depends on sizes that vary: " + name + " drops dim " +
                   std::to_string(d) + " where " + dim.to_string() + " is 1",
               "name the dims that are meant, as in squeeze(dim), or give ranges without 1");
  }
}

}  // namespace kiln::torchscript
