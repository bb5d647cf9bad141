// The TorchScript importer: a method of a scripted or traced module as a stream of ATen calls.
//
// The method's graph is interpreted once, abstractly (docs/decisions/018-torchscript-import.md).
// What does not depend on tensors - sizes, lists, dicts, strings, branches, loops - is evaluated by
// TorchScript's own operators; ATen calls go to a CaptureBuilder. The module is not changed.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/module.h>

#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <kiln/capture.h>

#include "core/dim.h"

namespace kiln::torchscript {

// Loops are unrolled up to this many calls and branches of the whole program.
inline constexpr int64_t kMaxSteps = 200'000;

// What is to be imported: `function` alone, or as a method of `self`.
struct Callee {
  torch::jit::Function* function = nullptr;
  std::optional<torch::jit::Module> self;
  // The module is called rather than its forward: its forward pre-hooks and hooks run too.
  bool hooks = false;
};

// One call of it. Tensors stand for their dtype, sizes and strides; all other arguments are fixed
// to the values that they have here.
struct Arguments {
  std::vector<c10::IValue> values;  // in schema order, without self, defaults filled in
  // How the caller writes the call: the first `positional` values by position, then these by name.
  size_t positional = 0;
  std::vector<std::string> keywords;
  // Dims of tensors with symbolic sizes, by tensor: "64" or a symbol. Others are static.
  std::vector<std::pair<at::Tensor, std::vector<CaptureDim>>> dims;
  SymbolRanges symbols;
};

struct ImportOptions {
  c10::Device home = c10::kCPU;          // where the tensors of the program lie
  DeviceKind device = DeviceKind::kCpu;  // where it runs
};

struct ImportedProgram {
  std::string metadata;  // as python/kiln/frontends/captured.py reads it, without "state_names"
  std::vector<std::pair<std::string, at::Tensor>> weights;  // by name, not copied
  // What is checked of the sizes at each call: relation, left, right, text.
  std::vector<std::array<std::string, 4>> conditions;
  std::vector<std::string> notes;
};

// Where and why an import stopped.
struct ImportFailure {
  std::string module_path, function, location, reason, hint;
};

// K1145: something that the stream cannot express, with the reason and the place in the source.
// K1146: the program raises an exception for these arguments, with TorchScript's message.
// Otherwise the errors of CaptureBuilder.
Result<ImportedProgram> import_callee(const Callee& callee, const Arguments& arguments,
                                      const ImportOptions& options, CaptureBuilder& capture,
                                      ImportFailure* failure = nullptr);

// The calls of modules' forward methods in one run on real tensors, by module path: the arguments
// of each call, without self, or nothing for a call inside an autocast region. The run works on a
// copy of the module.
// K1145 as above, K1146 as above.
using ModuleCalls = std::map<std::string, std::vector<std::optional<std::vector<c10::IValue>>>>;
Result<ModuleCalls> record_calls(const Callee& callee, const Arguments& arguments);

}  // namespace kiln::torchscript
