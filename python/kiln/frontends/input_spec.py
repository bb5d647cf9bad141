"""kiln.Input: a tensor argument described by its shapes instead of an example."""

from __future__ import annotations

from typing import Any, Sequence

import torch

from .errors import FrontendError


class Input:
  """A tensor argument: fixed (`shape`) or with ranges (`min_shape`, `opt_shape`, `max_shape`).

  A dim whose minimum and maximum differ is dynamic. `dim_names` gives dims names, by position
  ("batch", None, None) or by index {0: "batch"}; dims of one name, of all inputs, are one size.
  So are dynamic dims without a name that have the same index and range: name them to tell them
  apart.
  `value_range` bounds the example values (closed for integers); `memory_format` sets the strides.
  Shapes are in elements. Raises FrontendError K1101.
  """

  def __init__(
      self,
      shape: Sequence[int] | None = None,
      *,
      min_shape: Sequence[int] | None = None,
      opt_shape: Sequence[int] | None = None,
      max_shape: Sequence[int] | None = None,
      dtype: torch.dtype = torch.float32,
      name: str = "",
      dim_names: Sequence[str | None] | dict[int, str] | None = None,
      memory_format: torch.memory_format = torch.contiguous_format,
      value_range: tuple[float, float] | None = None,
      device: torch.device | str = "cpu",
  ):
    self.name = name
    ranged = (min_shape, opt_shape, max_shape)
    if (shape is None) == all(s is None for s in ranged):
      raise self._error("give either shape or min_shape, opt_shape and max_shape")
    if shape is not None:
      if any(s is not None for s in ranged):
        raise self._error("give either shape or min_shape, opt_shape and max_shape, not both")
      min_shape = opt_shape = max_shape = shape
    elif min_shape is None or max_shape is None:
      raise self._error("min_shape and max_shape belong together")
    self.min_shape = self._shape(min_shape, "min_shape")
    self.max_shape = self._shape(max_shape, "max_shape")
    self.opt_shape = self._shape(max_shape if opt_shape is None else opt_shape, "opt_shape")
    if not len(self.min_shape) == len(self.opt_shape) == len(self.max_shape):
      raise self._error("min_shape, opt_shape and max_shape differ in rank: "
                        f"{self.min_shape}, {self.opt_shape}, {self.max_shape}")
    for low, opt, high in zip(self.min_shape, self.opt_shape, self.max_shape):
      if not low <= opt <= high:
        raise self._error("shapes must satisfy min <= opt <= max: "
                          f"{self.min_shape}, {self.opt_shape}, {self.max_shape}")
    if not isinstance(dtype, torch.dtype):
      raise self._error(f"dtype must be a torch.dtype: {dtype!r}")
    self.dtype = dtype
    self.dim_names = self._names(dim_names)
    self.memory_format = memory_format
    self.value_range = value_range
    self.device = torch.device(device)

  def _error(self, message: str) -> FrontendError:
    return FrontendError("K1101", f"{message} (input {self.name!r})" if self.name else message)

  def _shape(self, shape: Any, what: str) -> tuple[int, ...]:
    try:
      result = tuple(int(s) for s in shape)
    except (TypeError, ValueError):
      raise self._error(f"{what} must be a sequence of ints: {shape!r}") from None
    if any(s < 0 for s in result):
      raise self._error(f"{what} must not be negative: {result}")
    return result

  def _names(self, names: Any) -> dict[int, str]:
    if names is None:
      return {}
    rank = len(self.min_shape)
    if isinstance(names, dict):
      pairs = dict(names)
    else:
      if len(names) != rank:
        raise self._error(f"dim_names must have one entry per dim: {names!r}, rank {rank}")
      pairs = {i: n for i, n in enumerate(names) if n is not None}
    for dim, name in pairs.items():
      if not (isinstance(dim, int) and 0 <= dim < rank and isinstance(name, str)
              and name.isidentifier()):
        raise self._error(
          f"a dim name must be an identifier for an existing dim: {dim!r}: {name!r}")
    return pairs

  @property
  def rank(self) -> int:
    return len(self.min_shape)

  def dynamic_dims(self) -> list[int]:
    return [d for d in range(self.rank) if self.min_shape[d] != self.max_shape[d]]

  def dim_name(self, d: int) -> str:
    """The name of a dynamic dim: given, or made of its index and range."""
    return self.dim_names.get(d) or f"dim{d}_{self.min_shape[d]}_{self.max_shape[d]}"

  def example(self, shape: Sequence[int] | None = None, seed: int = 0) -> torch.Tensor:
    """A tensor of `shape` (default opt_shape) in `value_range`, equal for equal seeds."""
    shape = tuple(self.opt_shape if shape is None else shape)
    generator = torch.Generator().manual_seed(seed)
    low, high = self.value_range if self.value_range is not None else (None, None)
    if self.dtype is torch.bool:
      tensor = torch.randint(0, 2, shape, generator=generator).to(torch.bool)
    elif self.dtype.is_floating_point or self.dtype.is_complex:
      if low is None:
        tensor = torch.randn(shape, generator=generator).to(self.dtype)
      else:
        tensor = (low + (high - low) * torch.rand(shape, generator=generator)).to(self.dtype)
    else:
      # small by default, so that an index is in range
      first, last = (0, 1) if low is None else (int(low), int(high))
      tensor = torch.randint(first, last + 1, shape, generator=generator).to(self.dtype)
    tensor = tensor.to(self.device)
    return tensor.contiguous(memory_format=self.memory_format)

  def __repr__(self) -> str:
    dtype = str(self.dtype).removeprefix("torch.")
    label = f", name={self.name!r}" if self.name else ""
    if self.min_shape == self.max_shape:
      return f"Input({list(self.min_shape)}, {dtype}{label})"
    return (f"Input({list(self.min_shape)}..{list(self.opt_shape)}..{list(self.max_shape)}, "
            f"{dtype}{label})")
