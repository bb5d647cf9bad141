// The messages of exceptions that torch throws.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>

namespace kiln {

// What the exception says, without the stack of calls that torch adds to its own.
inline std::string text_of(const std::exception& error) {
  const auto* known = dynamic_cast<const c10::Error*>(&error);
  return known != nullptr ? known->what_without_backtrace() : error.what();
}

}  // namespace kiln
