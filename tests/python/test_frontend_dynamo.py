"""The torch.compile door: lowered to an eager replay of the stream, models compute the same."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from kiln.frontends import FrontendError, RecordingCapture
from kiln.frontends import dynamo_frontend
from kiln.frontends.dynamo_frontend import compile_dynamo_graph
from torch import nn

from replay import Replay


class Backend:
  """A torch.compile backend that records each graph and runs it by replay."""

  def __init__(self, **options):
    self.options = options
    self.captures: list[RecordingCapture] = []
    self.programs = []
    self.modules = []

  def lower(self, build):
    capture = RecordingCapture()
    program = build(capture)
    self.captures.append(capture)
    self.programs.append(program)
    return Replay(capture, program)

  def __call__(self, module, examples, **_):
    self.modules.append(module)
    return compile_dynamo_graph(module, examples, self.lower, **self.options)

  @property
  def capture(self):
    return self.captures[-1]


@pytest.fixture(autouse=True)
def fresh_dynamo():
  torch._dynamo.reset()
  yield
  torch._dynamo.reset()


def compiled(model, **options):
  backend = Backend(**options)
  return torch.compile(model, backend=backend), backend


def check(model, function, *args):
  """Runs both on copies of the arguments; compares results and what they did to the arguments."""
  ours, theirs = copy.deepcopy(args), copy.deepcopy(args)
  with torch.no_grad():
    got, expected = function(*ours), model(*theirs)
  torch.testing.assert_close(got, expected)
  torch.testing.assert_close(ours, theirs)
  return got


class Net(nn.Module):
  def __init__(self):
    super().__init__()
    self.conv = nn.Conv2d(3, 8, 3, padding=1)
    self.norm = nn.BatchNorm2d(8)
    self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
    self.layer_norm = nn.LayerNorm(8)
    self.head = nn.Linear(8, 5)

  def forward(self, x):
    y = torch.relu(self.norm(self.conv(x)))
    y = nn.functional.interpolate(y, scale_factor=2, mode="bilinear")
    y = nn.functional.max_pool2d(y, 2).flatten(2).transpose(1, 2)
    y = y + self.attention(y, y, y, need_weights=False)[0]
    return self.head(self.layer_norm(y).mean(1))


def test_composites_stay_whole():
  model, x = Net().eval(), torch.randn(2, 3, 8, 8)
  function, backend = compiled(model)
  check(model, function, x)
  ops = backend.capture.op_counts()
  assert ops["aten::linear"] == 3
  for name in ("conv2d", "batch_norm", "layer_norm", "scaled_dot_product_attention", "max_pool2d",
               "upsample_bilinear2d.vec"):
    assert ops[f"aten::{name}"] == 1, name
  for name in ("addmm", "mm", "convolution", "native_layer_norm", "where.self"):
    assert f"aten::{name}" not in ops
  assert backend.programs[0].notes == []


def test_weights_are_named_and_frozen():
  model, x = Net().eval(), torch.randn(2, 3, 8, 8)
  function, backend = compiled(model)
  check(model, function, x)
  names = {name: kind for name, _, kind in backend.capture.weights}
  assert names["conv.weight"] == "parameter" and names["norm.running_mean"] == "buffer"
  assert set(names) == set(dict(model.named_parameters())) | {"norm.running_mean",
                                                              "norm.running_var"}
  assert [i[0] for i in backend.capture.inputs] == ["x"]
  conv = backend.capture.calls[0]
  assert conv.full_name == "aten::conv2d" and conv.origin[0] == "conv"
  assert conv.origin[1].startswith("tests/python/test_frontend_dynamo.py:")


def test_changed_weights_are_seen():
  model, x = Net().eval(), torch.randn(2, 3, 8, 8)
  function, backend = compiled(model)
  before = check(model, function, x)
  with torch.no_grad():
    model.head.bias.add_(1)  # in place: the version counter tells
  after = check(model, function, x)
  assert not torch.allclose(before, after)
  assert len(backend.captures) == 2 and len(backend.modules) == 1
  check(model, function, x)
  assert len(backend.captures) == 2
  with torch.no_grad():
    model.head.bias.mul_(2)  # again: from now on an input
  check(model, function, x)
  assert [i[0] for i in backend.capture.inputs] == ["x", "head.bias"]
  with torch.no_grad():
    model.head.bias.mul_(2)
  check(model, function, x)
  assert len(backend.captures) == 3


def test_replaced_weights_are_seen():
  model, x = Net().eval(), torch.randn(2, 3, 8, 8)
  function, backend = compiled(model)
  check(model, function, x)
  model.load_state_dict({k: v + 0.1 for k, v in model.state_dict().items()})
  check(model, function, x)
  model.head.weight = nn.Parameter(torch.randn(5, 8))
  check(model, function, x)


def test_dynamic_batch_needs_one_program():
  model = Net().eval()
  function, backend = compiled(model)
  x = torch.randn(3, 3, 8, 8)
  torch._dynamo.mark_dynamic(x, 0, min=2, max=8)
  with torch.no_grad():
    function(x)
  assert list(backend.capture.symbols.values()) == [(2, 8)]
  for batch in (2, 5, 8):
    check(model, function, torch.randn(batch, 3, 8, 8))
  assert len(backend.captures) == 1


def test_mutated_inputs_and_buffers():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("steps", torch.zeros(3))
      self.register_buffer("fixed", torch.ones(3))

    def forward(self, x, y):
      self.steps.add_(x)
      y[1:].mul_(2)
      return x + self.steps + self.fixed, y.view(3, 1)

  model, reference = Model(), Model()
  function, backend = compiled(model)
  for _ in range(3):
    check(reference, function, torch.ones(3), torch.randn(3))
    assert torch.equal(model.steps, reference.steps)
  assert len(backend.captures) == 1  # a buffer that the program writes is not frozen
  assert [w[0] for w in backend.capture.weights] == ["fixed"]
  assert backend.capture.op_counts()["aten::copy_"] == 2


def test_outputs_that_alias_inputs_do_so():
  def model(x):
    return x, x.view(-1)[1:], x + 1

  function, _ = compiled(model)
  x = torch.randn(2, 3)
  a, b, c = function(x)
  assert a is x
  assert b.data_ptr() == x.data_ptr() + 4 and c.data_ptr() != x.data_ptr()
  torch.testing.assert_close(c, x + 1)


def test_same_tensor_twice():
  def model(x, y):
    x.add_(1)
    return x * y

  function, _ = compiled(model)
  x, z = torch.ones(3), torch.ones(3)
  torch.testing.assert_close(function(x, x), model(z, z))
  torch.testing.assert_close(x, z)


def test_batch_norm_in_training_mode_updates_its_statistics():
  model = nn.Sequential(nn.BatchNorm1d(4))
  reference = copy.deepcopy(model)
  function, backend = compiled(model)
  for _ in range(2):
    check(reference, function, torch.randn(8, 4))
    torch.testing.assert_close(model.state_dict(), reference.state_dict())
  assert "aten::batch_norm" not in backend.capture.op_counts()


def test_graph_breaks_give_several_programs():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
      y = self.a(x)
      torch._dynamo.graph_break()
      return self.b(y)

  model = Model().eval()
  function, backend = compiled(model)
  check(model, function, torch.randn(2, 4))
  assert [[w[0] for w in c.weights] for c in backend.captures] == [
    ["a.weight", "a.bias"], ["b.weight", "b.bias"]]


def test_numbers_in_and_out():
  def model(x, n, scale):
    return x * n * scale, x.shape[0] * n, None, "text"

  function, backend = compiled(model)
  for n, scale in ((2, 0.5), (3, 1.5), (4, 2.5), (7, 0.25)):
    x = torch.randn(5, 2)
    got, expected = function(x, n, scale), model(x, n, scale)
    torch.testing.assert_close(got[0], expected[0])
    assert got[1:] == expected[1:]


def test_custom_operator_that_writes():
  @torch.library.custom_op("kiln_test::increase", mutates_args=("x",))
  def increase(x: torch.Tensor, by: float) -> None:
    x.add_(by)

  def model(x):
    y = x * 2
    increase(y, 3.0)
    increase(x, 1.0)
    return y

  function, backend = compiled(model)
  check(model, function, torch.ones(3))
  assert backend.capture.op_counts()["kiln_test::increase"] == 2


def test_grad_mode_detaches_and_warns_once(monkeypatch):
  monkeypatch.setattr(dynamo_frontend, "_warned_about_grad", False)
  model, x = Net().eval(), torch.randn(2, 3, 8, 8)
  function, _ = compiled(model)
  with pytest.warns(UserWarning, match="outputs are detached"):
    y = function(x)
  assert not y.requires_grad
  torch.testing.assert_close(y, model(x).detach())
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    torch._dynamo.reset()
    compiled(model)[0](x)


def test_grad_mode_is_an_error_when_strict():
  function, _ = compiled(Net().eval(), strict=True)
  with pytest.raises(Exception, match="K1107"):
    function(torch.randn(2, 3, 8, 8))
  with torch.no_grad():
    function(torch.randn(2, 3, 8, 8))


def test_inference_mode():
  with torch.inference_mode():
    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    function, _ = compiled(model)
    torch.testing.assert_close(function(x), model(x))


def test_higher_order_operators_are_refused():
  def model(x):
    return torch.cond(x.sum() > 0, lambda a: torch.rand_like(a), lambda a: a - 1, (x,))

  function, _ = compiled(model)
  with torch.no_grad(), pytest.raises(Exception, match="K1103.*cond"):
    function(torch.ones(3))


def test_refusals_of_the_compiler_reach_the_user():
  def lower(build):
    raise FrontendError("K1105", "not today")

  function = torch.compile(Net().eval(), backend=lambda m, e: compile_dynamo_graph(m, e, lower))
  with torch.no_grad(), pytest.raises(Exception, match="K1105: not today"):
    function(torch.randn(2, 3, 8, 8))
