# cmake --install: the libraries, the `kiln` tool, the public headers, and what find_package(Kiln)
# and pkg-config read. The installed tree may be moved: nothing in it names its own place.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/Kiln")

set_target_properties(libkiln_runtime PROPERTIES EXPORT_NAME runtime)
set(installed libkiln_runtime)
if(TARGET libkiln)
  set_target_properties(libkiln PROPERTIES EXPORT_NAME kiln)
  list(APPEND installed libkiln)
endif()
install(TARGETS ${installed} EXPORT KilnTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT KilnTargets NAMESPACE Kiln:: DESTINATION "${package_dir}")

# A set of its own, loaded only when asked for: it needs torch.
if(TARGET libkiln_torch)
  set_target_properties(libkiln_torch PROPERTIES EXPORT_NAME torch)
  set(installed libkiln_torch)
  if(TARGET libkiln_torch_compile)
    set_target_properties(libkiln_torch_compile PROPERTIES EXPORT_NAME torch_compile)
    list(APPEND installed libkiln_torch_compile)
  endif()
  install(TARGETS ${installed} EXPORT KilnTorchTargets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT KilnTorchTargets NAMESPACE Kiln:: DESTINATION "${package_dir}")
  install(DIRECTORY torch/include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    FILES_MATCHING PATTERN "*.h")
endif()

if(TARGET kiln_cli)
  install(TARGETS kiln_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
install(DIRECTORY include/kiln DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h")

configure_package_config_file(cmake/KilnConfig.cmake.in KilnConfig.cmake
  INSTALL_DESTINATION "${package_dir}")
# Before 1.0 a new minor version may change the interface.
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/KilnConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/KilnConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/KilnConfigVersion.cmake"
  cmake/KilnTorchLibraries.cmake
  DESTINATION "${package_dir}")

# kiln-runtime.pc and kiln.pc, which find their prefix from where they lie.
file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
foreach(name kiln-runtime kiln)
  configure_file("cmake/${name}.pc.in" "${name}.pc" @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${name}.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()
