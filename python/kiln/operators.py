"""The operators kiln::run and kiln::run_, which libkiln_torch registers (torch/operators.cpp)."""

from __future__ import annotations

import torch

from . import _native


def register_operators() -> None:
  """Tells torch's tracers what C++ cannot: that running a program has no side effect.

  torch takes every operator on an object of a custom class for one whose calls must stay in order,
  and threads a token through the graph when it decomposes it. A program writes nothing but what
  the schemas of its operators say.

  Calls from Python take a shorter way to torch's dispatcher (torch/python/operator_call.h).
  """
  for name in ("run", "run_"):
    torch._library.simple_registry.singleton.find(f"kiln::{name}").effect.register(None)
    overload = getattr(torch.ops.kiln, name).default
    if hasattr(overload, "_op"):  # what its __call__ ends in
      overload._op = _native.quick_operator_call(name, overload._op)
