"""Contexts that get a program, change nothing and say so in its report."""

from __future__ import annotations

from typing import Any

import kiln

from ._refusal import note, refuse_kind


def accepted_context(name: str) -> type:
  """A base class of such a context: `with C(program, value) as program`."""

  class Accepted:
    def __init__(self, compiled_module: Any, value: Any = True):
      if not isinstance(compiled_module, kiln.Program):
        refuse_kind(name, "a compiled program", type(compiled_module).__name__)
      self._program = compiled_module
      line = note(name, value)
      if line not in compiled_module.report.notes:
        compiled_module.report.update(notes=[*compiled_module.report.notes, line])

    def __enter__(self) -> kiln.Program:
      return self._program

    def __exit__(self, *error: Any) -> None:
      pass

  return Accepted
