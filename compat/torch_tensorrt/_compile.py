"""torch_tensorrt.compile and its kin: one model in, a kiln.Program out."""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import Any, Iterable

import kiln
import torch
from kiln.capture import script
from kiln.doors import choose
from kiln.frontends.errors import FrontendError
from kiln.frontends.export_driver import capture_module
from kiln.partial import PartialProgram
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from torch.utils._sympy.value_ranges import bound_sympy

from . import _debugger
from ._fx_words import WORDS, describe_inputs, examples, translate_words
from ._input import Input, as_arguments
from ._refusal import known_words, note, refuse_kind, refuse_value
from ._settings import COMPILE, ENGINE, TORCH_COMPILE, Translated, translate
from ._verify import verify


def compile(module: Any, ir: str = "default", inputs: Any = None, arg_inputs: Any = None,
            kwarg_inputs: dict[str, Any] | None = None, enabled_precisions: Any = None,
            **kwargs: Any) -> torch.nn.Module:
  """Compiles an nn.Module, fx.GraphModule, ExportedProgram or TorchScript.

  ir: "default" goes by the type of the module; "dynamo", "fx" and "torchscript" ("ts") compile
    ahead of time and need inputs; "torch_compile" compiles at the first call
  inputs, arg_inputs: positional arguments: tensors, torch_tensorrt.Input, numbers, nested
  kwarg_inputs: keyword arguments by name
  enabled_precisions: dtypes that may be computed in: float32 is lowered to the 16-bit ones
  Other keywords: the settings of CompilationSettings, kiln.compile's options and, where ir is "fx",
    the words of fx.compile.
  Returns a kiln.Program. Raises kiln.Error K1001, K1002, K1041 and what kiln.compile raises.
  """
  door = _door("compile", ir, module)
  if enabled_precisions is not None:
    kwargs["enabled_precisions"] = enabled_precisions
  inputs = one_of("compile", inputs, arg_inputs)
  return _COMPILE[door](door, module, inputs, kwarg_inputs, kwargs)


def convert_method_to_trt_engine(module: Any, method_name: str = "forward", inputs: Any = None,
                                 arg_inputs: Any = None,
                                 kwarg_inputs: dict[str, Any] | None = None, ir: str = "default",
                                 enabled_precisions: Any = None, **kwargs: Any) -> bytes:
  """The bytes of a `.kiln` file. `method_name` is any method of TorchScript, of other modules
  "forward"; other arguments as for compile()."""
  name = "convert_method_to_trt_engine"
  door = _door(name, ir, module)
  if door == "torch_compile":
    refuse_kind(f"{name}(ir)", "a door that compiles ahead of time", ir)
  if method_name != "forward" and door != "torchscript":
    refuse_value(f"{name}(method_name)", method_name)
  if enabled_precisions is not None:
    kwargs["enabled_precisions"] = enabled_precisions
  inputs = one_of(name, inputs, arg_inputs)
  if isinstance(module, ExportedProgram):
    return convert_exported(name, module, inputs, kwarg_inputs, kwargs)
  translated = translate(kwargs, ENGINE)
  program = _compile_module(name, module, inputs, kwarg_inputs, translated, door, method_name)
  return _file_bytes(program, translated)


def script_method(name: str, module: Any, method_name: str) -> Any:
  """A method of TorchScript, or of what torch.jit.script makes of a module. K1002, K1102."""
  try:
    return script(module)._c._get_method(method_name)
  except RuntimeError as error:
    raise FrontendError("K1002", f"torch_tensorrt.{name}: the module has no method of this name: "
                        f"{method_name}", hint="torch.jit.script compiles forward, what it calls "
                        "and what is marked with @torch.jit.export") from error


def _door(name: str, ir: Any, module: Any) -> str:
  """The name of Kiln's door. K1005, K1018."""
  if ir not in _IRS:
    raise FrontendError("K1005", f"torch_tensorrt.{name} does not know this ir: {ir!r}",
                        hint=f"known: {', '.join(_IRS)}")
  return choose(module, "auto" if ir == "default" else ir).name


def one_of(door: str, inputs: Any, arg_inputs: Any) -> Any:
  """`inputs` and `arg_inputs` mean the same. A single tensor is one argument."""
  if inputs is not None and arg_inputs is not None:
    refuse_kind(door, "inputs or arg_inputs, not both", "both")
  inputs = arg_inputs if inputs is None else inputs
  return [inputs] if isinstance(inputs, (torch.Tensor, Input)) else inputs


