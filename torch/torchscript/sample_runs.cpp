#include "torch/torchscript/sample_runs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <variant>

#include "torch/torchscript/values.h"

namespace kiln::torchscript {
namespace {

// Elements of the largest inputs that a program is run on for the ends of ranges.
constexpr double kMaxSampleElements = 1 << 24;

using Leaves = std::vector<c10::IValue>;

// The leaves of lists, tuples and dicts, in order, and how they are nested.
void flatten(const c10::IValue& value, Leaves& leaves, std::ostream& structure) {
  if (value.isList()) {
    structure << "[";
    for (const c10::IValue& item : value.toListRef()) flatten(item, leaves, structure);
    structure << "]";
  } else if (value.isTuple()) {
    structure << "(";
    for (const c10::IValue& item : value.toTupleRef().elements()) flatten(item, leaves, structure);
    structure << ")";
  } else if (value.isGenericDict()) {
    structure << "{";
    for (const auto& entry : value.toGenericDict()) {
      structure << entry.key() << ":";
      flatten(entry.value(), leaves, structure);
    }
    structure << "}";
  } else {
    structure << "*";
    leaves.push_back(value);
  }
}

Leaves leaves_of(const std::vector<c10::IValue>& call, std::string& structure) {
  Leaves leaves;
  std::ostringstream text;
  for (const c10::IValue& value : call) flatten(value, leaves, text);
  structure = text.str();
  return leaves;
}

// The value with others in place of its leaves.
c10::IValue map_leaves(const c10::IValue& value,
                       const std::function<c10::IValue(const c10::IValue&)>& f) {
  if (value.isList()) {
    c10::impl::GenericList list(value.toList().elementType());
    for (const c10::IValue& item : value.toListRef()) list.push_back(map_leaves(item, f));
    return list;
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> items;
    for (const c10::IValue& item : value.toTupleRef().elements()) {
      items.push_back(map_leaves(item, f));
    }
    const auto type = value.toTupleRef().type();
    return type->name() ? c10::ivalue::Tuple::createNamed(std::move(items), type)
                        : c10::ivalue::Tuple::create(std::move(items));
  }
  if (value.isGenericDict()) {
    const auto given = value.toGenericDict();
    c10::impl::GenericDict dict(given.keyType(), given.valueType());
    for (const auto& entry : given) dict.insert(entry.key(), map_leaves(entry.value(), f));
    return dict;
  }
  return f(value);
}

// Neither None nor a number.
bool is_given(const c10::IValue& leaf) { return leaf.isTensor() && leaf.toTensor().defined(); }

// ---- the runs

const std::vector<CaptureDim>* dims_of(const at::Tensor& tensor, const Arguments& arguments) {
  for (const auto& [given, dims] : arguments.dims) {
    if (given.is_same(tensor)) return &dims;
  }
  return nullptr;
}

// The tensor cut to a shape or repeated: values stay in the domain that they are from.
at::Tensor resized(at::Tensor tensor, const std::vector<int64_t>& shape) {
  if (tensor.numel() == 0) return at::zeros(shape, tensor.options());
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    const int64_t size = shape[static_cast<size_t>(d)];
    if (size == tensor.size(d)) continue;
    const at::Tensor index =
        at::arange(size, at::TensorOptions(at::kLong).device(tensor.device())) % tensor.size(d);
    tensor = tensor.index_select(d, index);
  }
  return tensor;
}

// A tensor of the same shape that masks and the like find other elements in.
at::Tensor other_values(const at::Tensor& tensor) {
  if (tensor.is_nested() || tensor.layout() != c10::kStrided || tensor.is_quantized()) {
    return tensor;
  }
  std::vector<int64_t> all(static_cast<size_t>(tensor.dim()));
  for (size_t d = 0; d < all.size(); ++d) all[d] = static_cast<int64_t>(d);
  const at::Tensor turned = tensor.flip(all);
  return tensor.is_floating_point() ? turned * -0.5 : turned;
}

// What the symbols are in the example arguments.
SymbolValues example_sizes(const Arguments& arguments) {
  SymbolValues sizes;
  for (const auto& [tensor, dims] : arguments.dims) {
    for (size_t d = 0; d < dims.size(); ++d) {
      if (arguments.symbols.contains(dims[d])) {
        sizes[dims[d]] = tensor.size(static_cast<int64_t>(d));
      }
    }
  }
  return sizes;
}

int64_t size_at(const CaptureDim& dim, const SymbolValues& sizes) {
  return check(check(DimExpr::parse(dim)).evaluate(sizes));
}

// Whether the program can be run at these sizes at a reasonable cost.
bool is_within_reach(const Arguments& arguments, const SymbolValues& sizes) {
  double total = 0;
  for (const auto& [tensor, dims] : arguments.dims) {
    double elements = 1;
    for (const CaptureDim& dim : dims) elements *= static_cast<double>(size_at(dim, sizes));
    total += elements;
  }
  return total <= kMaxSampleElements;
}

// Sizes for the symbols: the ends of the ranges, and some inside that vary one by one.
std::vector<SymbolValues> sample_sizes(const Arguments& arguments) {
  const SymbolValues example = example_sizes(arguments);
  std::vector<SymbolValues> points(2);
  for (const auto& [name, range] : arguments.symbols) {
    points[0][name] = range.min;
    points[1][name] = range.max;
  }
  if (!is_within_reach(arguments, points[1])) points.pop_back();
  for (int64_t step = 1; step <= 3; ++step) {
    SymbolValues& point = points.emplace_back();
    int64_t i = 0;
    for (const auto& [name, range] : arguments.symbols) {
      point[name] = std::min(range.min + 2 * step + i * (step + 1) + i * i, range.max);
      ++i;
    }
  }
  std::vector<SymbolValues> distinct;
  for (SymbolValues& point : points) {
    if (point != example && std::find(distinct.begin(), distinct.end(), point) == distinct.end()) {
      distinct.push_back(std::move(point));
    }
  }
  return distinct;
}

// ---- sizes of a part

// `factor` times the product of symbols plus `offset`.
struct ScaledSize {
  std::vector<std::string> symbols;
  int64_t factor = 1, offset = 0;

