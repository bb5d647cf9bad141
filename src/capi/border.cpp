#include "capi/border.h"

#include <new>

#include "base/check.h"

namespace kiln::capi {
namespace {

kiln_error* make_error(Status status) {
  std::string text = status.to_string();
  return new kiln_error{std::move(status), std::move(text)};
}

// Made when the library is loaded and never freed: there may be no memory to make it later.
kiln_error* const kOutOfMemory = make_error(Status::error("K4501", "out of memory"));

}  // namespace

kiln_error* to_error(Status status) noexcept {
  if (status.ok()) return nullptr;
  try {
    return make_error(std::move(status));
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  }
}

kiln_error* error_of_current_exception() noexcept {
  try {
    try {
      throw;
    } catch (const InternalError& error) {
      return make_error(Status::error("K9001", error.what(), "this is a bug in kiln"));
    } catch (const std::bad_alloc&) {
      return kOutOfMemory;
    } catch (const std::exception& error) {
      return make_error(
          Status::error("K9002", std::string("unforeseen exception: ") + error.what()));
    } catch (...) {
      return make_error(Status::error("K9002", "unforeseen exception of unknown type"));
    }
  } catch (...) {
    return kOutOfMemory;
  }
}

}  // namespace kiln::capi

const char* kiln_error_code(const kiln_error* error) { return error->status.code().c_str(); }
const char* kiln_error_message(const kiln_error* error) { return error->status.message().c_str(); }
const char* kiln_error_hint(const kiln_error* error) { return error->status.hint().c_str(); }
const char* kiln_error_text(const kiln_error* error) { return error->text.c_str(); }

void kiln_error_free(kiln_error* error) {
  if (error != kiln::capi::kOutOfMemory) delete error;
}
