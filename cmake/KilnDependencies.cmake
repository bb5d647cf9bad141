# What Kiln uses from outside: Debian packages for the C++ core, the Python environment for torch,
# nanobind and the oneDNN headers (oneDNN itself is found with dlopen at run time).
find_package(Threads REQUIRED)

if(KILN_THREADS STREQUAL "openmp")
  find_package(OpenMP REQUIRED COMPONENTS CXX)
elseif(NOT KILN_THREADS STREQUAL "std")
  message(FATAL_ERROR "KILN_THREADS must be openmp or std, got: ${KILN_THREADS}")
endif()

# Highway: its headers make the kernels, its library only detects the CPU. Static where there is an
# archive, so that libkiln_runtime needs one library less; Debian and Ubuntu ship the shared one.
find_path(HWY_INCLUDE_DIR hwy/highway.h REQUIRED)
find_library(HWY_LIBRARY NAMES libhwy.a hwy REQUIRED)
add_library(kiln_hwy INTERFACE)
target_include_directories(kiln_hwy SYSTEM INTERFACE "${HWY_INCLUDE_DIR}")
target_link_libraries(kiln_hwy INTERFACE "${HWY_LIBRARY}")

find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)

if(KILN_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()

# Where the Python environment keeps a package, without importing it (importing torch takes
# seconds). Empty when it is not installed.
function(kiln_python_package name result)
  set(found "")
  if(EXISTS "${KILN_PYTHON}")
    execute_process(
      COMMAND "${KILN_PYTHON}" -c
              "import importlib.util as u, os; s = u.find_spec('${name}'); print(os.path.dirname(s.origin) if s else '')"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

# kiln_onednn_headers: the oneDNN C API's types, taken from the same package that is loaded at run
# time and never from torch/include, which holds another version. Nothing links libdnnl.
set(onednn_roots "")
if(EXISTS "${KILN_PYTHON}")
  # The package's own list of files, since pip builds wheels in an environment laid over another.
  execute_process(
    COMMAND "${KILN_PYTHON}" -c "\
import importlib.metadata as m
for f in m.files('onednn-devel-cpu-gomp'):
  if f.name == 'dnnl.h' and f.parent.name == 'dnnl': print(f.locate().resolve().parents[2])"
    OUTPUT_VARIABLE onednn_roots OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
find_path(ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h HINTS ${onednn_roots})
add_library(kiln_onednn_headers INTERFACE)
if(ONEDNN_INCLUDE_DIR)
  target_include_directories(kiln_onednn_headers SYSTEM INTERFACE "${ONEDNN_INCLUDE_DIR}")
else()
  message(WARNING "oneDNN headers not found; run ./dev build, which installs them into .venv")
endif()

if(KILN_BUILD_TORCH)
  kiln_python_package(torch torch_dir)
  if(NOT torch_dir)
    message(FATAL_ERROR "torch is not installed for KILN_PYTHON=${KILN_PYTHON}; "
                        "run ./dev build or configure with -DKILN_BUILD_TORCH=OFF")
  endif()
  include(KilnTorchLibraries)
  add_library(kiln_torch_headers INTERFACE)
  kiln_torch_libraries(kiln_torch_headers "${torch_dir}")

  add_library(kiln_torch_python INTERFACE)
  target_link_libraries(kiln_torch_python INTERFACE
    kiln_torch_headers "${torch_dir}/lib/libtorch_python.so")

  set(Python_EXECUTABLE "${KILN_PYTHON}")
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
  kiln_python_package(nanobind nanobind_dir)
  if(nanobind_dir)
    find_package(nanobind CONFIG REQUIRED PATHS "${nanobind_dir}/cmake" NO_DEFAULT_PATH)
  endif()
endif()
