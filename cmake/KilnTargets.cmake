# One OBJECT library per folder of src/, and the closure of its dependencies.
#
#   kiln_folder(NAME [DEPS folder...] [LIBS target...] [SOURCES file...])
#
# makes the target kiln_NAME from *.cpp of the current folder (or from SOURCES). DEPS are folders
# and follow the table of docs/architecture.md, which scripts/check_includes.py enforces on the
# #include lines. A folder with no sources yet has no target but keeps its place in the closure.
function(kiln_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;SOURCES" ${ARGN})
  set_property(GLOBAL APPEND PROPERTY KILN_FOLDERS ${name})
  set_property(GLOBAL PROPERTY KILN_DEPS_${name} "${ARG_DEPS}")
  if(NOT DEFINED ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS *.cpp)
  endif()
  if(NOT ARG_SOURCES)
    return()
  endif()
  add_library(kiln_${name} OBJECT ${ARG_SOURCES})
  target_include_directories(kiln_${name} PUBLIC
    "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/include")
  target_link_libraries(kiln_${name} PUBLIC Threads::Threads ${CMAKE_DL_LIBS} ${ARG_LIBS})
endfunction()

# The folders that the given ones stand on, themselves included, deepest first.
function(kiln_closure result)
  set(closed "")
  foreach(folder ${ARGN})
    get_property(deps GLOBAL PROPERTY KILN_DEPS_${folder})
    if(deps)
      kiln_closure(below ${deps})
      list(APPEND closed ${below})
    endif()
    list(APPEND closed ${folder})
  endforeach()
  list(REMOVE_DUPLICATES closed)
  set(${result} "${closed}" PARENT_SCOPE)
endfunction()

# Links the objects of exactly these folders (those that have sources) into a target.
function(kiln_link_objects target)
  foreach(folder ${ARGN})
    if(TARGET kiln_${folder})
      target_link_libraries(${target} PRIVATE kiln_${folder})
    endif()
  endforeach()
  target_include_directories(${target} PRIVATE
    "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/include")
endfunction()

# Links the objects of these folders and of all that they stand on. Tests and kiln-opt do this, so
# that they link in seconds and do not wait for the rest of the compiler.
function(kiln_link_closure target)
  kiln_closure(folders ${ARGN})
  kiln_link_objects(${target} ${folders})
endfunction()

# Nothing but Kiln's own names leaves the library (docs/decisions/019-exported-names.md).
function(kiln_export_own_names target)
  set(script "${CMAKE_SOURCE_DIR}/cmake/exported_names.map")
  target_link_options(${target} PRIVATE "-Wl,--version-script=${script}")
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS "${script}")
endfunction()

# Sets `result` to TRUE when at least one of the folders has sources.
function(kiln_any_sources result)
  set(any FALSE)
  foreach(folder ${ARGN})
    if(TARGET kiln_${folder})
      set(any TRUE)
    endif()
  endforeach()
  set(${result} ${any} PARENT_SCOPE)
endfunction()