def _tensors(values: Any) -> Iterable[torch.Tensor]:
  for value in pytree.tree_leaves(values, is_leaf=lambda v: isinstance(v, Input)):
    if isinstance(value, torch.Tensor):
      yield value
    elif isinstance(value, Input):
      yield torch.empty(0, dtype=value.dtype.to(torch.dtype))


def _own_tensors(module: Any, inputs: Any) -> list[torch.Tensor]:
  """Whose dtypes are the model's: its parameters and buffers, or the inputs where it has none."""
  own = [*module.parameters(), *module.buffers()] if isinstance(module, torch.nn.Module) else []
  return own or list(_tensors(inputs))


# ---- an nn.Module -------------------------------------------------------------------------------


def _compile_dynamo(door: str, module: Any, inputs: Any, kwarg_inputs: Any,
                    settings: dict[str, Any]) -> torch.nn.Module:
  if isinstance(module, ExportedProgram):
    return compile_exported("compile", module, inputs, kwarg_inputs, settings)
  return _compile_module("compile", module, inputs, kwarg_inputs, translate(settings, COMPILE),
                         door)


def _compile_torchscript(door: str, module: Any, inputs: Any, kwarg_inputs: Any,
                         settings: dict[str, Any]) -> torch.jit.ScriptModule:
  from .ts import compile as ts_compile  # which is made of what stands here

  if kwarg_inputs is not None:
    refuse_kind("compile(kwarg_inputs)", 'nothing where ir="torchscript": give inputs', kwarg_inputs)
  return ts_compile(script(module), inputs, **settings)


def _compile_fx(door: str, module: Any, inputs: Any, kwarg_inputs: Any,
                settings: dict[str, Any]) -> torch.nn.Module:
  """The batch is that of the inputs here, as Torch-TensorRT has it, unless words say otherwise."""
  words = {"dynamic_batch": False}
  words.update((name, settings[name]) for name in WORDS if name in settings)
  rest = {name: value for name, value in settings.items() if name not in WORDS}
  return compile_fx("compile", module, inputs, kwarg_inputs, words, rest)


def compile_fx(name: str, module: Any, inputs: Any, kwarg_inputs: Any, given: dict[str, Any],
               settings: dict[str, Any]) -> torch.nn.Module:
  """A module through the FX door; `given` are words of fx.compile."""
  choose(module, "fx")
  words = translate_words(given, settings)
  described = describe_inputs((inputs, kwarg_inputs), words.batch_limit)
  try:
    program = _compile_module(name, module, *described, translate(words.settings, COMPILE), "fx")
  except FrontendError as error:
    if error.code != "K1102" or words.batch_limit is None:
      raise
    raise FrontendError(error.code, error.message, location=error.location, hint=(
      "dynamic_batch=False compiles for the batch of the inputs alone")) from error
  if words.tolerances is not None and isinstance(program, kiln.Program):
    args, kwargs = examples((list(inputs or ()), dict(kwarg_inputs or {})))
    verify(name, program, module, args, kwargs, atol=words.tolerances[0],
           rtol=words.tolerances[1], what="the module itself",
           hint="correctness_atol and correctness_rtol say what may differ")
  return program


def _compile_module(door: str, module: Any, inputs: Any, kwarg_inputs: Any,
                    translated: Translated, ir: str, method: str = "forward") -> torch.nn.Module:
  """`method` may be another one than forward where `ir` is "torchscript"."""
  if inputs is None and kwarg_inputs is None:
    raise FrontendError("K1101", f"torch_tensorrt.{door} needs the inputs of the model", hint=(
      f"torch_tensorrt.{door}(model, inputs=[torch_tensorrt.Input((1, 3, 224, 224))]), or example "
      'tensors; ir="torch_compile" needs none'))
  model = module if method == "forward" else script_method(door, module, method)
  translated.allow(_own_tensors(module, (inputs, kwarg_inputs)))
  options = translated.options
  if "torch_executed_modules" in options:
    options["torch_executed_modules"] = _module_entries(module, options["torch_executed_modules"])
  arguments = {"inputs": as_arguments([] if inputs is None else inputs),
               "kwargs": as_arguments(kwarg_inputs)}
  with translated.compiling():
    if translated.dryrun:
      return _dryrun(translated.dryrun, model, module, options, ir=ir, **arguments)
    program = kiln.compile(model, ir=ir, **arguments, **options)
    _debugger.compiled(program.report, program)
  return program


