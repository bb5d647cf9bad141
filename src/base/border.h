// The library's border: nothing is thrown across it.
#pragma once

#include <new>

#include "base/check.h"
#include "base/status.h"

namespace kiln {

// Runs `body`, which returns a Status or a Result; internal errors and lack of memory become
// statuses (K9001, K4501).
template <typename F>
auto guarded(F&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const InternalError& error) {
    return Status::error("K9001", error.what(), "this is a bug in kiln");
  } catch (const std::bad_alloc&) {
    return Status::error("K4501", "out of memory");
  }
}

}  // namespace kiln
