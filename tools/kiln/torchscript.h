// TorchScript models on the command line. The tool links no torch: libkiln_torch_compile does the
// work, opened when it is asked for.
#pragma once

#include "base/json.h"
#include "tools/kiln/arguments.h"

namespace kiln::tool {

// Whether `kiln compile` takes a file of this name for TorchScript: .ts, .pt, .pth, .jit.
bool is_torchscript_name(const std::string& path);

// Whether a word of the command line is an input for parse_input_spec, rather than a file: one that
// begins with a parenthesis or bracket, or consists of sizes.
bool is_input_word(const std::string& word);

// "(1,3,8,8)", "(1,3,8,8)@f16%channels_last" or "[(1,3,8,8);(2,3,8,8);(4,3,8,8)]@f32", as torchtrtc
// has them: minimum, optimum and maximum, and its words for dtypes and formats (fp16, NHWC). K1007.
Result<Json> parse_input_spec(const std::string& text);

// What torch/torchscript/compile_file.h answers. The library is the file that the environment
// variable KILN_TORCH_COMPILE names, else the one beside libkiln, else what the loader finds. K1020
// where it cannot be opened; the error of the answer.
Result<Json> ask_torch_compile(const Json& request);

}  // namespace kiln::tool
