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


@pytest.mark.parametrize("sizes", [lambda n: (n // 2, 2), lambda n: (-1, 2)],
                         ids=["n // 2", "-1"])
def test_export_of_sizes_that_have_to_be_multiples(builds, sizes):
  """torch.export refuses them as they are, and says what it would take."""
  class Model(nn.Module):
    def forward(self, x):
      return x.view(x.shape[0], *sizes(x.shape[1])).sum(-1)

  model = Model()
  program = kiln.compile(model, strict=True, inputs=[
    kiln.Input(min_shape=(1, 2), opt_shape=(2, 8), max_shape=(8, 64))])
  assert any("no other sizes than multiples" in note for note in program.report.notes)
  for shape in ((1, 4), (3, 10), (8, 64)):
    x = torch.randn(shape)
    assert torch.equal(program(x), model(x))
  with pytest.raises(kiln.Error, match="K4105.*is 9, expected 2[*]"):
    program(torch.randn(3, 9))
  assert len(builds) == 1


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


class EvenRows(nn.Module):
  """The branch is taken at capture: the program is right for even numbers of rows alone."""

  def __init__(self, fallback=False):
    super().__init__()
    self.linear = nn.Linear(8, 6)
    self.fallback = fallback

  def forward(self, x, y):
    torch._check(x.shape[0] != y.shape[0])
    z = self.linear(x)
    z = torch.erfinv(z.tanh()) if self.fallback else z.tanh()
    z = z + 1 if x.shape[0] % 2 == 0 else z - 1
    return z * 2, y * 2


def doors(program, folder):
  """The program itself and after files of each kind, with the module that torch makes of it."""
  program.save(folder / "p.kiln")
  program.save(folder / "p.pt2")
  yield "memory", program
  yield ".kiln", kiln.load(folder / "p.kiln")
  yield ".pt2", kiln.load(folder / "p.pt2")
  yield "module", torch.export.load(folder / "p.pt2").module()
  if program.report.fallbacks:
    program.save(folder / "open.pt2", embed_fallback=False)
    yield "open", torch.export.load(folder / "open.pt2").module()


@pytest.mark.parametrize("fallback", [False, True])
def test_conditions_beyond_the_ranges_travel_with_the_program(fallback, tmp_path, builds):
  model = EvenRows(fallback).eval()
  exported = torch.export.export(model, (torch.ones(6, 8), torch.ones(5, 2)),
                                 dynamic_shapes=({0: Dim.AUTO}, {0: Dim.AUTO}))
  program = kiln.compile(exported)
  assert {row["op"] for row in program.report.fallbacks} == ({"aten::erfinv"} if fallback else set())
  for door, run in doors(program, tmp_path):
    for rows, others in ((10, 5), (2, 3)):
      x, y = torch.randn(rows, 8), torch.randn(others, 2)
      torch.testing.assert_close(run(x, y), model(x, y))
    with pytest.raises(RuntimeError, match=r"K4106: .*% 2\) == 0 \(mod\(\w+, 2\) == 0, not so for") as e:
      run(torch.ones(7, 8), torch.ones(5, 2))
    assert door in ("module", "open") or isinstance(e.value, kiln.Error), door
    with pytest.raises(RuntimeError, match=r"K4106: .*!= .*, not so for \w+ = 4, \w+ = 4"):
      run(torch.ones(4, 8), torch.ones(4, 2))


def test_a_condition_that_the_ranges_exclude_is_an_error(builds):
  exported = torch.export.export(EvenRows(), (torch.ones(6, 8), torch.ones(5, 2)),
                                 dynamic_shapes=({0: Dim.AUTO}, {0: Dim.AUTO}))
  exported._guards_code.append("L['x'].size()[0] < 0")
  with pytest.raises(kiln.Error, match=r"K1131: .*size\(\)\[0\] < 0"):
    kiln.compile(exported)


def test_an_open_file_does_not_lose_a_condition_that_only_torch_sees(tmp_path, builds):
  class Model(nn.Module):
    def forward(self, x, y):
      return torch.relu(x), torch.erfinv(y) if y.shape[0] % 2 == 0 else y

  exported = torch.export.export(Model(), (torch.ones(3, 4), torch.zeros(6)),
                                 dynamic_shapes=(None, {0: Dim.AUTO}))
  program = kiln.compile(exported)
  with pytest.raises(kiln.Error, match="K1014: .*condition on sizes.*% 2"):
    program.save(tmp_path / "open.pt2", embed_fallback=False)
  program.save(tmp_path / "closed.pt2")
  run = torch.export.load(tmp_path / "closed.pt2").module()
  torch.testing.assert_close(run(torch.ones(3, 4), torch.zeros(8))[1], torch.zeros(8))
  with pytest.raises(RuntimeError, match="K4106"):
    run(torch.ones(3, 4), torch.zeros(7))


class ComplexInput(torch.nn.Module):
  def forward(self, z, y):
    return torch.view_as_real(z).sum(-1) + y, z.shape[0] * y


def test_size_of_a_complex_input(tmp_path):
  """A size that only a tensor shows which lives in PyTorch."""
  z, y = torch.randn(6, 3, dtype=torch.cfloat), torch.ones(3)
  shapes = ({0: torch.export.Dim("n", min=2, max=50)}, None)
  program = kiln.compile(torch.export.export(ComplexInput(), (z, y), dynamic_shapes=shapes))
  program.save(str(tmp_path / "z.kiln"))
  program.save(str(tmp_path / "z.pt2"))
  forms = [program, kiln.load(str(tmp_path / "z.kiln")), kiln.load(str(tmp_path / "z.pt2")),
           torch.export.load(str(tmp_path / "z.pt2")).module()]
  for form in forms:
    for n in (4, 50):
      z = torch.randn(n, 3, dtype=torch.cfloat)
      for result, expected in zip(form(z, y), ComplexInput()(z, y), strict=True):
        torch.testing.assert_close(result, expected)
  for bad in (torch.randn(51, 3, dtype=torch.cfloat), torch.randn(4, 2, dtype=torch.cfloat)):
    with pytest.raises(kiln.Error) as error:
      program(bad, y)
    assert error.value.code in ("K4101", "K4105")


def test_memory_is_that_of_the_largest_shapes():
  model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)).eval()
  given = kiln.Input(min_shape=(1, 64), opt_shape=(8, 64), max_shape=(512, 64))
  program = kiln.compile(model, inputs=[given])
  weights = sum(t.nbytes for t in model.state_dict().values())
  said = program.memory()
  assert said["weights"] == weights and said["working"] == 0
  working = []
  for rows in (8, 256, 8):
    program(torch.randn(rows, 64))
    working.append(program.memory()["working"])
  assert working[1] >= 256 * 256 * 4  # the hidden layer
  assert 8 * 256 * 4 <= working[0] < working[1] == working[2]
