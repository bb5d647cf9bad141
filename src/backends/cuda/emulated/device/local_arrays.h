// Local arrays of kernels: the compiler checks their indices (-fsanitize=bounds) and, because the
// first element behind the last one is no finding yet where a class has its assignment called, all
// accesses (-fsanitize=object-size). It calls these where something is out of range, so that the
// emulator reports it as it reports other accesses. The layout of what they get is that of LLVM's
// and GCC's runtime (ubsan_handlers.h).
#pragma once

#include "device/machine.h"

namespace kiln_emulated {

struct LocalArrayType {
  unsigned short kind, info;
  char name[1];  // "'float [4]'"
};
struct LocalArrayIndex {
  const char* file;
  unsigned line, column;
  const LocalArrayType *array, *index;
};

}  // namespace kiln_emulated

// Not recoverable: the emulator's fail() does not return.
extern "C" void __ubsan_handle_out_of_bounds_abort(void* site, void* index) {
  const auto* at = static_cast<const kiln_emulated::LocalArrayIndex*>(site);
  kiln_emulated::machine->local_index(at->file, static_cast<int>(at->line), at->array->name,
                                      reinterpret_cast<long long>(index));
}
// Of -fsanitize=object-size: an access that is not inside of the variable that it begins in.
extern "C" void __ubsan_handle_type_mismatch_v1_abort(void*, void*) {
  kiln_emulated::machine->fail("an access outside of a local variable");
}
