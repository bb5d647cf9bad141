#include "frontend/pt2/size_expr.h"

#include <algorithm>

namespace kiln::pt2 {
namespace {

constexpr size_t kMaxTerms = 256, kMaxFactors = 8;

Status inexpressible(const std::string& what) {
  return Status::error("K1141", "a size that cannot be expressed: " + what);
}

// Bounds saturate: beyond int64_t is "no bound".
int64_t clamp(__int128 value) {
  if (value <= Interval::kLow) return Interval::kLow;
  return value >= Interval::kHigh ? Interval::kHigh : static_cast<int64_t>(value);
}
bool is_bound(int64_t value) { return value != Interval::kLow && value != Interval::kHigh; }

int64_t add_bounds(int64_t a, int64_t b) {
  if (!is_bound(a)) return a;
  return is_bound(b) ? clamp(static_cast<__int128>(a) + b) : b;
}
int64_t multiply_bounds(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  if (is_bound(a) && is_bound(b)) return clamp(static_cast<__int128>(a) * b);
  return (a > 0) == (b > 0) ? Interval::kHigh : Interval::kLow;
}
Interval multiply_intervals(const Interval& a, const Interval& b) {
  const int64_t corners[] = {multiply_bounds(a.low, b.low), multiply_bounds(a.low, b.high),
                             multiply_bounds(a.high, b.low), multiply_bounds(a.high, b.high)};
  return {*std::min_element(corners, corners + 4), *std::max_element(corners, corners + 4)};
}

// Rounded towards minus infinity; b > 0.
int64_t floor_divide(int64_t a, int64_t b) { return a / b - ((a % b != 0 && a < 0) ? 1 : 0); }

}  // namespace

bool is_unbacked(std::string_view symbol) {
  return symbol.starts_with("u") || symbol.starts_with("zuf");
}

bool is_relation(const SizeNode& node) {
  static const char* const kRelations[] = {"eq", "ne", "lt", "le", "gt", "ge"};
  return node.kind == SizeNode::Kind::kCall && node.args.size() == 2 &&
         std::find(std::begin(kRelations), std::end(kRelations), node.name) != std::end(kRelations);
}

std::optional<int64_t> Polynomial::constant() const {
  if (terms_.empty()) return 0;
  if (terms_.size() == 1 && terms_.begin()->first.empty()) return terms_.begin()->second;
  return std::nullopt;
}

std::optional<Polynomial> Polynomial::exact_quotient(int64_t divisor) const {
  Polynomial result;
  for (const auto& [factors, coefficient] : terms_) {
    if (coefficient % divisor != 0) return std::nullopt;
    result.terms_[factors] = coefficient / divisor;
  }
  return result;
}

std::optional<Polynomial> add(const Polynomial& a, const Polynomial& b, int64_t scale) {
  Polynomial result = a;
  for (const auto& [factors, coefficient] : b.terms_) {
    int64_t scaled = 0;
    int64_t& sum = result.terms_[factors];
    if (__builtin_mul_overflow(coefficient, scale, &scaled) ||
        __builtin_add_overflow(sum, scaled, &sum)) {
      return std::nullopt;
    }
    if (sum == 0) result.terms_.erase(factors);
  }
  if (result.terms_.size() > kMaxTerms) return std::nullopt;
  return result;
}

std::optional<Polynomial> multiply(const Polynomial& a, const Polynomial& b) {
  if (a.terms_.size() * b.terms_.size() > kMaxTerms) return std::nullopt;
  Polynomial result;
  for (const auto& [left, x] : a.terms_) {
    for (const auto& [right, y] : b.terms_) {
      std::vector<std::string> factors;
      std::merge(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(factors));
      int64_t product = 0;
      if (factors.size() > kMaxFactors || __builtin_mul_overflow(x, y, &product)) {
        return std::nullopt;
      }
      int64_t& sum = result.terms_[factors];
      if (__builtin_add_overflow(sum, product, &sum)) return std::nullopt;
      if (sum == 0) result.terms_.erase(factors);
    }
  }
  return result;
}

std::string Polynomial::to_string() const {
  if (terms_.empty()) return "0";
  std::string text;
  const auto append = [&text](const std::vector<std::string>& factors, int64_t coefficient) {
    // As unsigned, so that the lowest number has a magnitude too.
    const uint64_t magnitude = coefficient < 0 ? 0 - static_cast<uint64_t>(coefficient)
                                               : static_cast<uint64_t>(coefficient);
    if (!text.empty()) {
      text += coefficient < 0 ? " - " : " + ";
    } else if (coefficient < 0) {
      text += "-";
    }
    if (magnitude != 1 || factors.empty()) text += std::to_string(magnitude);
    for (size_t i = 0; i < factors.size(); ++i) {
      if (i > 0 || magnitude != 1) text += "*";
      text += factors[i];
    }
  };
  // The constant, whose key sorts first, comes last.
  for (const auto& [factors, coefficient] : terms_) {
    if (!factors.empty()) append(factors, coefficient);
  }
  if (terms_.begin()->first.empty()) append({}, terms_.begin()->second);
  return text;
}

std::optional<Interval> Sizes::range_of(const std::string& symbol) const {
  const auto found = ranges_.find(symbol);
  if (found == ranges_.end()) return std::nullopt;
  return found->second;
}

std::set<std::string> Sizes::symbols_of(const Polynomial& polynomial) const {
  std::set<std::string> symbols;
  for (const auto& [factors, coefficient] : polynomial.terms()) {
    for (const std::string& factor : factors) {
      const auto atom = atoms_.find(factor);
      if (atom == atoms_.end()) {
        symbols.insert(factor);
      } else {
        symbols.insert(atom->second.symbols.begin(), atom->second.symbols.end());
      }
    }
  }
  return symbols;
}

std::optional<Interval> Sizes::bound(const Polynomial& polynomial) const {
  Interval sum{0, 0};
  for (const auto& [factors, coefficient] : polynomial.terms()) {
    Interval term{coefficient, coefficient};
    for (const std::string& factor : factors) {
      const auto atom = atoms_.find(factor);
      const auto range = atom == atoms_.end() ? range_of(factor) : atom->second.range;
      if (!range) return std::nullopt;
      term = multiply_intervals(term, *range);
    }
    sum = {add_bounds(sum.low, term.low), add_bounds(sum.high, term.high)};
  }
  return sum;
}

Result<Polynomial> Sizes::evaluate(std::string_view text) {
  KILN_ASSIGN_OR_RETURN(const SizeNode node, parse_size(text));
  auto result = evaluate(node);
  if (!result.ok()) return std::move(result).status().at(std::string(text.substr(0, 200)));
  return result;
}

Result<Polynomial> Sizes::evaluate(const SizeNode& node) {
  switch (node.kind) {
    case SizeNode::Kind::kInteger: return Polynomial(node.integer);
    case SizeNode::Kind::kNumber: return inexpressible(std::to_string(node.number));
    case SizeNode::Kind::kSymbol: {
      const auto found = fixed_.find(node.name);
      if (found != fixed_.end()) return Polynomial(found->second);
      return Polynomial::atom(node.name);
    }
    case SizeNode::Kind::kSource: {
      const Polynomial* size = source ? source(node.name, node.integer) : nullptr;
      if (size == nullptr) return inexpressible("size of " + node.name);
      return *size;
    }
    case SizeNode::Kind::kCall: return evaluate_call(node);
  }
  return inexpressible(node.name);
}

Result<Polynomial> Sizes::evaluate_call(const SizeNode& node) {
  const std::string& name = node.name;
  const size_t count = node.args.size();
  const auto too_large = [&name] { return inexpressible(name + " beyond the limits"); };
  if ((name == "add" || name == "mul") && count > 0) {
    KILN_ASSIGN_OR_RETURN(Polynomial result, evaluate(node.args[0]));
    for (size_t i = 1; i < count; ++i) {
      KILN_ASSIGN_OR_RETURN(const Polynomial next, evaluate(node.args[i]));
      auto joined = name == "add" ? add(result, next, 1) : multiply(result, next);
      if (!joined) return too_large();
      result = std::move(*joined);
    }
    return result;
  }
  if ((name == "min" || name == "max") && count > 0) return extreme(node, name == "max");
  if (name == "identity" && count == 1) return evaluate(node.args[0]);
  if ((name == "floor" || name == "ceil" || name == "trunc") && count == 1) {
    return round(node.args[0], name[0]);
  }
  if (name == "modular" && count == 3) {
    KILN_ASSIGN_OR_RETURN(const Polynomial a, evaluate(node.args[0]));
    KILN_ASSIGN_OR_RETURN(const Polynomial b, evaluate(node.args[1]));
    KILN_ASSIGN_OR_RETURN(const Polynomial c, evaluate(node.args[2]));
    KILN_ASSIGN_OR_RETURN(const Polynomial quotient, floordiv(a, b));
    return mod(quotient, c);
  }
  if (count != 2) return inexpressible(name);
  KILN_ASSIGN_OR_RETURN(const Polynomial a, evaluate(node.args[0]));
  KILN_ASSIGN_OR_RETURN(const Polynomial b, evaluate(node.args[1]));
  if (name == "sub") {
    auto difference = add(a, b, -1);
    if (!difference) return too_large();
    return std::move(*difference);
  }
  if (name == "floordiv") return floordiv(a, b);
  if (name == "mod") return mod(a, b);
  const auto number = b.constant();
  if (name == "ceildiv" && number && *number > 0) {
    auto raised = add(a, Polynomial(*number - 1), 1);
    if (!raised) return too_large();
    return floordiv(*raised, b);
  }
  if (name == "pow" && number && *number >= 0 && *number <= static_cast<int64_t>(kMaxFactors)) {
    Polynomial result(1);
    for (int64_t i = 0; i < *number; ++i) {
      auto product = multiply(result, a);
      if (!product) return too_large();
      result = std::move(*product);
    }
    return result;
  }
  return inexpressible(name);
}

// Of a true quotient of integers; towards 'f'loor, 'c'eil or 't'runc (zero).
Result<Polynomial> Sizes::round(const SizeNode& node, char towards) {
  if (node.kind != SizeNode::Kind::kCall || node.name != "truediv" || node.args.size() != 2) {
    // Rounding what is an integer already.
    return evaluate(node);
  }
  KILN_ASSIGN_OR_RETURN(Polynomial a, evaluate(node.args[0]));
  KILN_ASSIGN_OR_RETURN(const Polynomial b, evaluate(node.args[1]));
  const auto number = b.constant();
  if (towards == 'c') {
    if (!number || *number <= 0) return inexpressible("ceil of a quotient");
    auto raised = add(a, Polynomial(*number - 1), 1);
    if (!raised) return inexpressible("ceil beyond the limits");
    a = std::move(*raised);
  } else if (towards == 't') {
    const auto numerator = bound(a), denominator = bound(b);
    if (!numerator || !denominator || numerator->low < 0 || denominator->low <= 0) {
      return inexpressible("trunc of a quotient that may be negative");
    }
  }
  return floordiv(a, b);
}

Polynomial Sizes::make_atom(const char* function, const Polynomial& a, const Polynomial& b,
                            std::optional<Interval> range) {
  std::string text = std::string(function) + "(" + a.to_string() + ", " + b.to_string() + ")";
  Atom atom{range, symbols_of(a)};
  atom.symbols.merge(symbols_of(b));
  atoms_.insert_or_assign(text, std::move(atom));
  return Polynomial::atom(std::move(text));
}

Result<Polynomial> Sizes::floordiv(const Polynomial& a, const Polynomial& b) {
  const auto x = a.constant(), y = b.constant();
  if (y && *y == 0) return inexpressible("division by zero");
  if (y && *y == 1) return a;
  if (x && y && *y > 0) return Polynomial(floor_divide(*x, *y));
  if (y && *y > 0) {
    if (auto quotient = a.exact_quotient(*y)) return std::move(*quotient);
  }
  std::optional<Interval> range;
  if (const auto above = bound(a), below = bound(b); above && below && below->low > 0) {
    range = Interval{};
    if (is_bound(above->low)) {
      range->low = floor_divide(above->low, above->low < 0 ? below->low : below->high);
    }
    if (is_bound(above->high)) {
      range->high = floor_divide(above->high, above->high < 0 ? below->high : below->low);
    }
  }
  return make_atom("floordiv", a, b, range);
}

Result<Polynomial> Sizes::mod(const Polynomial& a, const Polynomial& b) {
  const auto x = a.constant(), y = b.constant();
  if (y && *y == 0) return inexpressible("division by zero");
  if (y && *y == 1) return Polynomial(0);
  if (y && *y > 0) {
    if (x) return Polynomial(*x - floor_divide(*x, *y) * *y);
    const auto& terms = a.terms();
    const bool divides = std::all_of(terms.begin(), terms.end(),
                                     [&y](const auto& term) { return term.second % *y == 0; });
    if (divides) return Polynomial(0);
  }
  std::optional<Interval> range;
  if (const auto below = bound(b); below && below->low > 0) {
    range = Interval{0, is_bound(below->high) ? below->high - 1 : Interval::kHigh};
  }
  return make_atom("mod", a, b, range);
}

Result<Polynomial> Sizes::extreme(const SizeNode& node, bool maximum) {
  std::vector<Polynomial> parts;
  for (const SizeNode& argument : node.args) {
    KILN_ASSIGN_OR_RETURN(Polynomial part, evaluate(argument));
    parts.push_back(std::move(part));
  }
  std::sort(parts.begin(), parts.end(),
            [](const Polynomial& a, const Polynomial& b) { return a.to_string() < b.to_string(); });
  Polynomial result = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    const Polynomial& next = parts[i];
    const auto difference = add(next, result, -1);
    const auto gap = difference ? bound(*difference) : std::nullopt;
    if (gap && (gap->low >= 0 || gap->high <= 0)) {
      if ((gap->low >= 0) == maximum) result = next;
      continue;
    }
    std::optional<Interval> range;
    if (const auto a = bound(result), b = bound(next); a && b) {
      range = maximum ? Interval{std::max(a->low, b->low), std::max(a->high, b->high)}
                      : Interval{std::min(a->low, b->low), std::min(a->high, b->high)};
    }
    result = make_atom(maximum ? "max" : "min", result, next, range);
  }
  return result;
}

