"""The judge of accuracy: right is right, wrong is wrong, and nothing hides behind a weak test."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.accuracy import AccuracyError, Oracle, check, judge
from tests.models.zoo import Inputs


def generator(seed):
  return torch.Generator().manual_seed(seed)


class Model(nn.Module):
  def __init__(self):
    super().__init__()
    self.weight = nn.Parameter(torch.randn(64, 64, generator=generator(1)))

  def forward(self, x):
    return {"y": x @ self.weight / 8, "index": x.argmax(1), "n": 3}


def oracle():
  inputs = [Inputs((torch.randn(16, 64, generator=generator(s)),), {}) for s in (2, 3)]
  return Oracle(Model(), *inputs)


def with_y(eager, y):
  return {**eager, "y": y}


def test_eager_itself_and_equal_quality_pass():
  o = oracle()
  assert [v.status for v in o.check(o.eager)] == ["ok"] * 3
  check(o.judge(with_y(o.eager, o.truth["y"].float())))


@pytest.mark.parametrize("change", [
  lambda y: y * (1 + 1e-5), lambda y: y + 1e-5, lambda y: y.roll(1, 0), lambda y: -y,
  lambda y: y.index_fill(0, torch.tensor([3]), float("nan")), lambda y: y[:8],
  lambda y: y.double(), lambda y: y.bfloat16().float()])
def test_small_errors_are_found(change):
  o = oracle()
  verdicts = o.judge(with_y(o.eager, change(o.eager["y"])))
  assert [v.status for v in verdicts] == ["WRONG", "ok", "ok"]
  with pytest.raises(AccuracyError, match="output 0: WRONG"):
    check(verdicts)


def test_integers_numbers_and_counts_must_be_equal():
  o = oracle()
  index = o.eager["index"].clone()
  index[0] += 1
  assert o.judge({**o.eager, "index": index})[1].status == "WRONG"
  assert o.judge({**o.eager, "n": 4})[2].status == "WRONG"
  assert o.judge({"y": o.eager["y"]})[0].status == "WRONG"


@pytest.mark.parametrize("scale, offset, reason", [
  (1e-3, 0, "rms"), (1e3, 0, "rms"), (0, 0, "rms"), (0.01, 5, "another input")])
def test_outputs_that_say_nothing_are_mistrusted(scale, offset, reason):
  y, other = (torch.randn(9, generator=generator(s)).double() * scale + offset for s in (1, 2))
  (verdict,) = judge(y.float(), y.float(), y, other)
  assert verdict.status == "MISTRUSTED" and reason in verdict.reason
  with pytest.raises(AccuracyError, match="MISTRUSTED"):
    check([verdict])


def test_half_precision_is_measured_against_eager_in_half():
  y = torch.randn(999, generator=generator(1)).double()
  other = torch.randn(999, generator=generator(2)).double()
  eager = y.bfloat16()
  (verdict,) = judge(eager, eager, y, other)
  assert verdict.status == "ok"
  assert verdict.limit == pytest.approx(3 * verdict.eager_error + 1e-6)
  (verdict,) = judge((y * 1.02).bfloat16(), eager, y, other)
  assert verdict.status == "WRONG"


def test_nothing_to_judge_is_an_error():
  with pytest.raises(AccuracyError):
    check([])
