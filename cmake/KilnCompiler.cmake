# Language level, warnings and code generation for every target of Kiln.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

# -g1: line tables for stack traces at a small fraction of the size of full debug information.
foreach(language C CXX)
  set(CMAKE_${language}_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
  set(CMAKE_${language}_FLAGS_DEBUG "-O0 -g")
  set(CMAKE_${language}_FLAGS_SANITIZE "-O1 -g1 -fno-omit-frame-pointer")
endforeach()

add_compile_options(-Wall -Wextra -Werror)

# The build serves every machine of the last ten years; wider vectors are chosen at run time by
# Highway. Contraction is off because results must not depend on which compiler built them.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-march=x86-64-v2)
endif()
# Symbols stay visible (the libraries share C++ classes), but calls within a library may be inlined.
add_compile_options(-ffp-contract=off -fno-semantic-interposition)

if(KILN_SANITIZE)
  add_compile_options(-fsanitize=${KILN_SANITIZE} -fno-sanitize-recover=all)
  # Instrumentation hides initialisations from GCC, which then warns where there is nothing wrong.
  add_compile_options(-Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${KILN_SANITIZE})
else()
  add_link_options(-Wl,-z,defs)
endif()

# Installed files find each other wherever the tree is moved to.
set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
