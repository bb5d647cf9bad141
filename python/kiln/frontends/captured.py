"""What Python must remember of a captured program: its arguments, results and nesting."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch

from .errors import FrontendError
from .opaque_types import OpaqueType
from .placement import Placement
from .symbols import linear_in_one_symbol


#: Dtypes by the names that Kiln gives them.
DTYPES = {
  "f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16,
  "i8": torch.int8, "u8": torch.uint8, "i16": torch.int16, "i32": torch.int32, "i64": torch.int64,
  "bool": torch.bool,
}


@dataclass
class CapturedInput:
  """One runtime argument. `dims` holds ints and expression texts; None for a number, and for a
  tensor that has no such dims. `dtype` is Kiln's name, else torch's, else says what the tensor is."""

  name: str
  kind: str  # "tensor", "i64", "f64", "bool"
  dtype: str = ""
  dims: list | None = None
  expr: str | None = None  # of a number that is a size


@dataclass(frozen=True)
class Source:
  """A size symbol as (a size of an argument, or a number if `dim` is None, minus bias) / scale."""

  input: int
  dim: int | None
  scale: int = 1
  bias: int = 0

  def read(self, values: list[Any]) -> Any:
    """Its value in one call: a symbolic integer while torch traces."""
    value = values[self.input]
    size = (value if self.dim is None else value.shape[self.dim]) - self.bias
    return size if self.scale == 1 else size // self.scale


@dataclass
class CapturedProgram:
  """The result of a walk. Descriptions are those of tree.py; indices count runtime values."""

  inputs: list[CapturedInput] = field(default_factory=list)
  output_names: list[str] = field(default_factory=list)
  input_tree: dict = field(default_factory=dict)
  output_tree: dict = field(default_factory=dict)
  symbols: dict[str, tuple[int, int]] = field(default_factory=dict)
  # what is checked of them at run time beyond their ranges: (relation, left, right, text)
  conditions: list[tuple[str, str, str, str]] = field(default_factory=list)
  weights: dict[str, torch.Tensor] = field(default_factory=dict)  # by name, borrowed
  # names of the module's state dict -> name in `weights`; None where the program reads none
  state_names: dict[str, str | None] = field(default_factory=dict)
  parameters: tuple[str, ...] = ()  # names of forward's positional parameters, where known
  notes: list[str] = field(default_factory=list)
  # by the results' indices, of those that only PyTorch understands
  opaque_results: dict[int, OpaqueType] = field(default_factory=dict)
  # of the symbols there that only running the program reveals
  unbacked: dict[str, tuple[int, int]] = field(default_factory=dict)
  placement: Placement | None = None  # of a program that was captured in this process
  _sources: dict[str, Source] | None = field(default=None, init=False, repr=False, compare=False)

  def adopt_buffers(self, module: torch.nn.Module) -> None:
    """Names the module's own tensor objects where export gave others over the same memory."""
    for name, tensor in module.named_buffers(remove_duplicate=False):
      known = self.weights.get(name)
      if known is not None and known.data_ptr() == tensor.data_ptr() and (
          known.shape == tensor.shape and known.stride() == tensor.stride()):
        self.weights[name] = tensor

  def to_json(self) -> str:
    """What a file keeps of the Python side: trees, names and sizes."""
    return json.dumps({
      "inputs": [[i.name, i.kind, i.dtype, i.dims, i.expr] for i in self.inputs],
      "output_names": self.output_names,
      "input_tree": self.input_tree,
      "output_tree": self.output_tree,
      "symbols": {name: list(bounds) for name, bounds in self.symbols.items()},
      "parameters": list(self.parameters),
      "state_names": self.state_names,
      "opaque_results": {index: [t.dtype, t.dims, t.strides]
                         for index, t in self.opaque_results.items()},
      "unbacked": self.unbacked,
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
        state_names=dict(data["state_names"]),
        # where they are known: the compiler's own readers do not write them
        opaque_results={int(index): OpaqueType(dtype, tuple(dims), tuple(strides)) for
                        index, (dtype, dims, strides) in data.get("opaque_results", {}).items()},
        unbacked={name: tuple(bounds) for name, bounds in data.get("unbacked", {}).items()},
      )
    except (KeyError, TypeError, ValueError) as error:
      raise FrontendError("K3120", f"the file does not describe its inputs and outputs: {error}",
                          hint="it was not saved from Python; run it with kiln run or from C++"
                          ) from error

  def symbol_sources(self) -> dict[str, Source]:
    """Where to read each symbol that some size or number determines."""
    sources: dict[str, Source] = {}
    for index, item in enumerate(self.inputs):
      sizes = [(None, item.expr), *enumerate(item.dims or [])]
      for dim, size in sizes:
        linear = linear_in_one_symbol(size) if isinstance(size, str) else None
        if linear is not None and linear[0] in self.symbols:
          name, scale, bias = linear
          sources.setdefault(name, Source(index, dim, scale, bias))
    return sources

  def symbol_values(self, values: list[Any]) -> dict[str, int]:
    """The sizes of one call from its runtime arguments."""
    if self._sources is None:
      self._sources = self.symbol_sources()
    return {name: int(source.read(values)) for name, source in self._sources.items()}


class Tee:
  """A capture builder that also fills in a CapturedProgram."""

  def __init__(self, cap: Any, program: CapturedProgram):
    self._cap = cap
    self._program = program
    self.call = cap.call
    self.device = cap.device
    self.mutation = cap.mutation

  def symbol(self, name: str, min: int, max: int) -> None:
    self._program.symbols[name] = (min, max)
    self._cap.symbol(name, min, max)

  def condition(self, relation: str, left: str, right: str, text: str) -> bool:
    kept = self._cap.condition(relation, left, right, text)
    if kept:
      self._program.conditions.append((relation, left, right, text))
    return kept

  def input(self, name: str, dtype: str, dims: list, strides: list | None) -> int:
    self._program.inputs.append(CapturedInput(name, "tensor", dtype, dims))
    return self._cap.input(name, dtype, dims, strides)

  def object_input(self, name: str, why: str, dims: list) -> int:
    self._program.inputs.append(CapturedInput(name, "tensor", why))
    return self._cap.object_input(name, why, dims)

  def scalar_input(self, name: str, kind: str, expr: str | None) -> int:
    self._program.inputs.append(CapturedInput(name, kind, expr=expr))
    return self._cap.scalar_input(name, kind, expr)

  def weight(self, name: str, tensor: torch.Tensor, kind: str) -> int:
    self._program.weights[name] = tensor
    return self._cap.weight(name, tensor, kind)

  def output(self, value: tuple, name: str) -> None:
    self._program.output_names.append(name)
    self._cap.output(value, name)
