"""TorchScript whose sizes depend on values: what goes to PyTorch, what is native, what stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kiln
from kiln.partial import PartialProgram

from test_torchscript import assert_same, scripted

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def several() -> list[Tensor]:
  """No element is above zero, one is, some are, all are."""
  x = torch.tensor([0.5, -1.0, 2.0, -0.25, 3.0, -2.0])
  one = -x.abs()
  one[2] = 2.0
  return [-x.abs(), one, x, x.abs()]


def check(function: Any, args: list[Tensor], **options: Any) -> kiln.Program:
  """The program of one argument does for all what TorchScript does."""
  script = scripted(function)
  program = kiln.compile(script, inputs=[args[2]], **options)
  for x in args:
    assert_same(program(x.clone()), script(x.clone()))
  return program


def in_torch(program: kiln.Program) -> dict[str, str]:
  return {row["op"]: row["reason"] for row in program.report.fallbacks}


def test_results_of_unknown_shape():
  def found(x: Tensor):
    y = x * 2
    return y[y > 0], y.masked_select(y > 1), torch.nonzero(y > 0), torch.where(y > 0), y + 1

  program = check(found, several())
  assert set(in_torch(program)) == {"aten::index.Tensor", "aten::masked_select", "aten::nonzero",
                                    "aten::where"}
  assert all("size known only at run time: u" in reason for reason in in_torch(program).values())


def test_the_importer_knows_all_such_operators():
  def unique(x: Tensor):
    rounded = x.round()
    return (torch.unique(rounded), torch.unique(rounded, return_inverse=True, return_counts=True),
            torch.unique(rounded.view(3, 2), dim=0), torch.unique_consecutive(rounded),
            torch.unique_consecutive(rounded.view(3, 2), return_counts=True, dim=1))

  def counted(x: Tensor):
    whole = x.abs().long()
    return (torch.bincount(whole), torch.bincount(whole, x.abs()), torch.argwhere(x > 0),
            torch.repeat_interleave(whole), torch.repeat_interleave(x, whole),
            torch.repeat_interleave(x.view(3, 2), whole[:2], dim=1), nn.functional.one_hot(whole),
            nn.functional.one_hot(whole, 4))

  check(unique, several())
  program = check(counted, several())
  # Where the number of classes is given nothing depends on values.
  assert [row["count"] for row in program.report.fallbacks if row["op"] == "aten::one_hot"] == [1]


def test_what_does_not_depend_on_it_is_native():
  def reduce(x: Tensor):
    y = torch.relu(x[x > 0] - 0.1)
    return torch.exp(y.sum() + 1), y * 2

  program = check(reduce, several())
  assert set(in_torch(program)) == {"aten::index.Tensor", "aten::sub.Scalar", "aten::relu",
                                    "aten::sum", "aten::mul.Scalar"}
  assert program.report.ops_native == program.report.ops_total - 5  # x > 0, sum + 1 and exp


def test_one_mask_finds_as_many_everywhere():
  def both(x: Tensor):
    mask = x > 0
    y = torch.zeros_like(x)
    y[mask] = x[mask] + (x * 3)[mask] * torch.nonzero(mask)[:, 0]
    return y

  check(both, several())

  def changed(x: Tensor):
    mask = x > 0
    y = x[mask]
    mask.logical_not_()
    return y + x[mask]

  assert torch.equal(scripted(changed)(several()[2]).isfinite(), torch.ones(3, dtype=torch.bool))
  with pytest.raises(kiln.Error, match="K1145.*call is possible is known only at run time: aten::add"):
    kiln.compile(scripted(changed), inputs=[several()[2]])


def test_sizes_are_numbers_of_the_program():
  def sizes(x: Tensor):
    rows = x.view(3, 2)[x[:3] > 0]
    n = rows.size(0)
    return n, rows.shape, rows.numel(), len(rows), x / n, x * torch.tensor(n), rows.view(2, n)

  assert {"aten::sym_size.int", "aten::sym_numel"} <= set(in_torch(check(sizes, several())))


def test_numbers_from_tensors_are_sizes():
  def number(x: Tensor):
    n = int((x > 0).sum())
    return torch.zeros(n, 2) + 1, torch.arange(n), x[:n], x[n:], torch.arange(float(x.abs().sum())), n

  check(number, several())


def test_few_elements_are_no_surprise():
  """Of no element and of one, calls give other shapes than of many."""
  def cut(x: Tensor):
    first = x[x > 0][:1] * 2
    return first, first.sum(), torch.cat([x[x > 0], x[x < 0]]).sum()

  check(cut, several())

  def squeezed(x: Tensor):
    y = x[x > 0].squeeze()
    return y, (y * 2).sum() + 1, y.unsqueeze(0)

  program = check(squeezed, several())
  assert "rank known only at run time" in in_torch(program)["aten::mul.Scalar"]


def test_in_place_calls():
  def written(x: Tensor):
    y = x[x > 0]
    y.mul_(2).add_(1)
    return y, x + 1

  check(written, several())


class Rows(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.linear = nn.Linear(3, 4)

  def forward(self, x: Tensor):
    kept = x[x[:, 0] > 0]
    return torch.softmax(self.linear(kept), 1), self.linear(x), kept.sum(0)


def test_with_sizes_that_vary(tmp_path):
  torch.manual_seed(0)
  model = scripted(Rows().eval())
  program = kiln.compile(model, inputs=[kiln.Input(min_shape=(1, 3), opt_shape=(4, 3),
                                                   max_shape=(9, 3))])
  program.save(tmp_path / "rows.ts")
  program.save(tmp_path / "rows.kiln")
  loaded = [program, torch.jit.load(tmp_path / "rows.ts"), kiln.load(tmp_path / "rows.kiln")]
  for size in (1, 2, 5, 9):
    x = torch.randn(size, 3)
    for other in loaded:
      assert_same(tuple(other(x)), model(x))
  assert "aten::softmax.int" in in_torch(program)


def _branch(x: Tensor) -> Tensor:
  y = x[x > 0]
  return y if y.size(0) > 2 else x


def _loop(x: Tensor) -> Tensor:
  y = x
  for _ in range(int((x > 0).sum())):
    y = y + 1
  return y


def _arithmetic(x: Tensor) -> Tensor:
  return torch.zeros(x[x > 0].size(0) * 2)


def _known_elements(x: Tensor) -> Tensor:
  return x if bool(torch.tensor(x[x > 0].size(0)) > 0) else x + 1


def _several(x: Tensor):
  return x[x > 0].unbind()


def _rank(x: Tensor) -> int:
  return x[x > 0].squeeze().dim()


@pytest.mark.parametrize("function, why", [
  (_branch, "a branch depends on a size known only at run time: 2 < u0"),
  (_loop, "the number of a loop.s iterations varies: an element of a tensor"),
  (_arithmetic, r"a number is computed from a size known only at run time: 2\*u0"),
  (_known_elements, "a tensor is computed from a size known only at run time: aten::gt"),
  (_several, "the number of results depends on sizes that vary: aten::unbind"),
  (_rank, "the rank of a tensor is known only at run time: aten::dim")])
def test_what_needs_the_size_stays_in_torchscript(function, why):
  class Model(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.linear, self.rest = nn.Linear(6, 6), Rest()

    def forward(self, x: Tensor):
      return self.rest(self.linear(x))

  class Rest(nn.Module):
    def forward(self, x: Tensor):
      return called(x)

  called = torch.jit.script(function)
  model = scripted(Model().eval())
  program = kiln.compile(model, inputs=[several()[2]])
  assert isinstance(program, PartialProgram)
  for x in several():
    assert_same(program(x), model(x))
  with pytest.raises(kiln.Error, match=f"K1145.*{why}.*test_torchscript_values.py:"):
    kiln.compile(model, inputs=[several()[2]], strict=True)


def _view(x: Tensor) -> Tensor:
  y = x[x > 0]
  y[:1] = 3.0
  return y


def test_writes_through_views_of_what_values_decide():
  model = torch.jit.script(_view)
  program = kiln.compile(model, inputs=[several()[2]])
  for x in several():
    assert_same(program(x), model(x))
