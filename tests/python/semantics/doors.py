"""The doors that the cases go through. A new door is a class with a `build`, and a row in DOORS."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn

import kiln

from kiln.frontends.export_driver import buffer_hooks_as_before

from .case import CASES, Args, AsEager, Case, NotExpressible, Outcome
from .observe import SeenCall, case_arguments, describe_error, run

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release")) / "bin"


@dataclass
class Subject:
  """What a door made of a model. `model` is None where the program has left it behind."""

  function: Callable[..., Any]
  model: nn.Module | None = None
  report: Any = None


class Door:
  """`follows` names the door whose outcomes hold here too where a case says nothing."""

  name: str
  title: str
  follows: str | None = None

  def takes(self, case: Case) -> bool:
    """Whether the case is one that this door could treat in a way of its own."""
    return True

  def build(self, case: Case, model: nn.Module, example: Args) -> Subject:
    raise NotImplementedError

  def outcome(self, case: Case) -> Outcome:
    door: Door | None = self
    while door is not None:
      if door.name in case.doors:
        return case.doors[door.name]
      door = DOORS[door.follows] if door.follows else None
    return AsEager()

  def observe(self, case: Case) -> tuple[list[SeenCall] | str, str, Any]:
    """(what was seen, "", report), or (the kind of error, its text, None) when building fails."""
    model = make_model(case)
    example = case_arguments(case, 0, None)
    try:
      with torch.set_grad_enabled(case.grad), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject = self.build(case, model, example)
        return run(case, subject.function, subject.model), "", subject.report
    except Exception as error:  # noqa: BLE001: which error it is, is what a case states
      return describe_error(error), str(error), None


def make_model(case: Case) -> nn.Module:
  torch.manual_seed(0)
  return case.model()


class ModuleDoor(Door):
  name = "module"
  title = "`kiln.compile(module)`"

  def build(self, case, model, example):
    program = compile_module(case, model, example)
    return Subject(program, model, program.report)


def compile_module(case: Case, model: nn.Module, example: Args) -> kiln.Program:
  return kiln.compile(model, example.args, kwargs=example.kwargs,
                      dynamic_shapes=case.dynamic_shapes)


def export(case: Case, model: nn.Module, example: Args) -> torch.export.ExportedProgram:
  with buffer_hooks_as_before():
    return torch.export.export(model, example.args, example.kwargs,
                               dynamic_shapes=case.dynamic_shapes)


class ExportDoor(Door):
  name = "export"
  title = "`kiln.compile(exported)`"
  follows = "module"

  def build(self, case, model, example):
    program = kiln.compile(export(case, model, example))
    return Subject(program, model, program.report)


class FunctionalDoor(Door):
  """The other form of an ExportedProgram: mutations stand in the signature."""

  name = "functional"
  title = "`kiln.compile(exported.run_decompositions())`"
  follows = "export"

  def takes(self, case):
    return case.writes

  def build(self, case, model, example):
    program = kiln.compile(export(case, model, example).run_decompositions())
    return Subject(program, model, program.report)


class FxDoor(Door):
  """The module traced by torch.fx, which runs forward with stand-ins for the arguments."""

  name = "fx"
  title = '`kiln.compile(module, ir="fx")`'
  follows = "module"

  def build(self, case, model, example):
    program = kiln.compile(model, example.args, kwargs=example.kwargs,
                           dynamic_shapes=case.dynamic_shapes, ir="fx")
    return Subject(program, model, program.report)


class TorchCompileDoor(Door):
  name = "torch.compile"
  title = '`torch.compile(backend="kiln")`'

  def build(self, case, model, example):
    torch._dynamo.reset()
    return Subject(torch.compile(model, backend="kiln"), model)


class SavedFiles:
  """The cases as files, each compiled once in a process."""

  def __init__(self) -> None:
    self._folder = tempfile.TemporaryDirectory(prefix="kiln-semantics-")
    self._programs: dict[str, kiln.Program] = {}  # never called, so that they are as compiled
    self._errors: dict[str, Exception] = {}

  def path(self, case: Case, suffix: str = ".kiln") -> pathlib.Path:
    """Raises what compiling and saving raise."""
    path = self.free_path(case, suffix)
    if not path.exists():
      with torch.set_grad_enabled(case.grad), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        self._program(case).save(path)
    return path

  def free_path(self, case: Case, suffix: str) -> pathlib.Path:
    return pathlib.Path(self._folder.name) / f"{type(case).__name__}{suffix}"

  def _program(self, case: Case) -> kiln.Program:
    name = type(case).__name__
    if name in self._errors:
      raise self._errors[name]
    if name not in self._programs:
      try:
        self._programs[name] = compile_module(case, make_model(case), case_arguments(case, 0, None))
      except Exception as error:  # noqa: BLE001: which error it is, is what a case states
        self._errors[name] = error
        raise
    return self._programs[name]


SAVED = SavedFiles()


class FileDoor(Door):
  name = "file"
  title = "`kiln.load`"
  follows = "module"

  def build(self, case, model, example):
    return Subject(kiln.load(SAVED.path(case), trust=True))


class FreshDoor(Door):
  """One new process loads the files of all cases that are asked for, and sends back what it saw."""

  name = "fresh"
  title = "`kiln.load` in a new process"
  follows = "file"

  def __init__(self) -> None:
    self._results: dict[str, Any] = {}

  def prepare(self, names: list[str]) -> None:
    """Runs the cases `names` in a process that compiles nothing; observe() then has the results."""
    paths = []
    for name in names:
      try:
        paths.append(SAVED.path(CASES[name]))
      except Exception as error:  # noqa: BLE001: as in SavedFiles.path
        self._results[name] = (describe_error(error), str(error), None)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
      [str(ROOT / "python"), str(ROOT / "tests" / "python"), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory() as folder:
      seen = os.path.join(folder, "seen.pt")
      done = subprocess.run([sys.executable, "-m", "semantics.fresh", seen, *map(str, paths)],
                            env=environment, capture_output=True, text=True, timeout=600)
      if done.returncode != 0:
        raise AssertionError(f"the new process failed: {done.stdout}{done.stderr}")
      self._results.update(torch.load(seen, weights_only=False))

  def observe(self, case):
    name = type(case).__name__
    if name not in self._results:
      self.prepare([name])
    return self._results[name]


class Pt2Door(Door):
  name = "pt2"
  title = '`program.save("x.pt2")`, `kiln.load`'
  follows = "file"

  def build(self, case, model, example):
    return Subject(kiln.load(SAVED.path(case, ".pt2"), trust=True))


class CommandDoor(Door):
  """What torch.export.save wrote, compiled without Python and torch."""

  name = "command"
  title = "`kiln compile exported.pt2`, `kiln.load`"
  follows = "export"

  def build(self, case, model, example):
    exported = SAVED.free_path(case, ".exported.pt2")
    compiled = SAVED.free_path(case, ".compiled.kiln")
    torch.export.save(export(case, model, example), exported)
    done = subprocess.run([BIN / "kiln", "compile", exported, "-o", compiled],
                          capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
      raise _error_of_command(done.stderr)
    return Subject(kiln.load(compiled, trust=True))


def _error_of_command(text: str) -> Exception:
  found = re.match(r"kiln: (K\d{4}): (.*)", text, re.DOTALL)
  return kiln.Error(found[1], found[2]) if found else RuntimeError(text)


class TorchScriptDoor(Door):
  """The model scripted, or traced where TorchScript's language does not have what it says."""

  name = "torchscript"
  title = "`kiln.compile(torch.jit.script(module))`, traced where it cannot be scripted"
  follows = "module"

  def takes(self, case):
    return not isinstance(self.outcome(case), NotExpressible)

  def build(self, case, model, example):
    try:
      module = torch.jit.script(model)
    except Exception:  # noqa: BLE001: TorchScript's compiler raises many types
      module = torch.jit.trace(model, example.args, strict=False, check_trace=False)
    program = kiln.compile(module, example.args, kwargs=example.kwargs, strict=False)
    return Subject(program, model, program.report)


DOORS: dict[str, Door] = {door.name: door for door in (
  ModuleDoor(), ExportDoor(), FunctionalDoor(), FxDoor(), TorchCompileDoor(), FileDoor(), FreshDoor(),
  Pt2Door(), CommandDoor(), TorchScriptDoor())}
