#include "core/dim.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/check.h"

namespace kiln {

namespace {

const char* function_name(AtomKind kind) {
  switch (kind) {
    case AtomKind::kFloorDiv: return "floordiv";
    case AtomKind::kMod: return "mod";
    case AtomKind::kMin: return "min";
    case AtomKind::kMax: return "max";
    case AtomKind::kSymbol: break;
  }
  return "";
}

int64_t floor_div(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? quotient - 1 : quotient;
}

int64_t wrapping(uint64_t value) { return static_cast<int64_t>(value); }

std::string key_of(const std::vector<std::shared_ptr<const DimExpr::Atom>>& factors) {
  std::string key;
  for (size_t i = 0; i < factors.size(); ++i) {
    if (i != 0) key += "*";
    key += factors[i]->text;
  }
  return key;
}

}  // namespace

int64_t DimExpr::value() const {
  KILN_CHECK(is_constant());
  return constant_;
}

DimExpr DimExpr::from_terms(std::vector<Term> terms, int64_t constant) {
  std::sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) { return a.key < b.key; });
  std::vector<Term> merged;
  for (Term& term : terms) {
    if (!merged.empty() && merged.back().key == term.key) {
      merged.back().coefficient = wrapping(static_cast<uint64_t>(merged.back().coefficient) +
                                           static_cast<uint64_t>(term.coefficient));
    } else {
      if (!merged.empty() && merged.back().coefficient == 0) merged.pop_back();
      merged.push_back(std::move(term));
    }
  }
  if (!merged.empty() && merged.back().coefficient == 0) merged.pop_back();
  DimExpr result(constant);
  if (!merged.empty()) result.terms_ = std::make_shared<const std::vector<Term>>(std::move(merged));
  return result;
}

DimExpr DimExpr::from_atom(std::shared_ptr<const Atom> atom) {
  Term term;
  term.coefficient = 1;
  term.key = atom->text;
  term.factors.push_back(std::move(atom));
  std::vector<Term> terms;
  terms.push_back(std::move(term));
  return from_terms(std::move(terms), 0);
}

DimExpr DimExpr::symbol(std::string name) {
  auto atom = std::make_shared<Atom>();
  atom->text = std::move(name);
  return from_atom(std::move(atom));
}

bool DimExpr::is_symbol() const {
  return terms_ != nullptr && constant_ == 0 && terms_->size() == 1 &&
         (*terms_)[0].coefficient == 1 && (*terms_)[0].factors.size() == 1 &&
         (*terms_)[0].factors[0]->kind == AtomKind::kSymbol;
}

const std::string& DimExpr::symbol_name() const {
  KILN_CHECK(is_symbol());
  return (*terms_)[0].factors[0]->text;
}

bool DimExpr::operator==(const DimExpr& other) const {
  if (constant_ != other.constant_) return false;
  if (terms_ == other.terms_) return true;
  if (terms_ == nullptr || other.terms_ == nullptr) return false;
  if (terms_->size() != other.terms_->size()) return false;
  for (size_t i = 0; i < terms_->size(); ++i) {
    if ((*terms_)[i].coefficient != (*other.terms_)[i].coefficient) return false;
    if ((*terms_)[i].key != (*other.terms_)[i].key) return false;
  }
  return true;
}

DimExpr operator+(const DimExpr& a, const DimExpr& b) {
  const int64_t constant =
      wrapping(static_cast<uint64_t>(a.constant_) + static_cast<uint64_t>(b.constant_));
  if (a.is_constant() && b.is_constant()) return DimExpr(constant);
  std::vector<DimExpr::Term> terms;
  if (a.terms_) terms = *a.terms_;
  if (b.terms_) terms.insert(terms.end(), b.terms_->begin(), b.terms_->end());
  return DimExpr::from_terms(std::move(terms), constant);
}

DimExpr operator-(const DimExpr& a, const DimExpr& b) { return a + DimExpr(-1) * b; }

