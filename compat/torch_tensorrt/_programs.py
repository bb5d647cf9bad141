"""Contexts that get a program, change nothing and say so."""

from __future__ import annotations

import warnings
from typing import Any

import kiln
import torch

from ._refusal import note, refuse_kind


def accepted_context(name: str) -> type:
  """A base class of such a context: `with C(program, value) as program`.

  The report of a program says so; for a module of torch.compile, which has none, a warning does.
  """

  class Accepted:
    def __init__(self, compiled_module: Any, value: Any = True):
      if not isinstance(compiled_module, torch.nn.Module):
        refuse_kind(name, "a compiled module", type(compiled_module).__name__)
      self._program = compiled_module
      line = note(name, value)
      if not isinstance(compiled_module, kiln.Program):
        warnings.warn(line, stacklevel=3)
      elif line not in compiled_module.report.notes:
        compiled_module.report.update(notes=[*compiled_module.report.notes, line])

    def __enter__(self) -> torch.nn.Module:
      return self._program

    def __exit__(self, *error: Any) -> None:
      pass

  return Accepted
