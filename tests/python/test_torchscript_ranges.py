"""What the TorchScript importer concludes of sizes that vary holds over the whole range, or it stops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kiln

from test_torchscript import assert_same, scripted

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

ROWS = [kiln.Input(min_shape=(1, 4), opt_shape=(8, 4), max_shape=(16, 4))]
WIDTHS = [kiln.Input(min_shape=(1, 4, 1), opt_shape=(1, 4, 8), max_shape=(1, 4, 16))]


def chunks(x: Tensor):
  return x.chunk(3)


def chunks_listed(x: Tensor) -> Tensor:
  return torch.stack([part.sum(0) for part in x.chunk(3)])


def squeezed(x: Tensor) -> Tensor:
  return x.squeeze()


def squeezed_rest(x: Tensor) -> Tensor:
  return x[3:].squeeze(0)


def to_cut(x: Tensor) -> Tensor:
  return x[:x.size(0) - 3]


def from_cut(x: Tensor) -> Tensor:
  return x[x.size(0) - 3:]


def thirds(x: Tensor) -> Tensor:
  return x.tensor_split(3)[1]


def order(x: Tensor) -> Tensor:
  y = x.t()
  if y.is_contiguous():
    return y + 1
  return y - 1


def odd(x: Tensor) -> Tensor:
  if bool((torch.tensor(x.size(0)) * 0.5).frac() > 0.25):
    return x + 1
  return x - 1


@pytest.mark.parametrize("function, why", [
    (chunks, "number of results depends on sizes that vary"),
    (chunks_listed, "number of results depends on sizes that vary"),
    (squeezed, "rank of a result depends on sizes that vary"),
    (squeezed_rest, "rank of a result depends on sizes that vary"),
    (to_cut, "K1145"),
    (from_cut, "K1145"),
    (order, "answer depends on sizes that vary"),
    (odd, "number is computed from sizes that vary"),
])
def test_what_holds_at_some_sizes_only_is_refused(function, why):
  with pytest.raises(kiln.Error, match=why) as refused:
    kiln.compile(scripted(function), inputs=ROWS)
  assert "K1145" in str(refused.value)


@pytest.mark.parametrize("function, least", [
    (squeezed, 2), (to_cut, 3), (from_cut, 3), (order, 2), (chunks, 5), (thirds, 1)])
def test_a_range_in_which_it_holds(function, least):
  script = scripted(function)
  program = kiln.compile(script, inputs=[
      kiln.Input(min_shape=(least, 4), opt_shape=(8, 4), max_shape=(16, 4))])
  for rows in (least, least + 1, 9, 16):
    x = torch.randn(rows, 4)
    assert_same(program(x), script(x))


def conv(x: Tensor) -> Tensor:
  return F.conv1d(x, torch.ones(2, 4, 3))


def pool(x: Tensor) -> Tensor:
  return F.max_pool1d(x, 3)


def windows(x: Tensor) -> Tensor:
  return x.unfold(2, 3, 1)


def halved(x: Tensor) -> Tensor:
  return F.interpolate(x, scale_factor=0.5)


def wide(x: Tensor) -> Tensor:
  return F.conv1d(x, torch.ones(2, 4, 11))


def positions(x: Tensor) -> Tensor:  # as many as the table has
  return x + torch.ones(4, 12)[:, :x.size(2)]


@pytest.mark.parametrize("function, sizes", [
    (conv, range(3, 17)), (pool, range(3, 17)), (windows, range(3, 17)), (halved, range(2, 17)),
    (wide, range(11, 17)), (positions, range(1, 13))])
def test_sizes_that_raise_are_out_of_range(function, sizes):
  script = scripted(function)
  program = kiln.compile(script, inputs=WIDTHS)
  for width in range(1, 17):
    x = torch.randn(1, 4, width)
    if width in sizes:
      assert_same(program(x), script(x))
      continue
    with pytest.raises(RuntimeError):
      script(x)
    with pytest.raises(kiln.Error, match=f"K4105.* is {width}, allowed"):
      program(x)
  assert any("raises an exception" in note for note in program.report.notes)


def test_lists_that_are_unpacked():
  def halves(x: Tensor) -> Tensor:
    a, b = x.chunk(2)
    return a.sum(0) - b.sum(0)

  def three(x: Tensor) -> Tensor:
    a, b, c = torch.split(x, 4)
    return a[:1] + b[:1] + c[:1]

  for function, sizes in ((halves, range(2, 17)), (three, range(9, 13))):
    script = scripted(function)
    program = kiln.compile(script, inputs=ROWS)
    for rows in range(1, 17):
      x = torch.randn(rows, 4)
      if rows in sizes:
        assert_same(program(x), script(x))
        continue
      with pytest.raises(RuntimeError):
        script(x)
      with pytest.raises(kiln.Error, match="K410[56]"):
        program(x)


def test_tensors_that_hold_sizes():
  def more_than(x: Tensor) -> Tensor:
    if bool(torch.tensor(x.size(0)) > 2):
      return x + 1
    return x - 1

  def far(x: Tensor) -> Tensor:
    return x + 1 if bool(torch.tensor(x.size(0)) == 13) else x - 1

  for function in (more_than, far):
    with pytest.raises(kiln.Error, match="K1145.*branch depends on sizes that vary"):
      kiln.compile(scripted(function), inputs=ROWS)
  high = [kiln.Input(min_shape=(3, 4), opt_shape=(8, 4), max_shape=(12, 4))]
  for function in (more_than, far):
    script = scripted(function)
    program = kiln.compile(script, inputs=high)
    for rows in (3, 12):
      assert_same(program(torch.ones(rows, 4)), script(torch.ones(rows, 4)))

  def clamped(x: Tensor) -> Tensor:
    return x * torch.tensor(x.size(0)).clamp(max=2)

  def narrow(x: Tensor) -> Tensor:
    return x * torch.tensor(x.size(0)).to(torch.bool)

  script = scripted(clamped)
  program = kiln.compile(script, inputs=ROWS)
  for rows in (1, 2, 3, 16):
    assert_same(program(torch.ones(rows, 4)), script(torch.ones(rows, 4)))
  with pytest.raises(kiln.Error, match="K1145.*computed from sizes that vary"):
    kiln.compile(scripted(narrow), inputs=ROWS)


def test_division_by_a_size():
  def ratio(x: Tensor, y: Tensor) -> Tensor:
    return x + y.size(0) // x.size(0)

  script = scripted(ratio)
  ranged = kiln.Input(min_shape=(0,), opt_shape=(4,), max_shape=(9,), dim_names=("n",))
  other = kiln.Input(min_shape=(0,), opt_shape=(4,), max_shape=(9,), dim_names=("m",))
  program = kiln.compile(script, inputs=[ranged, other])
  for n, m in ((1, 0), (2, 9), (9, 3)):
    assert_same(program(torch.ones(n), torch.ones(m)), script(torch.ones(n), torch.ones(m)))
  with pytest.raises(kiln.Error, match="K410[56]"):
    program(torch.ones(0), torch.ones(3))


def models() -> list[tuple[Any, tuple[int, ...], tuple[int, ...]]]:
  def attention(x: Tensor) -> Tensor:
    b, s, d = x.shape
    q, k, v = [t.reshape(b, s, 2, d // 2).transpose(1, 2) for t in torch.split(x, d, dim=-1) * 3]
    mask = torch.ones(s, s, dtype=torch.bool).tril()
    scores = (q @ k.transpose(-1, -2)).masked_fill(~mask, -1e9).softmax(-1)
    return (scores @ v).transpose(1, 2).contiguous().view(b, s, d)

  def net(x: Tensor) -> Tensor:
    y = F.max_pool2d(F.relu(F.conv2d(x, torch.ones(4, 3, 3, 3), stride=2, padding=1)), 2)
    y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
    return F.adaptive_avg_pool2d(y, 1).flatten(1)

  def padded(x: Tensor) -> Tensor:
    extra = (4 - x.size(1) % 4) % 4
    y = F.pad(x, (0, 0, 0, extra))
    return y.cumsum(1)[:, :x.size(1)] + torch.arange(x.size(1))[:, None]

  return [(attention, (1, 1, 8), (4, 64, 8)), (net, (1, 3, 8, 8), (4, 3, 64, 64)),
          (padded, (1, 1, 8), (4, 64, 8))]


@pytest.mark.parametrize("which", range(3))
def test_usual_models_take_their_whole_range(which):
  function, least, most = models()[which]
  script = scripted(function)
  middle = tuple((a + b) // 2 for a, b in zip(least, most))
  program = kiln.compile(script, inputs=[
      kiln.Input(min_shape=least, opt_shape=middle, max_shape=most)])
  for sizes in (least, middle, most, (least[0], *most[1:]), (most[0], *least[1:])):
    x = torch.randn(sizes)
    torch.testing.assert_close(program(x), script(x), rtol=1e-4, atol=1e-4)
