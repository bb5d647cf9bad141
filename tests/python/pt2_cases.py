"""Small models whose programs go through `.pt2` files, and how a fresh process checks them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

ROOT = Path(__file__).resolve().parents[2]


class Nested(nn.Module):
  """Nested arguments and results, a constant argument, an input passed through."""

  def __init__(self):
    super().__init__()
    self.first = nn.Linear(8, 8)
    self.second = nn.Linear(8, 4)

  def forward(self, pair, scale: float, *, extra):
    a, b = pair
    hidden = torch.relu(self.first(a) * scale + b)
    return {"logits": self.second(hidden), "parts": (hidden, extra["bias"] + 1), "same": b}


class Counting(nn.Module):
  """Two buffers that change with every call, one of them in a submodule."""

  def __init__(self):
    super().__init__()
    self.scale = nn.Linear(4, 4)
    self.inner = nn.Module()
    self.inner.register_buffer("total", torch.zeros(4))
    self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

  def forward(self, x):
    y = self.scale(x)
    self.inner.total += y.sum(0)
    self.calls += 1
    return y + self.inner.total, self.calls * 2


class Writing(nn.Module):
  """Writes one of its arguments."""

  def forward(self, x, cache):
    cache.mul_(0.5)
    cache.add_(x)
    return torch.tanh(cache) + x


class Hybrid(nn.Module):
  """An operator that Kiln has not, between layers that it has."""

  def __init__(self):
    super().__init__()
    self.first = nn.Linear(16, 16)
    self.second = nn.Linear(16, 16)

  def forward(self, x):
    return torch.tanh(self.second(torch.logcumsumexp(torch.tanh(self.first(x)), -1)))


class Sizes(nn.Module):
  """Result sizes that are products, quotients and sums of the input's."""

  def __init__(self):
    super().__init__()
    self.convolution = nn.Conv1d(3, 5, 3, stride=2, padding=1)

  def forward(self, x, y):
    z = self.convolution(x)
    return z, z.flatten(1), torch.cat([x.flatten(), y.flatten()])


def seeded(make, seed: int = 0) -> nn.Module:
  torch.manual_seed(seed)
  return make().eval()


def batch(low: int = 1, high: int = 64) -> Dim:
  return Dim("batch", min=low, max=high)


def cases() -> dict[str, tuple]:
  """Name -> (model, args, kwargs, dynamic_shapes)."""
  torch.manual_seed(1)
  randn = torch.randn
  rows = batch()
  length = Dim("length", min=4, max=100)
  return {
    "static": (seeded(lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU())), (randn(4, 8),), {}, None),
    "dynamic": (seeded(lambda: nn.Sequential(nn.Linear(8, 8), nn.GELU())), (randn(5, 8),), {},
                ({0: rows},)),
    "nested": (seeded(Nested), ((randn(3, 8), randn(3, 8)), 0.5), {"extra": {"bias": randn(3)}},
               None),
    "counting": (seeded(Counting), (randn(3, 4),), {}, ({0: rows},)),
    "writing": (seeded(Writing), (randn(3, 4), randn(3, 4)), {}, ({0: rows}, {0: rows})),
    "hybrid": (seeded(Hybrid), (randn(6, 16),), {}, ({0: rows},)),
    "sizes": (seeded(Sizes), (randn(2, 3, 9), randn(2, 7)), {}, ({0: rows, 2: length}, {0: rows})),
  }


def clone(value):
  return torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, value)


CHECK = """
import sys, torch, kiln
folder, names = sys.argv[1], sys.argv[2:]
for name in names:
  data = torch.load(f"{folder}/{name}.pt", weights_only=True)
  path = f"{folder}/{name}.pt2"
  for open_file in (lambda: torch.export.load(path).module(), lambda: kiln.load(path)):
    if name.endswith("_open") and open_file.__code__.co_names[0] == "kiln":
      continue
    module = open_file()
    for args, kwargs, expected in data:
      clone = torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
      with torch.no_grad():
        torch.testing.assert_close(module(*clone[0], **clone[1]), expected, rtol=1e-4, atol=1e-4)
  print("right", name)
"""


def run_python(script: str, *args, timeout: float = 300) -> subprocess.CompletedProcess:
  """A fresh interpreter with the package of this source tree."""
  environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT}"}
  return subprocess.run([sys.executable, "-c", script, *map(str, args)], env=environment,
                        capture_output=True, text=True, timeout=timeout)
