/* The header in C99 with -pedantic, and a whole life of a program with it. */
#include <kiln/c_api.h>
#include <kiln/version.h>

#include <stdlib.h>
#include <string.h>

#include "unit/capi/plain_c.h"

static char* code_of(kiln_error* error) {
  const char* code = error != NULL ? kiln_error_code(error) : "";
  char* copy = malloc(strlen(code) + 1);
  if (copy != NULL) strcpy(copy, code);
  kiln_error_free(error);
  return copy;
}

char* run_in_plain_c(const char* pt2, int rows, float* results) {
  kiln_compile_options options = KILN_COMPILE_OPTIONS_INIT;
  kiln_load_options load = KILN_LOAD_OPTIONS_INIT;
  kiln_compiled* compiled = NULL;
  kiln_program* program = NULL;
  kiln_context* context = NULL;
  kiln_error* error;
  float* data = malloc((size_t)rows * 8 * sizeof(float));
  int64_t shape[2];
  const kiln_tensor* specs = NULL;
  kiln_tensor outputs[4];
  size_t count = 0;
  kiln_tensor input = {NULL, KILN_F32, KILN_CPU, 0, 2, NULL, NULL};
  int i;
  for (i = 0; i < rows * 8; ++i) data[i] = 0.5f;
  shape[0] = rows;
  shape[1] = 8;
  input.data = data;
  input.shape = shape;
  load.threads = 1;
  error = kiln_compile_pt2(pt2, &options, &compiled);
  if (error == NULL) error = kiln_compiled_instantiate(compiled, &load, &program);
  if (error == NULL) error = kiln_context_create(program, NULL, &context);
  if (error == NULL) error = kiln_context_infer_shapes(context, &input, 1, &specs, &count);
  if (error == NULL && count <= 4) {
    memcpy(outputs, specs, count * sizeof(outputs[0]));
    outputs[0].data = results;
    error = kiln_context_run(context, &input, 1, outputs, count);
  }
  kiln_compiled_free(compiled);
  kiln_program_free(program);
  kiln_context_free(context);
  free(data);
  return code_of(error);
}
