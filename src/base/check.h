// KILN_CHECK*: states what can only be false by a bug in Kiln. A failed check throws InternalError,
// which the borders (C ABI, Python, CLI) turn into an error; Kiln never aborts, because it lives
// inside somebody's process.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace kiln {

class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void check_failed(const char* file, int line, const char* expression,
                               const std::string& values);

template <typename A, typename B>
[[noreturn]] void check_op_failed(const char* file, int line, const char* expression, const A& a,
                                  const B& b) {
  std::ostringstream values;
  values << a << " vs " << b;
  check_failed(file, line, expression, values.str());
}

}  // namespace kiln

#define KILN_CHECK(condition) KILN_CHECK_MSG(condition, "")
#define KILN_CHECK_MSG(condition, message)                             \
  do {                                                                 \
    if (!(condition)) [[unlikely]]                                     \
      ::kiln::check_failed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
#define KILN_CHECK_OP(a, op, b)                                                         \
  do {                                                                                  \
    const auto& kiln_a_ = (a);                                                          \
    const auto& kiln_b_ = (b);                                                          \
    if (!(kiln_a_ op kiln_b_)) [[unlikely]]                                             \
      ::kiln::check_op_failed(__FILE__, __LINE__, #a " " #op " " #b, kiln_a_, kiln_b_); \
  } while (false)
#define KILN_CHECK_EQ(a, b) KILN_CHECK_OP(a, ==, b)
#define KILN_CHECK_NE(a, b) KILN_CHECK_OP(a, !=, b)
#define KILN_CHECK_LT(a, b) KILN_CHECK_OP(a, <, b)
#define KILN_CHECK_LE(a, b) KILN_CHECK_OP(a, <=, b)
#define KILN_CHECK_GT(a, b) KILN_CHECK_OP(a, >, b)
#define KILN_CHECK_GE(a, b) KILN_CHECK_OP(a, >=, b)
