/* Runs a compiled program from C: no Python, no torch, no C++.
 *
 *   c_runner MODEL.kiln [INPUT.bin ...] [--out PREFIX] [--threads N]
 *
 * Without inputs it says what the program takes and gives. INPUT.bin holds the elements of an input
 * in row-major order and nothing else; one size of it may be dynamic, which then follows from the
 * length of the file. Output i is written to PREFIXi.bin.
 *
 * With pkg-config, for a Kiln that was installed in PREFIX:
 *
 *   export PKG_CONFIG_PATH=PREFIX/lib/pkgconfig
 *   cc -std=c99 main.c $(pkg-config --cflags --libs kiln-runtime) \
 *     -Wl,-rpath,$(pkg-config --variable=libdir kiln-runtime) -o c_runner
 */
#include <kiln/c_api.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 64, MAX_RANK = 16 };

static void die(const char* message, const char* detail) {
  fprintf(stderr, "c_runner: %s%s\n", message, detail);
  exit(1);
}

static void check(kiln_error* error) {
  if (error == NULL) return;
  fprintf(stderr, "c_runner: %s\n", kiln_error_text(error));
  kiln_error_free(error);
  exit(1);
}

static void* allocate(size_t bytes) {
  void* memory = malloc(bytes > 0 ? bytes : 1);
  if (memory == NULL) die("out of memory", "");
  return memory;
}

static void show(const char* what, const kiln_tensor_info* infos, size_t count) {
  size_t i;
  int32_t dim;
  for (i = 0; i < count; ++i) {
    printf("%s %zu: %s %s[", what, i, infos[i].name, kiln_dtype_name(infos[i].dtype));
    for (dim = 0; dim < infos[i].rank; ++dim) {
      printf("%s%s", dim > 0 ? "," : "", infos[i].dims[dim].expression);
    }
    printf("]\n");
  }
}

/* The whole file in memory of its own. */
static void* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  void* data;
  long length;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0) {
    die("cannot read: ", path);
  }
  rewind(file);
  *size = (size_t)length;
  data = allocate(*size);
  if (fread(data, 1, *size, file) != *size) die("cannot read: ", path);
  fclose(file);
  return data;
}

static void write_file(const char* prefix, size_t number, const void* data, size_t size) {
  char path[4096];
  FILE* file;
  snprintf(path, sizeof(path), "%s%zu.bin", prefix, number);
  file = fopen(path, "wb");
  if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
    die("cannot write: ", path);
  }
}

/* A tensor with the file's elements; `shape` has room for MAX_RANK extents. */
static kiln_tensor read_tensor(const char* path, const kiln_tensor_info* info, int64_t* shape) {
  kiln_tensor tensor = {NULL, 0, KILN_CPU, 0, 0, NULL, NULL};
  size_t size, known = kiln_dtype_bytes(info->dtype);
  int32_t dim, dynamic = -1;
  if (info->rank > MAX_RANK) die("too many dims: ", info->name);
  tensor.data = read_file(path, &size);
  tensor.dtype = info->dtype;
  tensor.rank = info->rank;
  tensor.shape = shape;
  for (dim = 0; dim < info->rank; ++dim) {
    shape[dim] = info->dims[dim].max;
    if (info->dims[dim].min == info->dims[dim].max) {
      known *= (size_t)shape[dim];
    } else if (dynamic < 0) {
      dynamic = dim;
    } else {
      die("more than one dynamic size of input: ", info->name);
    }
  }
  if (dynamic >= 0 && known != 0) {
    shape[dynamic] = (int64_t)(size / known);
    known *= size / known;
  }
  if (known != size) die("not as many bytes as the input has: ", path);
  return tensor;
}

int main(int argc, char** argv) {
  const char *files[MAX_TENSORS + 1], *prefix = NULL;
  size_t file_count = 0, input_count, output_count, i;
  const kiln_tensor_info *input_infos, *output_infos;
  kiln_tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  int64_t shapes[MAX_TENSORS][MAX_RANK];
  const kiln_tensor* specs;
  kiln_load_options options = KILN_LOAD_OPTIONS_INIT;
  kiln_program* program;
  kiln_context* context;
  int argument;

  for (argument = 1; argument < argc; ++argument) {
    if (strcmp(argv[argument], "--out") == 0 && argument + 1 < argc) {
      prefix = argv[++argument];
    } else if (strcmp(argv[argument], "--threads") == 0 && argument + 1 < argc) {
      options.threads = atoi(argv[++argument]);
    } else if (file_count <= MAX_TENSORS) {
      files[file_count++] = argv[argument];
    }
  }
  if (file_count == 0) {
    fputs("usage: c_runner MODEL.kiln [INPUT.bin ...] [--out PREFIX] [--threads N]\n", stderr);
    return 2;
  }

  check(kiln_program_load(files[0], &options, &program));
  input_infos = kiln_program_inputs(program, &input_count);
  output_infos = kiln_program_outputs(program, &output_count);
  show("input", input_infos, input_count);
  show("output", output_infos, output_count);
  if (file_count == 1) {
    kiln_program_free(program);
    return 0;
  }
  if (file_count - 1 != input_count) die("give one file for each input", "");
  if (output_count > MAX_TENSORS) die("too many outputs", "");
  for (i = 0; i < input_count; ++i) {
    inputs[i] = read_tensor(files[i + 1], &input_infos[i], shapes[i]);
  }

  /* One context per thread. The shapes of the outputs follow from those of the inputs. */
  check(kiln_context_create(program, NULL, &context));
  check(kiln_context_infer_shapes(context, inputs, input_count, &specs, &output_count));
  {
    size_t sizes[MAX_TENSORS];
    int64_t output_shapes[MAX_TENSORS][MAX_RANK];
    for (i = 0; i < output_count; ++i) {
      int32_t dim;
      if (specs[i].rank > MAX_RANK) die("too many dims: ", output_infos[i].name);
      sizes[i] = kiln_dtype_bytes(specs[i].dtype);
      for (dim = 0; dim < specs[i].rank; ++dim) {
        output_shapes[i][dim] = specs[i].shape[dim];
        sizes[i] *= (size_t)specs[i].shape[dim];
      }
      outputs[i] = specs[i];
      /* What the program writes in place (an input, or its own state) needs no memory of ours. */
      if (output_infos[i].role != KILN_WRITES_INPUT) outputs[i].data = allocate(sizes[i]);
      outputs[i].shape = output_shapes[i];
      outputs[i].strides = NULL; /* row-major, whatever order the program prefers */
    }
    check(kiln_context_run(context, inputs, input_count, outputs, output_count));
    for (i = 0; i < output_count; ++i) {
      if (outputs[i].data == NULL) continue;
      if (prefix != NULL) write_file(prefix, i, outputs[i].data, sizes[i]);
      free(outputs[i].data);
    }
  }
  for (i = 0; i < input_count; ++i) free(inputs[i].data);
  kiln_context_free(context);
  kiln_program_free(program);
  return 0;
}
