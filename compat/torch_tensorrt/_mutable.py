"""MutableTorchTensorRTModule: a model that is compiled and can still be changed."""

from __future__ import annotations

from typing import Any

import torch

from ._refusal import note, refuse_kind, refuse_name, refuse_value
from ._settings import TORCH_COMPILE, translate

_NAME = "MutableTorchTensorRTModule"
_OWN = ("pytorch_model", "_settings", "_compiled", "_ranges")


class MutableTorchTensorRTModule:
  """Behaves as `pytorch_model`, and runs compiled.

  It is the module under torch.compile, which looks at weights and attributes in every call:
  changed weights are taken in, a changed attribute compiles again. Keywords are the settings.
  """

  def __init__(self, pytorch_model: torch.nn.Module, *, device: Any = None,
               immutable_weights: bool = False, strict: bool = True,
               prefer_deferred_runtime_asserts_over_guards: bool = False,
               weight_streaming_budget: int | None = None, **kwargs: Any):
    if not isinstance(pytorch_model, torch.nn.Module):
      refuse_kind(f"{_NAME}(pytorch_model)", "an nn.Module",
                  type(pytorch_model).__name__)
    if immutable_weights:
      refuse_value(f"{_NAME}(immutable_weights)", immutable_weights)
    if weight_streaming_budget is not None:
      refuse_value(f"{_NAME}(weight_streaming_budget)", weight_streaming_budget)
    if device is not None:
      kwargs["device"] = device
    notes = list(kwargs.get("notes", ()))
    if strict is not True:
      notes.append(note(f"{_NAME}(strict)", strict))
    if prefer_deferred_runtime_asserts_over_guards:
      notes.append(note(f"{_NAME}(prefer_deferred_runtime_asserts_over_guards)", True))
    if notes:
      kwargs["notes"] = notes
    translate(kwargs, TORCH_COMPILE)  # wrong settings are an error here, not at the first call
    own = self.__dict__
    own["pytorch_model"] = pytorch_model
    own["_settings"] = kwargs
    own["_ranges"] = None
    self.compile()

  def compile(self) -> None:
    """Forgets what was built; the next call builds."""
    self.__dict__["_compiled"] = torch.compile(self.pytorch_model, backend="torch_tensorrt",
                                               options=self._settings or None)

  def refit_gm(self) -> None:
    """Nothing to do: the next call sees the weights as they are."""

  def set_expected_dynamic_shape_range(self, args_dynamic_shape: Any,
                                       kwargs_dynamic_shape: dict[str, Any] | None = None) -> None:
    """Sizes that will vary: for each argument {dim: torch.export.Dim}, or None."""
    if not isinstance(args_dynamic_shape, (list, tuple)):
      refuse_kind(f"{_NAME}.set_expected_dynamic_shape_range",
                  "a tuple with one entry per argument", args_dynamic_shape)
    self.__dict__["_ranges"] = (tuple(args_dynamic_shape), dict(kwargs_dynamic_shape or {}))

  def set_weight_streaming_ctx(self, requested_budget: int | None = None) -> None:
    refuse_name(f"{_NAME}.set_weight_streaming_ctx")

  @staticmethod
  def save(module: Any, path: str) -> None:
    refuse_name(f"{_NAME}.save")

  @staticmethod
  def load(path: str) -> None:
    refuse_name(f"{_NAME}.load")

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    if self._ranges is not None:
      positional, by_name = self._ranges
      for value, dims in zip(args, positional):
        _mark(value, dims)
      for name, value in kwargs.items():
        _mark(value, by_name.get(name))
    return self._compiled(*args, **kwargs)

  forward = __call__

  def to(self, *args: Any, **kwargs: Any) -> "MutableTorchTensorRTModule":
    self.pytorch_model.to(*args, **kwargs)
    return self

  def __getattr__(self, name: str) -> Any:
    if name in _OWN:  # a copy that is not set up yet
      raise AttributeError(name)
    return getattr(self.pytorch_model, name)

  def __setattr__(self, name: str, value: Any) -> None:
    setattr(self.pytorch_model, name, value)

  def __delattr__(self, name: str) -> None:
    delattr(self.pytorch_model, name)

  def __repr__(self) -> str:
    return f"MutableTorchTensorRTModule({self.pytorch_model!r})"


def _mark(value: Any, dims: Any) -> None:
  """Tells torch.compile which sizes of an argument vary, and how far."""
  if dims is None:
    return
  if isinstance(value, torch.Tensor):
    for d, dim in dims.items() if isinstance(dims, dict) else enumerate(dims):
      if dim is None or isinstance(dim, int) or value.shape[d] < 2:
        continue  # torch takes sizes 0 and 1 for constants
      low, high = getattr(dim, "min", None), getattr(dim, "max", None)
      if isinstance(low, int) and isinstance(high, int) and low <= value.shape[d] <= high:
        torch._dynamo.mark_dynamic(value, d, min=max(low, 2), max=high)
      else:
        torch._dynamo.maybe_mark_dynamic(value, d)
  elif isinstance(value, dict):
    for key, item in value.items():
      _mark(item, dims.get(key))
  elif isinstance(value, (list, tuple)):
    for item, own in zip(value, dims):
      _mark(item, own)
