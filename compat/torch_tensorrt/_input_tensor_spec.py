"""fx.InputTensorSpec: what the FX front end calls a description of an input."""

from __future__ import annotations

from typing import Any, Iterable, NamedTuple, Sequence

import kiln
import torch

from ._input import hull
from ._refusal import refuse_kind

_RANGE = ("min_shape", "opt_shape", "max_shape")


class InputTensorSpec(NamedTuple):
  """A tensor argument.

  shape: its sizes; -1 where `shape_ranges` say more
  shape_ranges: (smallest, usual, largest) shapes; one program serves all of them
  has_batch_dim: False where `shape` leaves out the batch, which comes first
  """

  shape: Sequence[int]
  dtype: torch.dtype
  device: torch.device = torch.device("cpu")
  shape_ranges: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]] = ()
  has_batch_dim: bool = True

  @classmethod
  def from_tensor(cls, tensor: torch.Tensor) -> "InputTensorSpec":
    """Shape, dtype and device of a tensor."""
    if not isinstance(tensor, torch.Tensor):
      refuse_kind("fx.InputTensorSpec.from_tensor", "a tensor", tensor)
    return cls(tuple(tensor.shape), tensor.dtype, tensor.device)

  @classmethod
  def from_tensors(cls, tensors: Sequence[torch.Tensor]) -> list["InputTensorSpec"]:
    return [cls.from_tensor(tensor) for tensor in tensors]

  @classmethod
  def from_tensors_with_dynamic_batch_size(
      cls, tensors: Sequence[torch.Tensor], batch_size_range: tuple[int, int, int],
      opt_profile_replica: int = 1, batch_dims: Sequence[int] | None = None
  ) -> list["InputTensorSpec"]:
    """Specs with one dim of each tensor, the first unless `batch_dims` says which, in a range."""
    dims = [0] * len(tensors) if batch_dims is None else list(batch_dims)
    if len(dims) != len(tensors) or len({t.shape[d] for t, d in zip(tensors, dims)}) > 1:
      refuse_kind("fx.InputTensorSpec.from_tensors_with_dynamic_batch_size",
                  "tensors of one batch size", [tuple(t.shape) for t in tensors])
    specs = []
    for tensor, dim in zip(tensors, dims):
      shapes = tuple((*tensor.shape[:dim], size, *tensor.shape[dim + 1:])
                     for size in batch_size_range)
      shape = (*tensor.shape[:dim], -1, *tensor.shape[dim + 1:])
      specs.append(cls(shape, tensor.dtype, tensor.device, [shapes] * opt_profile_replica))
    return specs

  def as_argument(self, batch_limit: int) -> kiln.Input:
    """What kiln.compile takes. `batch_limit` is the largest batch of a spec that has none."""
    shapes = self._shapes()
    if not self.has_batch_dim:
      shapes = [(size, *shape) for size, shape in zip((1, batch_limit, batch_limit), shapes)]
    names = {0: "batch"} if not self.has_batch_dim else None
    return kiln.Input(**dict(zip(_RANGE, shapes)), dtype=self.dtype, device=self.device,
                      dim_names=names)

  def to_random_tensor(self) -> torch.Tensor:
    """An example of the usual shape; its batch is 1 where the shape has none."""
    return self.as_argument(1).example()

  @staticmethod
  def create_inputs_from_specs(input_specs: Iterable["InputTensorSpec"]) -> list[torch.Tensor]:
    return [spec.to_random_tensor() for spec in input_specs]

  def _shapes(self) -> list[tuple[int, ...]]:
    shape = tuple(int(size) for size in self.shape)
    if all(size >= 0 for size in shape):
      return [shape] * 3
    profiles: list[Any] = [dict(zip(_RANGE, ranges)) for ranges in self.shape_ranges]
    if not profiles:
      refuse_kind("fx.InputTensorSpec(shape_ranges)", "the ranges of dims that are -1", shape)
    return list(hull("fx.InputTensorSpec(shape_ranges)", profiles))
