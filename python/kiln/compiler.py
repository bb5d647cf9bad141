"""The doors: kiln.compile, kiln.explain and the torch.compile backend."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Callable

import torch

from . import _native
from .absent import NO_GPU, AbsentProgram
from .capture import Request
from .doors import Door, choose
from .frontends.captured import CapturedProgram
from .frontends.errors import FrontendError
from .frontends.torchscript_frontend import Stopped
from .options import Options, parse_options
from .partial import PartialProgram, join_parts, report_parts
from .program import Program
from .pt2 import script_object
from .pt2_open import export_open
from .report import Report, memory_of
from .script_parts import compile_parts

_jit_reports: deque[Report] = deque(maxlen=64)


def jit_reports() -> list[Report]:
  """Reports of the programs that torch.compile built in this process, oldest first (at most 64)."""
  return list(_jit_reports)


def _wishes(options: Options, placement: Any) -> dict[str, Any]:
  """What decides the kernels, as arguments of _native.compile and _native.explain."""
  return {"target": placement.target, "device_index": placement.index,
          "precisions": options.precisions(), "allow_tf32": options.allow_tf32,
          "tune": options.tune != "off"}


def build_program(cap: Any, captured: CapturedProgram, options: Options,
                  seconds: dict[str, float], name: str = "") -> Program:
  """Builds what was captured. `seconds` are the times before, for the report."""
  placement = captured.placement
  compiled = _native.compile(
    cap, threads=options.threads, strict=options.strict, min_block_size=options.min_block_size,
    **_wishes(options, placement), metadata=captured.to_json(), name=name, cache=options.cache)
  start = time.perf_counter()
  native = _instantiate(compiled, options, captured)
  pack = time.perf_counter() - start
  report = Report.from_json(compiled.report_json())
  phases = {**seconds, **report.build_seconds, "pack": pack}
  report.update(build_seconds=phases, memory=memory_of(native),
                notes=report.notes + captured.notes)
  return Program(native, captured, report, compiled=compiled, strict=options.strict)


def _instantiate(compiled: Any, options: Options, captured: CapturedProgram) -> Any:
  """The program on its device; for a GPU that is not here, something to be saved."""
  placement = captured.placement
  try:
    return compiled.instantiate(options.threads, captured.weights, placement.index,
                                options.cuda_graphs)
  except FrontendError as error:
    if error.code not in NO_GPU or placement.home.type == "cuda" or not placement.target:
      raise
    captured.notes.append(f"built for {compiled.target()}, which is not here: {error.code}")
    return AbsentProgram(compiled, error)


def compile(model: Any, inputs: Any = None, *, kwargs: dict[str, Any] | None = None,
            dynamic_shapes: Any = None, ir: str = "auto", **options: Any
            ) -> Program | PartialProgram | Callable[..., Any]:
  """Compiles a model ahead of time: an nn.Module, fx.GraphModule, ExportedProgram, or a scripted or
  traced module, one of its methods (`scripted.encode`) or function.

  `inputs`: example tensors or kiln.Input by position (list, tuple) or by name (dict); with
  `kwargs`, `inputs` are the positional ones. `dynamic_shapes` is torch.export's. `options` are
  those of kiln.options.Options.
  `ir` names the door; "auto" goes by the type of the model. "dynamo": torch.export; "fx": an FX
  graph, which torch.fx makes of another module; "torchscript", "ts": TorchScript, which
  torch.jit.script makes of another module; "torch_compile": what torch.compile(model,
  backend="kiln", options=options) returns, which takes no description of inputs as it captures when
  it is called.
  TorchScript that depends on the values of tensors cannot be compiled as a whole: what comes back
  then is a PartialProgram, whose submodules are compiled where they can be; with `strict`, and for
  another method than forward, K1145.
  Raises kiln.Error with a stable code: K10xx options, K11xx capture, K20xx strict mode, K2xxx
  compiler.
  """
  parsed = parse_options(options)
  door = choose(model, ir)
  request = Request(door.convert(model), parsed, inputs, kwargs, dynamic_shapes)
  if door.capture is None:
    return _torch_compile(request, options)
  whole = _compile_whole(door, request)
  if not isinstance(whole, Stopped):
    return whole
  parts = compile_parts(
    request.model, whole, parsed,
    lambda part, args, sizes, own: _compile_whole(door, Request(part, own, args, sizes=sizes)))
  return join_parts(request.model, parts)


def _compile_whole(door: Door, request: Request) -> Program | Stopped:
  capture = door.capture(request)
  if isinstance(capture, Stopped):
    return capture
  program = build_program(capture.cap, capture.captured, request.options, capture.seconds,
                          name=capture.name)
  if capture.exported is not None:
    fallbacks = program.report.fallbacks
    program._open_form = lambda weights: export_open(
      capture.exported, capture.captured, weights, fallbacks, _native.CaptureBuilder,
      lambda cap, segment: _build_segment(cap, segment, request.options))
  return program


def _torch_compile(request: Request, options: dict[str, Any]) -> Callable[..., Any]:
  if request.describes_inputs:
    raise FrontendError("K1101", 'ir="torch_compile" takes no description of inputs', hint=(
      "it captures at the first call: leave them out; torch._dynamo.mark_dynamic(tensor, dim, "
      "min=, max=) gives a range"))
  return torch.compile(request.model, backend="kiln", options=options or None)


def _build_segment(cap: Any, captured: CapturedProgram, options: Options
                   ) -> tuple[Any, torch.ScriptObject]:
  """One native part of a program by itself."""
  placement = captured.placement
  compiled = _native.compile(cap, threads=options.threads, **_wishes(options, placement),
                             metadata=captured.to_json(), name="segment")
  native = compiled.instantiate(options.threads, device_index=placement.index)
  return native, script_object(native, compiled, captured.weights)


def explain(model: Any, inputs: Any = None, *, kwargs: dict[str, Any] | None = None,
            dynamic_shapes: Any = None, ir: str = "auto", **options: Any) -> Report:
  """The coverage part of the report without building anything. Arguments as for compile(); K1018
  for ir="torch_compile", which captures nothing before its first call."""
  parsed = parse_options(options)
  door = choose(model, ir)
  if door.capture is None:
    raise FrontendError("K1018", f'there is nothing to explain before the first call of ir="{ir}"',
                        hint='explain with ir="auto", or call it and see kiln.jit_reports()')
  request = Request(door.convert(model), parsed, inputs, kwargs, dynamic_shapes)
  whole = _explain_whole(door, request)
  if not isinstance(whole, Stopped):
    return whole
  parts = compile_parts(
    request.model, whole, parsed,
    lambda part, args, sizes, own: _explain_whole(door, Request(part, own, args, sizes=sizes)))
  return report_parts(request.model, parts)


def _explain_whole(door: Door, request: Request) -> Report | Stopped:
  capture = door.capture(request)
  if isinstance(capture, Stopped):
    return capture
  options, captured = request.options, capture.captured
  report = Report.from_json(_native.explain(
    capture.cap, threads=options.threads, strict=options.strict,
    min_block_size=options.min_block_size, **_wishes(options, captured.placement)))
  report.update(build_seconds=capture.seconds, notes=report.notes + captured.notes)
  return report


def lower_for_torch_compile(options: Options, modules: list[str],
                            build: Callable[[Any, str], CapturedProgram]) -> Callable:
  """One lowering of a graph from torch.compile: a callable from values to a list of results, with
  `update_weights`.

  `modules` are the paths of what options.torch_executed_modules names in the graph.
  """
  start = time.perf_counter()
  cap = _native.CaptureBuilder()
  cap.keep_in_torch(options.op_names(), modules)
  captured = build(cap, options.target)
  placement = captured.placement
  captured.notes += options.notes
  imported = time.perf_counter() - start
  compiled = _native.compile(cap, threads=options.threads, strict=options.strict,
                             min_block_size=options.min_block_size,
                             **_wishes(options, placement), name="torch_compile",
                             cache=options.cache)
  native = compiled.instantiate(
    options.threads, captured.weights if placement.home.type == "cuda" else {}, placement.index,
    options.cuda_graphs)
  report = Report.from_json(compiled.report_json())
  report.update(build_seconds={"import": imported}, memory=memory_of(native),
                notes=report.notes + captured.notes)
  _jit_reports.append(report)
  return native