def _module_entries(module: torch.nn.Module, entries: Any) -> list[Any]:
  """Names of classes ("torch.nn.modules.linear.Linear", "torch.nn.Linear") become the classes."""
  classes = {type(m) for m in module.modules()}
  paths = {name for name, _ in module.named_modules()}

  def resolve(entry: Any) -> list[Any]:
    if not isinstance(entry, str) or entry in paths:
      return [entry]
    named = [c for c in classes
             if entry in (f"{c.__module__}.{c.__qualname__}", f"torch.nn.{c.__name__}")
             and (not entry.startswith("torch.nn.") or c.__module__.startswith("torch.nn."))]
    if not named:
      refuse_kind("CompilationSettings.torch_executed_modules", "paths and classes of the model's "
                  "modules", entry)
    return named

  return [found for entry in entries for found in resolve(entry)]


def _dryrun(where: Any, model: Any, untouched: torch.nn.Module, options: dict[str, Any],
            **arguments: Any) -> torch.nn.Module:
  """Prints what would be built, or writes it to a file, and hands the model back."""
  report = kiln.explain(model, **arguments, **options)
  if where is True:
    print(report)
  else:
    with open(where, "w", encoding="utf-8") as file:
      print(report, file=file)
  return untouched


def _torch_compile(door: str, module: Any, inputs: Any, kwarg_inputs: Any,
                   settings: dict[str, Any]) -> torch.nn.Module:
  translated = translate(settings, TORCH_COMPILE)
  leaves = [v for v in pytree.tree_leaves((inputs, kwarg_inputs),
                                          is_leaf=lambda v: isinstance(v, Input)) if v is not None]
  if any(isinstance(v, Input) and v.shape_mode is Input._ShapeMode.DYNAMIC for v in leaves):
    raise FrontendError("K1041", 'torch_tensorrt.compile(ir="torch_compile") takes no range of '
                        f"shapes: {[v for v in leaves if isinstance(v, Input)]}", hint=(
                          "call torch._dynamo.mark_dynamic(tensor, dim, min=, max=) on the first "
                          'input, or use ir="dynamo"'))
  translated.allow(_own_tensors(module, (inputs, kwarg_inputs)))
  if leaves:
    settings = {**settings, "notes": [*settings.get("notes", ()), note("compile(inputs)", "...")]}
  # By name: then the backend is found as it is in a process of its own.
  return torch.compile(module, backend="torch_tensorrt", options=settings or None)


#: By the names of Kiln's doors.
_COMPILE = {"dynamo": _compile_dynamo, "fx": _compile_fx, "torch_compile": _torch_compile,
            "torchscript": _compile_torchscript}
_IRS = ("default", *_COMPILE, "ts")


# ---- an ExportedProgram -------------------------------------------------------------------------


def compile_exported(door: str, exported: ExportedProgram, inputs: Any, kwarg_inputs: Any,
                     settings: dict[str, Any]) -> torch.nn.Module:
  translated = translate(settings, COMPILE)
  return _compile_exported(door, exported, inputs, kwarg_inputs, translated)


def convert_exported(door: str, exported: ExportedProgram, inputs: Any, kwarg_inputs: Any,
                     settings: dict[str, Any]) -> bytes:
  translated = translate(settings, ENGINE)
  program = _compile_exported(door, exported, inputs, kwarg_inputs, translated)
  return _file_bytes(program, translated)


def _compile_exported(door: str, exported: Any, inputs: Any, kwarg_inputs: Any,
                      translated: Translated) -> torch.nn.Module:
  if not isinstance(exported, ExportedProgram):
    refuse_kind(f"{door}(exported_program)" if door.startswith("dynamo.") else f"{door}(module)",
                "an ExportedProgram (torch_tensorrt.dynamo.trace makes one)",
                type(exported).__name__)
  if inputs is not None or kwarg_inputs is not None:
    _check_inputs(door, exported, inputs, kwarg_inputs)
  translated.allow([*exported.state_dict.values()] or
                   [v for v in _input_values(exported) if isinstance(v, torch.Tensor)])
  with translated.compiling():
    if translated.dryrun:
      return _dryrun(translated.dryrun, exported, exported.module(), translated.options)
    program = kiln.compile(exported, **translated.options)
    _debugger.compiled(program.report, program)
  return program


