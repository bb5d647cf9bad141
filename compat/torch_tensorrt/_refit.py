"""dynamo.refit_module_weights: new weights for a compiled program."""

from __future__ import annotations

import copy
from typing import Any, Mapping

import kiln
import torch
from torch.export import ExportedProgram

from ._compile import one_of
from ._refusal import refuse_kind
from ._verify import verify

_NAME = "dynamo.refit_module_weights"


def refit_module_weights(compiled_module: Any, new_weight_module: Any, arg_inputs: Any = None,
                         kwarg_inputs: dict[str, Any] | None = None, verify_output: bool = False,
                         in_place: bool = False) -> kiln.Program:
  """The program with the weights of `new_weight_module`, which is nothing but packed again.

  new_weight_module: an ExportedProgram of the same model; its module or a state_dict will also do
  verify_output: compares both on the inputs given; K1042 where they differ
  in_place: changes `compiled_module` itself
  Raises kiln.Error K1002, K1042 and what Program.update_weights raises.
  """
  if not isinstance(compiled_module, kiln.Program):
    refuse_kind(f"{_NAME}(compiled_module)", "a compiled program", type(compiled_module).__name__)
  weights, module = _weights(new_weight_module)
  if verify_output and (module is None or arg_inputs is None and kwarg_inputs is None):
    refuse_kind(f"{_NAME}(verify_output)", "a module and the inputs to run it on", verify_output)
  program = compiled_module if in_place else copy.deepcopy(compiled_module)
  program.update_weights(weights)
  if verify_output:
    verify(_NAME, program, module, list(one_of(_NAME, arg_inputs, None) or ()),
           dict(kwarg_inputs or {}), rtol=1e-3, atol=1e-4, what="the new module",
           hint="are both of the same model? compile the new one")
  return program


def _weights(source: Any) -> tuple[Mapping[str, torch.Tensor], torch.nn.Module | None]:
  if isinstance(source, ExportedProgram):
    return source.state_dict, source.module()
  if isinstance(source, torch.nn.Module):
    return source.state_dict(), source
  if isinstance(source, Mapping):
    return source, None
  refuse_kind(f"{_NAME}(new_weight_module)", "an ExportedProgram, a module or a state_dict",
              type(source).__name__)
