// Sizes of results where those of the inputs vary: expressions that agree with what PyTorch
// computes at the sample points.
#include <algorithm>
#include <numeric>
#include <set>

#include "torch/torchscript/importer.h"

namespace kiln::torchscript {
namespace {

// What x.view(sizes) demands: `before` elements are as many as `after` or, where one size is -1, a
// multiple of them.
struct ElementCounts {
  DimExpr before, after;
  bool open = false;

  bool fit() const {
    DimExpr rest;
    return open ? DimExpr::divide_exactly(before, after, &rest) : before == after;
  }
};

using Divisors = std::map<std::string, int64_t>;

const DimExpr::Term* only_term(const DimExpr& expr) {
  if (expr.is_constant() || expr.constant_part() != 0 || expr.terms()->size() != 1) return nullptr;
  return &expr.terms()->front();
}

void require_multiple(Divisors& divisors, const std::string& symbol, int64_t coefficient,
                      int64_t divisor) {
  // divisor | coefficient * symbol
  int64_t& known = divisors.try_emplace(symbol, 1).first->second;
  known = std::lcm(known, divisor / std::gcd(divisor, coefficient));
}

// after | before, where after = k * rest and before = c * rest * symbol.
std::optional<Divisors> divisors_of_multiple(const DimExpr& before, const DimExpr& after) {
  const DimExpr::Term* whole = only_term(before);
  if (whole == nullptr) return std::nullopt;
  const DimExpr::Term* part = only_term(after);
  const int64_t divisor = part != nullptr ? part->coefficient : after.constant_part();
  if (divisor < 2 || (part == nullptr && !after.is_constant())) return std::nullopt;
  for (const auto& factor : whole->factors) {
    if (factor->kind != AtomKind::kSymbol) continue;
    const DimExpr symbol = DimExpr::symbol(factor->text);
    if (!(after * DimExpr(whole->coefficient) * symbol == DimExpr(divisor) * before)) continue;
    Divisors divisors;
    require_multiple(divisors, factor->text, whole->coefficient, divisor);
    return divisors;
  }
  return std::nullopt;
}

// whole == part, where part = whole with k * floordiv(c * symbol, k) in place of some c * symbol:
// never more than it, and as much only of multiples.
std::optional<Divisors> divisors_of_equality(const DimExpr& whole, const DimExpr& part) {
  const DimExpr::Term *a = only_term(whole), *b = only_term(part);
  if (a == nullptr || b == nullptr) return std::nullopt;
  for (const auto& factor : a->factors) {
    if (factor->kind != AtomKind::kSymbol) return std::nullopt;
  }
  Divisors divisors;
  for (const auto& factor : b->factors) {
    if (factor->kind == AtomKind::kSymbol) continue;
    const DimExpr::Term* inner = only_term(factor->a);
    const bool quotient = factor->kind == AtomKind::kFloorDiv && inner != nullptr &&
                          inner->factors.size() == 1 && inner->coefficient > 0 &&
                          inner->factors[0]->kind == AtomKind::kSymbol && factor->b.is_constant() &&
                          factor->b.value() > 1;
    if (!quotient) return std::nullopt;
    require_multiple(divisors, inner->factors[0]->text, inner->coefficient, factor->b.value());
  }
  return divisors;
}

// Multiples of which numbers the symbols have to be, no less and no more, for the counts to fit at
// every size.
std::optional<Divisors> divisors_for(const ElementCounts& counts, const SymbolRanges& symbols) {
  std::set<std::string> names;
  counts.before.collect_symbols(names);
  counts.after.collect_symbols(names);
  for (const std::string& name : names) {
    const auto range = symbols.find(name);
    // Beside a size of 0 any other fits.
    if (range == symbols.end() || (range->second.min < 1 && names.size() > 1)) return std::nullopt;
  }
  auto divisors = counts.open ? divisors_of_multiple(counts.before, counts.after)
                              : divisors_of_equality(counts.before, counts.after);
  if (!divisors && !counts.open) divisors = divisors_of_equality(counts.after, counts.before);
  if (!divisors || divisors->empty()) return std::nullopt;
  std::map<std::string, DimExpr, std::less<>> multiples;
  for (const auto& [name, divisor] : *divisors) {
    multiples[name] = DimExpr(divisor) * DimExpr::symbol(name);
  }
  const ElementCounts exact{counts.before.substitute(multiples), counts.after.substitute(multiples),
                            counts.open};
  return exact.fit() ? divisors : std::nullopt;
}

}  // namespace

// view and its like take as many elements as there are. Where sizes vary, that can be a demand on
// them: in x.view(b, n // 2, 2), n is even. What can be said by symbols that are multiples is said
// so, for all that comes to be known; for the rest, the sample points have to meet it.
void Importer::demand_as_many_elements(const c10::FunctionSchema& schema, const Stack& inputs) {
  static const std::set<std::string> kWhole = {"aten::view", "aten::reshape", "aten::_unsafe_view",
                                               "aten::view_copy"};
  const bool part = schema.name() == "aten::unflatten";
  if ((!part && !kWhole.contains(schema.name())) || symbols_.empty()) return;
  const c10::IValue& sizes = inputs[part ? 2 : 1];
  if (!sizes.isList()) return;
  const TensorInfo& t = info(inputs[0].toTensor());
  ElementCounts counts{1, 1};
  const int64_t rank = t.metas[0].dim();
  for (int64_t d = 0; d < rank; ++d) {
    const int64_t only = part ? inputs[1].toInt() : d;
    if (d == (only < 0 ? only + rank : only)) {
      counts.before *= dim_of(t, static_cast<size_t>(d)).expr;
    }
  }
  for (const c10::IValue& item : sizes.toListRef()) {
    const auto size = as_size(item);
    if (!size) return;
    if (size->expr.is_value(-1)) {
      counts.open = true;
    } else {
      counts.after *= size->expr;
    }
  }
  // Of sizes known only at run time PyTorch finds out when it makes the view.
  if (is_unbacked(counts.before) || is_unbacked(counts.after)) return;
  if ((counts.before.is_constant() && counts.after.is_constant()) || counts.fit()) return;
  if (auto divisors = divisors_for(counts, symbols_)) throw Divide(std::move(*divisors));
  const DimExpr none(0);
  const SizeCondition demand{
      SizeRelation::kEq, counts.open ? DimExpr::mod(counts.before, counts.after) : counts.before,
      counts.open ? none : counts.after, "a view holds all elements"};
  for (const SymbolValues& values : values_at_) {
    if (!demand.check(values).ok()) throw Resample(demand);
  }
}

// An expression over the candidates that has these values at the points that count; the simplest
// comes first.
std::optional<DimExpr> Importer::fit(const Points& at,
                                     const std::vector<SymbolicNumber::Size>& candidates,
                                     const std::vector<bool>& counts) const {
  auto holds = [&](auto&& value_at) {
    for (size_t point = 0; point < points_; ++point) {
      if (counts[point] && value_at(point) != at[point]) return false;
    }
    return true;
  };
  if (holds([&](size_t) { return at[0]; })) return at[0];
  for (const SymbolicNumber::Size& c : candidates) {
    if (holds([&](size_t point) { return c.at[point]; })) return c.expr;
  }
  // a * c + b: two points say which, the others whether.
  for (const SymbolicNumber::Size& c : candidates) {
    const int64_t run = c.at[1] - c.at[0], rise = at[1] - at[0];
    if (run == 0 || rise % run != 0) continue;
    const int64_t a = rise / run, b = at[0] - a * c.at[0];
    if (holds([&](size_t point) { return a * c.at[point] + b; })) {
      return DimExpr(a) * c.expr + DimExpr(b);
    }
  }
  for (size_t i = 0; i < candidates.size(); ++i) {
    for (size_t k = i; k < candidates.size(); ++k) {
      const SymbolicNumber::Size &x = candidates[i], &y = candidates[k];
      if (holds([&](size_t point) { return x.at[point] + y.at[point]; })) return x.expr + y.expr;
      int64_t factor = x.at[0] * y.at[0];
      factor = factor == 0 || at[0] % factor != 0 ? 0 : at[0] / factor;
      if (factor != 0 && holds([&](size_t point) { return factor * x.at[point] * y.at[point]; })) {
        return DimExpr(factor) * x.expr * y.expr;
      }
    }
  }
  return std::nullopt;
}

// Fills in the symbolic dims and strides of a result, whose metas are given. A size that no
// expression is found for gets a name of its own, for the builder to replace by what it infers.
void Importer::fit_shape(TensorInfo& result, const Stack& inputs) {
  const at::Tensor& first = result.metas[0];
  // Without data it has no elements, so the shapes of values() and indices() would be wrong.
  if (first.layout() != c10::kStrided) throw Stop(kSparse, kSparseHint);
  const bool same =
      std::all_of(result.metas.begin(), result.metas.end(), [&](const at::Tensor& meta) {
        return !meta.defined() ||
               (meta.sizes() == first.sizes() && meta.strides() == first.strides());
      });
  if (same) {
    result.metas.resize(1);
    return;
  }
  for (size_t point = 0; point < points_; ++point) {
    const at::Tensor& meta = result.metas[point];
    if (!meta.defined() || meta.dim() == first.dim()) continue;
    throw Stop("the rank of a result depends on sizes that vary: it is " +
                   std::to_string(first.dim()) + " for " + text_at(0) + ", but " +
                   std::to_string(meta.dim()) + " for " + text_at(point),
               "name the dims that are meant, as in squeeze(dim), or give ranges without such "
               "sizes");
  }
  std::vector<bool> counts(points_), few(points_);
  for (size_t point = 0; point < points_; ++point) {
    counts[point] = result.metas[point].defined();
    few[point] = point < kFitPoints;
  }
  const bool by_values = std::any_of(inputs.begin(), inputs.end(),
                                     [&](const c10::IValue& input) { return has_unbacked(input); });
  std::vector<SymbolicNumber::Size> candidates;
  auto add = [&](const SymbolicNumber::Size& size) {
    const bool known = std::any_of(candidates.begin(), candidates.end(),
                                   [&](const auto& c) { return c.expr == size.expr; });
    if (!known && !size.expr.is_constant()) candidates.push_back(size);
  };
  std::vector<int64_t> divisors = {2};
  std::function<void(const c10::IValue&)> add_numbers = [&](const c10::IValue& value) {
    if (const auto* size = symbolic_size(value)) add(*size);
    if (value.isInt() && value.toInt() > 2 && value.toInt() < 4096) {
      divisors.push_back(value.toInt());
    }
    if (value.isList()) {
      for (const c10::IValue& item : value.toListRef()) add_numbers(item);
    }
  };
  for (const c10::IValue& input : inputs) {
    add_numbers(input);
    for_each_tensor(input, [&](const at::Tensor& tensor) {
      const TensorInfo& t = info(tensor);
      for (size_t d = 0; d < t.dims.size(); ++d) add(dim_of(t, d));
      const DimExpr elements = num_elements(t.dims);
      add({elements, at_points(elements)});
    });
  }
  for (const auto& [name, at] : samples_) {
    if (!unbacked_.contains(name)) add({DimExpr::symbol(name), at});
  }
  auto values = [&](auto&& of) {
    Points at(points_);
    for (size_t point = 0; point < points_; ++point) {
      at[point] = of(result.metas[counts[point] ? point : 0]);
    }
    return at;
  };
  for (int64_t d = 0; d < first.dim(); ++d) {
    const Points at = values([&](const at::Tensor& m) { return m.size(d); });
    auto expr = fit(at, candidates, counts);
    for (size_t i = 0; !expr && i < candidates.size() * divisors.size(); ++i) {
      const DimExpr& whole = candidates[i / divisors.size()].expr;
      const int64_t n = divisors[i % divisors.size()];
      // Rounded down, up or, as in tensor_split(), in between.
      constexpr int64_t kMostParts = 8;
      std::vector<int64_t> shifts = {0, n - 1};
      for (int64_t shift = 1; shift < n - 1 && n <= kMostParts; ++shift) shifts.push_back(shift);
      for (size_t k = 0; !expr && k < shifts.size(); ++k) {
        const Points& whole_at = candidates[i / divisors.size()].at;
        bool agrees = true;
        for (size_t point = 0; agrees && point < points_; ++point) {
          const int64_t sum = whole_at[point] + shifts[k];
          agrees = !counts[point] || (sum >= 0 && sum / n == at[point]);
        }
        if (agrees) expr = DimExpr::floordiv(whole + DimExpr(shifts[k]), n);
      }
    }
    if (!expr && by_values) expr = add_unbacked(at, DimRange::kNoBound);
    if (!expr) {
      const std::string name = "unknown_" + std::to_string(next_unknown_++);
      add_symbol(name, at);
      unknown_[name] = "a size follows from sizes that vary in a way that is not known";
      if (const auto usual = fit(at, candidates, few)) {
        const Points usual_at = at_points(*usual);
        size_t point = kFitPoints;
        while (point < points_ && (!counts[point] || usual_at[point] == at[point])) ++point;
        if (point < points_) {
          unknown_[name] = "a size that varies follows no one rule: it is " + usual->to_string() +
                           " for most sizes, but " + std::to_string(at[point]) + " for " +
                           text_at(point);
        }
      }
      expr = DimExpr::symbol(name);
    }
    result.dims.push_back(*expr);
  }
  fit_strides(result, inputs);
}

// Of a dense tensor strides are products of sizes, in the order in which it lies in memory.
void Importer::fit_strides(TensorInfo& result, const Stack& inputs) {
  const at::Tensor& first = result.metas[0];
  const auto rank = static_cast<size_t>(first.dim());
  std::vector<size_t> order(rank);
  for (size_t d = 0; d < rank; ++d) order[d] = d;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return first.stride(static_cast<int64_t>(a)) > first.stride(static_cast<int64_t>(b));
  });
  std::vector<SymbolicNumber::Size> candidates;
  DimExpr product = 1;
  for (size_t i = rank; i-- > 0;) {
    candidates.push_back({product, at_points(product)});
    product *= result.dims[order[i]];
  }
  for (const c10::IValue& input : inputs) {
    for_each_tensor(input, [&](const at::Tensor& tensor) {
      const TensorInfo& t = info(tensor);
      for (const DimExpr& stride : t.strides) candidates.push_back({stride, at_points(stride)});
    });
  }
  result.strides.clear();
  for (size_t d = 0; d < rank; ++d) {
    Points at(points_);
    std::vector<bool> counts(points_);
    for (size_t point = 0; point < points_; ++point) {
      const at::Tensor& meta = result.metas[point];
      if (!meta.defined()) continue;
      at[point] = meta.stride(static_cast<int64_t>(d));
      // Beside one element, and where there is none, a stride says nothing.
      counts[point] =
          point < kFitPoints || (meta.numel() > 0 && meta.size(static_cast<int64_t>(d)) > 1);
    }
    auto expr = fit(at, candidates, counts);
    // Native code does not hold a tensor of unknown size: nothing asks for its strides.
    if (!expr && is_unbacked(num_elements(result.dims))) expr = DimExpr(at[0]);
    if (!expr) {
      throw Stop("the strides of a result depend on sizes that vary",
                 "give ranges without sizes of 0 and 1, or call contiguous()");
    }
    result.strides.push_back(*expr);
  }
}