def _input_values(exported: ExportedProgram) -> list[Any]:
  """The (fake) values of the user's inputs, None for a constant."""
  nodes = {n.name: n for n in exported.graph.nodes if n.op == "placeholder"}
  return [nodes[name].meta.get("val") if name in nodes else None
          for name in exported.graph_signature.user_inputs]


def _check_inputs(door: str, exported: ExportedProgram, inputs: Any, kwarg_inputs: Any) -> None:
  """The exported program has its shapes; inputs that contradict them are an error, not ignored."""
  given = pytree.tree_leaves((tuple(inputs or ()), dict(kwarg_inputs or {})),
                             is_leaf=lambda v: isinstance(v, Input))
  values = _input_values(exported)
  if len(given) != len(values):
    raise FrontendError("K1101", f"torch_tensorrt.{door}: the exported program has another number "
                        f"of inputs: {len(values)}, given {len(given)}",
                        hint="leave the inputs out: an ExportedProgram has them already")
  for index, (own, value) in enumerate(zip(given, values)):
    if isinstance(own, torch.Tensor):
      own = Input(tuple(own.shape), dtype=own.dtype) if own.dtype != torch.complex64 else own
    if not isinstance(own, Input) or not isinstance(value, torch.Tensor):
      continue
    element = own.dtype.to(torch.dtype)
    fits = element == value.dtype and len(own.min_shape) == value.ndim
    if fits:
      fits = all(_holds(exported, size, low, high)
                 for size, low, high in zip(value.shape, own.min_shape, own.max_shape))
    if not fits:
      raise FrontendError("K1101", f"torch_tensorrt.{door}: input {index} is not what the program "
                          f"was exported with: {own}, exported {value.dtype} "
                          f"{[str(s) for s in value.shape]}",
                          hint="ranges of sizes are given to torch.export.export(dynamic_shapes=) "
                          "or torch_tensorrt.dynamo.trace")


def _holds(exported: ExportedProgram, size: Any, low: int, high: int) -> bool:
  """Whether an exported size takes all of low..high."""
  if isinstance(size, int):
    return low == high == size
  bounds = bound_sympy(size.node.expr, exported.range_constraints)
  return bool(bounds.lower <= low) and bool(high <= bounds.upper)


def trace(mod: torch.nn.Module, inputs: Any = None, *, arg_inputs: Any = None,
          kwarg_inputs: dict[str, Any] | None = None, dynamic_shapes: Any = None,
          strict: bool = False, **kwargs: Any) -> ExportedProgram:
  """torch.export.export of a module whose inputs may be torch_tensorrt.Input.

  Strict capture is tried where non-strict capture fails. Settings are only checked: they belong to
  compiling.
  Raises kiln.Error K1101, K1102.
  """
  translate(kwargs, COMPILE)
  if strict is not False:
    refuse_value("dynamo.trace(strict)", strict)
  inputs = one_of("dynamo.trace", inputs, arg_inputs)
  if inputs is None and kwarg_inputs is None:
    raise FrontendError("K1101", "torch_tensorrt.dynamo.trace needs the inputs of the model", hint=(
      "torch_tensorrt.dynamo.trace(model, inputs=[torch_tensorrt.Input((1, 3, 224, 224))])"))
  with known_words():
    return capture_module(mod, args=as_arguments(list(inputs or ())),
                          kwargs=as_arguments(kwarg_inputs), dynamic_shapes=dynamic_shapes).program


def _file_bytes(program: Any, translated: Translated) -> bytes:
  if not isinstance(program, (kiln.Program, PartialProgram)):
    refuse_kind("CompilationSettings.dryrun", "False where an engine is to be made", True)
  for line in translated.options.get("notes", ()):
    warnings.warn(line, stacklevel=4)  # the report stays behind
  if translated.without_weights:
    return program._compiled.serialize(True)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "engine.kiln")
    program.save(path)
    with open(path, "rb") as file:
      return file.read()
