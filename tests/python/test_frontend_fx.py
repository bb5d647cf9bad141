"""The FX door: graphs of torch.fx, traced and made by hand, do what their own forward does."""

from __future__ import annotations

import copy
import operator

import pytest
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

import kiln
from kir_text import graph


def same(got, expected):
  assert pytree.tree_structure(got) == pytree.tree_structure(expected)
  for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True):
    if isinstance(b, torch.Tensor):
      torch.testing.assert_close(a, b)
    else:
      assert a == b and type(a) is type(b)


def check(model, *args, calls=2, **kwargs):
  """Compiles the graph and compares calls with those of a copy. Returns the program."""
  own = copy.deepcopy(model)
  with torch.no_grad():
    program = kiln.compile(model, args, kwargs=kwargs, ir="fx")
    for _ in range(calls):
      same(program(*copy.deepcopy(args), **kwargs), own(*copy.deepcopy(args), **kwargs))
  return program


X = torch.linspace(-2, 2, 12).view(3, 4)


class Scale(nn.Module):
  """Traced into: torch.fx keeps only torch.nn's own modules whole."""

  def forward(self, x):
    return torch.sin(x) * 2


class Model(nn.Module):
  def __init__(self):
    super().__init__()
    torch.manual_seed(0)
    self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Scale())
    self.register_buffer("offset", torch.arange(6.0))
    self.register_buffer("hidden", torch.ones(6), persistent=False)
    self.unused = nn.Linear(2, 2)

  def forward(self, x, scale=2.0):
    y = self.body(x) * scale + self.offset + self.hidden
    return {"y": y, "rows": (y.shape[0], [y.transpose(0, 1)[1:]])}


def model():
  return Model().eval().requires_grad_(False)


# ---- what torch.fx.symbolic_trace makes ----------------------------------------------------------


def test_traced():
  program = check(fx.symbolic_trace(model()), X)
  assert program.report.coverage == 1 and not program.report.fallbacks


@pytest.mark.parametrize("ir", ["auto", "fx", "dynamo"])
def test_a_graph_module_goes_through_each_door_that_takes_modules(ir):
  traced = fx.symbolic_trace(model())
  same(kiln.compile(traced, inputs=[X], ir=ir)(X), traced(X))


def test_a_module_is_traced():
  own = model()
  program = kiln.compile(own, inputs=[X], ir="fx")
  same(program(X), own(X))
  new = {name: value + 1 for name, value in own.state_dict().items()}
  program.update_weights(new)  # also names that the graph has no more
  own.load_state_dict(new)
  same(program(X), own(X))


def test_values_and_defaults_of_the_call_are_fixed_while_a_module_is_traced():
  """symbolic_trace alone takes every argument for a tensor, so that no default is None."""
  class Optional(nn.Module):
    def forward(self, x, negate, *, bias=None, times=2, times_1=None):
      for _ in range(times):
        x = -x if negate else x + 1
      return x if bias is None else x + bias * times_1

  own = Optional()
  with torch.no_grad():
    program = kiln.compile(own, [X, True], kwargs={"times": 3}, ir="fx")
    same(program(X, True, times=3), own(X, True, times=3))
    program = kiln.compile(own, [kiln.Input((3, 4)), False], kwargs={"bias": X, "times_1": X},
                           ir="fx")
    same(program(X, False, bias=X, times_1=X), own(X, False, bias=X, times_1=X))
    with pytest.raises(kiln.Error, match="K4101"):
      program(X, True, bias=X, times_1=X)


def test_same_program_as_through_export(tmp_path):
  own = model()
  for ir in ("fx", "dynamo"):
    kiln.compile(own, inputs=[X], ir=ir).save(tmp_path / f"{ir}.kiln")
  assert graph(tmp_path / "fx.kiln") == graph(tmp_path / "dynamo.kiln")


