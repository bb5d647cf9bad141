// Symbolic sizes: integer polynomials over named symbols, with floordiv, mod, min and max as atoms.
//
// A DimExpr is an immutable value in canonical form (a sum of monomials sorted by their text), so
// equality is structural. Arithmetic on expressions cannot fail; evaluation is overflow-checked,
// because expressions also come from files.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kiln {

using SymbolValues = std::map<std::string, int64_t, std::less<>>;

// Closed interval of the values a symbol may take; kNoBound is "no upper bound known".
struct DimRange {
  static constexpr int64_t kNoBound = std::numeric_limits<int64_t>::max();
  int64_t min = 0;
  int64_t max = kNoBound;
  bool operator==(const DimRange&) const = default;
};
using SymbolRanges = std::map<std::string, DimRange, std::less<>>;

class DimExpr {
 public:
  DimExpr() = default;                          // 0
  DimExpr(int64_t value) : constant_(value) {}  // NOLINT(google-explicit-constructor)
  static DimExpr symbol(std::string name);

  friend DimExpr operator+(const DimExpr& a, const DimExpr& b);
  friend DimExpr operator-(const DimExpr& a, const DimExpr& b);
  friend DimExpr operator*(const DimExpr& a, const DimExpr& b);
  DimExpr operator-() const { return DimExpr(0) - *this; }
  DimExpr& operator+=(const DimExpr& other) { return *this = *this + other; }
  DimExpr& operator*=(const DimExpr& other) { return *this = *this * other; }
  // Rounds towards minus infinity; mod has the divisor's sign (Python's // and %).
  static DimExpr floordiv(const DimExpr& a, const DimExpr& b);
  static DimExpr mod(const DimExpr& a, const DimExpr& b);
  static DimExpr min(const DimExpr& a, const DimExpr& b);
  static DimExpr max(const DimExpr& a, const DimExpr& b);
  // a / b where b divides a for every value of the symbols; nullopt-like: empty when not provable.
  static bool divide_exactly(const DimExpr& a, const DimExpr& b, DimExpr* quotient);

  bool is_constant() const { return terms_ == nullptr; }
  int64_t value() const;  // precondition: is_constant()
  bool is_value(int64_t n) const { return terms_ == nullptr && constant_ == n; }
  bool is_symbol() const;                  // a lone symbol
  const std::string& symbol_name() const;  // precondition: is_symbol()
  void collect_symbols(std::set<std::string>& out) const;

  bool operator==(const DimExpr& other) const;
  bool operator<(const DimExpr& other) const { return to_string() < other.to_string(); }

  // "2*s0*s1 + floordiv(s0, 8) - 3"; parse() accepts exactly this grammar (any spacing).
  std::string to_string() const;
  static Result<DimExpr> parse(std::string_view text);

  // K2101 when a symbol has no value, on division by zero or on overflow.
  Result<int64_t> evaluate(const SymbolValues& values) const;
  // Sound bounds by interval arithmetic; unknown symbols count as [0, no bound].
  DimRange range(const SymbolRanges& ranges) const;
  // Replaces symbols by expressions.
  DimExpr substitute(const std::map<std::string, DimExpr, std::less<>>& replacements) const;

  // What an expression is made of: constant_part() + sum of coefficient * product of factors.
  struct Atom;
  struct Term {
    int64_t coefficient = 0;
    std::vector<std::shared_ptr<const Atom>> factors;  // sorted by text; repeated for powers
    std::string key;                                   // text of the factors
  };
  int64_t constant_part() const { return constant_; }
  const std::vector<Term>* terms() const { return terms_.get(); }  // null: constant

 private:
  static DimExpr from_terms(std::vector<Term> terms, int64_t constant);
  static DimExpr from_atom(std::shared_ptr<const Atom> atom);
  friend class DimParser;

  int64_t constant_ = 0;
  std::shared_ptr<const std::vector<Term>> terms_;  // null: constant; sorted by key, no zeros
};

enum class AtomKind : uint8_t { kSymbol, kFloorDiv, kMod, kMin, kMax };

struct DimExpr::Atom {
  AtomKind kind = AtomKind::kSymbol;
  std::string text;  // canonical; for a symbol its name
  DimExpr a, b;      // arguments of the functions
};

using Shape = std::vector<DimExpr>;

// Product of the dims; 1 for rank 0.
DimExpr num_elements(const Shape& shape);
// "64" for a constant, "?s0" for a symbol, "?(s0 + 1)" otherwise.
std::string dim_to_text(const DimExpr& dim);
Result<std::vector<int64_t>> evaluate(const std::vector<DimExpr>& exprs,
                                      const SymbolValues& values);

}  // namespace kiln
