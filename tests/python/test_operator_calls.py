"""kiln::run called from Python: the short way to the dispatcher does what torch's own way does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import kiln

RUN, RUN_MUTATING = torch.ops.kiln.run.default, torch.ops.kiln.run_.default


class Counting(nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(4, 3)
    self.register_buffer("calls", torch.zeros(()))

  def forward(self, x):
    self.calls.add_(1)
    return self.linear(x)


@pytest.fixture
def linear():
  torch.manual_seed(0)
  model, x = nn.Linear(4, 3).eval(), torch.randn(2, 4)
  with torch.no_grad():
    program = kiln.compile(model, inputs=[x])
    yield program.script_object(), x, model(x)


class Seen(TorchFunctionMode):
  def __init__(self):
    super().__init__()
    self.functions = []

  def __torch_function__(self, function, types, args=(), kwargs=None):
    self.functions.append(function)
    return function(*args, **(kwargs or {}))


class Dispatched(TorchDispatchMode):
  def __init__(self):
    super().__init__()
    self.operators = []

  def __torch_dispatch__(self, function, types, args=(), kwargs=None):
    self.operators.append(function)
    return function(*args, **(kwargs or {}))


class Mine(torch.Tensor):
  seen = []

  @classmethod
  def __torch_function__(cls, function, types, args=(), kwargs=None):
    cls.seen.append(function)
    return super().__torch_function__(function, types, args, kwargs or {})


def test_results_are_lists_of_tensors(linear):
  program, x, want = linear
  for got in (RUN([x], [], program), RUN([x], [], program, 0), RUN([x], [], program=program),
              RUN((x,), (), program), RUN([nn.Parameter(x)], [], program)):
    assert type(got) is list and len(got) == 1
    torch.testing.assert_close(got[0], want)
    assert not got[0].requires_grad


def test_writing_programs_return_nothing():
  model, x = Counting().eval(), torch.randn(2, 4)
  with torch.no_grad():
    program = kiln.compile(model, inputs=[x])
    calls, out = torch.zeros(()), torch.empty(2, 3)
    assert RUN_MUTATING([calls, out], [x], [], program.script_object()) is None
    torch.testing.assert_close(out, model.linear(x))
    assert float(calls) == 1


def test_modes_and_subclasses_see_the_call(linear):
  program, x, want = linear
  with Seen() as functions:
    RUN([x], [], program)
  assert RUN in functions.functions or any("kiln" in str(f) for f in functions.functions)
  with Dispatched() as operators:
    RUN([x], [], program)
  assert operators.operators[0] is RUN
  Mine.seen.clear()
  torch.testing.assert_close(RUN([x.as_subclass(Mine)], [], program)[0].as_subclass(torch.Tensor),
                             want)
  assert any("kiln" in str(f) for f in Mine.seen)
  fake = torch._subclasses.FakeTensorMode()
  assert RUN([fake.from_tensor(x)], [], program)[0].shape == (2, 3)
  meta = RUN([x.to("meta")], [], program)
  assert meta[0].shape == (2, 3) and meta[0].is_meta


def test_the_profiler_sees_the_call(linear):
  program, x, _ = linear
  with torch.profiler.profile() as profile:
    RUN([x], [], program)
  assert "kiln::run" in {event.name for event in profile.events()}


@pytest.mark.parametrize("arguments, error, text", [
  (lambda p, x: ([x, 1], [], p), RuntimeError, "Tensor"),
  (lambda p, x: ([x], ["n"], p), RuntimeError, "sizes"),
  (lambda p, x: ([x], [2**70], p), RuntimeError, "sizes"),
  (lambda p, x: ([x], [], None), RuntimeError, "program"),
  (lambda p, x: ([x], []), RuntimeError, "program"),
  (lambda p, x: ([], [], p), RuntimeError, "K4101"),
  (lambda p, x: ([x], [1], p), RuntimeError, "K4101"),
  (lambda p, x: ([x.double()], [], p), RuntimeError, "K4102"),
  (lambda p, x: ([x[:, :2]], [], p), RuntimeError, "K4105"),
  (lambda p, x: ([x], [], p, 1), RuntimeError, "K4120"),
])
def test_wrong_arguments(linear, arguments, error, text):
  program, x, want = linear
  with pytest.raises(error, match=text):
    RUN(*arguments(program, x))
  torch.testing.assert_close(RUN([x], [], program)[0], want)
