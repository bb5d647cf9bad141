/* Kiln in C (C99 or newer, and whatever can call C).
 *
 * Everything down to "Compiling" is in libkiln_runtime; what follows is in libkiln.
 *
 *   kiln_program* program = NULL;
 *   kiln_error* error = kiln_program_load("model.kiln", NULL, &program);
 *   if (error != NULL) { fprintf(stderr, "%s\n", kiln_error_text(error)); ... }
 *
 * Errors: what can fail returns NULL, or an error that the caller frees; its results are then NULL
 * or 0, and nothing else has changed unless said otherwise. Codes are those of docs/errors.md;
 * every function may return K1050 (an argument that it cannot take: a null pointer, an unknown
 * dtype), K4501 (no memory) and K9001 (a bug in Kiln). No C++ exception leaves a function.
 *
 * Ownership: kiln_X_free() frees what a call made, in any order: a context keeps what it needs of
 * its program. NULL may be freed. Texts and arrays that a function returns belong to the object
 * that it was called on and live as long, unless said otherwise; texts are UTF-8 and end in a zero
 * byte. What a caller passes is only read during the call, unless said otherwise.
 *
 * Threads: a program may be used by any number of threads at a time, and so may a state. Anything
 * else is used by one thread at a time. An object is freed when no call on it is under way.
 *
 * Versions: KILN_C_API_VERSION grows when functions or members are added. A program that was built
 * with this header runs with every library of the same SONAME whose kiln_c_api_version() is at
 * least that. Structs of options begin with their size, so that members can be added at their end;
 * all other structs and all numbers stay as they are.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KILN_C_API_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/* KILN_C_API_VERSION and KILN_VERSION (kiln/version.h) of the library. */
int32_t kiln_c_api_version(void);
const char* kiln_version(void);

/* ---- Errors ---------------------------------------------------------------------------------- */

typedef struct kiln_error kiln_error;

const char* kiln_error_code(const kiln_error* error);    /* such as K3001 */
const char* kiln_error_message(const kiln_error* error); /* lower case, one line */
const char* kiln_error_hint(const kiln_error* error);    /* what to do about it; may be "" */
const char* kiln_error_text(const kiln_error* error);    /* all of it, with where it happened */
void kiln_error_free(kiln_error* error);

/* ---- Tensors --------------------------------------------------------------------------------- */

enum {
  KILN_F32 = 0,
  KILN_F64 = 1,
  KILN_F16 = 2,
  KILN_BF16 = 3,
  KILN_I8 = 4,
  KILN_U8 = 5,
  KILN_I16 = 6,
  KILN_I32 = 7,
  KILN_I64 = 8,
  KILN_BOOL = 9 /* one byte, 0 or 1 */
};

enum { KILN_CPU = 0, KILN_CUDA = 1 };

/* "f32"; NULL for a number that is no dtype. */
const char* kiln_dtype_name(int32_t dtype);
/* Bytes of an element; 0 for a number that is no dtype. */
size_t kiln_dtype_bytes(int32_t dtype);

/* A tensor in the caller's memory. Element (i0, i1, ...) lies at data + sum(i_k * strides[k])
 * elements. Strides may be 0 or negative. */
typedef struct kiln_tensor {
  void* data;
  int32_t dtype;  /* KILN_F32, ... */
  int32_t device; /* KILN_CPU or KILN_CUDA */
  int32_t device_index;
  int32_t rank;
  const int64_t* shape;   /* `rank` extents; may be NULL when rank is 0 */
  const int64_t* strides; /* `rank` strides in elements; NULL: contiguous, row-major */
} kiln_tensor;

/* ---- Programs -------------------------------------------------------------------------------- */

typedef struct kiln_program kiln_program;
typedef struct kiln_state kiln_state;
typedef struct kiln_context kiln_context;

/* Who executes the operators that Kiln has no kernel for. */
typedef struct kiln_host kiln_host;

/* PyTorch as the host; never freed. In libkiln_torch, for programs that link libtorch. */
kiln_host* kiln_torch_host(void);

/* The value of a weight, under the model's name; contiguous. The memory is borrowed: it must stay
 * as it is until the program and all that was made from it are freed. */
typedef struct kiln_weight {
  const char* name;
  kiln_tensor value;
} kiln_weight;

/* Start from KILN_LOAD_OPTIONS_INIT: the defaults, all zero but the size. */
typedef struct kiln_load_options {
  size_t struct_size;
  int32_t threads;        /* 0: the caller's setting (OMP_NUM_THREADS) at each run */
  int32_t device_index;   /* which GPU a program for one runs on */
  int32_t no_cuda_graphs; /* not 0: kernels are launched one by one where they could be replayed */
  int32_t trust;          /* not 0: operators beyond the harmless ones, the file's machine code */
  const char* const* allow_ops; /* or these: "mylib::op" */
  size_t allow_op_count;
  kiln_host* host; /* NULL: programs that call PyTorch do not load (K3302) */
  /* A file that was saved without weights needs all of them; else these replace the file's. */
  const kiln_weight* weights;
  size_t weight_count;
} kiln_load_options;

