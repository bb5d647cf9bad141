"""Scripted modules that cannot be compiled as a whole: programs for the parts that can.

The method in which the import stopped stays in TorchScript, and so do its callers up to the root;
the submodules that they call become programs of their own. Their arguments are those of one run of
the model on the example inputs.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, Callable

import torch

from . import _native
from .frontends.errors import FrontendError
from .frontends.torchscript_frontend import Stopped
from .program import Program
from .report import Report

Build = Callable[[torch.jit.ScriptModule, tuple], "Program | Report | Stopped"]


class PartialProgram(torch.nn.Module):
  """A scripted module some of whose submodules are programs: call it as the model was called.

  `module` is the TorchScript module, `kept` says for each module path that stayed in TorchScript
  why and where, `report` sums up the programs. The programs have the weights of when they were
  compiled.
  """

  def __init__(self, module: torch.jit.ScriptModule, report: Report, kept: dict[str, str]):
    super().__init__()
    self.module = module
    self.report = report
    self.kept = kept

  def forward(self, *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
      return self.module(*args, **kwargs)

  def save(self, path: str | os.PathLike, *, embed_fallback: bool = True) -> None:
    """Writes a `.ts` file for torch.jit.load. K1147 for other files: they hold no TorchScript."""
    path = os.fspath(path)
    if os.path.splitext(path)[1] != ".ts":
      first, why = next(iter(self.kept.items()))
      raise FrontendError("K1147", "a program whose methods stay in TorchScript is saved as a .ts "
                          f"file: {path}; of module {first!r}: {why}")
    with warnings.catch_warnings():
      warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\..*")
      torch.jit.save(self.module, path)

  def extra_repr(self) -> str:
    return repr(self.report)


def compile_parts(model: torch.jit.ScriptModule, stopped: Stopped, build: Build
                  ) -> tuple[dict[str, Program], list[Report], dict[str, str]]:
  """Programs by module path, their reports, and for each module that stays why. K1145 where no
  part can be compiled."""
  if not isinstance(model, torch.jit.ScriptModule) or stopped.ranged:
    raise stopped.error()
  modules = _modules(model)
  calls = _native.record_script_calls(model, stopped.args, stopped.kwargs)
  kept: dict[str, str] = {}
  programs: dict[str, Program] = {}
  reports: list[Report] = []

  def keep(prefix: str, stop: Stopped) -> list[str]:
    """The modules from `prefix` to where the import stopped; only the last is the reason."""
    paths, path = [prefix], prefix
    for part in filter(None, stop.module_path.split(".")):
      path = f"{path}.{part}" if path else part
      paths.append(path)
    for path in paths[:-1]:
      kept.setdefault(path, f"calls {paths[-1]!r}, which stays")
    place = f" at {stop.location}" if stop.location else ""
    kept[paths[-1]] = f"method {stop.function}: {stop.reason}{place}"
    return paths

  def visit(path: str) -> None:
    for name, _ in modules[path].named_children():
      child = f"{path}.{name}" if path else name
      if child in kept:
        continue
      if child not in calls:  # a container, or a module that is not called
        visit(child)
      else:
        compile_child(child)

  def compile_child(path: str) -> None:
    module, recorded = modules[path], calls[path]
    if any(isinstance(v, torch.Tensor) and v.is_nested
           for v in torch.utils._pytree.tree_leaves(recorded)):
      kept[path] = "is called with a nested tensor"
      return visit(path)
    if any(_shapes(call) != _shapes(recorded[0]) for call in recorded):
      kept[path] = "is called with arguments of several shapes"
      return visit(path)
    built = build(module, recorded[0])
    if isinstance(built, Stopped):
      for inner in keep(path, built):
        visit(inner)
      return
    report = built if isinstance(built, Report) else built.report
    if not report.ops_native:
      kept[path] = "holds no call that Kiln has a kernel for"
      return
    reports.append(report)
    if isinstance(built, Program):
      programs[path] = built

  for path in keep("", stopped):
    visit(path)
  if not reports:
    raise stopped.error()
  return programs, reports, kept


def _modules(model: torch.jit.ScriptModule) -> dict[str, torch.jit.ScriptModule]:
  return dict(model.named_modules(remove_duplicate=False))


def _shapes(call: tuple) -> Any:
  return torch.utils._pytree.tree_map(
    lambda v: (v.dtype, tuple(v.shape), v.stride()) if isinstance(v, torch.Tensor) else v, call)


def join_parts(model: torch.jit.ScriptModule, programs: dict[str, Program], report: Report,
               kept: dict[str, str]) -> PartialProgram:
  """The module with the programs in place of the submodules. A program whose results TorchScript
  would type otherwise than the model does stays out."""
  originals = _modules(model)
  modules: dict[str, torch.jit.ScriptModule] = {}
  for path, program in programs.items():
    original = originals[path]
    try:
      module = program.script_module()
    except FrontendError as error:
      kept[path] = str(error)
      continue
    wanted, made = ([str(r.type) for r in m._c._get_method("forward").schema.returns]
                    for m in (original, module))
    if wanted != made:
      kept[path] = f"TorchScript would type its results {made}, not {wanted}"
      continue
    modules[path] = module
  joined = _native.replace_script_submodules(model, modules)
  return PartialProgram(torch.jit._recursive.wrap_cpp_module(joined), report, kept)


def sum_up(reports: list[Report], kept: dict[str, str]) -> Report:
  """One report for several programs."""
  data = [r._data for r in reports]
  total = dict(data[0])
  for name in ("ops_total", "ops_native", "segments"):
    total[name] = sum(d[name] for d in data)
  for name in ("fallbacks", "kernels"):
    total[name] = [row for d in data for row in d.get(name, [])]
  for name in ("memory", "build_seconds"):
    total[name] = {key: sum(d.get(name, {}).get(key, 0) for d in data)
                   for key in {k for d in data for k in d.get(name, {})}}
  total["notes"] = list(dict.fromkeys(note for d in data for note in d.get("notes", [])))
  total["notes"] += [f"stays in TorchScript: {path or '(root)'}: {why}"
                     for path, why in kept.items()]
  return Report(total)