def test_writes_to_buffers_are_traced_where_symbolic_trace_runs_them():
  class Counts(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("steps", torch.zeros(2))

    def forward(self, x):
      self.steps.add_(x.sum())
      return x + self.steps[0]

  own, other = Counts(), Counts()
  program = kiln.compile(own, inputs=[X + 1], ir="fx")
  assert torch.equal(own.steps, torch.zeros(2)), "tracing runs nothing"
  for _ in range(3):
    same(program(X + 1), other(X + 1))
    assert torch.equal(own.steps, other.steps), "the module's own buffer is written"
  assert program.state_dict()["steps"].data_ptr() == own.steps.data_ptr()


def test_tracing_leaves_the_module_as_it_was():
  class Leaves(nn.Module):
    def __init__(self):
      super().__init__()
      self.inner = nn.Module()
      self.inner.register_buffer("last", torch.zeros(3, 4))
      self.seen = None

    def forward(self, x):
      self.inner.last = self.inner.last + x
      self.seen = self.new = x
      x[0] = self.inner.last[1]
      return x * 2

  own, other = Leaves(), Leaves()
  program = kiln.compile(own, inputs=[X.clone()], ir="fx")
  assert own.seen is None and not hasattr(own, "new")
  assert torch.equal(own.inner.last, torch.zeros(3, 4))
  for _ in range(2):
    a, b = X.clone(), X.clone()
    same(program(a), other(b))
    same((a, own.inner.last), (b, other.inner.last))


def test_what_tracing_would_take_for_granted_is_refused():
  generator = torch.Generator()

  class Random(nn.Module):
    def forward(self, x):
      return x + torch.rand(3, 1)

  class Own(nn.Module):
    def forward(self, x):
      return x + torch.randn(3, 1, generator=generator)

  class Autocast(nn.Module):
    def forward(self, x):
      with torch.autocast("cpu", torch.bfloat16):
        return x @ x.T

  for cls, text in ((Random, "random numbers.*rand"), (Own, "random numbers.*randn"),
                    (Autocast, "autocast")):
    with pytest.raises(kiln.Error, match=f"K1102.*{text}"):
      kiln.compile(cls(), inputs=[X], ir="fx")


def test_hooks_of_the_module_itself_are_traced():
  own = nn.Sequential(nn.Linear(4, 4)).eval().requires_grad_(False)
  own.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
  own.register_forward_hook(lambda module, args, result: result + args[0])
  same(kiln.compile(own, inputs=[X], ir="fx")(X), own(X))


def test_control_flow_is_gone_with_concrete_args():
  class Chosen(nn.Module):
    def forward(self, x, negate=False, times=1):
      for _ in range(times):
        x = -x * 2 if negate else x + 1
      return x

  traced = fx.symbolic_trace(Chosen(), concrete_args={"negate": True, "times": 3})
  args = [X] + [True, 3][:len([n for n in traced.graph.nodes if n.op == "placeholder"]) - 1]
  check(traced, *args)


def test_nested_arguments_of_concrete_args():
  class Nested(nn.Module):
    def forward(self, pair, more):
      return {"sum": pair[0] + pair[1] * more["a"], "list": [more["b"][0]]}

  pair, more = (X, X + 1), {"a": X * 2, "b": [X - 1]}
  traced = fx.symbolic_trace(Nested(), concrete_args={
    "pair": (fx.PH, fx.PH), "more": {"a": fx.PH, "b": [fx.PH]}})
  check(traced, pair, more)


def test_star_arguments():
  class Star(nn.Module):
    def forward(self, x, *rest, **named):
      return x + rest[0] * named["scale"] - rest[1]

  traced = fx.symbolic_trace(Star())
  assert any(node.target == "**named" for node in traced.graph.nodes)
  check(traced, X, X + 1, X - 2, scale=X * 3)


def test_arguments_by_name_in_another_order():
  """torch.export's own way with GraphModules takes them in the order in which they are given."""
  class Two(nn.Module):
    def forward(self, x, a=None, b=None):
      return x + a * 2 - b * 3

  traced = fx.symbolic_trace(Two())
  with torch.no_grad():
    program = kiln.compile(traced, [X], kwargs={"b": X + 1, "a": X * X})
    same(program(X, b=X + 1, a=X * X), traced(X, b=X + 1, a=X * X))
    same(program(X, X * X, X + 1), traced(X, X * X, X + 1))


def test_defaults_that_are_not_given():
  traced = fx.symbolic_trace(model())
  program = check(traced, X)
  with pytest.raises(kiln.Error, match="K4101"):
    program(X, 3.0)
  check(traced, X, 3.0)


def test_ranges_of_sizes():
  traced = fx.symbolic_trace(model())
  program = kiln.compile(traced, ir="fx", inputs=[
    kiln.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(9, 4), dim_names=("batch", None))])
  for rows in (1, 3, 9):
    x = torch.randn(rows, 4)
    same(program(x), traced(x))
  with pytest.raises(kiln.Error, match="K4106|K4105"):
    program(torch.randn(10, 4))


