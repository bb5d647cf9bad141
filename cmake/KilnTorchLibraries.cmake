# kiln_torch_libraries(TARGET DIR): TARGET's users compile and link with the torch in DIR, the folder
# of the Python package or of a libtorch archive.
#
# Not find_package(Torch): a torch that was built with CUDA then wants the CUDA toolkit, which
# nothing here needs, and it adds flags that are not ours.
function(kiln_torch_libraries target dir)
  target_include_directories(${target} SYSTEM INTERFACE
    "${dir}/include" "${dir}/include/torch/csrc/api/include")
  target_link_libraries(${target} INTERFACE
    "${dir}/lib/libtorch.so" "${dir}/lib/libtorch_cpu.so" "${dir}/lib/libc10.so")
  # libtorch_cpu.so needs libraries that only its own folder's loader path finds.
  target_link_options(${target} INTERFACE -Wl,--allow-shlib-undefined)
endfunction()
