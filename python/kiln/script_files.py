"""Programs as TorchScript modules and `.ts` files; docs/files.md.

The module calls `kiln::run` (`kiln::run_ordered` for a program that writes its buffers or arguments)
on an attribute of class `__torch__.torch.classes.kiln.Program`; torch/script_module.h makes it, in C++.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from . import _native, pt2
from .frontends.captured import CapturedProgram
from .frontends.errors import FrontendError


def make_module(program: torch.ScriptObject, state: list[torch.Tensor]) -> torch.jit.ScriptModule:
  """A module with these buffers; without any, with fresh ones. K1019, K3120."""
  with _quiet():
    return torch.jit._recursive.wrap_cpp_module(_native.script_module(program, state))


def module_of_bytes(data: bytes) -> torch.jit.ScriptModule:
  """A module around the program of a `.kiln` file. K1019, K3120 and the errors of kiln.load."""
  native = _native.load_bytes(data)
  file = torch.frombuffer(bytearray(data), dtype=torch.uint8)
  return make_module(native.script_object(file, [], []), native.initial_state())


def save_module(module: torch.jit.ScriptModule, path: str) -> None:
  with _quiet():
    pt2.write_atomically(path, lambda name: torch.jit.save(module, name), ".ts")


def read_module(path: str, **load_options: Any) -> torch.jit.ScriptModule:
  """torch.jit.load, with the archive checked first and typed errors.

  torch's reader checks no checksums; K3104 for an archive that is damaged, K3122 for one that torch
  cannot read.
  """
  pt2.check_archive(path)
  try:
    with _native.LoadScope(**load_options), _quiet():
      return torch.jit.load(path)
  except Exception as error:  # noqa: BLE001: torch's reader raises many types
    raise pt2.typed_error(error, path, "TorchScript module") from error


def find_program(module: torch.jit.ScriptModule
                 ) -> tuple[Any, CapturedProgram, torch.ScriptObject]:
  """The native program that `module` consists of, its description and its object.

  The description's weights are the module's buffers. K3124 for any other module.
  """
  program, buffers = _native.script_program(module)
  native = _native.program_of(program)
  captured = CapturedProgram.from_json(native.metadata())
  captured.weights.update(zip([row["name"] for row in native.states()], buffers, strict=True))
  return native, captured, program


class _quiet(warnings.catch_warnings):
  """torch calls TorchScript deprecated whenever it is used."""

  def __enter__(self) -> Any:
    entered = super().__enter__()
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\..*")
    return entered
