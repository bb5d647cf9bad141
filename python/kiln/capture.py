"""Capture ahead of time: a model becomes a stream of calls on a capture builder.

One function for each door that captures before it compiles; all take a Request and give a Capture.
"""

from __future__ import annotations

import time
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
  """A model as it was handed to `cap`."""

  cap: _native.CaptureBuilder
  captured: CapturedProgram
  exported: ExportedProgram
  seconds: dict[str, float]  # of the phases "capture" and "import"


def through_export(request: Request) -> Capture:
  """An ExportedProgram, or a module by way of torch.export. K1101 to K1118."""
  return _capture(request, lambda: request.model)


def through_fx(request: Request) -> Capture:
  """A torch.fx.GraphModule; another module is traced by torch.fx first. As through_export()."""
  if isinstance(request.model, torch.fx.GraphModule):
    return through_export(request)
  return _capture(request, lambda: fx_trace.trace(request.model, *request.arguments()))


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
  return Capture(cap, captured, exported.program, {
    "capture": exported_at - start, "import": time.perf_counter() - exported_at})


def _exported(request: Request, source: Any) -> CapturedModule:
  if isinstance(source, ExportedProgram):
    if request.describes_inputs:
      raise FrontendError("K1101", "an ExportedProgram has its inputs: give none")
    return prepare_program(source)
  args, kwargs = request.arguments()
  return capture_module(source, args, kwargs, dynamic_shapes=request.dynamic_shapes)
