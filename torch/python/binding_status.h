// What the bindings do with statuses.
#pragma once

#include <nanobind/nanobind.h>

#include <new>
#include <utility>

#include <kiln/status.h>

#include "base/check.h"
#include "torch/python/native_program.h"

namespace kiln {

// Thrown inside bindings, with Python's error already set.
inline void raise(const Status& status) {
  set_python_error(status);
  throw nanobind::python_error();
}

inline void check(const Status& status) {
  if (!status.ok()) raise(status);
}

template <typename T>
T check(Result<T> result) {
  if (!result.ok()) raise(result.status());
  return std::move(result).value();
}

// Runs the body without the GIL; internal errors become Python's.
template <typename F>
auto compute(F&& body) -> decltype(body()) {
  try {
    nanobind::gil_scoped_release release;
    return body();
  } catch (const InternalError& error) {
    return Status::error("K9001", error.what(), "this is a bug in kiln");
  } catch (const std::bad_alloc&) {
    return Status::error("K4501", "out of memory");
  }
}

}  // namespace kiln
