"""torch.compile(backend="kiln") with the native program behind it: state, weights, modes, errors."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import kiln
from kiln import _native
from kiln.frontends import dynamo_frontend


@pytest.fixture(autouse=True)
def fresh_dynamo():
  torch._dynamo.reset()
  torch.manual_seed(0)
  with torch.no_grad():
    yield
  torch._dynamo.reset()


class Net(nn.Module):
  def __init__(self):
    super().__init__()
    self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

  def forward(self, x):
    return self.second(torch.relu(self.first(x)))


def same(function, model, *args, **kwargs):
  got, expected = function(*args, **kwargs), model(*args, **kwargs)
  torch.testing.assert_close(got, expected)
  return got


@pytest.fixture
def direct_calls(monkeypatch):
  """What compile_dynamo_graph gave Dynamo, in order."""
  made = []
  original = dynamo_frontend.compile_dynamo_graph

  def record(*args, **kwargs):
    made.append(original(*args, **kwargs))
    return made[-1]

  monkeypatch.setattr(dynamo_frontend, "compile_dynamo_graph", record)
  return made


def test_a_plain_graph_is_called_without_wrappers(direct_calls):
  model, x = Net().eval(), torch.randn(2, 6)
  function = torch.compile(model, backend="kiln")
  same(function, model, x)
  assert [type(c) for c in direct_calls] == [_native.GraphCall]


def test_mutation_and_aliases_keep_their_wrappers(direct_calls):
  def mutates(x):
    x.add_(1)
    return x * 2

  def aliases(x):
    return x.view(-1), x + 1

  for model in (mutates, aliases):
    function, ours, theirs = torch.compile(model, backend="kiln"), torch.ones(3), torch.ones(3)
    torch.testing.assert_close(function(ours), model(theirs))
    torch.testing.assert_close(ours, theirs)
  assert not any(isinstance(c, _native.GraphCall) for c in direct_calls)


def _step(model):
  for p in model.parameters():
    p.add_(0.1)


def _optimizer_step(model):
  with torch.enable_grad():
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 6)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def _data(model):
  model.first.weight.data = torch.randn(8, 6)


def _swap(model):
  torch.utils.swap_tensors(model.first.weight, nn.Parameter(torch.randn(8, 6)))


CHANGES = {
  "in place": _step,
  "optimizer": _optimizer_step,
  ".data = other": _data,
  "swap_tensors": _swap,
  "load_state_dict": lambda m: m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()}),
  "load_state_dict(assign)": lambda m: m.load_state_dict(
    {k: v + 1 for k, v in m.state_dict().items()}, assign=True),
  "new parameter": lambda m: setattr(m.second, "bias", nn.Parameter(torch.randn(4))),
  "new module": lambda m: setattr(m, "second", nn.Linear(8, 4)),
  ".to(dtype) and back": lambda m: m.to(torch.float64).to(torch.float32),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_seen(change):
  model, x = Net().eval(), torch.randn(2, 6)
  function = torch.compile(model, backend="kiln")
  same(function, model, x)
  for _ in range(3):
    CHANGES[change](model)
    same(function, model, x)
    same(function, model, x)


def test_other_dtype_is_another_program():
  model, x = Net().eval(), torch.randn(2, 6)
  function = torch.compile(model, backend="kiln")
  same(function, model, x)
  model.to(torch.float64)
  assert same(function, model, x.double()).dtype is torch.float64


def test_nothing_keeps_a_dropped_model(direct_calls):
  model, x = Net().eval(), torch.randn(2, 6)
  function = torch.compile(model, backend="kiln")
  function(x)
  weight, call = weakref.ref(model.first.weight), weakref.ref(direct_calls.pop())
  del function, model
  torch._dynamo.reset()
  gc.collect()
  assert call() is None and weight() is None


def test_graph_breaks_keywords_and_containers():
  def model(batch, *, scale=1.0, flags=(True,)):
    y = batch["x"] * scale
    torch._dynamo.graph_break()
    return {"y": [y + batch["more"][0], (y, None)], "flags": flags}

  function = torch.compile(model, backend="kiln")
  batch = {"x": torch.randn(3), "more": [torch.randn(3)]}
  same(function, model, batch, scale=2.0)["flags"] == (True,)
  same(function, model, batch, flags=(False, 1))


def test_methods_submodules_and_nesting():
  model, x = Net().eval(), torch.randn(2, 6)
  inner = torch.compile(model, backend="kiln", fullgraph=True)
  outer = nn.Sequential(inner, nn.ReLU())
  same(outer, nn.Sequential(model, nn.ReLU()), x)
  same(torch.compile(outer, backend="kiln"), outer, x)
  same(torch.compile(model.forward, backend="kiln"), model.forward, x)
  copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))
  same(torch.compile(copied, backend="kiln"), model, x)


def test_inference_mode_and_autocast():
  model, x = Net().eval(), torch.randn(2, 6)
  function = torch.compile(model, backend="kiln")
  with torch.inference_mode():
    assert same(function, model, x).is_inference()
  assert not same(function, model, x).is_inference()
  with torch.autocast("cpu", dtype=torch.bfloat16):
    got, expected = function(x), model(x)
  assert got.dtype is expected.dtype is torch.bfloat16
  torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2)


def test_dropout_in_training_follows_the_generator():
  model, x = nn.Dropout(0.5), torch.ones(64)
  function = torch.compile(model, backend="kiln")
  torch.manual_seed(3)
  first, second = function(x), function(x)
  torch.manual_seed(3)
  assert torch.equal(first, model(x)) and torch.equal(second, model(x))
  assert not torch.equal(first, second)


def test_errors_pass_through_and_leave_dynamo_whole():
  def fails(x):
    if x.shape[0] == 3:
      raise KeyError("mine")
    return x + 1

  function = torch.compile(fails, backend="kiln")
  with pytest.raises(KeyError, match="mine"):
    function(torch.ones(3))
  same(function, fails, torch.ones(2))
  model, x = Net().eval(), torch.randn(2, 6)
  broken = torch.compile(model, backend="kiln",
                         options={"strict": True, "torch_executed_ops": ["aten::relu"]})
  for _ in range(2):
    with pytest.raises(Exception, match="K20"):
      broken(x)
  same(torch.compile(model, backend="kiln"), model, x)


def test_report_is_that_of_the_other_door():
  model, x = Net().eval(), torch.randn(2, 6)
  options = {"torch_executed_ops": ["aten::relu"]}
  torch.compile(model, backend="kiln", options=options)(x)
  jit, aot = kiln.jit_reports()[-1], kiln.compile(model, inputs=[x], **options).report
  for field in ("ops_total", "ops_native", "fallbacks", "segments", "target"):
    assert getattr(jit, field) == getattr(aot, field), field
  assert {"packed_bytes", "weight_bytes"} <= set(jit.memory)