def test_training_mode_is_the_model_s():
  own = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
  traced = fx.symbolic_trace(own.train())
  with pytest.warns(UserWarning, match="training mode"):
    program = kiln.compile(traced, inputs=[X])
  other = copy.deepcopy(own)
  with torch.no_grad():
    same(program(X), other(X))
  same(traced.state_dict()["1.running_mean"], other[1].running_mean)


# ---- graphs made by hand -------------------------------------------------------------------------


def test_every_kind_of_node():
  class Holder(nn.Module):
    def __init__(self):
      super().__init__()
      self.inner = nn.Module()
      self.inner.weight = nn.Parameter(torch.full((4,), 2.0), requires_grad=False)
      self.inner.register_buffer("count", torch.zeros(4))
      self.linear = nn.Linear(4, 4)
      self.constant = torch.arange(4.0)

  torch.manual_seed(0)
  graph = fx.Graph()
  x = graph.placeholder("x")
  y = graph.placeholder("y", default_value=3)
  linear = graph.call_module("linear", (x,))
  weight, count = graph.get_attr("inner.weight"), graph.get_attr("inner.count")
  constant = graph.get_attr("constant")
  graph.call_method("add_", (count, 1.0))
  total = graph.call_function(operator.add, (linear, graph.call_function(operator.mul, (weight, y))))
  total = graph.call_function(operator.matmul, (total, graph.call_function(torch.diag, (constant,))))
  shape = graph.call_function(getattr, (total, "shape"))
  rows = graph.call_function(operator.getitem, (shape, 0))
  half = graph.call_function(operator.floordiv, (rows, 2))
  part = graph.call_function(operator.getitem, (total, (slice(None, half), slice(None, None, 2))))
  split = graph.call_function(torch.split, (total, 2), {"dim": 1})
  first = graph.call_function(operator.getitem, (split, 0))
  graph.call_function(operator.iadd, (first, 1.0))  # writes into total, through a view
  graph.output({"part": part, "list": [first, (total, count), None, "text", half]})
  module = fx.GraphModule(Holder().eval(), graph)
  check(module.eval(), X.clone(), calls=3)


def test_get_attr_of_nested_objects():
  graph = fx.Graph()
  x = graph.placeholder("x")
  weight = graph.get_attr("settings.scale")
  graph.output(graph.call_function(torch.mul, (x, weight)))
  check(fx.GraphModule({"settings.scale": torch.tensor(3.0)}, graph).eval(), X)


def test_a_graph_inside_a_graph():
  inner = fx.symbolic_trace(model())
  graph = fx.Graph()
  y = graph.call_module("inner", (graph.placeholder("x"),))
  graph.output(graph.call_function(operator.getitem, (y, "y")))
  module = fx.GraphModule({"inner": inner}, graph).eval()
  program = kiln.compile(module, inputs=[X], torch_executed_ops=[
    "aten::sin", "aten::relu", "aten::add"])
  same(program(X), module(X))
  found = places(program)
  assert found["aten::relu"] == ("inner.body.1", "inner.%body_1")
  assert found["aten::sin"] == ("inner.body.2", "inner.%sin")
  assert found["aten::add.Tensor"] == ("inner", "inner.%add")


