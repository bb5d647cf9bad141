"""What Python must remember of a captured program: its arguments, results and nesting."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch

from .errors import FrontendError


@dataclass
class CapturedInput:
  """One runtime argument. `dims` holds ints and expression texts; None for a number."""

  name: str
  kind: str  # "tensor", "i64", "f64", "bool"
  dtype: str = ""
  dims: list | None = None
  expr: str | None = None  # of a number that is a size


@dataclass
class CapturedProgram:
  """The result of a walk. Descriptions are those of tree.py; indices count runtime values."""

  inputs: list[CapturedInput] = field(default_factory=list)
  output_names: list[str] = field(default_factory=list)
  input_tree: dict = field(default_factory=dict)
  output_tree: dict = field(default_factory=dict)
  symbols: dict[str, tuple[int, int]] = field(default_factory=dict)
  weights: dict[str, torch.Tensor] = field(default_factory=dict)  # by name, borrowed
  parameters: tuple[str, ...] = ()  # names of forward's positional parameters, where known
  notes: list[str] = field(default_factory=list)

  def to_json(self) -> str:
    """What a file keeps of the Python side: trees, names and sizes."""
    return json.dumps({
      "inputs": [[i.name, i.kind, i.dtype, i.dims, i.expr] for i in self.inputs],
      "output_names": self.output_names,
      "input_tree": self.input_tree,
      "output_tree": self.output_tree,
      "symbols": {name: list(bounds) for name, bounds in self.symbols.items()},
      "parameters": list(self.parameters),
    })

  @staticmethod
  def from_json(text: str) -> "CapturedProgram":
    """The inverse of to_json(). K3120 for any other text."""
    try:
      data = json.loads(text)
      return CapturedProgram(
        inputs=[CapturedInput(*entry) for entry in data["inputs"]],
        output_names=list(data["output_names"]),
        input_tree=data["input_tree"],
        output_tree=data["output_tree"],
        symbols={name: tuple(bounds) for name, bounds in data["symbols"].items()},
        parameters=tuple(data["parameters"]),
      )
    except (KeyError, TypeError, ValueError) as error:
      raise FrontendError("K3120", f"the file does not describe its inputs and outputs: {error}",
                          hint="it was not saved from Python; run it with kiln run or from C++"
                          ) from error

  def symbol_sources(self) -> dict[str, tuple[int, int | None]]:
    """Where to read each symbol: (input, dim), or (input, None) for a number."""
    sources: dict[str, tuple[int, int | None]] = {}
    for index, item in enumerate(self.inputs):
      if item.expr in self.symbols:
        sources.setdefault(item.expr, (index, None))
      for dim, size in enumerate(item.dims or []):
        if isinstance(size, str) and size in self.symbols:
          sources.setdefault(size, (index, dim))
    return sources

  def symbol_values(self, values: list[Any]) -> dict[str, int]:
    """The sizes of one call from its runtime arguments."""
    return {name: int(values[i] if d is None else values[i].shape[d])
            for name, (i, d) in self.symbol_sources().items()}


class Tee:
  """A capture builder that also fills in a CapturedProgram."""

  def __init__(self, cap: Any, program: CapturedProgram):
    self._cap = cap
    self._program = program
    self.call = cap.call
    self.mutation = cap.mutation

  def symbol(self, name: str, min: int, max: int) -> None:
    self._program.symbols[name] = (min, max)
    self._cap.symbol(name, min, max)

  def input(self, name: str, dtype: str, dims: list, strides: list | None) -> int:
    self._program.inputs.append(CapturedInput(name, "tensor", dtype, dims))
    return self._cap.input(name, dtype, dims, strides)

  def scalar_input(self, name: str, kind: str, expr: str | None) -> int:
    self._program.inputs.append(CapturedInput(name, kind, expr=expr))
    return self._cap.scalar_input(name, kind, expr)

  def weight(self, name: str, tensor: torch.Tensor, kind: str) -> int:
    self._program.weights[name] = tensor
    return self._cap.weight(name, tensor, kind)

  def output(self, value: tuple, name: str) -> None:
    self._program.output_names.append(name)
    self._cap.output(value, name)
