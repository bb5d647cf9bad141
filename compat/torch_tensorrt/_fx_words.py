"""The words of fx.compile, told in Torch-TensorRT's settings and Kiln's inputs.

What is said about each stands in _table/fx.py; here is what is done. A test holds both together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

from . import _table
from ._enums import LowerPrecision
from ._input import Input
from ._input_tensor_spec import InputTensorSpec
from ._refusal import note, refuse_kind
from ._settings import Setting, flag, integer

_PREFIX = "fx.compile("


def _precision(value: Any) -> LowerPrecision | None:
  return LowerPrecision.from_str(value) if isinstance(value, str) else \
    value if isinstance(value, LowerPrecision) else None


def _tolerance() -> Setting:
  return Setting(None, lambda v: v is None or type(v) in (int, float) and v >= 0,
                 "a number of at least 0, or None")


WORDS: dict[str, Setting] = {
  "min_acc_module_size": integer(1, 1),
  "max_batch_size": integer(2048, 1),
  "max_workspace_size": integer(1 << 25),
  "explicit_batch_dimension": flag(False),
  "lower_precision": Setting(
    None, lambda v: v is None or _precision(v) is not None, "a LowerPrecision, its name or None",
    refused=lambda v: v is not None and _precision(v) is LowerPrecision.INT8),
  "verbose_log": flag(False),
  "timing_cache_prefix": Setting("", lambda v: isinstance(v, str), "a string"),
  "save_timing_cache": flag(False),
  "cuda_graph_batch_size": integer(-1, -1),
  "dynamic_batch": flag(True),
  "is_aten": flag(False),
  "use_experimental_fx_rt": flag(False),
  "correctness_atol": _tolerance(),
  "correctness_rtol": _tolerance(),
}

#: Words with the meaning of a setting or of one of Kiln's options.
_SETTINGS = {"min_acc_module_size": "min_block_size", "verbose_log": "debug"}


@dataclass
class Words:
  """What fx.compile was asked for.

  settings: for translate()
  batch_limit: the largest batch, None for that of the inputs alone
  tolerances: (atol, rtol) within which results must be the module's, None for no comparison
  """

  settings: dict[str, Any] = field(default_factory=dict)
  batch_limit: int | None = None
  tolerances: tuple[float, float] | None = None


def translate_words(given: dict[str, Any], settings: dict[str, Any]) -> Words:
  """Checks all words (K1002, K1041) and adds what they say to `settings`."""
  notes = list(settings.get("notes", ()))
  words = Words(dict(settings))
  for name, value in given.items():
    row = f"{_PREFIX}{name})"
    WORDS[name].check(row, value)
    if WORDS[name].is_default(value):
      continue
    if name in _SETTINGS:
      words.settings[_SETTINGS[name]] = value
    elif name == "lower_precision":
      words.settings["precision"] = _precision(value).value
    elif _table.find(row, _table.ACCEPTED) is not None:
      notes.append(note(row, value))
  if notes:
    words.settings["notes"] = notes
  if given.get("dynamic_batch", True):
    words.batch_limit = given.get("max_batch_size", 2048)
  atol, rtol = given.get("correctness_atol"), given.get("correctness_rtol")
  if atol is not None or rtol is not None:
    words.tolerances = tuple(1e-1 if v is None else float(v) for v in (atol, rtol))
  return words


def _is_leaf(value: Any) -> bool:
  return isinstance(value, (Input, InputTensorSpec))


def describe_inputs(inputs: Any, batch_limit: int | None) -> Any:
  """The same nesting of containers, with what kiln.compile takes.

  With a limit, dim 0 of tensors, and the batch of specs that have none, goes from 1 to the limit.
  Input and InputTensorSpec say themselves what is dynamic in them.
  """
  tensors = [leaf for leaf in pytree.tree_leaves(inputs, is_leaf=_is_leaf)
             if isinstance(leaf, torch.Tensor) and leaf.ndim > 0]
  batches = {tensor.shape[0] for tensor in tensors}
  if batch_limit is not None and len(batches) > 1:
    refuse_kind(f"{_PREFIX}dynamic_batch)", "inputs whose first dim is one batch, or False",
                [tuple(t.shape) for t in tensors])
  if batch_limit is not None and max(batches, default=0) > batch_limit:
    refuse_kind(f"{_PREFIX}max_batch_size)", f"at least the batch of the inputs, {max(batches)}",
                batch_limit)

  def describe(leaf: Any) -> Any:
    if isinstance(leaf, InputTensorSpec):
      return leaf.as_argument(batch_limit or 1)
    if isinstance(leaf, Input):
      return leaf.as_argument()
    if isinstance(leaf, torch.Tensor) and leaf.ndim > 0 and (batch_limit or 1) > 1:
      return Input(min_shape=(1, *leaf.shape[1:]), opt_shape=tuple(leaf.shape),
                   max_shape=(batch_limit, *leaf.shape[1:]), dtype=leaf.dtype,
                   format=_layout(leaf), shared_dims={0: "batch"}).as_argument()
    return leaf

  return pytree.tree_map(describe, inputs, is_leaf=_is_leaf)


def _layout(tensor: torch.Tensor) -> torch.memory_format:
  last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
  if last is None or tensor.is_contiguous() or not tensor.is_contiguous(memory_format=last):
    return torch.contiguous_format
  return last


def examples(inputs: Any) -> Any:
  """The same nesting with tensors, for one call."""
  def example(leaf: Any) -> Any:
    if isinstance(leaf, InputTensorSpec):
      return leaf.to_random_tensor()
    if isinstance(leaf, Input):
      dynamic = leaf.shape_mode is Input._ShapeMode.DYNAMIC
      return leaf.example_tensor("opt_shape" if dynamic else None)
    return leaf

  return pytree.tree_map(example, inputs, is_leaf=_is_leaf)
