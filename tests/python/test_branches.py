"""torch.cond: one branch where sizes decide, both where both can be computed, else an error."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import Dim

import kiln

NOTE = "both branches of torch.cond are computed"


class Chooses(nn.Module):
  def __init__(self, yes, no, predicate=lambda x: x.sum() > 0):
    super().__init__()
    torch.manual_seed(0)
    self.yes, self.no, self.predicate = yes, no, predicate
    self.linear = nn.Linear(3, 3)
    self.drop = nn.Dropout()

  def forward(self, x, *more):
    return torch.cond(self.predicate(x), lambda *a: self.yes(self, *a),
                      lambda *a: self.no(self, *a), (x, *more))


def chooses(*args, **kwargs):
  return Chooses(*args, **kwargs).eval().requires_grad_(False)


def check(model, *args, **options):
  """Compiles and compares both ways."""
  with torch.no_grad():
    program = kiln.compile(model, inputs=args, **options)
    for sign in (1, -1):
      values = (args[0] * sign, *args[1:])
      torch.testing.assert_close(program(*values), model(*values), equal_nan=True)
  return program


X = torch.arange(1.0, 7.0).view(2, 3)


def test_both_branches():
  program = check(chooses(lambda m, x: (m.drop(m.linear(x)), x.sum()),
                          lambda m, x: (x - 1, x.mean())), X)
  assert program.report.coverage == 1 and any(NOTE in line for line in program.report.notes)


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1)])
def test_a_predicate_with_dims(shape):
  program = check(chooses(lambda m, x: x.sum(), lambda m, x: x.mean() * 3,
                          lambda x: x.sum().reshape(shape) > 0), X)
  assert program(X).shape == ()


def test_what_is_not_taken_leaves_no_trace():
  check(chooses(lambda m, x: x.log() / 0, lambda m, x: x.abs().sqrt()), X)


def test_a_branch_inside_a_branch_is_refused():
  with pytest.raises(kiln.Error, match="K1103.*holds a region: cond"):
    check(chooses(lambda m, x: torch.cond(x[0, 0] > 1, lambda a: a + 1, lambda a: a * 2, (x,)),
                  lambda m, x: x - 1), X)


@pytest.mark.parametrize("branch, why", [
  (lambda m, x, i: x + torch.rand_like(x), "draws random numbers: aten.rand_like"),
  (lambda m, x, i: x + x[i], "has a result whose shape depends on values: aten.index"),
  (lambda m, x, i: x + 6 // i.sum(), "may raise on some values: aten.floor_divide"),
  (lambda m, x, i: x + torch.linalg.inv(x[:, :2]).sum(), "may raise on some values: aten.linalg_inv"),
])
def test_branches_that_cannot_be_computed_in_vain(branch, why):
  with pytest.raises(kiln.Error, match=f"K1103.*{why}") as error:
    check(chooses(branch, lambda m, x, i: x - 1), X, torch.tensor([0, 1]))
  assert "torch.where" in error.value.hint


def test_integers_that_cannot_raise():
  check(chooses(lambda m, x, i: i * 2 + 1, lambda m, x, i: torch.cat([i[:1], i[1:] - 3])), X,
        torch.tensor([4, 5]))


def test_one_branch_where_the_sizes_decide():
  model = chooses(lambda m, x: x + 1, lambda m, x: x[torch.tensor([0])].sum() + x,
                  lambda x: x.shape[0] > 1)
  program = check(model, X, dynamic_shapes=({0: Dim("rows", min=2, max=9)},))
  assert not any(NOTE in line for line in program.report.notes)
  with pytest.raises(kiln.Error, match="K1103.*a size that decides at run time"):
    kiln.compile(chooses(lambda m, x: x + 1, lambda m, x: x - 1, lambda x: x.shape[0] > 3),
                 inputs=[torch.ones(5, 3)], dynamic_shapes=({0: Dim("rows", min=2, max=9)},))


def test_torch_compile():
  torch._dynamo.reset()
  model = chooses(lambda m, x: m.linear(x), lambda m, x: x - 1)
  with torch.no_grad():
    fast = torch.compile(model, backend="kiln")
    for x in (X, -X):
      torch.testing.assert_close(fast(x), model(x))
  assert kiln.jit_reports()[-1].coverage == 1
