// oneDNN at run time: found with dlopen, called through one table of its C functions.
//
// Nothing links libdnnl. Any oneDNN 3.x serves; where it is missing every user of it gets the same
// typed error and the CPU backend goes on with its own kernels.
#pragma once

#include <string>

#include "base/status.h"

namespace kiln {

struct DnnlApi;  // the function table, dnnl_table.h

struct DnnlLibraryInfo {
  std::string path;     // the file that was loaded; for people, not for cache keys
  std::string version;  // "3.2.0+40112196287e": goes into cache keys
  std::string isa;      // instruction set that oneDNN chooses here, "avx512_core_bf16"
};

// The loaded library. The first call searches, in this order: the file named by the environment
// variable KILN_DNNL_LIBRARY or else by the debug switch onednn_library (then nothing else is
// tried), libdnnl.so.3 in the folder of Kiln's own runtime library, in the lib folder of the Python
// environment that Kiln is installed in, as the system's loader finds it, and in the folder that
// was known when Kiln was built. Thread-safe; the outcome is kept for the life of the process.
// The debug switch cpu_target limits the instruction sets that oneDNN uses.
// Errors: K5101 not found, K5102 not oneDNN 3.x, K5103 a needed function is missing, K5104 it
// cannot be limited to cpu_target, K1002 unknown cpu_target.
Result<const DnnlApi*> dnnl_api();

// What was loaded; errors as above.
Result<DnnlLibraryInfo> dnnl_library_info();

}  // namespace kiln
