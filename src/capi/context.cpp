// The C API of execution contexts.
#include "capi/arguments.h"
#include "capi/border.h"
#include "capi/handles.h"

using kiln::Status;
using kiln::TensorSpec;
using kiln::TensorView;
using kiln::capi::at_border;
using kiln::capi::not_null;
using kiln::capi::read_tensors;
using kiln::capi::to_c;

struct kiln_context {
  std::unique_ptr<kiln::ExecutionContext> context;
  kiln::Device device;
  // They keep their memory from run to run.
  std::vector<TensorView> inputs, outputs;
  // What was handed out last.
  std::vector<TensorSpec> specs;
  std::vector<kiln_tensor> results;
};

kiln_error* kiln_context_create(kiln_program* program, kiln_state* state, kiln_context** context) {
  if (context != nullptr) *context = nullptr;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(context, "context"));
    KILN_RETURN_IF_ERROR(not_null(program, "program"));
    kiln::Program& made = *program->program;
    auto own = std::make_unique<kiln_context>();
    own->context = made.create_context(state != nullptr ? state->state : nullptr);
    own->device = made.device();
    *context = own.release();
    return {};
  });
}

void kiln_context_free(kiln_context* context) { delete context; }

kiln_error* kiln_context_set_stream(kiln_context* context, void* stream) {
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(context, "context"));
    context->context->set_stream(stream);
    return {};
  });
}

kiln_error* kiln_context_infer_shapes(kiln_context* context, const kiln_tensor* inputs,
                                      size_t input_count, const kiln_tensor** outputs,
                                      size_t* output_count) {
  if (outputs != nullptr) *outputs = nullptr;
  if (output_count != nullptr) *output_count = 0;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(context, "context"));
    KILN_RETURN_IF_ERROR(not_null(outputs, "outputs"));
    KILN_RETURN_IF_ERROR(not_null(output_count, "output_count"));
    KILN_RETURN_IF_ERROR(read_tensors(inputs, input_count, "input", context->inputs));
    KILN_ASSIGN_OR_RETURN(context->specs, context->context->infer_shapes(context->inputs));
    context->results.clear();
    for (const TensorSpec& spec : context->specs) {
      context->results.push_back(to_c(spec, context->device));
    }
    *outputs = context->results.data();
    *output_count = context->results.size();
    return {};
  });
}

kiln_error* kiln_context_run(kiln_context* context, const kiln_tensor* inputs, size_t input_count,
                             const kiln_tensor* outputs, size_t output_count) {
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(context, "context"));
    KILN_RETURN_IF_ERROR(read_tensors(inputs, input_count, "input", context->inputs));
    KILN_RETURN_IF_ERROR(read_tensors(outputs, output_count, "output", context->outputs));
    return context->context->run(context->inputs, context->outputs);
  });
}

kiln_error* kiln_context_run_allocating(kiln_context* context, const kiln_tensor* inputs,
                                        size_t input_count, kiln_allocate allocate, void* user,
                                        const kiln_tensor** outputs, size_t* output_count) {
  if (outputs != nullptr) *outputs = nullptr;
  if (output_count != nullptr) *output_count = 0;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(context, "context"));
    KILN_RETURN_IF_ERROR(not_null(reinterpret_cast<const void*>(allocate), "allocate"));
    KILN_RETURN_IF_ERROR(not_null(outputs, "outputs"));
    KILN_RETURN_IF_ERROR(not_null(output_count, "output_count"));
    KILN_RETURN_IF_ERROR(read_tensors(inputs, input_count, "input", context->inputs));
    const auto give = [&](int output, const TensorSpec& spec, size_t bytes) {
      const kiln_tensor tensor = to_c(spec, context->device);
      return allocate(user, static_cast<size_t>(output), &tensor, bytes);
    };
    KILN_ASSIGN_OR_RETURN(const auto views, context->context->run(context->inputs, give));
    context->results.clear();
    for (const TensorView& view : views) context->results.push_back(to_c(view));
    *outputs = context->results.data();
    *output_count = context->results.size();
    return {};
  });
}
