// Sizes as torch.export writes them, turned into the text that CaptureBuilder takes.
//
// The text is sympy's, in either of its forms ("2*s0 + 1" and "Add(Mul(Integer(2), Symbol('s0',
// integer=True)), Integer(1))"), or a guard over sources ("L['x'].size()[0] % 2 == 0"). It is
// parsed with limits, and evaluated to an integer polynomial whose atoms are symbols, floordiv,
// mod, min and max, and to bounds by interval arithmetic.
//
// Errors: K1141 text that does not parse, or is no such polynomial.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kiln::pt2 {

// A parsed expression.
struct SizeNode {
  enum class Kind { kInteger, kNumber, kSymbol, kSource, kCall };
  Kind kind = Kind::kInteger;
  int64_t integer = 0;  // also the dim of a kSource; -1: it is a number itself
  double number = 0;
  std::string name;            // of a symbol; "L['x']" of a source; "add", "eq", ... of a call
  std::vector<SizeNode> args;  // of a call
};
Result<SizeNode> parse_size(std::string_view text);
// A call of "eq", "ne", "lt", "le", "gt" or "ge".
bool is_relation(const SizeNode& node);

// Closed; the limits of int64_t stand for "no bound".
struct Interval {
  static constexpr int64_t kLow = std::numeric_limits<int64_t>::min();
  static constexpr int64_t kHigh = std::numeric_limits<int64_t>::max();
  int64_t low = kLow, high = kHigh;
};

// A sum of monomials: factors (texts of atoms, sorted, repeated for powers) -> coefficient.
class Polynomial {
 public:
  using Terms = std::map<std::vector<std::string>, int64_t>;

  Polynomial() = default;
  Polynomial(int64_t value) {  // NOLINT(google-explicit-constructor)
    if (value != 0) terms_[{}] = value;
  }
  static Polynomial atom(std::string text) {
    Polynomial result;
    result.terms_[{std::move(text)}] = 1;
    return result;
  }
  const Terms& terms() const { return terms_; }
  std::optional<int64_t> constant() const;
  // Nothing where a coefficient is no multiple of `divisor`, which is positive.
  std::optional<Polynomial> exact_quotient(int64_t divisor) const;
  std::string to_string() const;
  bool operator==(const Polynomial&) const = default;

  // Nothing on overflow or beyond the limits of size.
  friend std::optional<Polynomial> add(const Polynomial& a, const Polynomial& b, int64_t scale);
  friend std::optional<Polynomial> multiply(const Polynomial& a, const Polynomial& b);

 private:
  Terms terms_;
};

enum class Truth { kFalse, kTrue, kOpen };

// What is known of the symbols, and evaluation by it.
class Sizes {
 public:
  // Bounds as the program states them; a symbol without any is not proved anything about.
  void set_range(const std::string& symbol, Interval range) { ranges_[symbol] = range; }
  std::optional<Interval> range_of(const std::string& symbol) const;
  // From now on `symbol` is this number.
  void fix(const std::string& symbol, int64_t value) { fixed_[symbol] = value; }

  // The size behind a kSource, or the number for dim -1; null when there is none.
  std::function<const Polynomial*(const std::string& source, int64_t dim)> source;

  Result<Polynomial> evaluate(const SizeNode& node);
  Result<Polynomial> evaluate(std::string_view text);
  // What the ranges prove of a condition on sizes. K1141 when it is none.
  Result<Truth> decide(const SizeNode& node);

  // Symbols of the polynomial, those inside of atoms too, sorted.
  std::set<std::string> symbols_of(const Polynomial& polynomial) const;

 private:
  struct Atom {
    std::optional<Interval> range;
    std::set<std::string> symbols;
  };
  std::optional<Interval> bound(const Polynomial& polynomial) const;
  Result<Polynomial> evaluate_call(const SizeNode& node);
  Result<Polynomial> round(const SizeNode& node, char towards);
  Polynomial make_atom(const char* function, const Polynomial& a, const Polynomial& b,
                       std::optional<Interval> range);
  Result<Polynomial> floordiv(const Polynomial& a, const Polynomial& b);
  Result<Polynomial> mod(const Polynomial& a, const Polynomial& b);
  Result<Polynomial> extreme(const SizeNode& node, bool maximum);

  std::map<std::string, Interval> ranges_;
  std::map<std::string, int64_t> fixed_;
  std::map<std::string, Atom> atoms_;  // by text
};

// A size that only running the program reveals.
bool is_unbacked(std::string_view symbol);

}  // namespace kiln::pt2
