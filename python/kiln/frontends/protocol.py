"""What a walker calls: the Python face of the C++ capture builder (include/kiln/capture.h).

Arguments are encoded as plain Python values, so that any implementation can take them:
  None | bool | int | float | str          themselves
  ("v", handle)                            a tensor or host scalar of the program
  ("e", text)                              a symbolic integer, see symbols.py
  ("dtype", "f32")  ("layout", "strided")  ("device", "cpu")  ("memory_format", "channels_last")
  [ ... ]                                  a list of those

The meta of a result is one of
  (dtype, dims, strides)   dims: ints or expression texts; strides: the same, None when contiguous
  ("scalar", kind)         a host scalar; kind "i64", "f64" or "bool"
  ("opaque", why)          a tensor that native code cannot hold (complex, sparse, unknown size)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

Handle = int
Dim = "int | str"
Meta = tuple
Origin = tuple[str, str]


class Capture(Protocol):
  """The stream of one captured program, in program order."""

  def symbol(self, name: str, min: int, max: int) -> None:
    """A size with the closed range of its values; max 2**63 - 1 is "no bound"."""

  def condition(self, relation: str, left: str, right: str, text: str) -> bool:
    """What the program needs of its sizes: relation "eq", "ne", "lt", "le", "gt" or "ge"; `text`
    says it in the user's terms. Comes after the symbols that it names; False where their ranges
    imply it."""

  def device(self, kind: str) -> None:
    """Where the program's tensors lie, when that is not the CPU: "cuda". Comes first."""

  def input(self, name: str, dtype: str, dims: list, strides: list | None) -> Handle:
    """The next tensor argument of the program."""

  def object_input(self, name: str, why: str, dims: list) -> Handle:
    """The next argument, a tensor that native code cannot hold, see "opaque" above; `dims` as of
    input(), [] where nothing is known of them."""

  def scalar_input(self, name: str, kind: str, expr: str | None) -> Handle:
    """The next argument that is a number ("i64", "f64", "bool"); the value of `expr` if given."""

  def weight(self, name: str, tensor: torch.Tensor, kind: str) -> Handle:
    """A tensor that the program owns; `kind` is "parameter", "buffer" or "constant"."""

  def call(self, name: str, overload: str, args: list, results: list[Meta], origin: Origin,
           schema: str) -> list[Handle]:
    """A call with all arguments in schema order. Lists of tensors are flattened in the results."""

  def output(self, value: tuple[str, Handle], name: str) -> None:
    """The next tensor or host scalar that the program returns."""

  def mutation(self, kind: str, target: str, handle: Handle) -> None:
    """`handle` is written to the "buffer" or "input" called `target` when the program ends."""


@dataclass
class RecordedCall:
  name: str
  overload: str
  args: list
  results: list[Meta]
  origin: Origin
  schema: str
  handles: list[Handle]

  @property
  def full_name(self) -> str:
    return f"{self.name}.{self.overload}" if self.overload else self.name


@dataclass
class RecordingCapture:
  """A Capture that keeps what it is told and checks that handles are used after they are made."""

  symbols: dict[str, tuple[int, int]] = field(default_factory=dict)
  conditions: list[tuple[str, str, str, str]] = field(default_factory=list)
  inputs: list[tuple[str, str, list, list | None]] = field(default_factory=list)
  object_inputs: list[tuple[str, str]] = field(default_factory=list)
  scalar_inputs: list[tuple[str, str, str | None]] = field(default_factory=list)
  weights: list[tuple[str, torch.Tensor, str]] = field(default_factory=list)
  calls: list[RecordedCall] = field(default_factory=list)
  outputs: list[tuple[Handle, str]] = field(default_factory=list)
  mutations: list[tuple[str, str, Handle]] = field(default_factory=list)
  made_by: dict[Handle, tuple] = field(default_factory=dict)
  kind: str = "cpu"

  def _new(self, maker: tuple) -> Handle:
    handle = len(self.made_by)
    self.made_by[handle] = maker
    return handle

  def _check(self, value: Any) -> None:
    if isinstance(value, list):
      for item in value:
        self._check(item)
    elif isinstance(value, tuple):
      if value[0] == "v" and value[1] not in self.made_by:
        raise AssertionError(f"handle used before it was made: {value}")
      if value[0] not in ("v", "e", "dtype", "layout", "device", "memory_format"):
        raise AssertionError(f"unknown encoding: {value}")
    elif value is not None and type(value) not in (bool, int, float, str):
      raise AssertionError(f"unknown encoding: {value!r}")

  def symbol(self, name, min, max):
    if name in self.symbols:
      raise AssertionError(f"symbol declared twice: {name}")
    self.symbols[name] = (min, max)

  def condition(self, relation, left, right, text):
    self.conditions.append((relation, left, right, text))
    return True

  def device(self, kind):
    if self.made_by:
      raise AssertionError("the device comes first")
    self.kind = kind

  def input(self, name, dtype, dims, strides):
    self.inputs.append((name, dtype, dims, strides))
    return self._new(("input", name))

  def object_input(self, name, why, dims):
    self.object_inputs.append((name, why))
    return self._new(("object_input", name))

  def scalar_input(self, name, kind, expr):
    self.scalar_inputs.append((name, kind, expr))
    return self._new(("scalar_input", name))

  def weight(self, name, tensor, kind):
    if kind not in ("parameter", "buffer", "constant"):
      raise AssertionError(f"unknown kind of weight: {kind}")
    self.weights.append((name, tensor, kind))
    return self._new(("weight", name))

  def call(self, name, overload, args, results, origin, schema):
    self._check(args)
    index = len(self.calls)
    handles = [self._new(("call", index, i)) for i in range(len(results))]
    self.calls.append(RecordedCall(name, overload, args, results, origin, schema, handles))
    return handles

  def output(self, value, name):
    self._check(value)
    if not (isinstance(value, tuple) and value[0] == "v"):
      raise AssertionError(f"only values can be outputs: {value!r}")
    self.outputs.append((value[1], name))

  def mutation(self, kind, target, handle):
    if kind not in ("buffer", "input"):
      raise AssertionError(f"unknown kind of mutation: {kind}")
    self._check(("v", handle))
    self.mutations.append((kind, target, handle))

  def op_counts(self) -> dict[str, int]:
    counts: dict[str, int] = {}
    for call in self.calls:
      counts[call.full_name] = counts.get(call.full_name, 0) + 1
    return counts
