// What C callers pass, as the C++ interface takes it. K1050 for what makes no sense.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include <kiln/c_api.h>
#include <kiln/program.h>

#include "base/status.h"

namespace kiln::capi {

Status bad_argument(const std::string& message, const std::string& hint = {});
Status not_null(const void* pointer, const char* name);

// An array may be null when it is empty.
Status check_array(const void* array, size_t count, const char* name);

// Options as this version knows them: members that an older caller does not have are 0, and those
// that a newer caller has beyond them must be.
template <typename Options>
Result<Options> read_options(const Options* given) {
  Options options = {};
  if (given == nullptr) return options;
  const size_t size = given->struct_size;
  if (size < sizeof(size_t) || size > 4096) {
    return bad_argument("options have no size", "start from KILN_..._OPTIONS_INIT");
  }
  std::memcpy(&options, given, size < sizeof(Options) ? size : sizeof(Options));
  const auto* bytes = reinterpret_cast<const char*>(given);
  for (size_t i = sizeof(Options); i < size; ++i) {
    if (bytes[i] != 0)
      return bad_argument("options that this version of the library does not know");
  }
  return options;
}

Result<DType> read_dtype(int32_t dtype);
Status read_tensor(const kiln_tensor& tensor, TensorView& view);
// Into `views`, which keeps its memory from call to call. `name` is what the array is called.
Status read_tensors(const kiln_tensor* tensors, size_t count, const char* name,
                    std::vector<TensorView>& views);
Result<std::vector<std::string>> read_texts(const char* const* texts, size_t count,
                                            const char* name);
Result<std::vector<WeightView>> read_weights(const kiln_weight* weights, size_t count);
Result<int> read_threads(int32_t threads);
Result<LoadOptions> read_load_options(const kiln_load_options* given);

// `view` points to the shape and strides given here.
kiln_tensor to_c(const TensorView& view);
kiln_tensor to_c(const TensorSpec& spec, const Device& device);

}  // namespace kiln::capi
