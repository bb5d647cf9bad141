"""The operators kiln::run and kiln::run_, which libkiln_torch registers (torch/operators.cpp)."""

from __future__ import annotations

import torch

from . import _native
from .frontends import symbols
from .frontends.captured import CapturedProgram
from .frontends.opaque_types import make_tensors
from .pt2 import opaque_indices, symbolic_values


def register_operators() -> None:
  """Tells torch's tracers what C++ cannot: that running a program has no side effect, and what
  results are that PyTorch alone understands.

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
  torch.library.register_fake("kiln::run", _fake_run, allow_override=True)


def _fake_run(inputs: list[torch.Tensor], sizes: list[int | torch.SymInt],
              program: torch.ScriptObject, entry: int = 0) -> list[torch.Tensor]:
  """The results of a call as torch's tracers want them: of the right types, with no contents."""
  known = torch.ops.kiln.known_results(inputs, sizes, program, entry)
  if all(tensor is not None for tensor in known):
    return known
  native = _native.program_of(program)
  captured = CapturedProgram.from_json(native.metadata())
  signature = native.signature()
  rest = {True: iter(sizes), False: iter(inputs)}
  values = [next(rest[row["is_number"]]) for row in signature["inputs"]]
  device = inputs[0].device if inputs else torch.device(native.device())
  made = iter(make_tensors([captured.opaque_results[i] for i in opaque_indices(signature)],
                           symbolic_values(captured, values), captured.unbacked, _new_size,
                           device))
  return [next(made) if tensor is None else tensor for tensor in known]


def _new_size(low: int, high: int) -> torch.SymInt:
  return torch.library.get_ctx().new_dynamic_size(
    min=max(low, 0), max=None if high >= symbols.NO_BOUND else high)
