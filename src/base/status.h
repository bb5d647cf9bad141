// Status and Result<T> (kiln/status.h) with the macros that pass them on.
#pragma once

#include <kiln/status.h>

#define KILN_CONCAT_INNER(a, b) a##b
#define KILN_CONCAT(a, b) KILN_CONCAT_INNER(a, b)

// Returns the Status of `expr` from the enclosing function if it is an error.
#define KILN_RETURN_IF_ERROR(expr)                                                     \
  do {                                                                                 \
    if (::kiln::Status kiln_status_ = (expr); !kiln_status_.ok()) return kiln_status_; \
  } while (false)

// KILN_ASSIGN_OR_RETURN(auto x, compute()): declares x from a Result or returns its Status.
#define KILN_ASSIGN_OR_RETURN(lhs, expr) \
  KILN_ASSIGN_OR_RETURN_IMPL(KILN_CONCAT(kiln_result_, __LINE__), lhs, expr)
#define KILN_ASSIGN_OR_RETURN_IMPL(result, lhs, expr)  \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = std::move(result).value()
