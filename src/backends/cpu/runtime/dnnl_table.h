// The functions of oneDNN's C API that Kiln uses, as pointers. Only dnnl_*.cpp include this: it is
// the one place where oneDNN's headers enter.
#pragma once

#include <oneapi/dnnl/dnnl.h>

// Every name is of oneDNN 3.0 or older, so that any 3.x serves.
#define KILN_DNNL_FUNCTIONS(F)                     \
  F(dnnl_version)                                  \
  F(dnnl_engine_create)                            \
  F(dnnl_stream_create)                            \
  F(dnnl_stream_wait)                              \
  F(dnnl_stream_destroy)                           \
  F(dnnl_memory_desc_create_with_strides)          \
  F(dnnl_memory_desc_create_with_tag)              \
  F(dnnl_memory_desc_clone)                        \
  F(dnnl_memory_desc_reshape)                      \
  F(dnnl_memory_desc_equal)                        \
  F(dnnl_memory_desc_get_size)                     \
  F(dnnl_memory_desc_query)                        \
  F(dnnl_memory_desc_destroy)                      \
  F(dnnl_memory_create)                            \
  F(dnnl_memory_set_data_handle)                   \
  F(dnnl_memory_destroy)                           \
  F(dnnl_post_ops_create)                          \
  F(dnnl_post_ops_append_sum)                      \
  F(dnnl_post_ops_append_eltwise)                  \
  F(dnnl_post_ops_append_binary)                   \
  F(dnnl_post_ops_destroy)                         \
  F(dnnl_primitive_attr_create)                    \
  F(dnnl_primitive_attr_set_scratchpad_mode)       \
  F(dnnl_primitive_attr_set_fpmath_mode)           \
  F(dnnl_primitive_attr_set_post_ops)              \
  F(dnnl_primitive_attr_destroy)                   \
  F(dnnl_convolution_forward_primitive_desc_create)   \
  F(dnnl_deconvolution_forward_primitive_desc_create) \
  F(dnnl_matmul_primitive_desc_create)             \
  F(dnnl_pooling_forward_primitive_desc_create)    \
  F(dnnl_reorder_primitive_desc_create)            \
  F(dnnl_primitive_desc_query)                     \
  F(dnnl_primitive_desc_query_md)                  \
  F(dnnl_primitive_desc_destroy)                   \
  F(dnnl_primitive_create)                         \
  F(dnnl_primitive_execute)                        \
  F(dnnl_primitive_destroy)

namespace kiln {

struct DnnlApi {
#define KILN_DNNL_FIELD(name) decltype(&::name) name = nullptr;
  KILN_DNNL_FUNCTIONS(KILN_DNNL_FIELD)
#undef KILN_DNNL_FIELD
  // May be absent. The first two tell which code is chosen and limit it; the last two belong to the
  // OpenMP that this oneDNN runs on (not there if it was built for another threading library).
  decltype(&::dnnl_get_effective_cpu_isa) dnnl_get_effective_cpu_isa = nullptr;
  decltype(&::dnnl_set_max_cpu_isa) dnnl_set_max_cpu_isa = nullptr;
  int (*omp_get_max_threads)() = nullptr;
  void (*omp_set_num_threads)(int) = nullptr;
  dnnl_engine_t engine = nullptr;  // the CPU; lives as long as the process
};

}  // namespace kiln