#define KILN_LOAD_OPTIONS_INIT \
  { sizeof(kiln_load_options), 0, 0, 0, 0, NULL, 0, NULL, NULL, 0 }

/* Reads a .kiln file. `options` may be NULL. K30xx to K33xx for a file that is missing, damaged or
 * asks for what is not there, K5xxx for a machine that lacks what it needs. */
kiln_error* kiln_program_load(const char* path, const kiln_load_options* options,
                              kiln_program** program);

/* The same from memory. Weights are used where they lie when `bytes` is a multiple of 64, so the
 * memory must stay as it is until `release(user)` is called: once, from whatever thread ends the
 * last use, also when loading fails. With `release` NULL the bytes are copied. */
kiln_error* kiln_program_load_bytes(const void* bytes, size_t size, void (*release)(void* user),
                                    void* user, const kiln_load_options* options,
                                    kiln_program** program);
void kiln_program_free(kiln_program* program);

/* A fixed extent (min == max) or an expression over named sizes ("s0 + 1") with its range; max
 * INT64_MAX: no bound. */
typedef struct kiln_dim_info {
  const char* expression;
  int64_t min, max;
} kiln_dim_info;

enum {
  KILN_RESULT = 0,        /* a fresh tensor */
  KILN_WRITES_INPUT = 1,  /* what a run leaves in input `target`, which it writes */
  KILN_VIEW_OF_INPUT = 2, /* shares the memory of input `target` */
  KILN_VIEW_OF_OUTPUT = 3 /* shares the memory of output `target` */
};

typedef struct kiln_tensor_info {
  const char* name;
  int32_t dtype;
  int32_t rank;
  const kiln_dim_info* dims; /* `rank` of them */
  const int32_t* order;      /* the dims in the order of memory, outermost first; NULL: row-major */
  int32_t role;              /* of an output: KILN_RESULT, ... */
  int32_t target;            /* counts the inputs, then the state's tensors; -1: none */
} kiln_tensor_info;

typedef struct kiln_weight_info {
  const char* name;
  int32_t dtype;
  int32_t rank;
  const int64_t* shape;
} kiln_weight_info;

/* Arrays of `*count` elements. The state's tensors are the buffers that the program changes (KV
 * caches, counters); they are not among the inputs. */
const kiln_tensor_info* kiln_program_inputs(const kiln_program* program, size_t* count);
const kiln_tensor_info* kiln_program_outputs(const kiln_program* program, size_t* count);
const kiln_tensor_info* kiln_program_states(const kiln_program* program, size_t* count);
const kiln_weight_info* kiln_program_weights(const kiln_program* program, size_t* count);
/* Where inputs, outputs and state lie: KILN_CPU or KILN_CUDA; the index may be NULL. */
int32_t kiln_program_device(const kiln_program* program, int32_t* device_index);
/* JSON: how Python calls the program, and the build report (docs/report.md). */
const char* kiln_program_metadata(const kiln_program* program);
const char* kiln_program_report(const kiln_program* program);

/* New values for the named weights; the others stay. Runs under way end with the old ones. K3113 to
 * K3116: a weight that does not fit. */
kiln_error* kiln_program_update_weights(kiln_program* program, const kiln_weight* weights,
                                        size_t count);

/* ---- State ----------------------------------------------------------------------------------- */

/* What a program keeps from run to run, with its initial values. Runs of one state exclude each
 * other. Only where several contexts or programs share one: a context has a state of its own. */
kiln_error* kiln_state_create(kiln_program* program, kiln_state** state);
void kiln_state_free(kiln_state* state);
/* Copies a tensor of the state out (into the memory of `to`) or in. K4116: no such name, K4117:
 * another dtype, shape or device. */
kiln_error* kiln_state_get(const kiln_state* state, const char* name, const kiln_tensor* to);
kiln_error* kiln_state_set(kiln_state* state, const char* name, const kiln_tensor* from);
/* Back to the initial values. */
kiln_error* kiln_state_reset(kiln_state* state);

/* ---- Running --------------------------------------------------------------------------------- */

/* One per thread that runs at the same time. `state` may be NULL, or be freed first. */
kiln_error* kiln_context_create(kiln_program* program, kiln_state* state, kiln_context** context);
void kiln_context_free(kiln_context* context);

/* On a GPU: runs put their work on this stream (a cudaStream_t) and do not wait for it; NULL is the
 * default stream. See ExecutionContext::set_stream in kiln/program.h. On the CPU: no effect. */
kiln_error* kiln_context_set_stream(kiln_context* context, void* stream);

/* Shapes, strides and dtypes of the outputs for these inputs, of which the data is not read: an
 * array of `*output_count` tensors without data, until the next call on the context. K4101 to
 * K4106: an input that the program does not take, with its name, dim, value and range. */
kiln_error* kiln_context_infer_shapes(kiln_context* context, const kiln_tensor* inputs,
                                      size_t input_count, const kiln_tensor** outputs,
                                      size_t* output_count);

/* Runs into the caller's memory, any strides; `data` of an output that is a view or a written input
 * may be NULL: it is left out. An input that the program writes is written where it lies; when the
 * run fails it may hold some of the new elements. */
