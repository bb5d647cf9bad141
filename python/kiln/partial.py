"""Scripted modules that cannot be compiled as a whole: programs in place of the parts that can."""

from __future__ import annotations

import copy
import os
from typing import Any, Mapping

import torch
from torch.utils import _pytree as pytree

from . import _native, script_files
from .errors import error_inside
from .frontends.errors import FrontendError
from .program import Program
from .report import Report
from .script_parts import Parts
from .weights import check_names, sort_update


class PartialProgram(torch.nn.Module):
  """A scripted module some of whose submodules are programs: call it as the model was called.

  `module` is the TorchScript module, `programs` are the programs by module path, `kept` says for
  each module path that stayed in TorchScript why and where, `report` counts both.

  Weights are as those of kiln.Program: borrowed from the model, followed when they change in place,
  and replaced by `update_weights`. Arguments that a program was not compiled for raise kiln.Error.
  """

  def __init__(self, module: torch.jit.ScriptModule, programs: dict[str, Program],
               kept: dict[str, str], report: Report, names: list[str]):
    super().__init__()
    self.module = module
    self.programs = programs
    self.kept = kept
    self.report = report
    self._names = names  # of the model's state_dict()

  def forward(self, *args: Any, **kwargs: Any) -> Any:
    for program in self.programs.values():
      program._native.follow_weights()
    try:
      with torch.no_grad():
        return self.module(*args, **kwargs)
    except (RuntimeError, torch.jit.Error) as error:  # the latter from assertions
      raise error_inside(error) or error

  # ---- weights

  def update_weights(self, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Gives the programs, and the methods that stay in TorchScript, other weights.

    As kiln.Program.update_weights; names are those of the model's state_dict(). The model itself
    keeps its parameters. Buffers of modules that stay in TorchScript are written in place, as those
    that a program changes are: they are the model's own. On error nothing has changed: kiln.Error
    K3113, K3114, K3115, K1111.
    """
    of_parts: dict[str, dict[str, torch.Tensor]] = {path: {} for path in self.programs}
    own: dict[str, torch.Tensor] = {}
    known = [*self._names, *(f"{path}.{name}" for path, program in self.programs.items()
                             for name in program._captured.state_names)]
    check_names(state_dict, known)
    for name, value in state_dict.items():
      path = next((p for p in self.programs if name.startswith(f"{p}.")), None)
      if path is None:
        own[name] = value
      elif (inner := name[len(path) + 1:]) in self.programs[path]._captured.state_names:
        of_parts[path][inner] = value
    changes = self._check_own(own)
    for path, values in of_parts.items():
      self.programs[path]._sort_update(values)
    done: list[tuple[Program, dict[str, torch.Tensor]]] = []
    try:
      for path, values in of_parts.items():
        program = self.programs[path]
        if values:
          before = program._weights_now(values)
          program.update_weights(values)
          done.append((program, before))
    except Exception:
      for program, before in done:
        program.update_weights(before)
      raise
    for name, value in changes.items():
      owner, leaf, is_buffer = self._place(name)
      if is_buffer:
        with torch.no_grad():
          getattr(owner, leaf).copy_(value)
      else:
        owner._c.setattr(leaf, value)

  def _place(self, name: str) -> tuple[torch.jit.ScriptModule, str, bool]:
    """The module that has a tensor, its name there, and whether it is a buffer."""
    *path, leaf = name.split(".")
    owner: Any = self.module
    for part in path:
      owner = getattr(owner, part)
    return owner, leaf, leaf in dict(owner.named_buffers(recurse=False))

  def _check_own(self, given: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The values for tensors of the modules that stay, in their dtypes and on their devices."""
    results = {}
    for name, value in given.items():
      owner, leaf, _ = self._place(name)
      now = getattr(owner, leaf)
      results |= sort_update({name: value}, {name: name}, [], {name: now}, str(now.device))[1]
    return results

  # ---- files and copies

  def save(self, path: str | os.PathLike, *, embed_fallback: bool = True) -> None:
    """Writes a `.ts` file for torch.jit.load. K1147 for other files: they hold no TorchScript; and
    where what stays calls functions of Python (`@torch.jit.ignore`), which no file holds."""
    path = os.fspath(path)
    if os.path.splitext(path)[1] != ".ts":
      first, why = next(iter(self.kept.items()))
      raise FrontendError("K1147", "a program whose methods stay in TorchScript is saved as a .ts "
                          f"file: {path}; of module {first!r}: {why}")
    # New modules of the programs: they hold the weights of now.
    module = _replace(self.module,
                      {p: program.script_module() for p, program in self.programs.items()})
    try:
      script_files.save_module(module, path)
    except RuntimeError as error:
      text, _, _ = str(error).strip().partition(". ")
      if "Python function" not in text:
        raise
      raise FrontendError("K1147", f"torch cannot write what stays in TorchScript: {text}",
                          hint="a file holds no function of Python (@torch.jit.ignore)") from error

  def __deepcopy__(self, memo: dict) -> "PartialProgram":
    programs = {path: copy.deepcopy(program, memo) for path, program in self.programs.items()}
    module = _replace(self.module, {p: program.script_module() for p, program in programs.items()})
    twin = PartialProgram(module, programs, dict(self.kept), self.report, list(self._names))
    memo[id(self)] = twin
    copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # with what keeps the id

    def own(tensor: torch.Tensor) -> torch.Tensor:
      if id(tensor) not in copies:
        made = copy.deepcopy(tensor.detach(), memo)
        copies[id(tensor)] = copies[id(made)] = tensor, made
      return copies[id(tensor)][1]

    for path, owner in module.named_modules(remove_duplicate=False):
      if any(f"{path}.".startswith(f"{p}.") for p in programs):
        continue
      # Lists and dicts are the twin's own already, the tensors in them are not.
      for name in owner._concrete_type.get_attributes():
        value = owner._c.getattr(name)
        if any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(value)):
          owner._c.setattr(name, pytree.tree_map_only(torch.Tensor, own, value))
    twin.training = self.training
    return twin

  def extra_repr(self) -> str:
    return repr(self.report)