Result<Truth> Sizes::decide(const SizeNode& node) {
  const auto refuse = [] { return Status::error("K1141", "not a condition on sizes"); };
  if (node.kind != SizeNode::Kind::kCall) return refuse();
  const std::string& name = node.name;
  const auto truth = [](bool yes, bool no) {
    return yes ? Truth::kTrue : no ? Truth::kFalse : Truth::kOpen;
  };
  if (node.args.empty()) {
    if (name != "true" && name != "false") return refuse();
    return truth(name == "true", true);
  }
  if (name == "not" && node.args.size() == 1) {
    KILN_ASSIGN_OR_RETURN(const Truth inner, decide(node.args[0]));
    return truth(inner == Truth::kFalse, inner == Truth::kTrue);
  }
  if (name == "and" || name == "or") {
    // `or` is false, and `and` true, until a part says otherwise.
    const Truth decisive = name == "or" ? Truth::kTrue : Truth::kFalse;
    bool open = false, found = false;
    for (const SizeNode& argument : node.args) {
      KILN_ASSIGN_OR_RETURN(const Truth part, decide(argument));
      found = found || part == decisive;
      open = open || part == Truth::kOpen;
    }
    if (found) return decisive;
    return open ? Truth::kOpen : truth(decisive == Truth::kFalse, true);
  }
  if (!is_relation(node)) return refuse();
  KILN_ASSIGN_OR_RETURN(const Polynomial left, evaluate(node.args[0]));
  KILN_ASSIGN_OR_RETURN(const Polynomial right, evaluate(node.args[1]));
  // The bounds of left - right; a difference beyond the limits may be anything.
  Interval d;
  if (const auto difference = add(left, right, -1)) d = bound(*difference).value_or(Interval{});
  const bool equal = d.low == 0 && d.high == 0, differ = d.low > 0 || d.high < 0;
  if (name == "eq") return truth(equal, differ);
  if (name == "ne") return truth(differ, equal);
  if (name == "lt") return truth(d.high < 0, d.low >= 0);
  if (name == "le") return truth(d.high <= 0, d.low > 0);
  if (name == "gt") return truth(d.low > 0, d.high <= 0);
  return truth(d.low >= 0, d.high < 0);
}

}  // namespace kiln::pt2
