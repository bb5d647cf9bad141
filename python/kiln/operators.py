"""The operators kiln::run and kiln::run_, which libkiln_torch registers (torch/operators.cpp)."""

from __future__ import annotations

import torch


def register_operators() -> None:
  """Tells torch's tracers what C++ cannot: that running a program has no side effect.

  torch takes every operator on an object of a custom class for one whose calls must stay in order,
  and threads a token through the graph when it decomposes it. A program writes nothing but what
  the schemas of its operators say.
  """
  for name in ("kiln::run", "kiln::run_"):
    torch._library.simple_registry.singleton.find(name).effect.register(None)
