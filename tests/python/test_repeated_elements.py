"""Tensors of which one element stands for several, and views with dims of one element."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import kiln


class _Function(nn.Module):
  def __init__(self, function: Callable) -> None:
    super().__init__()
    self.function = function
    self.register_buffer("kernel", torch.full((1, 1, 3, 3), 1 / 9))
    self.register_buffer("state", torch.zeros(4, 4))

  def forward(self, *args: Tensor) -> Any:
    return self.function(self, *args)


def check(function: Callable, *args: Tensor) -> None:
  model, twin = _Function(function).eval(), _Function(function).eval()
  ours, eagers = ([a.clone() for a in args] for _ in range(2))
  with torch.no_grad():
    program = kiln.compile(model, inputs=[a.clone() for a in args], cache=False)
    torch.testing.assert_close(program(*ours), twin(*eagers))
  torch.testing.assert_close(ours, eagers)


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
A, W = X[0, :, :, 0].clone(), X[1, 0, :, :5].clone()  # [3, 8], [8, 5]


@pytest.mark.parametrize("function", [
  lambda self, x: F.conv2d(x, self.kernel.expand(x.shape[1], 1, 3, 3), groups=3, padding=1),
  lambda self, x: F.conv2d(x, self.kernel.repeat(3, 1, 1, 1), groups=3, padding=1),
  lambda self, x: F.conv2d(x, x[:1, :, :3, :3].expand(4, 3, 3, 3)),
  lambda self, x: F.conv_transpose2d(x, self.kernel.expand(3, 1, 3, 3), groups=3),
], ids=["expanded", "repeated", "of an input", "transposed"])
def test_kernels_of_convolutions(function):
  check(function, X)


@pytest.mark.parametrize("function", [
  lambda self, a, w: a.repeat(2, 1, 1) @ w,
  lambda self, a, w: a.expand(2, 3, 8) @ w,
  lambda self, a, w: torch.bmm(a[None].expand(2, 3, 8), w[None].expand(2, 8, 5)),
  lambda self, a, w: a.expand(2, 3, 8) @ a.expand(2, 3, 8).mT,
  lambda self, a, w: a.expand(2, 1, 3, 8).expand(2, 6, 3, 8) @ w,
], ids=["repeated", "expanded", "both", "with itself", "two dims"])
def test_batches_of_products(function):
  check(function, A, W)


def expanded_dim_is_updated(self, x):
  h = x[None]
  h[:, :1].neg_()
  return x.sum()


def state_is_updated(self, x):
  y = self.state[None]
  y[:, :3].add_(x[0, 0])
  return y * 1


def part_of_a_view_is_updated(self, x):
  y = x.view(6, 2, 3)
  y[:, 0] = y[:, 0].relu()
  return y * 1


@pytest.mark.parametrize("function, shape", [
  (expanded_dim_is_updated, (4, 4)), (state_is_updated, (1, 1)), (part_of_a_view_is_updated, (6, 6)),
])
def test_updates_through_dims_of_one_element(function, shape):
  check(function, torch.randn(shape, generator=torch.Generator().manual_seed(1)))


def filled_by_one_number(self, x):
  y = torch.empty(4, 4)
  y.copy_(x.mean())
  y[torch.tensor([0, 2])] = 1.0
  y[0] *= 2
  return y


def input_filled_by_one_number(self, x):
  x.copy_(x.sum())
  x[:, ::2].add_(0.5)
  r = x.softmax(1)
  x.zero_()
  return r


@pytest.mark.parametrize("function", [filled_by_one_number, input_filled_by_one_number])
def test_writes_over_what_repeats(function):
  check(function, torch.randn(4, 4, generator=torch.Generator().manual_seed(2)))
