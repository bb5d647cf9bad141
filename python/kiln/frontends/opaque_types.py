"""Types of tensors that only PyTorch understands: complex ones, and results whose shape only running
the program reveals. Native code passes such tensors on unseen; torch's tracers ask what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

import torch

from . import symbols as sizes


@dataclass(frozen=True)
class OpaqueType:
  """`dims` and `strides` (in elements) are ints and expression texts, which may name sizes that only
  running reveals; `dtype` is torch's name."""

  dtype: str
  dims: tuple
  strides: tuple

  @staticmethod
  def of(tensor: torch.Tensor) -> "OpaqueType | None":
    """The type of a fake tensor; None for a layout without strides and for sizes without a text."""
    if tensor.layout is not torch.strided:
      return None
    try:
      dims, strides = (tuple(_number_or_text(v) for v in part)
                       for part in (tensor.shape, tensor.stride()))
    except sizes.Inexpressible:
      return None
    return OpaqueType(str(tensor.dtype).removeprefix("torch."), dims, strides)

  @property
  def torch_dtype(self) -> torch.dtype:
    return torch_dtype(self.dtype)

  def names(self) -> set[str]:
    """The symbols of its sizes and strides."""
    return {name for v in (*self.dims, *self.strides) if isinstance(v, str)
            for name in sizes.names_of(v)}


def torch_dtype(name: str) -> torch.dtype:
  """The dtype of torch that has this name; ValueError if none has."""
  dtype = getattr(torch, name, None)
  if not isinstance(dtype, torch.dtype):
    raise ValueError(f"not a dtype: {name!r}")
  return dtype


def _number_or_text(value: Any) -> int | str:
  expr = sizes.expression_of(value)
  return int(expr) if expr.is_Integer else sizes.print_expr(value)


def make_tensors(types: Sequence[OpaqueType], known: Mapping[str, Any],
                 ranges: Mapping[str, tuple[int, int]], new_size: Callable[[int, int], Any],
                 device: str | torch.device) -> list[torch.Tensor]:
  """Uninitialized tensors of these types, in a tracer's mode.

  `known` are the values of the symbols that the arguments determine; `new_size(low, high)` makes a
  size that only running reveals, one for each symbol of `ranges` that is a dim of its own. Where
  a symbol is only part of other dims, torch wants a new size for each of these.
  """
  texts: dict[str, Any] = {}
  values = dict(known)
  for dim in (d for t in types for d in t.dims):
    if dim in ranges and dim not in values:
      values[dim] = new_size(*ranges[dim])

  def evaluate(value: int | str) -> Any:
    if isinstance(value, int):
      return value
    if value not in texts:
      found = sizes.names_of(value) <= values.keys()
      texts[value] = sizes.compile_expr(value)(values) if found else new_size(0, sizes.NO_BOUND)
    return texts[value]

  tensors = []
  for t in types:
    shape = [evaluate(d) for d in t.dims]
    tensors.append(torch.empty_strided(shape, [evaluate(s) for s in t.strides],
                                       dtype=t.torch_dtype, device=device))
  return tensors
