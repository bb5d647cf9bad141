"""LSTM, GRU and RNN, which stay in PyTorch, and what is computed from their hidden states."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import kiln

_VARIANTS = {
  "plain": {},
  "two_layers": {"num_layers": 2},
  "batch_first": {"batch_first": True},
  "bidirectional": {"bidirectional": True, "num_layers": 2, "batch_first": True},
  "no_bias": {"bias": False},
}
_CASES = [(cell, name) for cell in (nn.LSTM, nn.GRU, nn.RNN) for name in _VARIANTS]


class Classifier(nn.Module):
  """Returns the output, the states, and what a layer makes of the states of the last layer."""

  def __init__(self, cell: type, states: bool = False, **options):
    super().__init__()
    self.cell = cell(6, 5, **options)
    self.given = states
    directions = 2 if self.cell.bidirectional else 1
    self.directions = directions
    self.head = nn.Linear(directions * (options.get("proj_size") or 5), 3)

  def forward(self, x, *states):
    given = (states if len(states) == 2 else states[0]) if self.given else None
    y, states = self.cell(x, given)
    h = states[0] if isinstance(states, tuple) else states
    last = torch.cat([h[-2], h[-1]], dim=1) if self.directions == 2 else h[-1]
    return y, states, self.head(last), h.transpose(0, 1).flatten(1) * 2


def agrees(program, model, *inputs):
  with torch.no_grad():
    torch.testing.assert_close(program(*inputs), model(*inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("door", ["module", "exported"])
@pytest.mark.parametrize(("cell", "variant"), _CASES,
                         ids=[f"{cell.__name__}-{name}" for cell, name in _CASES])
def test_hidden_states(cell, variant, door):
  torch.manual_seed(0)
  model = Classifier(cell, **_VARIANTS[variant]).eval()
  x = torch.randn(3, 4, 6)
  if door == "module":
    program = kiln.compile(model, inputs=[x])
  else:
    try:
      exported = torch.export.export(model, (x,))
    except RuntimeError as error:  # torch's sizes fit no linear layer
      assert cell is nn.LSTM and "bidirectional" in variant
      pytest.skip(str(error)[:80])
    program = kiln.compile(exported)
  agrees(program, model, x)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_projections_and_given_states(batch, bidirectional):
  torch.manual_seed(0)
  model = Classifier(nn.LSTM, True, proj_size=2, bidirectional=bidirectional).eval()
  directions = 2 if bidirectional else 1
  inputs = (torch.randn(4, batch, 6), torch.randn(directions, batch, 2),
            torch.randn(directions, batch, 5))
  agrees(kiln.compile(model, inputs=list(inputs)), model, *inputs)


def test_exported_program_stays_as_it_was():
  model = nn.LSTM(6, 5).eval()
  x = torch.randn(3, 4, 6)
  exported = torch.export.export(model, (x,))
  before = [str(node.meta.get("val")) for node in exported.graph.nodes]
  program = kiln.compile(exported)
  agrees(program, model, x)
  assert [str(node.meta.get("val")) for node in exported.graph.nodes] == before
  assert any("LSTM" in note for note in program.report.notes)


def test_dynamic_batch():
  torch.manual_seed(0)
  model = Classifier(nn.LSTM, batch_first=True).eval()
  spec = kiln.Input(min_shape=(1, 4, 6), opt_shape=(2, 4, 6), max_shape=(8, 4, 6))
  program = kiln.compile(model, inputs=[spec])
  for batch in (1, 2, 5, 8):
    agrees(program, model, torch.randn(batch, 4, 6))
