"""The doors: kiln.compile, kiln.explain and the torch.compile backend."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Callable

import torch
from torch.export import ExportedProgram

from . import _native
from .absent import NO_GPU, AbsentProgram
from .frontends.captured import CapturedProgram
from .frontends.errors import FrontendError
from .frontends.export_driver import capture_module, prepare_program
from .frontends.export_frontend import walk_exported_program
from .frontends.torchscript_frontend import (Stopped, capture_script, is_script,
                                             script_module_paths, script_name)
from .options import Options, parse_options
from .partial import PartialProgram, compile_parts, join_parts, sum_up
from .program import Program
from .pt2 import script_object
from .pt2_open import export_open
from .report import Report, memory_of
from .weights import name_state

_IRS = ("auto", "dynamo", "torchscript", "ts")
_jit_reports: deque[Report] = deque(maxlen=64)


def jit_reports() -> list[Report]:
  """Reports of the programs that torch.compile built in this process, oldest first (at most 64)."""
  return list(_jit_reports)


def _capture(model: Any, inputs: Any, kwargs: dict | None, dynamic_shapes: Any,
             options: Options) -> tuple[Any, CapturedProgram, ExportedProgram, float, float]:
  """The model handed to a new capture builder; what was exported; seconds of capture and import."""
  start = time.perf_counter()
  if isinstance(model, ExportedProgram):
    if inputs is not None or kwargs is not None or dynamic_shapes is not None:
      raise FrontendError("K1101", "an ExportedProgram has its inputs: give none")
    captured_module = prepare_program(model)
  elif isinstance(model, torch.nn.Module):
    if kwargs is None:
      captured_module = capture_module(model, inputs=inputs, dynamic_shapes=dynamic_shapes)
    else:
      captured_module = capture_module(model, args=inputs, kwargs=kwargs,
                                       dynamic_shapes=dynamic_shapes)
  else:
    raise FrontendError("K1101", "expected a torch.nn.Module or an ExportedProgram, got "
                        f"{type(model).__name__}")
  captured_at = time.perf_counter()
  cap = _native.CaptureBuilder()
  cap.keep_in_torch(options.op_names(), options.module_paths(
    model.graph if isinstance(model, ExportedProgram) else model))
  captured = walk_exported_program(captured_module.program, cap, captured_module.parameters,
                                   options.target)
  captured.notes += list(options.notes) + captured_module.notes
  if isinstance(model, ExportedProgram):
    captured.state_names = name_state(captured, model.state_dict)
  else:
    captured.state_names = name_state(captured, captured_module.program.state_dict,
                                      model.state_dict())
    captured.adopt_buffers(model)
  return (cap, captured, captured_module.program, captured_at - start,
          time.perf_counter() - captured_at)


def _by_script(model: Any, ir: str) -> bool:
  """Whether the model is captured from its TorchScript. K1101 where the ir is not one for it."""
  if ir not in _IRS:
    raise FrontendError("K1005", f"unknown ir: {ir!r}", hint=f"known: {', '.join(_IRS)}")
  if ir in ("torchscript", "ts") and not is_script(model):
    raise FrontendError("K1101", f"ir={ir!r} takes scripted and traced modules, got "
                        f"{type(model).__name__}",
                        hint="leave ir out to capture the module with torch.export")
  if ir == "dynamo" and is_script(model):
    raise FrontendError("K1101", "a scripted or traced module cannot be captured with torch.export",
                        hint='leave ir out, or say ir="torchscript"')
  return is_script(model)


def _capture_script(model: Any, inputs: Any, kwargs: dict | None, dynamic_shapes: Any,
                    options: Options) -> tuple[Any, CapturedProgram | Stopped, float]:
  """The TorchScript handed to a new capture builder, or where that stopped; the seconds of it."""
  start = time.perf_counter()
  cap = _native.CaptureBuilder()
  cap.keep_in_torch(options.op_names(), script_module_paths(model, options.torch_executed_modules))
  captured = capture_script(model, cap, inputs, kwargs, dynamic_shapes, options.target,
                            partial=not options.strict)
  if isinstance(captured, CapturedProgram):
    captured.notes += list(options.notes)
  return cap, captured, time.perf_counter() - start


def _compile_script(model: Any, inputs: Any, kwargs: dict | None, dynamic_shapes: Any,
                    options: Options) -> Program | PartialProgram:
  def build(part: Any, inputs: Any, kwargs: dict | None = None,
            dynamic_shapes: Any = None) -> Program | Stopped:
    cap, captured, seconds = _capture_script(part, inputs, kwargs, dynamic_shapes, options)
    if isinstance(captured, Stopped):
      return captured
    return build_program(cap, captured, options, {"import": seconds}, name=script_name(part))

  whole = build(model, inputs, kwargs, dynamic_shapes)
  if not isinstance(whole, Stopped):
    return whole
  programs, reports, kept = compile_parts(model, whole, build)
  joined = join_parts(model, programs, reports[0], kept)
  joined.report = sum_up(reports, kept)
  return joined


def _explain_script(model: Any, inputs: Any, kwargs: dict | None, dynamic_shapes: Any,
                    options: Options) -> Report:
  def look(part: Any, inputs: Any, kwargs: dict | None = None,
           dynamic_shapes: Any = None) -> Report | Stopped:
    cap, captured, seconds = _capture_script(part, inputs, kwargs, dynamic_shapes, options)
    if isinstance(captured, Stopped):
      return captured
    return _coverage(cap, captured, options, {"import": seconds})

  whole = look(model, inputs, kwargs, dynamic_shapes)
  if not isinstance(whole, Stopped):
    return whole
  _, reports, kept = compile_parts(model, whole, look)
  return sum_up(reports, kept)


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
            ) -> Program | PartialProgram:
  """Compiles an nn.Module, an ExportedProgram or a scripted or traced module ahead of time.

  `inputs`: example tensors or kiln.Input by position (list, tuple) or by name (dict); with
  `kwargs`, `inputs` are the positional ones. `dynamic_shapes` is torch.export's. `ir` says how the
  model is captured: by its type ("auto"), by torch.export ("dynamo"), or from its TorchScript
  ("torchscript", "ts"). `options` are those of kiln.options.Options. Raises kiln.Error with a
  stable code: K10xx options, K11xx capture, K20xx strict mode, K2xxx compiler.

  A scripted module that depends on the values of tensors cannot be compiled as a whole: what comes
  back then is a PartialProgram, whose submodules are compiled where they can be; with `strict`,
  K1145.
  """
  parsed = parse_options(options)
  if _by_script(model, ir):
    return _compile_script(model, inputs, kwargs, dynamic_shapes, parsed)
  cap, captured, exported, capture, imported = _capture(model, inputs, kwargs, dynamic_shapes,
                                                        parsed)
  program = build_program(cap, captured, parsed, {"capture": capture, "import": imported},
                          name=type(model).__name__)
  fallbacks = program.report.fallbacks
  program._open_form = lambda weights: export_open(
    exported, captured, weights, fallbacks, _native.CaptureBuilder,
    lambda cap, segment: _build_segment(cap, segment, parsed))
  return program


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
  """The coverage part of the report without building anything. Arguments as for compile()."""
  parsed = parse_options(options)
  if _by_script(model, ir):
    return _explain_script(model, inputs, kwargs, dynamic_shapes, parsed)
  cap, captured, _, capture, imported = _capture(model, inputs, kwargs, dynamic_shapes, parsed)
  return _coverage(cap, captured, parsed, {"capture": capture, "import": imported})


def _coverage(cap: Any, captured: CapturedProgram, options: Options, seconds: dict[str, float]
              ) -> Report:
  report = Report.from_json(_native.explain(
    cap, threads=options.threads, strict=options.strict, min_block_size=options.min_block_size,
    **_wishes(options, captured.placement)))
  report.update(build_seconds=seconds, notes=report.notes + captured.notes)
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
