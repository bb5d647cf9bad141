# Writes OUTPUT, a C++ file with kernel_convention(): a hash of SOURCES, the texts that compiled
# kernels and their launches come from.
list(SORT SOURCES)
set(hashes "")
foreach(source ${SOURCES})
  get_filename_component(name "${source}" NAME)
  file(SHA256 "${source}" hash)
  string(APPEND hashes "${name} ${hash}\n")
endforeach()
string(SHA256 convention "${hashes}")
string(SUBSTRING "${convention}" 0 32 convention)
file(WRITE "${OUTPUT}" "// Made by cmake/KernelConvention.cmake.
#include \"backends/cuda/runtime/kernel_compiler.h\"

namespace kiln::cuda {

std::string_view kernel_convention() { return \"${convention}\"; }

}  // namespace kiln::cuda
")
