"""Sizes of LSTMs' hidden states, which torch.export gets wrong (torch 2.11).

While it traces, torch computes the results of aten::lstm.input by a decomposition that takes an
axis from the hidden states in the wrong place: (layers, 1, batch, hidden) for a batch of more than
one. Whatever is traced after them then has other sizes than it has when it runs.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Iterator

import torch
from torch._decomp import decompositions
from torch.export import ExportedProgram
from torch.fx import GraphModule


@contextlib.contextmanager
def hidden_states_as_run() -> Iterator[None]:
  """While active, tracing gives the hidden states of an LSTM the sizes that they have."""
  original = getattr(decompositions, "one_layer_lstm", None)
  if original is None:  # another torch: lstms_disagree() tells whether it is right
    yield
    return

  @functools.wraps(original)
  def one_layer_lstm(*args: Any, **kwargs: Any) -> Any:
    output, states = original(*args, **kwargs)
    return output, tuple(s.squeeze(0) if s.dim() == 3 else s for s in states)

  decompositions.one_layer_lstm = one_layer_lstm
  try:
    yield
  finally:
    decompositions.one_layer_lstm = original


def lstms_disagree(program: ExportedProgram) -> bool:
  """Whether a program says of an LSTM's hidden states that they have one dim too many."""
  for module in program.graph_module.modules():
    for node in module.graph.nodes if isinstance(module, GraphModule) else ():
      if node.target is torch.ops.aten.lstm.input:
        if any(state.dim() != 3 for state in node.meta["val"][1:]):
          return True
  return False
