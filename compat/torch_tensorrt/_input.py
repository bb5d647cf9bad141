"""torch_tensorrt.Input: an argument described by shapes, and its translation to kiln.Input."""

from __future__ import annotations

import enum
from typing import Any, Sequence

import kiln
import torch
from kiln.frontends.errors import FrontendError
from torch.utils import _pytree as pytree

from ._enums import dtype, memory_format
from ._refusal import refuse_kind, refuse_value

_RANGE = ("min_shape", "opt_shape", "max_shape")


class Input:
  """A tensor argument: `Input(shape)` or `Input(min_shape=, opt_shape=, max_shape=)`.

  dtype: torch.dtype or torch_tensorrt.dtype, float32 unless given
  format: contiguous or channels_last
  tensor_domain: [low, high) of the example's values
  torch_tensor: the example itself; shape and dtype are its own
  name: in messages
  shared_dims: {axis: name}; dims of one name are one size. A named tuple as shape does the same
  profiles: several {min_shape, opt_shape, max_shape}; one program serves all of them
  """

  class _ShapeMode(enum.Enum):
    STATIC = 0
    DYNAMIC = 1

  def __init__(self, *args: Any, shape: Sequence[int] | None = None,
               min_shape: Sequence[int] | None = None, opt_shape: Sequence[int] | None = None,
               max_shape: Sequence[int] | None = None, dtype: Any = dtype.unknown,
               format: Any = memory_format.linear, tensor_domain: tuple[float, float] = (0.0, 2.0),
               torch_tensor: torch.Tensor | None = None, name: str = "",
               is_shape_tensor: bool = False, shared_dims: dict[int, str] | None = None,
               profiles: Sequence[dict[str, Sequence[int]]] | None = None):
    if len(args) > 1:
      refuse_kind("Input", "one shape by position", args)
    if args:
      if shape is not None:
        refuse_kind("Input(shape)", "one shape, by position or by name", (args[0], shape))
      shape = args[0]
    if is_shape_tensor:
      refuse_value("Input(is_shape_tensor)", is_shape_tensor)
    if torch_tensor is not None and not isinstance(torch_tensor, torch.Tensor):
      refuse_kind("Input(torch_tensor)", "a tensor", torch_tensor)
    if profiles is not None:
      if any(s is not None for s in (shape, min_shape, opt_shape, max_shape)):
        refuse_kind("Input(profiles)", "the ranges: give no other shape", profiles)
      min_shape, opt_shape, max_shape = hull("Input(profiles)", profiles)
    ranged = [s is not None for s in (min_shape, opt_shape, max_shape)]
    if any(ranged) and not all(ranged):
      refuse_kind("Input", "min_shape, opt_shape and max_shape together", (min_shape, opt_shape,
                                                                         max_shape))
    if torch_tensor is not None and shape is None and not any(ranged):
      shape = tuple(torch_tensor.shape)
    if (shape is None) != any(ranged):
      refuse_kind("Input", "either shape or min_shape, opt_shape and max_shape", shape)

    self._named = {**_field_names(shape if shape is not None else max_shape), **(shared_dims or {})}
    self.shape_mode = self._ShapeMode.STATIC if shape is not None else self._ShapeMode.DYNAMIC
    if shape is not None:
      self.shape: Any = _sizes("Input(shape)", shape)
    else:
      self.shape = {key: _sizes(f"Input({key})", value)
                    for key, value in zip(_RANGE, (min_shape, opt_shape, max_shape))}
    self.dtype = _dtype(dtype, torch_tensor)
    self.format = memory_format.try_from(format)
    if self.format is None:
      refuse_kind("Input(format)", "a torch.memory_format or torch_tensorrt.memory_format", format)
    if self.format.try_to(torch.memory_format) is None:
      refuse_value("Input(format)", format)
    if not (isinstance(tensor_domain, (tuple, list)) and len(tensor_domain) == 2
            and tensor_domain[0] < tensor_domain[1]):
      refuse_kind("Input(tensor_domain)", "a pair (low, high) with low < high", tensor_domain)
    self.tensor_domain = tuple(tensor_domain)
    self.torch_tensor = torch_tensor
    self.name = name
    self.is_shape_tensor = False
    self.shared_dims = dict(shared_dims or {})
    self.profiles = [dict(p) for p in profiles or ()]
    self._spec = self._kiln()

  # ---- what kiln gets

  def _kiln(self) -> kiln.Input:
    shapes = {"shape": self.shape} if self.shape_mode is self._ShapeMode.STATIC else self.shape
    element = self.dtype.to(torch.dtype)
    low, high = self.tensor_domain
    # kiln's ranges are closed for integers, those of Torch-TensorRT are half open
    bounds = (low, high) if element.is_floating_point else (int(low), max(int(low), int(high) - 1))
    try:
      return kiln.Input(**shapes, dtype=element, name=self.name, dim_names=self._named or None,
                        memory_format=self.format.to(torch.memory_format), value_range=bounds)
    except FrontendError as error:
      raise FrontendError(error.code, f"torch_tensorrt.Input: {error.message}") from error

  def as_argument(self) -> Any:
    """The example where there is one and all sizes are fixed, else a kiln.Input."""
    if self.torch_tensor is not None and self.shape_mode is self._ShapeMode.STATIC:
      return self.torch_tensor
    return self._spec

  # ---- the rest of the known class

  @property
  def min_shape(self) -> tuple[int, ...]:
    return self._spec.min_shape

  @property
  def opt_shape(self) -> tuple[int, ...]:
    return self._spec.opt_shape

  @property
  def max_shape(self) -> tuple[int, ...]:
    return self._spec.max_shape

  @classmethod
  def from_tensor(cls, t: torch.Tensor, disable_memory_format_check: bool = False) -> "Input":
    """Shape, dtype and memory format of a tensor."""
    if not isinstance(t, torch.Tensor):
      refuse_kind("Input.from_tensor", "a tensor", t)
    layout = memory_format.linear
    if not disable_memory_format_check and not t.is_contiguous():
      for own in (torch.channels_last, torch.channels_last_3d):
        rank = 4 if own is torch.channels_last else 5
        if t.ndim == rank and t.is_contiguous(memory_format=own):
          layout = memory_format._from(own)
          break
      else:
        raise FrontendError("K1101", "torch_tensorrt.Input.from_tensor: the tensor has no memory "
                            f"format: sizes {tuple(t.shape)}, strides {t.stride()}",
                            hint="pass t.contiguous(), or disable_memory_format_check=True")
    return cls(shape=tuple(t.shape), dtype=t.dtype, format=layout, torch_tensor=t)

  @classmethod
  def from_tensors(cls, ts: Any, disable_memory_format_check: bool = False) -> Any:
    """The same for a list, tuple or dict of tensors and numbers."""
    if isinstance(ts, dict):
      return {k: cls.from_tensors(v, disable_memory_format_check) for k, v in ts.items()}
    if isinstance(ts, (list, tuple)):
      return type(ts)(cls.from_tensors(v, disable_memory_format_check) for v in ts)
    return cls.from_tensor(ts, disable_memory_format_check) if isinstance(ts, torch.Tensor) else ts

  def example_tensor(self, optimization_profile_field: str | None = None) -> torch.Tensor:
    """An example; of an Input with a range, of "min_shape", "opt_shape" or "max_shape"."""
    dynamic = self.shape_mode is self._ShapeMode.DYNAMIC
    if dynamic != (optimization_profile_field in _RANGE):
      refuse_kind("Input.example_tensor", "one of min_shape, opt_shape and max_shape for an Input "
                  "with a range, nothing for one without", optimization_profile_field)
    if not dynamic and self.torch_tensor is not None:
      return self.torch_tensor
    return self._spec.example(self.shape[optimization_profile_field] if dynamic else self.shape)

  @staticmethod
  def equivalent_spec(a: "Input", b: "Input") -> bool:
    return (a.shape_mode, a.shape, a.dtype, a.format) == (b.shape_mode, b.shape, b.dtype, b.format)

  def __repr__(self) -> str:
    return repr(self._spec)


