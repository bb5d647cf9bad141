# What `pip install .` puts into the package `kiln` beside the Python files: the extension with its
# stub, the libraries in lib/, the public headers in include/, the tool in bin/. Everything finds its
# neighbours, and torch in the same site-packages, by paths relative to itself.
set(wheel_libraries libkiln_runtime libkiln libkiln_torch libkiln_torch_compile)
set_target_properties(kiln_native PROPERTIES INSTALL_RPATH "$ORIGIN/lib;$ORIGIN/../torch/lib")
set_target_properties(libkiln_torch libkiln_torch_compile PROPERTIES
  INSTALL_RPATH "$ORIGIN;$ORIGIN/../../torch/lib")
set_target_properties(kiln_cli PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")

# A wheel cannot hold links: one file under the name that others were linked against.
set_target_properties(libkiln_runtime libkiln PROPERTIES VERSION ${PROJECT_VERSION_MAJOR})

# Debian has Highway as a shared library only; a wheel brings it along.
if(HWY_LIBRARY MATCHES "\\.so$")
  file(GLOB hwy_soname "${HWY_LIBRARY}.[0-9]")
  file(REAL_PATH "${hwy_soname}" hwy_file)
  get_filename_component(hwy_soname "${hwy_soname}" NAME)
  install(FILES "${hwy_file}" DESTINATION kiln/lib RENAME "${hwy_soname}" COMPONENT wheel)
endif()

nanobind_add_stub(kiln_native_stub
  MODULE _native OUTPUT "${CMAKE_BINARY_DIR}/_native.pyi"
  PYTHON_PATH "$<TARGET_FILE_DIR:kiln_native>" DEPENDS kiln_native)

add_custom_target(kiln_wheel)
add_dependencies(kiln_wheel ${wheel_libraries} kiln_native kiln_native_stub kiln_cli)

install(TARGETS kiln_native LIBRARY DESTINATION kiln COMPONENT wheel)
install(FILES "${CMAKE_BINARY_DIR}/_native.pyi" DESTINATION kiln COMPONENT wheel)
install(TARGETS ${wheel_libraries} LIBRARY DESTINATION kiln/lib COMPONENT wheel NAMELINK_SKIP)
install(TARGETS kiln_cli RUNTIME DESTINATION kiln/bin COMPONENT wheel)
install(DIRECTORY include/kiln DESTINATION kiln/include COMPONENT wheel FILES_MATCHING PATTERN "*.h")
