// A program as a torch::jit::Module: with the arguments and results of the model, saved by
// torch.jit.save and run by plain torch::jit::load in a process that has loaded this library.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <vector>

#include <kiln/status.h>

#include "torch/program_object.h"

namespace kiln {

// The program is the attribute `program` of the module, of class
// __torch__.torch.classes.kiln.Program; the buffers that it changes are buffers of the module under
// the model's names, changed in place by `forward`. `state` has their tensors, in the order of
// Program::state_infos(); without it, fresh ones with the initial values.
// K1019: arguments or results that TorchScript cannot express. K3120: a program whose file does not
// describe them. K4117: a tensor of `state` that does not fit.
Result<torch::jit::Module> make_script_module(const c10::intrusive_ptr<ProgramObject>& program,
                                              std::vector<at::Tensor> state = {});

// The reverse: the program of a module that does what make_script_module() would give it to do and
// nothing else, and its buffers. K3124 for any other module.
struct ScriptProgram {
  c10::intrusive_ptr<ProgramObject> program;
  std::vector<at::Tensor> state;
};
Result<ScriptProgram> find_script_program(const torch::jit::Module& module);

// Fresh tensors with the initial values of the buffers that the program changes.
Result<std::vector<at::Tensor>> initial_state(Program& program);

}  // namespace kiln
