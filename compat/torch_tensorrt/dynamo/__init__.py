"""torch_tensorrt.dynamo: from an ExportedProgram to a program."""

from __future__ import annotations

from typing import Any

import kiln
from torch.export import ExportedProgram

from .. import _compile
from .._compile import trace
from .._debugger import Debugger
from .._files import add_notes, as_exported
from .._refit import refit_module_weights
from .._refusal import module_getattr, refuse_kind, refuse_value
from .._settings import CompilationSettings
from . import conversion, lowering, partitioning, runtime

__all__ = [
  "CompilationSettings", "Debugger", "compile", "conversion",
  "convert_exported_program_to_serialized_trt_engine", "export", "lowering", "partitioning",
  "refit_module_weights", "runtime", "trace",
]


def compile(exported_program: ExportedProgram, inputs: Any = None, *, arg_inputs: Any = None,
            kwarg_inputs: dict[str, Any] | None = None, **settings: Any) -> kiln.Program:
  """Compiles an ExportedProgram.

  The inputs are the exported program's; given ones are only checked against it (K1101).
  `settings` are those of CompilationSettings, and kiln.compile's options.
  """
  name = "dynamo.compile"
  inputs = _compile.one_of(name, inputs, arg_inputs)
  return _compile.compile_exported(name, exported_program, inputs, kwarg_inputs, settings)


def convert_exported_program_to_serialized_trt_engine(
    exported_program: ExportedProgram, inputs: Any = None, *, arg_inputs: Any = None,
    kwarg_inputs: dict[str, Any] | None = None, lift_mutable_buffers: bool = False,
    arg_input_binding_names: Any = None, kwarg_input_binding_names: Any = None,
    output_binding_names: Any = None, **settings: Any) -> bytes:
  """The bytes of a `.kiln` file. Arguments as for compile()."""
  name = "dynamo.convert_exported_program_to_serialized_trt_engine"
  bindings = {"arg_input_binding_names": arg_input_binding_names,
              "kwarg_input_binding_names": kwarg_input_binding_names,
              "output_binding_names": output_binding_names}
  for key, value in bindings.items():
    if value is not None:
      refuse_value(f"{name}({key})", value)
  inputs = _compile.one_of(name, inputs, arg_inputs)
  return _compile.convert_exported(name, exported_program, inputs, kwarg_inputs, settings)


def export(gm: kiln.Program, *, arg_inputs: Any = None, kwarg_inputs: dict[str, Any] | None = None,
           dynamic_shapes: Any = None, cross_compile_module: bool = False,
           use_legacy_exporter: bool = False) -> ExportedProgram:
  """A compiled program as an ExportedProgram; it knows its inputs and their ranges."""
  if cross_compile_module:
    refuse_value("dynamo.export(cross_compile_module)", cross_compile_module)
  if not isinstance(gm, kiln.Program):
    refuse_kind("dynamo.export(gm)", "a compiled program", type(gm).__name__)
  given = {"arg_inputs": arg_inputs, "kwarg_inputs": kwarg_inputs, "dynamic_shapes": dynamic_shapes,
           "use_legacy_exporter": use_legacy_exporter or None}
  add_notes(gm, "dynamo.export", given)
  return as_exported(gm)


__getattr__ = module_getattr(__name__)
