"""Weights of programs under the names that the user's module gives them."""

from __future__ import annotations

import difflib
from typing import Any, Iterable, Mapping

import torch

from .frontends.captured import DTYPES, CapturedProgram
from .frontends.errors import FrontendError


def _memory(tensor: torch.Tensor) -> tuple:
  return (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def name_state(captured: CapturedProgram,
               *states: Mapping[str, torch.Tensor]) -> dict[str, str | None]:
  """What each name of the state dicts is to the program: a weight's name, or None where the program
  reads no such tensor. Names of tied tensors lead to the one weight that stands for them."""
  names: dict[str, str | None] = {name: name for name in captured.weights}
  by_memory = {_memory(t): name for name, t in captured.weights.items() if t.numel() > 0}
  for state in states:
    for name, tensor in state.items():
      if name not in names and isinstance(tensor, torch.Tensor):
        names[name] = by_memory.get(_memory(tensor)) if tensor.numel() > 0 else None
  return names


def check_names(given: Iterable[str], names: Iterable[str]) -> None:
  """K3113 where one of the given names is none of `names`."""
  known = set(names)
  unknown = [name for name in given if name not in known]
  if unknown:
    near = difflib.get_close_matches(unknown[0], list(names), n=1)
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    raise FrontendError(
      "K3113", f"the program has no weights named {', '.join(map(repr, unknown[:5]))}{more}",
      hint=f"did you mean {near[0]!r}?" if near else "names are those of the module's state_dict()")


def sort_update(given: Mapping[str, Any], names: Mapping[str, str | None],
                weights: Iterable[tuple[str, str, tuple]],
                state: Mapping[str, torch.Tensor], device: str
                ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
  """Checks the values of an update; returns those of weights and those of state by native name.
  `device` is the program's.

  As load_state_dict does, other dtypes are cast and other devices copied from; of two names of one
  tied tensor the last counts. K3113 unknown names, K3114 another shape, K1111 no tensor.
  """
  check_names(given, names)
  expected = {name: (DTYPES[dtype], shape) for name, dtype, shape in weights}
  expected |= {name: (t.dtype, tuple(t.shape)) for name, t in state.items()}
  results: dict[str, torch.Tensor] = {}
  for name, value in given.items():
    target = names[name]
    if target not in expected:
      continue  # the program never reads it
    if not isinstance(value, torch.Tensor):
      raise FrontendError("K1111", f"weight is no tensor: {name}, {type(value).__name__}")
    dtype, shape = expected[target]
    if tuple(value.shape) != shape:
      raise FrontendError("K3114", f"given weight {name!r} has shape {list(value.shape)}, "
                          f"expected {list(shape)}")
    results[target] = value.detach().to(device=device, dtype=dtype)
  return ({n: t for n, t in results.items() if n not in state},
          {n: t for n, t in results.items() if n in state})