  DimExpr expr() const {
    DimExpr product(factor);
    for (const std::string& name : symbols) product *= DimExpr::symbol(name);
    return product + DimExpr(offset);
  }
  std::array<int, 3> complexity() const {
    return {static_cast<int>(symbols.size()), factor != 1, offset != 0};
  }
};

// A constant, how it follows from the symbols, or a range of its own.
using PartSize = std::variant<int64_t, ScaledSize, DimRange>;

std::vector<std::vector<std::string>> products_of(const SymbolRanges& symbols) {
  std::vector<std::vector<std::string>> products;
  for (const auto& [name, range] : symbols) products.push_back({name});
  for (auto a = symbols.begin(); a != symbols.end(); ++a) {
    for (auto b = a; b != symbols.end(); ++b) products.push_back({a->first, b->first});
  }
  return products;
}

// How a size follows from the symbols; the simplest of what agrees with all runs.
std::optional<ScaledSize> fitted_size(const std::vector<int64_t>& values,
                                      const std::vector<SymbolValues>& points,
                                      const SymbolRanges& symbols) {
  std::optional<ScaledSize> best;
  for (const std::vector<std::string>& product : products_of(symbols)) {
    std::vector<int64_t> at;
    for (const SymbolValues& point : points) {
      at.push_back(1);
      for (const std::string& name : product) at.back() *= point.at(name);
    }
    const auto other = std::find_if(at.begin(), at.end(), [&](int64_t v) { return v != at[0]; });
    if (other == at.end()) continue;
    const int64_t step = *other - at[0];
    const int64_t change = values[static_cast<size_t>(other - at.begin())] - values[0];
    if (change % step != 0) continue;
    const int64_t factor = change / step;
    const ScaledSize size{product, factor, values[0] - factor * at[0]};
    bool fits = true;
    for (size_t i = 0; fits && i < at.size(); ++i) fits = factor * at[i] + size.offset == values[i];
    if (fits && (!best || size.complexity() < best->complexity())) best = size;
  }
  return best;
}

PartSize size_over(const std::vector<int64_t>& values, const std::vector<SymbolValues>& points,
                   const SymbolRanges& symbols) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  if (*min == *max) return *min;
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const bool by_values = points[i] == points[j] && values[i] != values[j];
      if (by_values) return DimRange{0, DimRange::kNoBound};
    }
  }
  if (auto size = fitted_size(values, points, symbols)) return *size;
  const bool at_end = std::all_of(symbols.begin(), symbols.end(), [&](const auto& symbol) {
    return std::any_of(points.begin(), points.end(), [&](const SymbolValues& point) {
      return point.at(symbol.first) == symbol.second.max;
    });
  });
  return DimRange{*min, at_end ? *max : DimRange::kNoBound};
}

