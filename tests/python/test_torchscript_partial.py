"""Scripted modules that depend on the values of tensors: what is compiled, what stays, and why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import kiln

from test_torchscript import scripted


class Mlp(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 4)

  def forward(self, x: Tensor) -> Tensor:
    return self.second(torch.relu(self.first(x)))


class Gate(nn.Module):
  """Its forward takes a branch on a value; the modules that it calls do not."""

  def __init__(self) -> None:
    super().__init__()
    self.left, self.right = Mlp(), Mlp()

  def forward(self, x: Tensor) -> Tensor:
    y = self.left(x)
    if bool(y.sum() > 0):
      return self.right(y)
    return self.right(y * 2) + 1


class Model(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.stem = nn.Linear(4, 4)
    self.gate = Gate()
    self.head = nn.Sequential(nn.Linear(4, 3), nn.ReLU())

  def forward(self, x: Tensor) -> Tensor:
    return self.head(self.gate(self.stem(x)))


@pytest.fixture
def model():
  torch.manual_seed(0)
  return Model().eval()


def batches() -> list[Tensor]:
  """Both branches of Gate are taken by some of them."""
  return [20 * torch.randn(2, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(9)]


def test_parts_are_compiled(model):
  script = scripted(model)
  program = kiln.compile(script, inputs=[batches()[0]])
  branches = {bool(model.gate.left(model.stem(x)).sum() > 0) for x in batches()}
  assert branches == {True, False}
  for x in batches():
    torch.testing.assert_close(program(x), model(x))
  assert set(program.kept) == {"", "gate"}
  assert "a branch depends on the value of a tensor" in program.kept["gate"]
  assert "test_torchscript_partial.py:" in program.kept["gate"]
  assert any("stays in TorchScript: gate" in note for note in program.report.notes)
  assert program.report.ops_native == program.report.ops_total == 9
  # The user's module is as it was.
  assert script.gate.left.original_name == "Mlp"
  torch.testing.assert_close(script(x), model(x))


def test_files(model, tmp_path):
  program = kiln.compile(scripted(model), inputs=[batches()[0]])
  program.save(tmp_path / "model.ts")
  loaded = torch.jit.load(tmp_path / "model.ts")
  for x in batches():
    torch.testing.assert_close(loaded(x), model(x))
  with pytest.raises(kiln.Error, match="K1147.*gate"):
    program.save(tmp_path / "model.kiln")
  assert not (tmp_path / "model.kiln").exists()


def test_explain_and_strict(model):
  report = kiln.explain(scripted(model), inputs=[batches()[0]])
  assert report.ops_native == 9 and any("gate" in note for note in report.notes)
  with pytest.raises(kiln.Error, match="K1145.*branch depends on the value"):
    kiln.compile(scripted(model), inputs=[batches()[0]], strict=True)


class Scaled(nn.Module):
  """Called with two shapes: one program cannot serve both."""

  def __init__(self) -> None:
    super().__init__()
    self.mlp = Mlp()

  def forward(self, x: Tensor) -> Tensor:
    y = self.mlp(x)
    if bool(y.max() > 100):
      return y
    return y + self.mlp(x[:1])


def test_several_shapes_stay():
  class Outer(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.scaled, self.head = Scaled(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
      return self.head(self.scaled(x))

  model = Outer().eval()
  program = kiln.compile(scripted(model), inputs=[torch.randn(3, 4)])
  assert program.kept["scaled.mlp"] == "is called with arguments of several shapes"
  x = torch.randn(3, 4)
  torch.testing.assert_close(program(x), model(x))


def test_nothing_to_compile():
  def branch(x: Tensor) -> Tensor:
    return x if bool(x.sum() > 0) else x + 1

  with pytest.raises(kiln.Error, match="K1145.*branch depends on the value of a tensor"):
    kiln.compile(scripted(branch), inputs=[torch.ones(2)])
