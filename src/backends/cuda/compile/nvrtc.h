// NVRTC, NVIDIA's compiler as a library, found with dlopen: CUDA C++ to machine code.
//
// Searched as runtime/library_search.h says; $KILN_NVRTC_LIBRARY or the debug switch nvrtc_library
// name a file instead.
#pragma once

#include <string>
#include <vector>

#include <kiln/status.h>

#include "backends/cuda/runtime/library_table.h"

namespace kiln::cuda {

// Its version is "13.0". K5305 with the reasons and what to do.
Result<LibraryInfo> nvrtc_info();

// Options that every kernel is compiled with, `sm` being 90 and so on.
std::vector<std::string> nvrtc_options(int sm);

// A cubin for compute capability `sm`. The source includes device headers by name. Several threads
// may compile at once. K5305; K5306 with the compiler's log.
Result<std::string> nvrtc_compile(const std::string& source, const std::string& name, int sm);

}  // namespace kiln::cuda
