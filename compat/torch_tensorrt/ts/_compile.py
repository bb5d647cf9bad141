"""torch_tensorrt.ts.compile and its kin: a scripted or traced module in, a ScriptModule out."""

from __future__ import annotations

import warnings
from typing import Any

import kiln
import torch
from kiln import _native, script_files
from kiln.partial import PartialProgram

from .. import _compile
from .._device import Device
from .._enums import EngineCapability
from .._refusal import note, refuse_kind, refuse_value
from .._settings import COMPILE, ENGINE, Translated, translate


def compile(module: torch.jit.ScriptModule, inputs: Any = None, input_signature: Any = None, *,
            capability: EngineCapability = EngineCapability.STANDARD,
            allow_shape_tensors: bool = False, **settings: Any) -> torch.jit.ScriptModule:
  """Compiles a scripted or traced module ahead of time.

  inputs: tensors, torch_tensorrt.Input, numbers, nested
  input_signature: the same, as the tuple of all arguments; instead of `inputs`
  Other keywords: device, enabled_precisions and the other settings of CompilationSettings.
  The result runs by torch.jit.save and torch.jit.load wherever kiln is imported, and in C++ with
  libkiln_torch. Raises kiln.Error K1001, K1002, K1019, K1041 and what kiln.compile raises.
  """
  translated = _translate(settings, COMPILE, capability, allow_shape_tensors)
  if translated.dryrun is not False:
    refuse_value("ts.compile(dryrun)", translated.dryrun)
  program = _build("ts.compile", module, inputs, input_signature, translated)
  return program.script_module() if isinstance(program, kiln.Program) else program.module


def convert_method_to_trt_engine(module: torch.jit.ScriptModule, method_name: str = "forward",
                                 inputs: Any = None, input_signature: Any = None, *,
                                 capability: EngineCapability = EngineCapability.STANDARD,
                                 allow_shape_tensors: bool = False, **settings: Any) -> bytes:
  """The bytes of a `.kiln` file that does what a method does. Arguments as for compile(); K1002 for
  a method that the module has not."""
  name = "ts.convert_method_to_trt_engine"
  translated = _translate(settings, ENGINE, capability, allow_shape_tensors)
  program = _build(name, module, inputs, input_signature, translated, method_name)
  if isinstance(program, PartialProgram):
    program.save("engine.kiln")  # K1147, which says what stays in TorchScript
  return _compile._file_bytes(program, translated)


def _translate(settings: dict[str, Any], door: str, capability: Any,
               allow_shape_tensors: Any) -> Translated:
  translated = translate({**settings, "engine_capability": capability}, door)
  if not isinstance(allow_shape_tensors, bool):
    refuse_kind("ts.compile(allow_shape_tensors)", "True or False", allow_shape_tensors)
  if allow_shape_tensors:
    translated.note(note("ts.compile(allow_shape_tensors)", True))
  return translated


def _build(name: str, module: Any, inputs: Any, input_signature: Any,
           translated: Translated, method: str = "forward") -> Any:
  if not isinstance(module, torch.jit.ScriptModule):
    refuse_kind(f"{name}(module)", "a scripted or traced module (torch.jit.script, "
                "torch.jit.trace)", type(module).__name__)
  if inputs is not None and input_signature is not None:
    refuse_kind(name, "inputs or input_signature, not both", "both")
  if input_signature is not None:
    inputs = list(input_signature) if isinstance(input_signature, (tuple, list)) else \
      [input_signature]
  program = _compile._compile_module(name, module, _compile.one_of(name, inputs, None), None,
                                     translated, "torchscript", method)
  if translated.options.get("notes"):
    for line in translated.options["notes"]:  # a ScriptModule has no report
      warnings.warn(line, stacklevel=3)
  return program


def embed_engine_in_new_module(serialized_engine: bytes, input_binding_names: Any = None,
                               output_binding_names: Any = None, device: Any = None
                               ) -> torch.jit.ScriptModule:
  """The bytes of a `.kiln` file as a ScriptModule with the signature of the model in it.

  Raises kiln.Error K1019, K31xx and, for a file with operators that need leave, K3301
  (kiln.load(path, allow_ops=[...]).script_module() gives it).
  """
  if not isinstance(serialized_engine, (bytes, bytearray)):
    refuse_kind("ts.embed_engine_in_new_module(serialized_engine)", "the bytes of a .kiln file",
                type(serialized_engine).__name__)
  for name, value in (("input_binding_names", input_binding_names),
                      ("output_binding_names", output_binding_names)):
    if value:
      refuse_value(f"ts.embed_engine_in_new_module({name})", value)
  if device is not None:
    Device._from(device)
  return script_files.module_of_bytes(bytes(serialized_engine))


def check_method_op_support(module: torch.jit.ScriptModule, method_name: str = "forward") -> bool:
  """Whether Kiln has a rule for every operator on tensors of a method; prints those that would stay
  in PyTorch. K1002 for a method that the module has not."""
  name = "ts.check_method_op_support"
  if not isinstance(module, torch.jit.ScriptModule):
    refuse_kind(f"{name}(module)", "a scripted or traced module", type(module).__name__)
  _compile.script_method(name, module, method_name)
  missing = _native.script_operators_without_rule(module, method_name)
  if missing:
    print("These operators stay in PyTorch:", *missing, sep="\n  ")
  return not missing