def as_arguments(values: Any) -> Any:
  """The same nesting of containers, with what kiln takes in place of each Input."""
  return pytree.tree_map(lambda v: v.as_argument() if isinstance(v, Input) else v, values,
                         is_leaf=lambda v: isinstance(v, Input))


def _sizes(name: str, shape: Any) -> tuple[int, ...]:
  if isinstance(shape, int) and not isinstance(shape, bool):
    shape = (shape,)
  try:
    return tuple(int(size) for size in shape)
  except (TypeError, ValueError):
    refuse_kind(name, "a sequence of sizes", shape)


def _field_names(shape: Any) -> dict[int, str]:
  return dict(enumerate(getattr(shape, "_fields", ())))


def _dtype(value: Any, example: torch.Tensor | None) -> dtype:
  if value in (None, dtype.unknown):
    value = torch.float32 if example is None else example.dtype
  result = dtype.try_from(value)
  if result is None:
    refuse_kind("Input(dtype)", "a torch.dtype or torch_tensorrt.dtype", value)
  return result


def hull(name: str, profiles: Any) -> tuple[tuple[int, ...], ...]:
  """The range that holds all profiles, with the optimum of the first."""
  try:
    lows, opts, highs = zip(*[[tuple(profile[key]) for key in _RANGE] for profile in profiles])
    if len({len(shape) for shape in (*lows, *opts, *highs)}) != 1:
      raise ValueError("ranks differ")
  except (KeyError, TypeError, ValueError):
    refuse_kind(name, "a list of {min_shape, opt_shape, max_shape} of one rank", profiles)
  return tuple(map(min, zip(*lows))), opts[0], tuple(map(max, zip(*highs)))
