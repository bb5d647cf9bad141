"""Runs a case and writes down everything that its user could see, so that two runs can be compared.

An observation holds no live tensor: memory is described by which tensors share elements, so that
runs of different processes compare as well.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Callable

import torch

from .case import Args, Case

#: What can differ, in the order in which it is looked at.
ASPECTS = ("raises", "structure", "dtype", "shape", "strides", "values", "identity", "aliasing",
           "inputs", "buffers")


@dataclass
class SeenTensor:
  """A tensor at one moment. Strides of dims that hold less than two elements mean nothing."""

  dtype: torch.dtype
  shape: tuple[int, ...]
  strides: tuple[int | None, ...]
  values: torch.Tensor

  @staticmethod
  def of(tensor: torch.Tensor) -> SeenTensor:
    strides = tuple(None if size < 2 or tensor.numel() == 0 else stride
                    for size, stride in zip(tensor.shape, tensor.stride()))
    return SeenTensor(tensor.dtype, tuple(tensor.shape), strides, tensor.detach().clone())


@dataclass
class SeenCall:
  """One call: what came back, what the arguments and buffers are afterwards, who shares memory."""

  raised: str = ""  # the type, with Kiln's code where there is one
  message: str = ""
  structure: Any = None
  outputs: dict[str, SeenTensor] = field(default_factory=dict)
  inputs: dict[str, SeenTensor] = field(default_factory=dict)
  buffers: dict[str, SeenTensor] | None = None
  identical: set[frozenset] = field(default_factory=set)  # pairs of paths that are one object
  sharing: dict[frozenset, int] = field(default_factory=dict)  # pairs: distance in bytes


def run(case: Case, function: Callable[..., Any],
        model: torch.nn.Module | None = None) -> list[SeenCall]:
  """Makes the calls of `case`. `model` is the module whose buffers the calls change, if any."""
  seen, last = [], None
  function = case.around(function)
  for step in range(case.calls):
    if step and model is not None:
      case.between(model, step)
    call = case_arguments(case, step, last)
    torch.manual_seed(1000 + step)
    one = SeenCall()
    outputs = None
    try:
      with torch.set_grad_enabled(case.grad):
        outputs = function(*call.args, **call.kwargs)
    except Exception as error:  # noqa: BLE001: what is raised is part of the comparison
      one.raised = describe_error(error)
      one.message = str(error)
    live: dict[str, torch.Tensor] = {}
    describe((call.args, call.kwargs), "in", live)
    one.inputs = {path: SeenTensor.of(tensor) for path, tensor in live.items()}
    results: dict[str, torch.Tensor] = {}
    one.structure = describe(outputs, "out", results)
    one.outputs = {path: SeenTensor.of(tensor) for path, tensor in results.items()}
    if model is not None:
      one.buffers = {name: SeenTensor.of(tensor) for name, tensor in model.named_buffers()}
    _relate(results, live, one)
    seen.append(one)
    last = outputs
    if one.raised:
      break
  return seen


def case_arguments(case: Case, step: int, last: Any) -> Args:
  torch.manual_seed(100 + step)
  call = case.inputs(step, last)
  return call if isinstance(call, Args) else Args(call)


def describe_error(error: BaseException) -> str:
  """"kiln.Error K4105" or "IndexError"; what torch.compile wraps errors in is looked through."""
  error = getattr(error, "inner_exception", error)  # of BackendCompilerFailed
  code = getattr(error, "code", None)
  return f"kiln.Error {code}" if isinstance(code, str) else type(error).__name__


def describe(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
  """The structure of a nested value with types; its tensors go into `tensors` by path."""
  if isinstance(value, torch.Tensor):
    tensors[path] = value
    return "tensor"
  if isinstance(value, dict):
    return (type(value).__name__,
            [(key, describe(item, f"{path}.{key}", tensors)) for key, item in value.items()])
  if isinstance(value, (list, tuple)):
    return (type(value).__name__,
            [describe(item, f"{path}.{i}", tensors) for i, item in enumerate(value)])
  if dataclasses.is_dataclass(value):
    return (type(value).__name__,
            [(f.name, describe(getattr(value, f.name), f"{path}.{f.name}", tensors))
             for f in dataclasses.fields(value)])
  return (type(value).__name__, repr(value))


def _relate(outputs: dict[str, torch.Tensor], inputs: dict[str, torch.Tensor],
            seen: SeenCall) -> None:
  """Relations that have an output in them: those among inputs alone are the caller's doing."""
  everything = [*outputs.items(), *inputs.items()]
  for i, (path, tensor) in enumerate(outputs.items()):
    for other_path, other in everything[i + 1:]:
      pair = frozenset((path, other_path))
      if other is tensor:
        seen.identical.add(pair)
      if _addresses(tensor) & _addresses(other):
        distance = other.data_ptr() - tensor.data_ptr()
        seen.sharing[pair] = distance if path < other_path else -distance


