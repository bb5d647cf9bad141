// The options of torchtrtc, the compiler of Torch-TensorRT's command line, that need more than a
// name: what decides the device, how much is logged, and what has no counterpart here.
#pragma once

#include <string>
#include <vector>

#include <kiln/builder.h>

#include "tools/kiln/arguments.h"

namespace kiln::tool {

// An option that could mean nothing here. docs/coming_from_torch_tensorrt.md has the same hints.
struct RefusedOption {
  const char* name;
  bool has_value;
  const char* hint;
};
const std::vector<RefusedOption>& refused_options();

// K1040 where one of them is given, K1041 for a value of --engine-capability other than "standard".
Status refuse_options(const Arguments& arguments);

// The dtype that --enable-precision names, in any case: f32 of "float32", "f32", "fp32" and "float"
// and so on. K1041 for int8, K1002 for others.
Result<DType> precision_of(const std::string& option, const std::string& value);

// Target and device index from --target, --device-type and --gpu-id. K1002 where they contradict
// each other, K1041 for a DLA.
Status choose_device(const Arguments& arguments, BuildOptions& options);

// Sets what is logged from --verbose, --info and --warnings, in place of KILN_LOGS. K1002 for more
// than one.
Status choose_verbosity(const Arguments& arguments);

// "f32" of torchtrtc's words for it, in any case: "float32", "fp32", "float"; other words as they
// are, in lower case.
std::string dtype_word(const std::string& word);

}  // namespace kiln::tool