kiln_error* kiln_context_run(kiln_context* context, const kiln_tensor* inputs, size_t input_count,
                             const kiln_tensor* outputs, size_t output_count);

/* Memory for an output, `bytes` of it, aligned to 64 bytes, on the program's device; it must live
 * until the caller is done with the output. NULL refuses, and the run fails with K4110. Called in
 * the thread that runs. */
typedef void* (*kiln_allocate)(void* user, size_t output, const kiln_tensor* spec, size_t bytes);

/* Runs into memory that `allocate` gives when the shape of an output is known. `*outputs` are views
 * of it, or of inputs, state and other outputs where the outputs are such views. The array lives
 * until the next call on the context; the memory is the caller's. */
kiln_error* kiln_context_run_allocating(kiln_context* context, const kiln_tensor* inputs,
                                        size_t input_count, kiln_allocate allocate, void* user,
                                        const kiln_tensor** outputs, size_t* output_count);

/* ---- Compiling: libkiln ---------------------------------------------------------------------- */

typedef struct kiln_compiled kiln_compiled;

/* Closed ranges for the dims of an input, within those of the export; equal bounds fix a dim. */
typedef struct kiln_shape_range {
  const char* input;
  int32_t rank;
  const int64_t* min;
  const int64_t* max;
} kiln_shape_range;

/* Start from KILN_COMPILE_OPTIONS_INIT: the defaults, all zero but the size. */
typedef struct kiln_compile_options {
  size_t struct_size;
  int32_t threads;           /* that the program runs with; 0: the caller's setting at each run */
  int32_t strict;            /* not 0: K2001 instead of a call that stays in PyTorch */
  int32_t min_block_size;    /* native runs of fewer operators go back to PyTorch; 0: 1 */
  int32_t allow_tf32;        /* not 0: f32 products on a GPU may round their operands to TF32 */
  int32_t tune;              /* not 0: libraries' kernels are timed when a shape is first run */
  int32_t device_index;      /* of the target "cuda" */
  const char* target;        /* NULL or "cpu", "cuda", "cuda:sm_90", a JSON file (docs/gpu.md) */
  const int32_t* precisions; /* KILN_F16, KILN_BF16: may take the place of f32, preferred first */
  size_t precision_count;
  const char* cache_dir; /* compiled programs are kept there (docs/cache.md); NULL: nowhere */
  uint64_t cache_bytes;  /* the folder is kept below this size; 0: no limit */
  const char* model;     /* which one, where a .pt2 file holds several; NULL: the only one */
  const kiln_shape_range* shapes;
  size_t shape_count;
  const char* const* op_schemas; /* of custom operators: "my::op(Tensor x, int n=1) -> Tensor" */
  size_t op_schema_count;
  const char* const* torch_ops; /* stay in PyTorch: "aten::add", "aten::add.Tensor" */
  size_t torch_op_count;
  const char* const* torch_modules; /* so do these modules, with all that they contain */
  size_t torch_module_count;
} kiln_compile_options;

#define KILN_COMPILE_OPTIONS_INIT                                                                \
  {                                                                                              \
    sizeof(kiln_compile_options), 0, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, 0, NULL, \
        0, NULL, 0, NULL, 0                                                                      \
  }

/* Compiles what torch.export.save wrote, without Python and torch. `options` may be NULL. K3001 and
 * K314x for the archive, K11xx for the program in it, K2xxx from the compiler. */
kiln_error* kiln_compile_pt2(const char* path, const kiln_compile_options* options,
                             kiln_compiled** compiled);
void kiln_compiled_free(kiln_compiled* compiled);

/* "cpu:avx512": what it was compiled for. */
const char* kiln_compiled_target(const kiln_compiled* compiled);
/* The build report as JSON (docs/report.md). */
const char* kiln_compiled_report(const kiln_compiled* compiled);

/* Start from KILN_SAVE_OPTIONS_INIT: the defaults, all zero but the size. */
typedef struct kiln_save_options {
  size_t struct_size;
  int32_t external_weights; /* not 0: the file lists the weights; whoever loads it gives them */
  int32_t native; /* not 0: with machine code for the GPU; see SaveOptions in kiln/builder.h */
} kiln_save_options;

#define KILN_SAVE_OPTIONS_INIT \
  { sizeof(kiln_save_options), 0, 0 }

/* Writes a .kiln file; when that fails, an existing file stays as it was. `options` may be NULL.
 * K3003; with `native` K2011 for a program that has no such code, K5305 and K5306. */
kiln_error* kiln_compiled_save(kiln_compiled* compiled, const char* path,
                               const kiln_save_options* options);
/* The bytes of such a file, until the next call of this function on `compiled`. */
kiln_error* kiln_compiled_serialize(kiln_compiled* compiled, const kiln_save_options* options,
                                    const void** bytes, size_t* size);
/* A program to run here. It keeps what it needs: `compiled` and the .pt2 file may go. */
kiln_error* kiln_compiled_instantiate(kiln_compiled* compiled, const kiln_load_options* options,
                                      kiln_program** program);

#ifdef __cplusplus
}
#endif
