#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "frontend/pt2/size_expr.h"

namespace kiln::pt2 {
namespace {

constexpr size_t kMaxText = 1 << 16;
constexpr int kMaxDepth = 64;
constexpr int kMaxNodes = 4096;

// The names under which sympy and torch print one function.
const char* canonical(std::string_view name) {
  static constexpr std::array<std::array<const char*, 2>, 38> kNames = {{
      {"Add", "add"},
      {"Mul", "mul"},
      {"Pow", "pow"},
      {"PowByNatural", "pow"},
      {"FloorDiv", "floordiv"},
      {"CleanDiv", "floordiv"},
      {"Mod", "mod"},
      {"PythonMod", "mod"},
      {"Min", "min"},
      {"Max", "max"},
      {"min", "min"},
      {"max", "max"},
      {"CeilDiv", "ceildiv"},
      {"ModularIndexing", "modular"},
      {"Identity", "identity"},
      {"IntTrueDiv", "truediv"},
      {"FloatTrueDiv", "truediv"},
      {"FloorToInt", "floor"},
      {"floor", "floor"},
      {"CeilToInt", "ceil"},
      {"ceiling", "ceil"},
      {"TruncToInt", "trunc"},
      {"Trunc", "trunc"},
      {"Eq", "eq"},
      {"Equality", "eq"},
      {"Ne", "ne"},
      {"Unequality", "ne"},
      {"Lt", "lt"},
      {"StrictLessThan", "lt"},
      {"Le", "le"},
      {"LessThan", "le"},
      {"Gt", "gt"},
      {"StrictGreaterThan", "gt"},
      {"Ge", "ge"},
      {"GreaterThan", "ge"},
      {"And", "and"},
      {"Or", "or"},
      {"Not", "not"},
  }};
  for (const auto& [from, to] : kNames) {
    if (name == from) return to;
  }
  return nullptr;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  bool parse(SizeNode& node) {
    if (text_.size() > kMaxText || !disjunction(node)) return false;
    skip();
    return at_ == text_.size();
  }

 private:
  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool accept(std::string_view token) {
    skip();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  bool accept_word(std::string_view word) {
    skip();
    if (!text_.substr(at_).starts_with(word)) return false;
    const size_t end = at_ + word.size();
    if (end < text_.size() && (std::isalnum(byte(end)) != 0 || text_[end] == '_')) return false;
    at_ = end;
    return true;
  }
  unsigned char byte(size_t i) const { return static_cast<unsigned char>(text_[i]); }

  static void wrap(SizeNode& node, const char* name, SizeNode right) {
    SizeNode call;
    call.kind = SizeNode::Kind::kCall;
    call.name = name;
    call.args.push_back(std::move(node));
    call.args.push_back(std::move(right));
    node = std::move(call);
  }
  bool count() { return ++nodes_ <= kMaxNodes; }

  // `left` operator `right` ...: each a function of the next level.
  bool disjunction(SizeNode& node) {
    if (depth_ >= kMaxDepth) return false;
    ++depth_;
    bool good = conjunction(node);
    while (good && (accept_word("or") || accept("|"))) {
      SizeNode right;
      good = count() && conjunction(right);
      wrap(node, "or", std::move(right));
    }
    --depth_;
    return good;
  }
  bool conjunction(SizeNode& node) {
    if (!negation(node)) return false;
    while (accept_word("and") || accept("&")) {
      SizeNode right;
      if (!count() || !negation(right)) return false;
      wrap(node, "and", std::move(right));
    }
    return true;
  }
  bool negation(SizeNode& node) {
    if (!accept_word("not") && !accept("~")) return comparison(node);
    SizeNode inner;
    // One level of negation is all that is ever printed.
    if (!count() || !comparison(inner)) return false;
    node.kind = SizeNode::Kind::kCall;
    node.name = "not";
    node.args.push_back(std::move(inner));
    return true;
  }
  bool comparison(SizeNode& node) {
    static constexpr std::array<std::array<const char*, 2>, 6> kRelations = {
        {{"==", "eq"}, {"!=", "ne"}, {"<=", "le"}, {">=", "ge"}, {"<", "lt"}, {">", "gt"}}};
    if (!sum(node)) return false;
    for (const auto& [token, name] : kRelations) {
      if (!accept(token)) continue;
      SizeNode right;
      if (!count() || !sum(right)) return false;
      wrap(node, name, std::move(right));
      return true;
    }
    return true;
  }
  bool sum(SizeNode& node) {
    if (!product(node)) return false;
    while (true) {
      const bool plus = accept("+");
      if (!plus && !accept("-")) return true;
      SizeNode right;
      if (!count() || !product(right)) return false;
      wrap(node, plus ? "add" : "sub", std::move(right));
    }
  }
  bool product(SizeNode& node) {
    if (!unary(node)) return false;
    while (true) {
      const char* name = accept("//")  ? "floordiv"
                         : accept("/") ? "truediv"
                         : accept("%") ? "mod"
                         : accept("*") ? "mul"
                                       : nullptr;
      if (name == nullptr) return true;
      SizeNode right;
      if (!count() || !unary(right)) return false;
      wrap(node, name, std::move(right));
    }
  }
  bool unary(SizeNode& node) {
    bool negative = false;
    while (accept("-")) negative = !negative;
    if (!power(node)) return false;
    if (!negative) return true;
    if (node.kind == SizeNode::Kind::kInteger) {
      node.integer = -node.integer;  // never the lowest: integers are parsed without a sign
    } else {
      SizeNode minus_one;
      minus_one.integer = -1;
      wrap(node, "mul", std::move(minus_one));
    }
    return true;
  }
  bool power(SizeNode& node) {
    if (!primary(node)) return false;
    skip();
    if (!accept("**")) return true;
    SizeNode exponent;
    if (!count() || !primary(exponent)) return false;
    wrap(node, "pow", std::move(exponent));
    return true;
  }

  bool primary(SizeNode& node) {
    skip();
    if (!count() || at_ >= text_.size()) return false;
    if (accept("(")) return disjunction(node) && accept(")");
    if (std::isdigit(byte(at_)) != 0) return numeral(node);
    const std::string_view name = identifier();
    if (name.empty()) return false;
    if (name == "L" && at_ < text_.size() && text_[at_] == '[') return source(node);
    if (!accept("(")) return plain_name(node, name);
    if (name == "Symbol" || name == "Integer" || name == "Float" || name == "Dummy") {
      return literal(node, name);
    }
    const char* function = canonical(name);
    node.kind = SizeNode::Kind::kCall;
    // A function that has no meaning here is refused when its value is asked for, by its name.
    node.name = function != nullptr ? function : std::string(name);
    while (!accept(")")) {
      if (!node.args.empty() && !accept(",")) return false;
      if (keyword()) continue;
      SizeNode argument;
      if (!disjunction(argument)) return false;
      node.args.push_back(std::move(argument));
    }
    return true;
  }
  bool numeral(SizeNode& node) {
    const size_t begin = at_;
    while (at_ < text_.size() && std::isdigit(byte(at_)) != 0) ++at_;
    const bool fraction = at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e');
    if (!fraction) {
      const char* end = text_.data() + at_;
      return std::from_chars(text_.data() + begin, end, node.integer).ec == std::errc();
    }
    node.kind = SizeNode::Kind::kNumber;
    const char* last = text_.data() + text_.size();
    const auto [end, error] = std::from_chars(text_.data() + begin, last, node.number);
    at_ = static_cast<size_t>(end - text_.data());
    return error == std::errc();
  }
  // The last part of a dotted name.
  std::string_view identifier() {
    size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isalnum(byte(at_)) != 0 || text_[at_] == '_' || text_[at_] == '.')) {
      if (text_[at_] == '.') begin = at_ + 1;
      ++at_;
    }
    return text_.substr(begin, at_ - begin);
  }
  static bool plain_name(SizeNode& node, std::string_view name) {
    if (name == "True" || name == "true") {
      node.kind = SizeNode::Kind::kCall;
      node.name = "true";
    } else if (name == "False" || name == "false") {
      node.kind = SizeNode::Kind::kCall;
      node.name = "false";
    } else {
      node.kind = SizeNode::Kind::kSymbol;
      node.name = name;
    }
    return true;
  }
  bool quoted(std::string_view& value) {
    skip();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) return false;
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) return false;
    value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return true;
  }
  // "positive=True" of a symbol and "evaluate=False" say nothing about the value.
  bool keyword() {
    const size_t begin = at_;
    skip();
    const std::string_view name = identifier();
    if (!name.empty() && accept("=") && (at_ >= text_.size() || text_[at_] != '=')) {
      skip();
      if (!identifier().empty()) return true;
    }
    at_ = begin;
    return false;
  }
  // Symbol('s0', integer=True), Integer(-2), Float('0.5', precision=53), after the parenthesis.
  bool literal(SizeNode& node, std::string_view type) {
    if (type == "Integer")
      return unary(node) && node.kind == SizeNode::Kind::kInteger && accept(")");
    std::string_view value;
    if (!quoted(value)) return false;
    while (accept(",")) {
      if (!keyword()) return false;
    }
    if (!accept(")")) return false;
    if (type == "Float") {
      node.kind = SizeNode::Kind::kNumber;
      return std::from_chars(value.data(), value.data() + value.size(), node.number).ec ==
             std::errc();
    }
    for (const char c : value) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') return false;
    }
    node.kind = SizeNode::Kind::kSymbol;
    node.name = value;
    return !value.empty();
  }
  // L['x']['k'].size()[0] or, of a number, L['n'], after the L.
  bool source(SizeNode& node) {
    constexpr std::string_view kSize = ".size()[";
    const size_t begin = at_ - 1;
    node.kind = SizeNode::Kind::kSource;
    node.integer = -1;
    while (at_ < text_.size() && !text_.substr(at_).starts_with(kSize)) {
      if (text_[at_] == '[') {
        // A quoted key may hold brackets.
        const bool key = at_ + 1 < text_.size() && text_[at_ + 1] == '\'';
        const size_t end = text_.find(key ? "']" : "]", at_ + 1);
        if (end == std::string_view::npos) return false;
        at_ = end + (key ? 2 : 1);
      } else if (text_[at_] == '.') {
        ++at_;
        if (!member()) return false;
      } else {
        break;
      }
    }
    node.name = text_.substr(begin, at_ - begin);
    if (!text_.substr(at_).starts_with(kSize)) return true;
    at_ += kSize.size();
    SizeNode dim;
    if (at_ >= text_.size() || std::isdigit(byte(at_)) == 0 || !numeral(dim) ||
        dim.kind != SizeNode::Kind::kInteger) {
      return false;
    }
    node.integer = dim.integer;
    return accept("]");
  }
  bool member() {
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(byte(at_)) != 0 || text_[at_] == '_')) ++at_;
    return at_ > begin;
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0, nodes_ = 0;
};

}  // namespace

Result<SizeNode> parse_size(std::string_view text) {
  SizeNode node;
  if (!Parser(text).parse(node)) {
    return Status::error("K1141",
                         "a size expression does not parse: " + std::string(text.substr(0, 200)));
  }
  return node;
}

}  // namespace kiln::pt2
