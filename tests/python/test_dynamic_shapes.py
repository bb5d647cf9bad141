"""One program for a range of shapes, through torch.compile and torch.export."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.export import Dim

import kiln
from kiln import compiler


class Net(nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(8, 6)

  def forward(self, x):
    y = torch.relu(self.linear(x))
    return y.flatten(0, 1) * x.shape[1]


@pytest.fixture
def builds(monkeypatch):
  """Calls of the native compiler."""
  counted = []
  original = compiler._native.compile
  monkeypatch.setattr(compiler._native, "compile",
                      lambda *a, **k: counted.append(1) or original(*a, **k))
  torch._dynamo.reset()
  torch.manual_seed(0)
  random.seed(0)
  with torch.no_grad():
    yield counted
  torch._dynamo.reset()


def check_random(function, model, batch, length, count=100):
  for _ in range(count):
    x = torch.randn(random.randint(*batch), random.randint(*length), 8)
    torch.testing.assert_close(function(x), model(x))


def test_marked_ranges_have_one_program_and_one_more_outside(builds):
  model = Net().eval()
  function = torch.compile(model, backend="kiln")
  x = torch.randn(3, 5, 8)
  torch._dynamo.mark_dynamic(x, 0, min=2, max=16)
  torch._dynamo.mark_dynamic(x, 1, min=2, max=32)
  function(x)
  check_random(function, model, (2, 16), (2, 32))
  assert len(builds) == 1
  outside = torch.randn(17, 5, 8)
  torch.testing.assert_close(function(outside), model(outside))
  torch.testing.assert_close(function(outside), model(outside))
  assert len(builds) == 2


@pytest.mark.parametrize("dynamic, expected", [(True, 1), (None, 2), (False, 3)])
def test_dynamic_argument(builds, dynamic, expected):
  model = Net().eval()
  function = torch.compile(model, backend="kiln", dynamic=dynamic)
  for length in (5, 6, 7):
    x = torch.randn(3, length, 8)
    torch.testing.assert_close(function(x), model(x))
  assert len(builds) == expected


def test_export_ranges(builds):
  model = Net().eval()
  shapes = {"x": {0: Dim("batch", min=2, max=16), 1: Dim("length", min=2, max=32)}}
  program = kiln.compile(torch.export.export(model, (torch.randn(3, 5, 8),), dynamic_shapes=shapes))
  check_random(program, model, (2, 16), (2, 32))
  assert len(builds) == 1
  for shape, dim, value in (((17, 5, 8), 0, "17"), ((3, 33, 8), 1, "33")):
    with pytest.raises(kiln.Error, match=rf"'x'(.|\n)*dim {dim}(.|\n)*{value}") as error:
      program(torch.randn(shape))
    assert error.value.code == "K4105"
    assert ("16" if dim == 0 else "32") in str(error.value)


def test_export_derived_dims(builds):
  class Model(nn.Module):
    def forward(self, x, y):
      return x + y[::2], y.view(2, -1).sum(0)

  s = Dim("s", min=2, max=40)
  exported = torch.export.export(Model(), (torch.randn(6), torch.randn(12)),
                                 dynamic_shapes={"x": {0: s}, "y": {0: 2 * s}})
  program, model = kiln.compile(exported), Model()
  for _ in range(100):
    n = random.randint(2, 40)
    x, y = torch.randn(n), torch.randn(2 * n)
    torch.testing.assert_close(program(x, y), model(x, y))
  assert len(builds) == 1
  with pytest.raises(kiln.Error, match=r"K4106(.|\n)*'y' dim 0 is 13, expected 12"):
    program(torch.randn(6), torch.randn(13))
