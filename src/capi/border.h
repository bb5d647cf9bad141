// The C border: what fails becomes a kiln_error, and no exception passes.
#pragma once

#include <string>

#include <kiln/c_api.h>
#include <kiln/status.h>

struct kiln_error {
  kiln::Status status;
  std::string text;  // of all of it
};

namespace kiln::capi {

// Null for an OK status. Without memory for the error itself, one that is always there.
kiln_error* to_error(Status status) noexcept;
// Call in a catch clause.
kiln_error* error_of_current_exception() noexcept;

// Runs `body`, which returns a Status.
template <typename F>
kiln_error* at_border(F&& body) noexcept {
  try {
    return to_error(body());
  } catch (...) {
    return error_of_current_exception();
  }
}

}  // namespace kiln::capi
