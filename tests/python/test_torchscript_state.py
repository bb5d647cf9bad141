"""Attributes that scripted modules give other tensors, and tensors that their code spells out."""

from __future__ import annotations

from typing import Tuple

import pytest
import torch
from torch import Tensor, nn

import kiln


class Recurrent(nn.Module):
  def __init__(self):
    super().__init__()
    self.register_buffer("h", torch.zeros(2))

  def forward(self, x: Tensor):
    self.h = torch.tanh(self.h + x)
    return self.h


class Exchange(nn.Module):
  def __init__(self):
    super().__init__()
    self.register_buffer("a", torch.zeros(1))
    self.register_buffer("b", torch.ones(1))

  def forward(self, x: Tensor):
    a, b = self.a, self.b
    self.a = b
    self.b = a
    return self.a + x


class Literal(nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(4, 4)

  def forward(self, x: Tensor):
    return self.linear(x) * torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_what_was_returned_stays():
  x = torch.ones(2)
  program, model = (f(torch.jit.script(Recurrent())) for f in
                    (lambda m: kiln.compile(m, inputs=[x]), lambda m: m))
  with torch.no_grad():
    ours, theirs = ([each(x) for _ in range(3)] for each in (program, model))
  torch.testing.assert_close(ours, theirs)


def test_attributes_that_exchange_their_tensors_are_refused():
  with pytest.raises(kiln.Error) as error:
    kiln.compile(torch.jit.script(Exchange()), inputs=[torch.zeros(1)])
  assert error.value.code == "K1145" and "another one" in str(error.value)


def double(self, input: Tuple[Tensor], output: Tensor) -> Tensor:
  return output * 2


def test_hooks_of_the_module_itself():
  inner = nn.Linear(4, 4)
  inner.register_forward_hook(double)
  x = torch.randn(2, 4)
  with pytest.raises(kiln.Error) as error:
    kiln.compile(torch.jit.script(inner), inputs=[x])
  assert error.value.code == "K1145" and "hooks" in str(error.value)
  # Of what it calls, they are part of the program.
  model = torch.jit.script(nn.Sequential(inner, nn.ReLU()))
  with torch.no_grad():
    torch.testing.assert_close(kiln.compile(model, inputs=[x])(x), model(x))


@pytest.mark.parametrize("suffix", ["kiln", "ts", "pt2"])
def test_tensors_in_the_code_are_saved(suffix, tmp_path):
  model, x = torch.jit.script(Literal().eval()), torch.randn(2, 4)
  path = str(tmp_path / f"m.{suffix}")
  kiln.compile(model, inputs=[x]).save(path)
  with torch.no_grad():
    torch.testing.assert_close(kiln.load(path)(x), model(x))


class Traced(nn.Module):
  def __init__(self):
    super().__init__()
    self.total = torch.tensor(0.0)

  def forward(self, x: Tensor):
    self.total.add_(x.sum())
    return self.total * 1


def counts(x: Tensor):
  n = torch.tensor(x.size(0))
  n += 1
  return x * n


def turns(x: Tensor):
  y = x * 2
  y.unsqueeze_(0)
  return y.size(0), y.size(1)


def test_numbers_of_traced_code_that_are_written_are_refused():
  model = torch.jit.trace(Traced(), (torch.zeros(2),), check_trace=False)
  with pytest.raises(kiln.Error) as error:
    kiln.compile(model, inputs=[torch.zeros(2)])
  assert error.value.code == "K1145"


@pytest.mark.parametrize("function", [counts, turns])
def test_what_varies_is_not_changed_in_place(function):
  script = torch.jit.script(function)
  given = kiln.Input(min_shape=(2, 4), opt_shape=(4, 4), max_shape=(9, 4))
  with pytest.raises(kiln.Error) as error:
    kiln.compile(script, inputs=[given])
  assert error.value.code == "K1145"
  x = torch.ones(4, 4)
  torch.testing.assert_close(kiln.compile(script, inputs=[x])(x), script(x))
