"""Capture ahead of time: a model becomes a stream of calls on a capture builder.

One function for each door that captures before it compiles; all take a Request and give a Capture.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch.export import ExportedProgram

from . import _native
from .frontends import fx_trace
from .frontends.captured import CapturedProgram
from .frontends.errors import FrontendError
from .frontends.export_driver import (CapturedModule, capture_module, collect_arguments,
                                      prepare_program)
from .frontends.export_frontend import walk_exported_program
from .frontends.torchscript_frontend import (Sizes, Stopped, capture_script, has_hooks, is_script,
                                             module_and_method, script_module_paths, script_name)
from .options import Options
from .weights import name_state


@dataclass(frozen=True)
class Request:
  """What kiln.compile or kiln.explain was asked for. `inputs`, `kwargs` and `dynamic_shapes` are
  theirs."""

  model: Any
  options: Options
  inputs: Any = None
  kwargs: dict[str, Any] | None = None
  dynamic_shapes: Any = None
  sizes: Sizes | None = None  # of the tensors in `inputs`, for a part of a scripted module

  @property
  def describes_inputs(self) -> bool:
    return any(v is not None for v in (self.inputs, self.kwargs, self.dynamic_shapes))

  def arguments(self) -> tuple[tuple, dict[str, Any]]:
    """Positional and named ones; their leaves may be kiln.Input. K1101 where none are given."""
    if self.kwargs is None:
      return collect_arguments(self.model, None, None, self.inputs)
    return collect_arguments(self.model, self.inputs, self.kwargs, None)


@dataclass(frozen=True)
class Capture:
  """A model as it was handed to `cap`. `exported` is None where torch.export had no part in it."""

  name: str
  cap: _native.CaptureBuilder
  captured: CapturedProgram
  exported: ExportedProgram | None
  seconds: dict[str, float]  # of the phases "capture" and "import"


def through_export(request: Request) -> Capture:
  """An ExportedProgram, or a module by way of torch.export. K1101 to K1118."""
  return _capture(request, lambda: request.model)


def through_fx(request: Request) -> Capture:
  """A torch.fx.GraphModule; another module is traced by torch.fx first. As through_export()."""
  if isinstance(request.model, torch.fx.GraphModule):
    return through_export(request)
  return _capture(request, lambda: fx_trace.trace(request.model, *request.arguments()))


def through_torchscript(request: Request) -> Capture | Stopped:
  """A scripted or traced module, one of its methods, or a function; without `strict`, where the
  import stopped and why comes back for one that cannot be captured as a whole. K1101, K1104, K1145,
  K1146."""
  start = time.perf_counter()
  model, method = module_and_method(request.model)
  options = request.options
  cap = _native.CaptureBuilder()
  cap.keep_in_torch(options.op_names(), script_module_paths(model, options.torch_executed_modules))
  captured = capture_script(model, method, cap, request.inputs, request.kwargs,
                            request.dynamic_shapes, options.target, partial=not options.strict,
                            sizes=request.sizes,
                            # A part's hooks run in its caller, a method is called by itself.
                            hooks=model is request.model and request.sizes is None)
  if isinstance(captured, Stopped):
    return captured
  captured.notes += list(options.notes)
  return Capture(script_name(model, method), cap, captured, None, {"import": time.perf_counter() - start})


def script(model: Any) -> Any:
  """`model`, or what torch.jit.script makes of it where it is no TorchScript; of a module's
  `forward` the module, where it has no hooks. K1102."""
  if is_script(model):
    owner, method = module_and_method(model)
    return owner if method == "forward" and not has_hooks(owner) else model
  try:
    with warnings.catch_warnings():
      warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\..*")
      return torch.jit.script(model)
  except Exception as error:  # noqa: BLE001: TorchScript's compiler raises many types
    text = " ".join(str(error).split())[:400] or "no message"
    raise FrontendError(
      "K1102", f"torch.jit.script could not compile the model: {type(error).__name__}: {text}",
      hint='hand over torch.jit.trace(model, inputs), or use ir="dynamo"') from error


def _capture(request: Request, source: Callable[[], Any]) -> Capture:
  """`source` gives what is captured in place of the user's model, whose names stay."""
  start = time.perf_counter()
  model, options = request.model, request.options
  exported = _exported(request, source())
  exported_at = time.perf_counter()
  cap = _native.CaptureBuilder()
  is_program = isinstance(model, ExportedProgram)
  cap.keep_in_torch(options.op_names(), options.module_paths(model.graph if is_program else model))
  captured = walk_exported_program(exported.program, cap, exported.parameters, options.target)
  captured.notes += list(options.notes) + exported.notes
  if is_program:
    captured.state_names = name_state(captured, model.state_dict)
  else:
    captured.state_names = name_state(captured, exported.program.state_dict, model.state_dict())
    captured.adopt_buffers(model)
  return Capture(type(model).__name__, cap, captured, exported.program, {
    "capture": exported_at - start, "import": time.perf_counter() - exported_at})


def _exported(request: Request, source: Any) -> CapturedModule:
  if isinstance(source, ExportedProgram):
    if request.describes_inputs:
      raise FrontendError("K1101", "an ExportedProgram has its inputs: give none")
    return prepare_program(source)
  args, kwargs = request.arguments()
  return capture_module(source, args, kwargs, dynamic_shapes=request.dynamic_shapes)
