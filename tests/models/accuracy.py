"""The accuracy rule: is a compiled model as right as eager PyTorch is?

Per floating-point output, with the fp64 run of the same model as the truth:

  error(x) = rms(x - truth) / rms(truth)
  error(candidate) <= factor * error(eager) + 1e-6        factor 2 for fp32, 3 for fp16 and bf16

Other outputs must be equal. An output only counts when it carries information: rms(truth) lies in
[1e-2, 1e2] and another input moves it by more than 10 %. Otherwise the case is MISTRUSTED, which
fails as a wrong result does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Sequence

import torch
from torch import nn
from torch.utils import _pytree as pytree

SLACK = 1e-6
RMS_RANGE = (1e-2, 1e2)
MIN_MOVE = 0.1


@dataclass
class Verdict:
  """The judgement of one output."""

  index: int
  status: str  # "ok", "WRONG" or "MISTRUSTED"
  error: float = 0.0
  eager_error: float = 0.0
  limit: float = 0.0
  reason: str = ""

  def __str__(self) -> str:
    figures = f"error {self.error:.3g}, eager's {self.eager_error:.3g}, limit {self.limit:.3g}"
    return f"output {self.index}: {self.status} ({self.reason or figures})"


class AccuracyError(AssertionError):
  """At least one output is wrong or cannot be trusted."""


def leaves(value: Any) -> list:
  """Tensors and numbers of a nested output, in pytree's order."""
  from kiln.frontends.tree import register_known_types

  register_known_types()
  return [leaf for leaf in pytree.tree_leaves(value) if leaf is not None]


def rms(tensor: torch.Tensor) -> float:
  return tensor.detach().double().pow(2).mean().sqrt().item() if tensor.numel() else 0.0


def relative_error(tensor: torch.Tensor, truth: torch.Tensor) -> float:
  """rms-relative error; infinite when `tensor` is not finite where the truth is."""
  difference = tensor.detach().double() - truth
  if not torch.isfinite(difference).all():
    return float("inf")
  return rms(difference) / rms(truth)


def factor_for(dtype: torch.dtype) -> float:
  return 3.0 if dtype in (torch.float16, torch.bfloat16) else 2.0


def judge(candidate: Any, eager: Any, truth: Any, other: Any,
          factor: float | None = None) -> list[Verdict]:
  """Judges each output. `truth` and `other` are fp64 outputs for this and for another input.

  `candidate` must have eager's number of outputs, shapes and dtypes: anything else is WRONG.
  """
  got, expected = leaves(candidate), leaves(eager)
  true, moved = leaves(truth), leaves(other)
  if len(got) != len(expected) or len(true) != len(expected):
    return [Verdict(-1, "WRONG", reason=f"{len(got)} outputs instead of {len(expected)}")]
  if len(moved) != len(true):
    return [Verdict(-1, "MISTRUSTED", reason="the other input gives another number of outputs")]
  return [_judge_one(i, *parts, factor) for i, parts in
          enumerate(zip(got, expected, true, moved))]


def _judge_one(index: int, got: Any, eager: Any, truth: Any, other: Any,
               factor: float | None) -> Verdict:
  if not isinstance(eager, torch.Tensor):
    same = type(got) is type(eager) and got == eager
    return Verdict(index, "ok" if same else "WRONG", reason=f"{got!r}, eager gives {eager!r}")
  if not isinstance(got, torch.Tensor):
    return Verdict(index, "WRONG", reason=f"{type(got).__name__} instead of a tensor")
  if got.shape != eager.shape or got.dtype != eager.dtype:
    return Verdict(index, "WRONG", reason=f"{got.dtype}{list(got.shape)} instead of "
                   f"{eager.dtype}{list(eager.shape)}")
  if not eager.is_floating_point():
    equal = torch.equal(got, eager)
    return Verdict(index, "ok" if equal else "WRONG", reason="" if equal else "values differ")
  if eager.numel() == 0:
    return Verdict(index, "ok", reason="empty")
  size = rms(truth)
  if not (RMS_RANGE[0] <= size <= RMS_RANGE[1]):
    return Verdict(index, "MISTRUSTED", reason=f"rms of the fp64 output is {size:.3g}")
  if other.shape != truth.shape or not relative_error(other, truth) > MIN_MOVE:
    return Verdict(index, "MISTRUSTED", reason="another input moves the output by 10 % or less")
  eager_error = relative_error(eager, truth)
  error = relative_error(got, truth)
  limit = (factor or factor_for(eager.dtype)) * eager_error + SLACK
  return Verdict(index, "ok" if error <= limit else "WRONG", error, eager_error, limit)


class Oracle:
  """Runs a model in eager and in fp64 for one input and another, once, and judges candidates."""

  def __init__(self, model: nn.Module, inputs: Any, other_inputs: Any):
    """`inputs` and `other_inputs` have `args` and `kwargs` (zoo.Inputs) and equal shapes."""
    self.inputs = inputs
    with torch.no_grad():
      self.eager = _call(model, inputs)
      precise = copy.deepcopy(model).double()
      self.truth = _call(precise, _to_double(inputs))
      self.other = _call(precise, _to_double(other_inputs))

  def judge(self, candidate: Any, factor: float | None = None) -> list[Verdict]:
    return judge(candidate, self.eager, self.truth, self.other, factor)

  def check(self, candidate: Any, factor: float | None = None) -> list[Verdict]:
    """Raises AccuracyError that names each output that is not ok; returns the verdicts."""
    return check(self.judge(candidate, factor))


def check(verdicts: Sequence[Verdict]) -> list[Verdict]:
  bad = [str(v) for v in verdicts if v.status != "ok"]
  if bad or not verdicts:
    raise AccuracyError("\n".join(bad) or "no outputs to judge")
  return list(verdicts)


def _call(model: nn.Module, inputs: Any) -> Any:
  # inputs are copied, since a model may write to them
  args, kwargs = copy.deepcopy((tuple(inputs.args), dict(inputs.kwargs)))
  return model(*args, **kwargs)


def _to_double(inputs: Any) -> Any:
  def convert(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
      return leaf.double()
    return leaf

  args, kwargs = pytree.tree_map(convert, (tuple(inputs.args), dict(inputs.kwargs)))
  return type(inputs)(args, kwargs)