// Gives the sizes of a part their texts. A symbol of the program's that is the size of some dim is
// one of the part's; what follows from others gets a symbol of its own, the same for the same size.
class SizeNames {
 public:
  SizeNames(const SymbolRanges& ranges, const std::vector<std::vector<PartSize>>& sizes)
      : ranges_(ranges) {
    for (const std::vector<PartSize>& dims : sizes) {
      for (const PartSize& dim : dims) {
        const auto* size = std::get_if<ScaledSize>(&dim);
        if (size != nullptr && size->complexity() == std::array<int, 3>{1, 0, 0}) {
          known_.insert(size->symbols[0]);
        }
      }
    }
  }

  CaptureDim text(const PartSize& dim, const std::string& place) {
    if (const auto* constant = std::get_if<int64_t>(&dim)) return std::to_string(*constant);
    const auto* size = std::get_if<ScaledSize>(&dim);
    if (size != nullptr && std::all_of(size->symbols.begin(), size->symbols.end(),
                                       [&](const auto& name) { return known_.contains(name); })) {
      for (const std::string& name : size->symbols) symbols[name] = ranges_.at(name);
      return size->expr().to_string();
    }
    const std::string key = size != nullptr ? size->expr().to_string() : place;
    const std::string name =
        names_.try_emplace(key, "p" + std::to_string(names_.size())).first->second;
    DimRange range = size != nullptr ? size->expr().range(ranges_) : std::get<DimRange>(dim);
    range.min = std::max<int64_t>(range.min, 0);
    symbols[name] = range;
    return name;
  }

  SymbolRanges symbols;  // that the texts name

 private:
  const SymbolRanges& ranges_;
  std::set<std::string> known_;
  std::map<std::string, std::string> names_;  // by size or place
};

bool same_number(const c10::IValue& a, const c10::IValue& b) {
  const bool none = a.isTensor() && b.isTensor();  // undefined: None for an argument of type Tensor
  return a.tagKind() == b.tagKind() && (none || a == b);
}

// Whether two calls agree in all but the elements of tensors.
bool same_shapes(const Leaves& a, const Leaves& b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(), [](const c10::IValue& x, const c10::IValue& y) {
        if (is_given(x) != is_given(y)) return false;
        if (!is_given(x)) return same_number(x, y);
        return x.toTensor().scalar_type() == y.toTensor().scalar_type() &&
               x.toTensor().sizes() == y.toTensor().sizes();
      });
}

}  // namespace

Result<SampleRuns> SampleRuns::of(const Callee& callee, const Arguments& arguments) {
  SampleRuns result;
  result.symbols_ = arguments.symbols;
  const SymbolValues example = example_sizes(arguments);
  KILN_ASSIGN_OR_RETURN(ModuleCalls first, record_calls(callee, arguments));
  result.runs_.push_back({example, std::move(first)});
  const auto run = [&](const SymbolValues& sizes, bool other) {
    Arguments given = arguments;
    for (c10::IValue& value : given.values) {
      value = map_leaves(value, [&](const c10::IValue& leaf) -> c10::IValue {
        if (!is_given(leaf)) return leaf;
        at::Tensor made = leaf.toTensor();
        const std::vector<CaptureDim>* dims = dims_of(made, arguments);
        if (dims != nullptr) {
          std::vector<int64_t> shape;
          for (const CaptureDim& dim : *dims) shape.push_back(size_at(dim, sizes));
          made = resized(made, shape);
        }
        return other ? other_values(made) : made;
      });
    }
    if (auto calls = record_calls(callee, given); calls.ok()) {
      result.runs_.push_back({sizes, std::move(calls).value()});
    }
  };
  run(example, true);
  for (const SymbolValues& sizes : sample_sizes(arguments)) {
    run(sizes, false);
    run(sizes, true);
  }
  return result;
}

