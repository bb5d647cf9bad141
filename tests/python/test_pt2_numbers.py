"""Numbers as arguments and results of `.pt2` files: what torch.export has a form for works."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn
from torch.export import Dim

import kiln


def doors(model, args, dynamic_shapes, folder):
  """(name, callable): the program, its files, torch's module of one, and that exported again."""
  program = kiln.compile(torch.export.export(model, args, dynamic_shapes=dynamic_shapes))
  program.save(folder / "m.pt2")
  module = torch.export.load(folder / "m.pt2").module()
  again = torch.export.export(module, args, dynamic_shapes=dynamic_shapes)
  yield "program", program
  yield "module", module
  yield "kiln.load", kiln.load(folder / "m.pt2")
  yield "exported again", again.module()
  torch.export.save(again, folder / "again.pt2")
  yield "saved again", torch.export.load(folder / "again.pt2").module()


def assert_same(got, want):
  assert [type(value) for value in got] == [type(value) for value in want]
  for a, b in zip(got, want):
    assert a == b if isinstance(a, str) else torch.testing.assert_close(a, b) is None


class Integers(nn.Module):
  """An integer as a bound, as a value, as a size; one that is fixed; constants as results."""

  def forward(self, x, n, k=3):
    return (x[:n] * k + n, torch.arange(n), n + 1, x.shape[0] * 2, None, True, 2.5,
            {"k": [k, x.new_full((2,), n)]})


def test_integer_arguments(tmp_path):
  model, x = Integers(), torch.randn(9, 4)
  shapes = ({0: Dim.DYNAMIC}, Dim.DYNAMIC(min=2, max=64), None)
  for door, run in doors(model, (x, 5, 3), shapes, tmp_path):
    for rows, n in ((9, 4), (12, 12), (3, 2)):
      x = torch.randn(rows, 4)
      assert_same(run(x, n, 3), model(x, n, 3))
    with pytest.raises(RuntimeError, match=r"K4106: .*L\['n'\] <= L\['x'\].size\(\)\[0\]"):
      run(torch.randn(9, 4), 10, 3)
    with pytest.raises(Exception, match="K4105|K4101|Guard failed"):
      run(torch.randn(99, 4), 65, 3)
    with pytest.raises(Exception, match="k was fixed at capture|Guard failed: k == 3"):
      run(torch.randn(9, 4), 4, 2)


class Shared(nn.Module):
  def forward(self, x, n):
    return x.reshape(n, -1) + 1, n


def test_an_integer_that_is_also_a_size(tmp_path):
  model, x = Shared(), torch.randn(6, 4)
  for _, run in doors(model, (x, 6), ({0: Dim.AUTO}, Dim.AUTO), tmp_path):
    for rows in (3, 8):
      x = torch.randn(rows, 4)
      assert_same(run(x, rows), model(x, rows))
    with pytest.raises(Exception, match="K410|Guard failed"):
      run(torch.randn(6, 4), 7)


class Items(nn.Module):
  def __init__(self):
    super().__init__()
    self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

  def forward(self, x):
    return (x > 0).sum().item(), x.amax().item(), x + 1


class CountingItems(Items):
  def forward(self, x):
    self.calls.add_(1)
    return self.calls.item(), *super().forward(x)


@pytest.mark.parametrize("make", [Items, CountingItems])
def test_numbers_that_running_reveals(make, tmp_path):
  for door, run in doors(make(), (torch.randn(5, 2),), ({0: Dim.AUTO},), tmp_path):
    model = make()
    start = int(run.calls) if make is CountingItems else 0
    model.calls.fill_(start)
    for rows in (5, 3):
      x = torch.randn(rows, 2)
      assert_same(run(x), model(x))


@pytest.mark.parametrize("result, what", [
  (lambda x: (x.sum() > 0).item(), "a boolean that only running reveals"),
  (lambda x: "text", "text"),
])
def test_results_that_torch_cannot_write(result, what, tmp_path):
  class Model(nn.Module):
    def forward(self, x):
      return result(x), x + 1

  program = kiln.compile(Model(), inputs=[torch.ones(3)])
  with pytest.raises(kiln.Error, match=f"K1014: .*{what}"):
    program.save(tmp_path / "m.pt2")
  assert not os.listdir(tmp_path)
  assert_same(program.exported_program().module()(torch.ones(3)), Model()(torch.ones(3)))
  program.save(tmp_path / "m.kiln")
  assert_same(kiln.load(tmp_path / "m.kiln")(torch.ones(3)), Model()(torch.ones(3)))