def test_hooks_run():
  traced = fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4)).eval())
  traced.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
  traced.get_submodule("0").register_forward_hook(lambda module, args, result: result + 1)
  program = kiln.compile(traced, inputs=[X])
  same(program(X), traced(X))


def test_a_lazy_graph_module():
  from torch.fx._lazy_graph_module import _LazyGraphModule, _use_lazy_graph_module

  with _use_lazy_graph_module(True):
    traced = fx.symbolic_trace(model())
  assert isinstance(traced, _LazyGraphModule)
  own = model()
  same(kiln.compile(traced, inputs=[X])(X), own(X))


def test_what_an_exported_program_gives_back():
  own = model()
  exported = torch.export.export(own, (X,), dynamic_shapes=(
    {0: torch.export.Dim("batch", min=2, max=8)},))
  module = exported.module()
  assert isinstance(module, fx.GraphModule)
  same(kiln.compile(module, inputs=[X])(X), own(X))


@pytest.mark.parametrize("suffix", [".kiln", ".pt2"])
def test_saved_and_loaded(suffix, tmp_path):
  traced = fx.symbolic_trace(model())
  program = kiln.compile(traced, inputs=[X], torch_executed_ops=["aten::sin"])
  program.save(tmp_path / f"model{suffix}")
  same(kiln.load(tmp_path / f"model{suffix}")(X), traced(X))


def test_the_graph_s_module_stays_as_it_was():
  traced = fx.symbolic_trace(model())
  before, code = {k: v.clone() for k, v in traced.state_dict().items()}, traced.code
  kiln.compile(traced, inputs=[X])
  assert traced.code == code and type(traced).__mro__[1] is fx.GraphModule
  for name, value in traced.state_dict().items():
    assert torch.equal(value, before[name])


# ---- origins -------------------------------------------------------------------------------------


def places(program):
  return {row["op"]: (row["module_path"], row["location"]) for row in program.report.fallbacks}


def test_origins_are_modules_and_fx_nodes():
  options = {"torch_executed_ops": ["aten::sin", "aten::relu", "aten::transpose"]}
  traced = fx.symbolic_trace(model())
  found = places(kiln.compile(traced, inputs=[X], **options))
  assert found["aten::relu"] == ("body.1", "%body_1")
  assert found["aten::sin"] == ("body.2", "%sin"), "the module that torch.fx traced into"
  assert found["aten::transpose.int"] == ("", "%transpose")
  kept = places(kiln.compile(model(), inputs=[X], ir="fx", **options))
  assert kept["aten::sin"][0] == "body.2"
  assert kept["aten::sin"][1].startswith("test_frontend_fx.py:") or \
    kept["aten::sin"][1].startswith("tests/python/test_frontend_fx.py:"), "the user's line"


def test_module_options_know_traced_modules():
  traced = fx.symbolic_trace(model())
  for entry in (Scale, "body.2"):
    report = kiln.compile(traced, inputs=[X], torch_executed_modules=[entry]).report
    assert sorted(row["op"] for row in report.fallbacks) == ["aten::mul.Tensor", "aten::sin"]
  report = kiln.compile(traced, inputs=[X], torch_executed_modules=[nn.Linear]).report
  assert [row["op"] for row in report.fallbacks] == ["aten::linear"]


# ---- what cannot be captured ---------------------------------------------------------------------


class Decides(nn.Module):
  def forward(self, x):
    return x * 2 if x.sum() > 0 else x - 1


def test_python_that_looks_at_values_names_its_node():
  """A program holds no Python, so such a leaf module is an error; torch.compile runs it."""
  graph = fx.Graph()
  y = graph.call_function(torch.relu, (graph.placeholder("x"),))
  graph.output(graph.call_function(torch.tanh, (graph.call_module("leaf", (y,)),)))
  module = fx.GraphModule({"leaf": Decides()}, graph).eval()
  with pytest.raises(kiln.Error, match=r"K1102.* at %leaf") as error:
    kiln.compile(module, inputs=[X])
  assert "torch.compile" in error.value.hint
  torch._dynamo.reset()
  with torch.no_grad():
    compiled = kiln.compile(module, ir="torch_compile")
    for x in (X.abs(), -X.abs()):
      same(compiled(x), module(x))