DimExpr operator*(const DimExpr& a, const DimExpr& b) {
  auto multiply = [](int64_t x, int64_t y) {
    return wrapping(static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
  };
  const int64_t constant = multiply(a.constant_, b.constant_);
  if (a.is_constant() && b.is_constant()) return DimExpr(constant);
  static const std::vector<DimExpr::Term> kNone;
  const auto& a_terms = a.terms_ ? *a.terms_ : kNone;
  const auto& b_terms = b.terms_ ? *b.terms_ : kNone;
  std::vector<DimExpr::Term> terms;
  for (const auto& x : a_terms) {
    for (const auto& y : b_terms) {
      DimExpr::Term term;
      term.coefficient = multiply(x.coefficient, y.coefficient);
      term.factors = x.factors;
      term.factors.insert(term.factors.end(), y.factors.begin(), y.factors.end());
      std::sort(term.factors.begin(), term.factors.end(),
                [](const auto& p, const auto& q) { return p->text < q->text; });
      term.key = key_of(term.factors);
      terms.push_back(std::move(term));
    }
  }
  for (const auto& x : a_terms) {
    terms.push_back(x);
    terms.back().coefficient = multiply(x.coefficient, b.constant_);
  }
  for (const auto& y : b_terms) {
    terms.push_back(y);
    terms.back().coefficient = multiply(y.coefficient, a.constant_);
  }
  return DimExpr::from_terms(std::move(terms), constant);
}

bool DimExpr::divide_exactly(const DimExpr& a, const DimExpr& b, DimExpr* quotient) {
  if (a.is_value(0)) {
    *quotient = 0;
    return true;
  }
  if (b.is_constant()) {
    const int64_t divisor = b.constant_;
    if (divisor == 0 || a.constant_ % divisor != 0) return false;
    std::vector<Term> terms;
    if (a.terms_) {
      for (const Term& term : *a.terms_) {
        if (term.coefficient % divisor != 0) return false;
        terms.push_back(term);
        terms.back().coefficient /= divisor;
      }
    }
    *quotient = from_terms(std::move(terms), a.constant_ / divisor);
    return true;
  }
  if (a == b) {
    *quotient = 1;
    return true;
  }
  // Only a single monomial divides term by term.
  if (b.constant_ != 0 || b.terms_->size() != 1 || a.is_constant() || a.constant_ != 0)
    return false;
  const Term& divisor = (*b.terms_)[0];
  std::vector<Term> terms;
  int64_t constant = 0;
  for (const Term& term : *a.terms_) {
    if (term.coefficient % divisor.coefficient != 0) return false;
    Term result;
    result.coefficient = term.coefficient / divisor.coefficient;
    result.factors = term.factors;
    for (const auto& factor : divisor.factors) {
      auto found = std::find_if(result.factors.begin(), result.factors.end(),
                                [&](const auto& f) { return f->text == factor->text; });
      if (found == result.factors.end()) return false;
      result.factors.erase(found);
    }
    if (result.factors.empty()) {
      constant += result.coefficient;
      continue;
    }
    result.key = key_of(result.factors);
    terms.push_back(std::move(result));
  }
  *quotient = from_terms(std::move(terms), constant);
  return true;
}

namespace {

template <typename AtomT>
std::shared_ptr<AtomT> make_function(AtomKind kind, const DimExpr& a, const DimExpr& b) {
  auto atom = std::make_shared<AtomT>();
  atom->kind = kind;
  atom->a = a;
  atom->b = b;
  atom->text = std::string(function_name(kind)) + "(" + a.to_string() + ", " + b.to_string() + ")";
  return atom;
}

}  // namespace

DimExpr DimExpr::floordiv(const DimExpr& a, const DimExpr& b) {
  if (a.is_constant() && b.is_constant() && b.constant_ != 0) {
    return DimExpr(floor_div(a.constant_, b.constant_));
  }
  DimExpr quotient;
  if (!b.is_value(0) && divide_exactly(a, b, &quotient)) return quotient;
  return from_atom(make_function<Atom>(AtomKind::kFloorDiv, a, b));
}

DimExpr DimExpr::mod(const DimExpr& a, const DimExpr& b) {
  if (a.is_constant() && b.is_constant() && b.constant_ != 0) {
    return DimExpr(a.constant_ - floor_div(a.constant_, b.constant_) * b.constant_);
  }
  DimExpr quotient;
  if (!b.is_value(0) && divide_exactly(a, b, &quotient)) return DimExpr(0);
  return from_atom(make_function<Atom>(AtomKind::kMod, a, b));
}

DimExpr DimExpr::min(const DimExpr& a, const DimExpr& b) {
  const DimExpr difference = a - b;
  if (difference.is_constant()) return difference.constant_ <= 0 ? a : b;
  const bool swap = b.to_string() < a.to_string();
  return from_atom(make_function<Atom>(AtomKind::kMin, swap ? b : a, swap ? a : b));
}

DimExpr DimExpr::max(const DimExpr& a, const DimExpr& b) {
  const DimExpr difference = a - b;
  if (difference.is_constant()) return difference.constant_ >= 0 ? a : b;
  const bool swap = b.to_string() < a.to_string();
  return from_atom(make_function<Atom>(AtomKind::kMax, swap ? b : a, swap ? a : b));
}

void DimExpr::collect_symbols(std::set<std::string>& out) const {
  if (!terms_) return;
  for (const Term& term : *terms_) {
    for (const auto& factor : term.factors) {
      if (factor->kind == AtomKind::kSymbol) {
        out.insert(factor->text);
      } else {
        factor->a.collect_symbols(out);
        factor->b.collect_symbols(out);
      }
    }
  }
}

std::string DimExpr::to_string() const {
  if (!terms_) return std::to_string(constant_);
  std::string text;
  for (const Term& term : *terms_) {
    const bool negative = term.coefficient < 0;
    if (text.empty()) {
      if (negative) text += "-";
    } else {
      text += negative ? " - " : " + ";
    }
    const uint64_t magnitude = negative ? 0 - static_cast<uint64_t>(term.coefficient)
                                        : static_cast<uint64_t>(term.coefficient);
    if (magnitude != 1) text += std::to_string(magnitude) + "*";
    text += term.key;
  }
  if (constant_ > 0) text += " + " + std::to_string(constant_);
  if (constant_ < 0) text += " - " + std::to_string(0 - static_cast<uint64_t>(constant_));
  return text;
}

// Recursive descent over sums, products, parentheses and the four functions.
class DimParser {
 public:
  explicit DimParser(std::string_view text) : text_(text) {}

  Result<DimExpr> parse() {
    DimExpr result;
    if (!sum(result, 0) || (skip_space(), position_ != text_.size())) {
      return Status::error("K2102", "size expression does not parse: '" + std::string(text_) + "'");
    }
    return result;
  }

 private:
  static constexpr int kMaxDepth = 64;
  static constexpr int kMaxTerms = 4096;

  void skip_space() {
    while (position_ < text_.size() && text_[position_] == ' ') ++position_;
  }
  bool accept(char c) {
    skip_space();
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  bool sum(DimExpr& out, int depth) {
    if (depth > kMaxDepth) return false;
    const bool negative = accept('-');
    if (!product(out, depth)) return false;
    if (negative) out = -out;
    while (true) {
      const bool plus = accept('+');
      if (!plus && !accept('-')) return true;
      DimExpr next;
      if (!product(next, depth)) return false;
      out = plus ? out + next : out - next;
    }
  }

  bool product(DimExpr& out, int depth) {
    if (!primary(out, depth)) return false;
    while (accept('*')) {
      DimExpr next;
      if (!primary(next, depth)) return false;
      out = out * next;
      if (++terms_ > kMaxTerms || (out.terms_ && out.terms_->size() > kMaxTerms)) return false;
    }
    return true;
  }

  bool primary(DimExpr& out, int depth) {
    skip_space();
    if (position_ >= text_.size()) return false;
    if (accept('(')) return sum(out, depth + 1) && accept(')');
    const char c = text_[position_];
    if (std::isdigit(static_cast<unsigned char>(c))) {
      int64_t value = 0;
      const char* begin = text_.data() + position_;
      auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error != std::errc()) return false;
      position_ += static_cast<size_t>(end - begin);
      out = value;
      return true;
    }
    const size_t begin = position_;
    while (
        position_ < text_.size() &&
        (std::isalnum(static_cast<unsigned char>(text_[position_])) || text_[position_] == '_')) {
      ++position_;
    }
    if (begin == position_) return false;
    std::string name(text_.substr(begin, position_ - begin));
    if (!accept('(')) {
      out = DimExpr::symbol(std::move(name));
      return true;
    }
    DimExpr a, b;
    if (!sum(a, depth + 1) || !accept(',') || !sum(b, depth + 1) || !accept(')')) return false;
    if (name == "floordiv")
      out = DimExpr::floordiv(a, b);
    else if (name == "mod")
      out = DimExpr::mod(a, b);
    else if (name == "min")
      out = DimExpr::min(a, b);
    else if (name == "max")
      out = DimExpr::max(a, b);
    else
      return false;
    return true;
  }

  std::string_view text_;
  size_t position_ = 0;
  int terms_ = 0;
};

Result<DimExpr> DimExpr::parse(std::string_view text) { return DimParser(text).parse(); }

Result<int64_t> DimExpr::evaluate(const SymbolValues& values) const {
  if (!terms_) return constant_;
  auto overflow = [this] {
    return Status::error("K2101", "size expression overflows 64 bits: " + to_string());
  };
  int64_t total = constant_;
  for (const Term& term : *terms_) {
    int64_t product = term.coefficient;
    for (const auto& factor : term.factors) {
      int64_t value = 0;
      if (factor->kind == AtomKind::kSymbol) {
        auto found = values.find(factor->text);
        if (found == values.end()) {
          return Status::error("K2101", "size symbol has no value: " + factor->text);
        }
        value = found->second;
      } else {
        KILN_ASSIGN_OR_RETURN(const int64_t a, factor->a.evaluate(values));
        KILN_ASSIGN_OR_RETURN(const int64_t b, factor->b.evaluate(values));
        switch (factor->kind) {
          case AtomKind::kMin: value = std::min(a, b); break;
          case AtomKind::kMax: value = std::max(a, b); break;
          default:
            if (b == 0) {
              return Status::error("K2101", "size expression divides by zero: " + to_string());
            }
            if (b == -1) {
              if (a == std::numeric_limits<int64_t>::min()) return overflow();
              value = factor->kind == AtomKind::kFloorDiv ? -a : 0;
            } else {
              value =
                  factor->kind == AtomKind::kFloorDiv ? floor_div(a, b) : a - floor_div(a, b) * b;
            }
        }
      }
      if (__builtin_mul_overflow(product, value, &product)) return overflow();
    }
    if (__builtin_add_overflow(total, product, &total)) return overflow();
  }
  return total;
}

namespace {

// Interval arithmetic on extended integers: kNoBound / -kNoBound stand for infinities.
struct Interval {
  int64_t lo, hi;
};
constexpr int64_t kInf = DimRange::kNoBound;

int64_t saturate(__int128 v) {
  if (v >= kInf) return kInf;
  if (v <= -static_cast<__int128>(kInf)) return -kInf;
  return static_cast<int64_t>(v);
}

int64_t ext_add(int64_t a, int64_t b) {
  if (a == kInf || b == kInf) return kInf;
  if (a == -kInf || b == -kInf) return -kInf;
  return saturate(static_cast<__int128>(a) + b);
}

int64_t ext_mul(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  return saturate(static_cast<__int128>(a) * b);
}

Interval multiply(Interval x, Interval y) {
  const int64_t p[] = {ext_mul(x.lo, y.lo), ext_mul(x.lo, y.hi), ext_mul(x.hi, y.lo),
                       ext_mul(x.hi, y.hi)};
  return {*std::min_element(p, p + 4), *std::max_element(p, p + 4)};
}

}  // namespace

DimRange DimExpr::range(const SymbolRanges& ranges) const {
  Interval total{constant_, constant_};
  if (terms_) {
    for (const Term& term : *terms_) {
      Interval product{term.coefficient, term.coefficient};
      for (const auto& factor : term.factors) {
        Interval value{0, kInf};
        if (factor->kind == AtomKind::kSymbol) {
          if (auto found = ranges.find(factor->text); found != ranges.end()) {
            value = {found->second.min, found->second.max};
          }
        } else {
          const DimRange a = factor->a.range(ranges);
          const DimRange b = factor->b.range(ranges);
          switch (factor->kind) {
            case AtomKind::kMin: value = {std::min(a.min, b.min), std::min(a.max, b.max)}; break;
            case AtomKind::kMax: value = {std::max(a.min, b.min), std::max(a.max, b.max)}; break;
            case AtomKind::kFloorDiv:
              if (b.min >= 1) {
                // x // y is monotone in x, and y only shrinks the magnitude.
                auto div = [](int64_t p, int64_t q) {
                  if (p == kInf || p == -kInf) return q == kInf ? int64_t{0} : p;
                  return q == kInf ? (p < 0 ? int64_t{-1} : int64_t{0}) : floor_div(p, q);
                };
                const int64_t c[] = {div(a.min, b.min), div(a.min, b.max), div(a.max, b.min),
                                     div(a.max, b.max)};
                value = {*std::min_element(c, c + 4), *std::max_element(c, c + 4)};
              } else {
                value = {-kInf, kInf};
              }
              break;
            case AtomKind::kMod:
              value = b.min >= 1 ? Interval{0, b.max == kInf ? kInf : b.max - 1}
                                 : Interval{-kInf, kInf};
              break;
            case AtomKind::kSymbol: break;
          }
        }
        product = multiply(product, value);
      }
      total = {ext_add(total.lo, product.lo), ext_add(total.hi, product.hi)};
    }
  }
  return {total.lo, total.hi};
}

DimExpr DimExpr::substitute(const std::map<std::string, DimExpr, std::less<>>& replacements) const {
  if (!terms_) return *this;
  DimExpr total(constant_);
  for (const Term& term : *terms_) {
    DimExpr product(term.coefficient);
    for (const auto& factor : term.factors) {
      if (factor->kind == AtomKind::kSymbol) {
        auto found = replacements.find(factor->text);
        product = product * (found == replacements.end() ? from_atom(factor) : found->second);
        continue;
      }
      const DimExpr a = factor->a.substitute(replacements);
      const DimExpr b = factor->b.substitute(replacements);
      switch (factor->kind) {
        case AtomKind::kFloorDiv: product = product * floordiv(a, b); break;
        case AtomKind::kMod: product = product * mod(a, b); break;
        case AtomKind::kMin: product = product * min(a, b); break;
        case AtomKind::kMax: product = product * max(a, b); break;
        case AtomKind::kSymbol: break;
      }
    }
    total = total + product;
  }
  return total;
}

DimExpr num_elements(const Shape& shape) {
  DimExpr total = 1;
  for (const DimExpr& dim : shape) total *= dim;
  return total;
}

std::string dim_to_text(const DimExpr& dim) {
  if (dim.is_constant()) return dim.to_string();
  return dim.is_symbol() ? "?" + dim.to_string() : "?(" + dim.to_string() + ")";
}

Result<std::vector<int64_t>> evaluate(const std::vector<DimExpr>& exprs,
                                      const SymbolValues& values) {
  std::vector<int64_t> result;
  result.reserve(exprs.size());
  for (const DimExpr& expr : exprs) {
    KILN_ASSIGN_OR_RETURN(const int64_t value, expr.evaluate(values));
    result.push_back(value);
  }
  return result;
}

}  // namespace kiln
