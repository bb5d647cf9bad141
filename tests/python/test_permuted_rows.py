"""torch.nn.MultiheadAttention computes on [length, batch, ...], many callers on [batch, length,
...]: between the two no tensor is copied, on the CPU or on a GPU, and the numbers are PyTorch's."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kiln

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release")) / "bin"
WIDTH, HEADS = 32, 4
TARGETS = {"cpu": {"target": "cpu"}, "sm_90": {"target": "sm_90", "precision": "fp16"}}


@pytest.fixture(autouse=True)
def composite_attention():
  """Layers are captured as their parts, not as PyTorch's fast path for inference."""
  before = torch.backends.mha.get_fastpath_enabled()
  torch.backends.mha.set_fastpath_enabled(False)
  torch.manual_seed(0)
  yield
  torch.backends.mha.set_fastpath_enabled(before)


def copies(program: Any, path: pathlib.Path) -> list[str]:
  """The labels of the copy steps of the plan."""
  program.save(path)
  done = subprocess.run([BIN / "kiln", "inspect", path, "--steps", "--json"], capture_output=True,
                        text=True, timeout=60, check=True)
  steps = json.loads(done.stdout)["steps"]
  return [step["label"] for step in steps if step["kind"].split(".")[-1] == "copy"]


def encoder(batch_first: bool, norm_first: bool = False) -> nn.TransformerEncoder:
  layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, batch_first=batch_first,
                                     norm_first=norm_first, activation="gelu")
  return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


class Attention(nn.Module):
  def __init__(self, batch_first: bool, residual: bool = False, **options: Any) -> None:
    super().__init__()
    self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)
    self.residual, self.options = residual, options

  def forward(self, x: Tensor) -> Tensor:
    y = self.attention(x, x, x, **self.options)[0]
    return x + y if self.residual else y


class Cross(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    self.norm = nn.LayerNorm(WIDTH)

  def forward(self, x: Tensor) -> Tensor:
    return self.norm(x + self.attention(x, x + 1, 2 * x, need_weights=False)[0])


class Between(nn.Module):
  """Layers of [length, batch, width] in a model of [batch, length, width]."""

  def __init__(self, norm_first: bool) -> None:
    super().__init__()
    self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
    self.encoder = encoder(False, norm_first)

  def forward(self, x: Tensor) -> Tensor:
    return self.after(self.encoder(self.before(x).transpose(0, 1)).transpose(0, 1))


MODELS = {
  "encoder": lambda: encoder(True),
  "encoder, norm first": lambda: encoder(True, norm_first=True),
  "encoder, length first": lambda: encoder(False),
  "between": lambda: Between(False),
  "between, norm first": lambda: Between(True),
  "attention": lambda: Attention(True, need_weights=False),
  "attention, length first": lambda: Attention(False, need_weights=False),
  "attention, weights unused": lambda: Attention(True, residual=True),
  "cross attention": Cross,
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", MODELS)
def test_no_copies(name, dynamic, tmp_path):
  model = MODELS[name]().eval()
  batch = 1 if "length first" in name else 0

  def example(size: int) -> Tensor:
    return torch.randn((size, 6, WIDTH) if batch == 0 else (6, size, WIDTH))

  shapes = ({batch: torch.export.Dim("batch", min=1, max=8)},) if dynamic else None
  for target, options in TARGETS.items():
    program = kiln.compile(model, [example(2)], dynamic_shapes=shapes, strict=True, **options)
    assert copies(program, tmp_path / f"{target}.kiln") == []
    if target != "cpu":
      continue
    for size in (1, 2, 5) if dynamic else (2,):
      x = example(size)
      with torch.no_grad():
        expected = model(x)
      torch.testing.assert_close(program(x), expected, rtol=1e-5, atol=1e-5)
      assert program(x).stride() == expected.stride()


class Projected(nn.Module):
  """A wide projection of swapped rows, joined: its input is copied, not its result."""

  def __init__(self) -> None:
    super().__init__()
    self.projection = nn.Linear(WIDTH, 16 * WIDTH)

  def forward(self, x: Tensor) -> Tensor:
    return self.projection(x.transpose(0, 1)).flatten(0, 1)


class Windows(nn.Module):
  """Attention in windows of an image, with a projection of what was taken apart."""

  def __init__(self) -> None:
    super().__init__()
    self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

  def forward(self, x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    y = x.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
    q, k, v = self.qkv(y).view(-1, 16, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
    y = nn.functional.scaled_dot_product_attention(q, k, v)
    y = self.out(y.transpose(1, 2).reshape(-1, 16, c))
    y = y.view(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
    return x + y


@pytest.mark.parametrize("model, x, most", [
  (Projected(), torch.randn(3, 5, WIDTH), 1),
  (Windows(), torch.randn(2, 8, 12, WIDTH), 2),
], ids=["wide", "windows"])
def test_permutes_that_stay(model, x, most, tmp_path):
  program = kiln.compile(model.eval(), [x], strict=True, target="cpu")
  assert len(copies(program, tmp_path / "model.kiln")) <= most
  moved = [line for line in program.ir("simplified").splitlines() if " = permute(" in line]
  assert not any(f"{16 * WIDTH}]" in line for line in moved)
  with torch.no_grad():
    torch.testing.assert_close(program(x), model(x), rtol=1e-5, atol=1e-5)