def _replace(model: torch.jit.ScriptModule, modules: dict[str, torch.jit.ScriptModule]
             ) -> torch.jit.ScriptModule:
  return torch.jit._recursive.wrap_cpp_module(_native.replace_script_submodules(model, modules))


def join_parts(model: torch.jit.ScriptModule, parts: Parts) -> PartialProgram:
  """The module with the programs in place of the submodules."""
  return PartialProgram(_replace(model, parts.modules), dict(parts.built), parts.kept,
                        report_parts(model, parts), list(model.state_dict()))


# ---- the report ---------------------------------------------------------------------------------


def report_parts(model: torch.jit.ScriptModule, parts: Parts) -> Report:
  """One report for the programs and for the calls in what stays in TorchScript."""
  data = {path: (built if isinstance(built, Report) else built.report)._data
          for path, built in parts.built.items()}
  first = next(iter(data.values()))
  total = dict(first)
  for name in ("ops_total", "ops_native", "segments"):
    total[name] = sum(d[name] for d in data.values())
  for name in ("fallbacks", "kernels"):
    total[name] = [row for path, d in data.items() for row in _rows_at(path, d.get(name, []))]
  for name in ("memory", "build_seconds"):
    total[name] = {key: sum(d.get(name, {}).get(key, 0) for d in data.values())
                   for key in {k for d in data.values() for k in d.get(name, {})}}
  if all(d.get("precision") for d in data.values()):
    total["precision"] = _sum_precision({path: d["precision"] for path, d in data.items()})
  if "cache" in first:
    missed = (d["cache"] for d in data.values() if d["cache"]["program"] != "hit")
    total["cache"] = next(missed, first["cache"])
  kept = _kept_rows(model, parts)
  total["ops_total"] += sum(row["count"] for row in kept)
  total["fallbacks"] += kept
  notes = list(dict.fromkeys(note for d in data.values() for note in d.get("notes", [])))
  total["notes"] = notes + [f"stays in TorchScript: {path or '(root)'}: {why}"
                            for path, why in parts.kept.items()]
  return Report(total)


def _rows_at(prefix: str, rows: list[dict]) -> list[dict]:
  """Rows of the report of the program at a module path, with paths from the root."""
  return [{**row, "module_path": ".".join(p for p in (prefix, row["module_path"]) if p)}
          for row in rows]


def _sum_precision(data: dict[str, dict[str, Any]]) -> dict[str, Any]:
  total = dict(next(iter(data.values())))
  total["kernels"] = {}
  for precision in data.values():
    for dtype, count in precision["kernels"].items():
      total["kernels"][dtype] = total["kernels"].get(dtype, 0) + count
  for name in ("stays_f32", "computes_in_f32"):
    total[name] = [row for path, d in data.items() for row in _rows_at(path, d[name])]
  return total


def _kept_rows(model: torch.jit.ScriptModule, parts: Parts) -> list[dict[str, Any]]:
  """Rows of `fallbacks` for the calls in what stays in TorchScript."""
  rows: dict[tuple[str, str], dict[str, Any]] = {}
  for op, path, location in _native.kept_script_calls(model, list(parts.built)):
    why = parts.kept.setdefault(path, "is not called on the example inputs")
    row = rows.setdefault((op, path), {
      "op": op, "count": 0, "code": "K1145", "reason": f"stays in TorchScript: {why}",
      "module_path": path, "location": location})
    row["count"] += 1
  return list(rows.values())