def _addresses(tensor: torch.Tensor) -> set[int]:
  """Where the elements are. For small tensors only."""
  if tensor.is_meta or tensor.numel() > 4096:
    raise AssertionError("cases are small")
  places = torch.tensor(tensor.data_ptr())
  for size, stride in zip(tensor.shape, tensor.stride()):
    places = places.unsqueeze(-1) + torch.arange(size) * stride * tensor.element_size()
  return set(places.flatten().tolist())


# ---- comparing -----------------------------------------------------------------------------------


def differences(got: list[SeenCall], expected: list[SeenCall]) -> dict[str, str]:
  """Aspect -> what differs first, over all calls. Empty when nothing does."""
  found: dict[str, str] = {}
  for step, (ours, eager) in enumerate(zip(got, expected)):
    for aspect, text in _compare(ours, eager):
      found.setdefault(aspect, f"call {step}: {text}")
  return {aspect: found[aspect] for aspect in ASPECTS if aspect in found}


def _compare(ours: SeenCall, eager: SeenCall):
  if ours.raised != eager.raised:
    yield "raises", f"{ours.raised or 'nothing'} {ours.message} instead of {eager.raised or 'nothing'}"
    return
  if ours.structure != eager.structure:
    yield "structure", f"{ours.structure} instead of {eager.structure}"
    return
  for path, want in eager.outputs.items():
    yield from _compare_tensor(path, ours.outputs[path], want)
  if ours.identical != eager.identical:
    yield "identity", f"{_pairs(ours.identical)} instead of {_pairs(eager.identical)}"
  if ours.sharing != eager.sharing:
    yield "aliasing", f"{_pairs(ours.sharing)} instead of {_pairs(eager.sharing)}"
  for path, want in eager.inputs.items():
    for aspect, text in _compare_tensor(path, ours.inputs[path], want):
      yield "inputs", f"{aspect} {text}"
  if ours.buffers is not None and eager.buffers is not None:
    for name, want in eager.buffers.items():
      for aspect, text in _compare_tensor(name, ours.buffers[name], want):
        yield "buffers", f"{aspect} {text}"


def _pairs(relation: Any) -> list:
  return sorted(sorted(pair) for pair in relation)


def _compare_tensor(path: str, ours: SeenTensor, eager: SeenTensor):
  if ours.dtype != eager.dtype:
    yield "dtype", f"{path} is {ours.dtype} instead of {eager.dtype}"
    return
  if ours.shape != eager.shape:
    yield "shape", f"{path} is {ours.shape} instead of {eager.shape}"
    return
  if ours.strides != eager.strides:
    yield "strides", f"{path} has {ours.strides} instead of {eager.strides}"
  try:
    # torch's own tolerances, by dtype: they allow for another order of summation, and no more.
    torch.testing.assert_close(ours.values, eager.values, equal_nan=True)
  except AssertionError as error:
    yield "values", f"{path}: {' '.join(str(error).split())}"
