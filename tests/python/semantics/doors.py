"""The doors that the cases go through. A new door is a class with a `build`, and a row in DOORS."""

from __future__ import annotations

import os
import pathlib
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

from .case import CASES, Args, AsEager, Case, Outcome
from .observe import SeenCall, case_arguments, describe_error, run

ROOT = pathlib.Path(__file__).resolve().parents[3]


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


class TorchCompileDoor(Door):
  name = "torch.compile"
  title = '`torch.compile(backend="kiln")`'

  def build(self, case, model, example):
    torch._dynamo.reset()
    return Subject(torch.compile(model, backend="kiln"), model)


class SavedFiles:
  """The cases as `.kiln` files, each compiled once in a process."""

  def __init__(self) -> None:
    self._folder = tempfile.TemporaryDirectory(prefix="kiln-semantics-")
    self._errors: dict[str, Exception] = {}

  def path(self, case: Case) -> pathlib.Path:
    """Raises what compiling and saving raise."""
    name = type(case).__name__
    path = pathlib.Path(self._folder.name) / f"{name}.kiln"
    if name in self._errors:
      raise self._errors[name]
    if not path.exists():
      try:
        with torch.set_grad_enabled(case.grad), warnings.catch_warnings():
          warnings.simplefilter("ignore")
          model = make_model(case)
          compile_module(case, model, case_arguments(case, 0, None)).save(path)
      except Exception as error:  # noqa: BLE001: which error it is, is what a case states
        self._errors[name] = error
        raise
    return path


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


DOORS: dict[str, Door] = {door.name: door for door in (
  ModuleDoor(), ExportDoor(), FunctionalDoor(), TorchCompileDoor(), FileDoor(), FreshDoor())}
