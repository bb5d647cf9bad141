// The C API of programs and of their state.
#include <cstring>
#include <type_traits>

#include "capi/arguments.h"
#include "capi/border.h"
#include "capi/handles.h"
#include "runtime/memory.h"

using kiln::Program;
using kiln::Status;
using kiln::TensorInfo;
using kiln::TensorView;
using kiln::WeightInfo;
using kiln::capi::at_border;
using kiln::capi::check_array;
using kiln::capi::not_null;
using kiln::capi::read_load_options;
using kiln::capi::read_tensor;

namespace kiln::capi {

static_assert(std::is_same_v<int, int32_t>, "TensorInfo::order is handed out as int32_t");
static_assert(KILN_RESULT == static_cast<int>(TensorInfo::Role::kResult) &&
              KILN_WRITES_INPUT == static_cast<int>(TensorInfo::Role::kWritesInput) &&
              KILN_VIEW_OF_INPUT == static_cast<int>(TensorInfo::Role::kViewOfInput) &&
              KILN_VIEW_OF_OUTPUT == static_cast<int>(TensorInfo::Role::kViewOfOutput));

InfoTable::InfoTable(const std::vector<TensorInfo>& infos) {
  for (const TensorInfo& info : infos) {
    std::vector<kiln_dim_info> dims;
    for (const DimInfo& dim : info.dims) dims.push_back({dim.expression.c_str(), dim.min, dim.max});
    dims_.push_back(std::move(dims));
    infos_.push_back({info.name.c_str(), static_cast<int32_t>(info.dtype),
                      static_cast<int32_t>(info.dims.size()), dims_.back().data(),
                      info.order.empty() ? nullptr : info.order.data(),
                      static_cast<int32_t>(info.role), info.target});
  }
}

const kiln_tensor_info* InfoTable::get(size_t* count) const {
  *count = infos_.size();
  return infos_.data();
}

namespace {

// Memory that a caller lends until `release`; a copy where there is none.
Result<std::shared_ptr<const void>> keep_bytes(const void* bytes, size_t size,
                                               void (*release)(void*), void* user) {
  if (release != nullptr) {
    return std::shared_ptr<const void>(bytes, [release, user](const void*) { release(user); });
  }
  KILN_RETURN_IF_ERROR(check_array(bytes, size, "bytes"));
  const std::shared_ptr<void> copy = allocate_block(size);
  if (copy == nullptr) return Status::error("K4501", "out of memory for a copy of the file");
  if (size != 0) std::memcpy(copy.get(), bytes, size);
  return std::shared_ptr<const void>(copy);
}

}  // namespace
}  // namespace kiln::capi

kiln_program::kiln_program(std::shared_ptr<Program> made)
    : program(std::move(made)),
      inputs(program->inputs()),
      outputs(program->outputs()),
      states(program->state_infos()) {
  for (const WeightInfo& weight : program->weights()) {
    weights.push_back({weight.name.c_str(), static_cast<int32_t>(weight.dtype),
                       static_cast<int32_t>(weight.shape.size()), weight.shape.data()});
  }
}

kiln_error* kiln_program_load(const char* path, const kiln_load_options* options,
                              kiln_program** program) {
  if (program != nullptr) *program = nullptr;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(program, "program"));
    KILN_RETURN_IF_ERROR(not_null(path, "path"));
    KILN_ASSIGN_OR_RETURN(const kiln::LoadOptions read, read_load_options(options));
    KILN_ASSIGN_OR_RETURN(auto loaded, Program::load(path, read));
    *program = new kiln_program(std::move(loaded));
    return {};
  });
}

kiln_error* kiln_program_load_bytes(const void* bytes, size_t size, void (*release)(void* user),
                                    void* user, const kiln_load_options* options,
                                    kiln_program** program) {
  if (program != nullptr) *program = nullptr;
  return at_border([&]() -> Status {
    // First, so that whatever fails releases the memory.
    KILN_ASSIGN_OR_RETURN(auto owner, kiln::capi::keep_bytes(bytes, size, release, user));
    KILN_RETURN_IF_ERROR(not_null(program, "program"));
    KILN_RETURN_IF_ERROR(check_array(bytes, size, "bytes"));
    KILN_ASSIGN_OR_RETURN(const kiln::LoadOptions read, read_load_options(options));
    const void* data = owner.get();
    KILN_ASSIGN_OR_RETURN(auto loaded, Program::load(data, size, std::move(owner), read));
    *program = new kiln_program(std::move(loaded));
    return {};
  });
}

void kiln_program_free(kiln_program* program) { delete program; }

const kiln_tensor_info* kiln_program_inputs(const kiln_program* program, size_t* count) {
  return program->inputs.get(count);
}
const kiln_tensor_info* kiln_program_outputs(const kiln_program* program, size_t* count) {
  return program->outputs.get(count);
}
const kiln_tensor_info* kiln_program_states(const kiln_program* program, size_t* count) {
  return program->states.get(count);
}
const kiln_weight_info* kiln_program_weights(const kiln_program* program, size_t* count) {
  *count = program->weights.size();
  return program->weights.data();
}

int32_t kiln_program_device(const kiln_program* program, int32_t* device_index) {
  const kiln::Device device = program->program->device();
  if (device_index != nullptr) *device_index = device.index;
  return static_cast<int32_t>(device.kind);
}

const char* kiln_program_metadata(const kiln_program* program) {
  return program->program->metadata().c_str();
}
const char* kiln_program_report(const kiln_program* program) {
  return program->program->report_json().c_str();
}

kiln_error* kiln_program_update_weights(kiln_program* program, const kiln_weight* weights,
                                        size_t count) {
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(program, "program"));
    KILN_ASSIGN_OR_RETURN(const auto read, kiln::capi::read_weights(weights, count));
    return program->program->update_weights(read);
  });
}

kiln_error* kiln_state_create(kiln_program* program, kiln_state** state) {
  if (state != nullptr) *state = nullptr;
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(state, "state"));
    KILN_RETURN_IF_ERROR(not_null(program, "program"));
    KILN_ASSIGN_OR_RETURN(auto made, program->program->create_state());
    *state = new kiln_state{std::move(made)};
    return {};
  });
}

void kiln_state_free(kiln_state* state) { delete state; }

kiln_error* kiln_state_get(const kiln_state* state, const char* name, const kiln_tensor* to) {
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(state, "state"));
    KILN_RETURN_IF_ERROR(not_null(name, "name"));
    KILN_RETURN_IF_ERROR(not_null(to, "to"));
    TensorView view;
    KILN_RETURN_IF_ERROR(read_tensor(*to, view));
    return state->state->get(name, view);
  });
}

kiln_error* kiln_state_set(kiln_state* state, const char* name, const kiln_tensor* from) {
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(state, "state"));
    KILN_RETURN_IF_ERROR(not_null(name, "name"));
    KILN_RETURN_IF_ERROR(not_null(from, "from"));
    TensorView view;
    KILN_RETURN_IF_ERROR(read_tensor(*from, view));
    return state->state->set(name, view);
  });
}

kiln_error* kiln_state_reset(kiln_state* state) {
  return at_border([&]() -> Status {
    KILN_RETURN_IF_ERROR(not_null(state, "state"));
    return state->state->reset();
  });
}
