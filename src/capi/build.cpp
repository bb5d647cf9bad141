// The C API of the compiler.
#include <kiln/builder.h>
#include <kiln/pt2.h>

#include "capi/arguments.h"
#include "capi/border.h"
#include "capi/handles.h"
#include "core/dtype.h"

using kiln::Status;
using kiln::capi::at_border;
using kiln::capi::bad_argument;
using kiln::capi::check_array;
using kiln::capi::not_null;
using kiln::capi::read_texts;

struct kiln_compiled {
  std::unique_ptr<kiln::CompiledProgram> compiled;
  std::string bytes;  // what kiln_compiled_serialize() gave last
};

namespace {

std::string text_or_empty(const char* text) { return text != nullptr ? text : ""; }

kiln::Result<kiln::BuildOptions> read_build_options(const kiln_compile_options& given) {
  kiln::BuildOptions options;
  KILN_ASSIGN_OR_RETURN(options.threads, kiln::capi::read_threads(given.threads));
  options.strict = given.strict != 0;
  if (given.min_block_size < 0) {
    return bad_argument("min_block_size is negative: " + std::to_string(given.min_block_size));
  }
  options.min_block_size = given.min_block_size != 0 ? given.min_block_size : 1;
  options.allow_tf32 = given.allow_tf32 != 0;
  options.tune = given.tune != 0;
  options.device_index = given.device_index;
  options.target = text_or_empty(given.target);
  KILN_RETURN_IF_ERROR(check_array(given.precisions, given.precision_count, "precisions"));
  for (size_t i = 0; i < given.precision_count; ++i) {
    KILN_ASSIGN_OR_RETURN(const kiln::DType dtype, kiln::capi::read_dtype(given.precisions[i]));
    if (!kiln::is_half(dtype)) {
      return bad_argument("a precision must be KILN_F16 or KILN_BF16: " +
                          std::to_string(given.precisions[i]));
    }
    options.precisions.push_back(dtype);
  }
  options.cache_dir = text_or_empty(given.cache_dir);
  options.cache_bytes = given.cache_bytes;
  return options;
}

kiln::Result<kiln::Pt2Options> read_pt2_options(const kiln_compile_options& given) {
  kiln::Pt2Options options;
  options.model = text_or_empty(given.model);
  KILN_RETURN_IF_ERROR(check_array(given.shapes, given.shape_count, "shapes"));
  for (size_t i = 0; i < given.shape_count; ++i) {
    const kiln_shape_range& range = given.shapes[i];
    KILN_RETURN_IF_ERROR(not_null(range.input, "input of a shape"));
    if (range.rank < 0) return bad_argument("rank is negative: " + std::to_string(range.rank));
    const auto rank = static_cast<size_t>(range.rank);
    KILN_RETURN_IF_ERROR(check_array(range.min, rank, "min of a shape"));
    KILN_RETURN_IF_ERROR(check_array(range.max, rank, "max of a shape"));
    options.shapes.push_back(
        {range.input, {range.min, range.min + rank}, {range.max, range.max + rank}});
  }
  KILN_ASSIGN_OR_RETURN(options.operator_schemas,
                        read_texts(given.op_schemas, given.op_schema_count, "op_schemas"));
  return options;
}

kiln::Result<kiln::SaveOptions> read_save_options(const kiln_save_options* given) {
  KILN_ASSIGN_OR_RETURN(const kiln_save_options read, kiln::capi::read_options(given));
  kiln::SaveOptions options;
  if (read.external_weights != 0) options.weights = kiln::WeightPolicy::kExternal;
  options.native = read.native != 0;
  return options;
}

}  // namespace

kiln_error* kiln_compile_pt2(const char* path, const kiln_compile_options* options,
                             kiln_compiled** compiled) {
  if (compiled != nullptr) *compiled = nullptr;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(compiled, "compiled"));
    KILN_RETURN_IF_ERROR(not_null(path, "path"));
    KILN_ASSIGN_OR_RETURN(const kiln_compile_options given, kiln::capi::read_options(options));
    KILN_ASSIGN_OR_RETURN(kiln::BuildOptions build, read_build_options(given));
    KILN_ASSIGN_OR_RETURN(const kiln::Pt2Options pt2, read_pt2_options(given));
    KILN_ASSIGN_OR_RETURN(auto ops, read_texts(given.torch_ops, given.torch_op_count, "torch_ops"));
    KILN_ASSIGN_OR_RETURN(
        auto modules, read_texts(given.torch_modules, given.torch_module_count, "torch_modules"));
    kiln::CaptureBuilder capture;
    capture.keep_in_torch(std::move(ops), std::move(modules));
    KILN_ASSIGN_OR_RETURN(kiln::Pt2Program program, kiln::read_pt2(path, capture, pt2));
    build.metadata = std::move(program.metadata);
    build.name = program.model;
    KILN_ASSIGN_OR_RETURN(auto made, kiln::compile(capture, build));
    *compiled = new kiln_compiled{std::move(made), {}};
    return {};
  });
}

void kiln_compiled_free(kiln_compiled* compiled) { delete compiled; }

const char* kiln_compiled_target(const kiln_compiled* compiled) {
  return compiled->compiled->target().c_str();
}
const char* kiln_compiled_report(const kiln_compiled* compiled) {
  return compiled->compiled->report_json().c_str();
}

kiln_error* kiln_compiled_save(kiln_compiled* compiled, const char* path,
                               const kiln_save_options* options) {
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(compiled, "compiled"));
    KILN_RETURN_IF_ERROR(not_null(path, "path"));
    KILN_ASSIGN_OR_RETURN(const kiln::SaveOptions read, read_save_options(options));
    return compiled->compiled->save(path, read);
  });
}

kiln_error* kiln_compiled_serialize(kiln_compiled* compiled, const kiln_save_options* options,
                                    const void** bytes, size_t* size) {
  if (bytes != nullptr) *bytes = nullptr;
  if (size != nullptr) *size = 0;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(compiled, "compiled"));
    KILN_RETURN_IF_ERROR(not_null(bytes, "bytes"));
    KILN_RETURN_IF_ERROR(not_null(size, "size"));
    KILN_ASSIGN_OR_RETURN(const kiln::SaveOptions read, read_save_options(options));
    KILN_ASSIGN_OR_RETURN(compiled->bytes, compiled->compiled->serialize(read));
    *bytes = compiled->bytes.data();
    *size = compiled->bytes.size();
    return {};
  });
}

kiln_error* kiln_compiled_instantiate(kiln_compiled* compiled, const kiln_load_options* options,
                                      kiln_program** program) {
  if (program != nullptr) *program = nullptr;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(program, "program"));
    KILN_RETURN_IF_ERROR(not_null(compiled, "compiled"));
    KILN_ASSIGN_OR_RETURN(const kiln::LoadOptions read, kiln::capi::read_load_options(options));
    KILN_ASSIGN_OR_RETURN(auto made, compiled->compiled->instantiate(read));
    *program = new kiln_program(std::move(made));
    return {};
  });
}