bool SampleRuns::calls(const std::string& path) const {
  return std::any_of(runs_.begin(), runs_.end(),
                     [&](const Run& run) { return run.calls.contains(path); });
}

std::optional<Arguments> SampleRuns::arguments_of(const std::string& path,
                                                  std::string& why_not) const {
  const auto refuse = [&](const char* why) {
    why_not = why;
    return std::nullopt;
  };
  const std::vector<c10::IValue>* example = nullptr;
  std::string structure;
  std::vector<Leaves> calls;  // the first one of each run
  std::vector<SymbolValues> points;
  for (const Run& run : runs_) {
    const auto found = run.calls.find(path);
    if (found == run.calls.end()) continue;
    std::optional<Leaves> first;
    for (const auto& call : found->second) {
      if (!call) return refuse("is called inside an autocast region");
      if (example == nullptr) {
        example = &*call;
        leaves_of(*example, structure);
      }
      std::string own;
      Leaves leaves = leaves_of(*call, own);
      for (const c10::IValue& leaf : leaves) {
        if (is_given(leaf) && leaf.toTensor().is_nested()) {
          return refuse("is called with a nested tensor");
        }
      }
      if (first && !same_shapes(leaves, *first)) {
        return refuse("is called with arguments of several shapes");
      }
      if (own != structure) return refuse("is called with arguments of several structures");
      if (!first) first = std::move(leaves);
    }
    calls.push_back(*std::move(first));
    points.push_back(run.sizes);
  }
  std::vector<std::vector<PartSize>> sizes(calls[0].size());  // of each leaf
  for (size_t i = 0; i < sizes.size(); ++i) {
    const c10::IValue& leaf = calls[0][i];
    for (const Leaves& call : calls) {
      if (is_given(leaf) != is_given(call[i]) || (!is_given(leaf) && !same_number(leaf, call[i]))) {
        return refuse(is_given(leaf) || is_given(call[i])
                          ? "is called with tensors of several dtypes or ranks"
                          : "is called with numbers that vary");
      }
      if (is_given(leaf) && (leaf.toTensor().scalar_type() != call[i].toTensor().scalar_type() ||
                             leaf.toTensor().dim() != call[i].toTensor().dim())) {
        return refuse("is called with tensors of several dtypes or ranks");
      }
    }
    for (int64_t d = 0; is_given(leaf) && d < leaf.toTensor().dim(); ++d) {
      std::vector<int64_t> values;
      for (const Leaves& call : calls) values.push_back(call[i].toTensor().size(d));
      sizes[i].push_back(size_over(values, points, symbols_));
    }
  }
  SizeNames names(symbols_, sizes);
  Arguments arguments;
  arguments.positional = example->size();
  size_t next = 0;
  // A tensor that is given twice may be two, of two sizes, at another call.
  const auto describe = [&](const c10::IValue& leaf) -> c10::IValue {
    const size_t index = next++;
    if (!is_given(leaf)) return leaf;
    at::Tensor tensor = leaf.toTensor().detach();
    const bool fixed = std::all_of(sizes[index].begin(), sizes[index].end(), [](const auto& dim) {
      return std::holds_alternative<int64_t>(dim);
    });
    if (!fixed) {
      std::vector<CaptureDim> texts;
      for (const PartSize& dim : sizes[index]) {
        texts.push_back(
            names.text(dim, std::to_string(index) + "." + std::to_string(texts.size())));
      }
      arguments.dims.emplace_back(tensor, std::move(texts));
    }
    return tensor;
  };
  for (const c10::IValue& value : *example) arguments.values.push_back(map_leaves(value, describe));
  arguments.symbols = names.symbols;
  return arguments;
}

}  // namespace kiln::torchscript