// The sizes that the builder infers take the place of those that were fitted.
void Importer::adopt_inferred_shape(TensorInfo& result, const Stack& inputs) {
  if (result.dims.empty() || !describe(result).opaque.empty()) return;
  const CaptureMeta inferred = check(capture_.describe(result.handle));
  if (inferred.dims.size() == result.dims.size()) {
    for (size_t d = 0; d < result.dims.size(); ++d) {
      result.dims[d] = check(DimExpr::parse(inferred.dims[d]));
    }
  }
  for (size_t d = 0; d < result.dims.size(); ++d) {
    std::set<std::string> names;
    result.dims[d].collect_symbols(names);
    for (const std::string& name : names) {
      const auto unknown = unknown_.find(name);
      if (unknown == unknown_.end()) continue;
      throw Stop(unknown->second, "give ranges in which one rule holds");
    }
    const Points at = at_points(result.dims[d]);
    for (size_t point = 0; point < points_; ++point) {
      const at::Tensor& meta = result.metas[point];
      if (!meta.defined() || at[point] == meta.size(static_cast<int64_t>(d))) continue;
      throw Stop("a size differs from PyTorch's where sizes vary: " + result.dims[d].to_string() +
                     " is not " + std::to_string(meta.size(static_cast<int64_t>(d))) + " for " +
                     text_at(point),
                 "give ranges in which one rule holds");
    }
  }
  fit_strides(result, inputs);
}

// Where PyTorch was not asked, sizes are what was found to hold elsewhere.
void Importer::fill_metas(TensorInfo& result) const {
  for (size_t point = 0; point < result.metas.size(); ++point) {
    if (result.metas[point].defined()) continue;
    std::vector<int64_t> sizes, strides;
    for (const DimExpr& dim : result.dims) sizes.push_back(at_points(dim)[point]);
    for (const DimExpr& stride : result.strides) strides.push_back(at_points(stride)[point]);
    result.metas[point] = at::empty_strided(sizes, strides, result.metas[0].options());
  }
}

}  // namespace kiln::torchscript
