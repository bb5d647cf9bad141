// The C API of the library itself and of element types.
#include <kiln/c_api.h>
#include <kiln/version.h>

#include "core/dtype.h"

namespace {

bool is_dtype(int32_t dtype) { return dtype >= KILN_F32 && dtype <= KILN_BOOL; }

}  // namespace

int32_t kiln_c_api_version(void) { return KILN_C_API_VERSION; }
const char* kiln_version(void) { return KILN_VERSION; }

const char* kiln_dtype_name(int32_t dtype) {
  if (!is_dtype(dtype)) return nullptr;
  return kiln::dtype_name(static_cast<kiln::DType>(dtype)).data();
}

size_t kiln_dtype_bytes(int32_t dtype) {
  return is_dtype(dtype) ? kiln::dtype_bytes(static_cast<kiln::DType>(dtype)) : 0;
}