def test_a_module_that_torch_fx_cannot_trace():
  with pytest.raises(kiln.Error, match="K1102.*torch.fx could not trace.*TraceError") as error:
    kiln.compile(Decides(), inputs=[X], ir="fx")
  assert 'ir="dynamo"' in error.value.hint


def test_a_node_that_fails_as_it_does_in_pytorch():
  graph = fx.Graph()
  graph.output(graph.call_function(torch.reshape, (graph.placeholder("x"), (5, 5))))
  with pytest.raises(kiln.Error, match=r"K1102.*%reshape"):
    kiln.compile(fx.GraphModule({}, graph).eval(), inputs=[X])


# ---- which door ----------------------------------------------------------------------------------


def test_doors_by_type_and_by_name():
  from kiln.doors import IRS, choose

  exported = torch.export.export(model(), (X,))
  traced = fx.symbolic_trace(model())
  assert choose(model()).name == "dynamo" and choose(exported).name == "dynamo"
  scripted = torch.jit.script(nn.Linear(4, 4))
  assert choose(traced).name == "fx" and choose(scripted).name == "torchscript"
  for ir in ("dynamo", "fx", "torch_compile", "torchscript"):
    assert choose(model(), ir).name == choose(traced, ir).name == ir
  assert choose(model(), "ts").name == choose(scripted, "ts").name == "torchscript"
  for ir in ("dynamo", "fx", "torch_compile"):
    with pytest.raises(kiln.Error, match="K1018.*TorchScript"):
      choose(scripted, ir)
  for ir in ("fx", "torch_compile", "ts"):
    with pytest.raises(kiln.Error, match="K1018.*an ExportedProgram") as error:
      kiln.compile(exported, ir=ir)
    assert 'ir="dynamo"' in error.value.hint and "exported.module()" in error.value.hint
  with pytest.raises(kiln.Error, match="K1101.*got function"):
    kiln.compile(lambda x: x, inputs=[X])
  with pytest.raises(kiln.Error, match="K1005") as error:
    kiln.compile(model(), inputs=[X], ir="onnx")
  assert all(name in error.value.hint for name in IRS)


def test_torch_compile_is_a_door():
  torch._dynamo.reset()
  own = model()
  with torch.no_grad():
    compiled = kiln.compile(own, ir="torch_compile", torch_executed_ops=["aten::sin"])
    assert type(compiled) is type(torch.compile(own, backend="kiln"))
    same(compiled(X), own(X))
  assert [row["op"] for row in kiln.jit_reports()[-1].fallbacks] == ["aten::sin"]
  with pytest.raises(kiln.Error, match="K1001"):
    kiln.compile(own, ir="torch_compile", thread=1)
  with pytest.raises(kiln.Error, match="K1101.*no description of inputs") as error:
    kiln.compile(own, inputs=[X], ir="torch_compile")
  assert "mark_dynamic" in error.value.hint
  with pytest.raises(kiln.Error, match="K1018"):
    kiln.explain(own, inputs=[X], ir="torch_compile")


def test_a_module_is_scripted():
  own = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).eval().requires_grad_(False)
  program = kiln.compile(own, inputs=[X], ir="torchscript")
  same(program(X), own(X))
  new = {name: value + 1 for name, value in own.state_dict().items()}
  program.update_weights(new)
  own.load_state_dict(new)
  same(program(X), own(X))

  class Unscriptable(nn.Module):
    def forward(self, *tensors):
      return sum(tensors)

  with pytest.raises(kiln.Error, match="K1102.*torch.jit.script could not compile") as error:
    kiln.compile(Unscriptable(), inputs=[X], ir="ts")
  assert 'ir="dynamo"' in error.value.hint


def test_explain_goes_through_the_same_door():
  traced = fx.symbolic_trace(model())
  report = kiln.explain(traced, inputs=[X], ir="fx", torch_executed_ops=["aten::sin"])
  assert [row["location"] for row in report.fallbacks] == ["%sin"]
