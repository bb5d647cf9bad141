"""The torch.export door: what it hands over computes the model, and refusals are typed."""

from __future__ import annotations

import collections
import copy
import dataclasses
import json

import pytest
import torch
from kiln.frontends import (FrontendError, Input, RecordingCapture, StructureError, capture_module,
                            make_binder, make_unflatten, walk_exported_program)
from kiln.frontends.export_driver import prepare_program
from torch import nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from replay import Replay


def record(module, **arguments):
  captured = capture_module(module, **arguments)
  capture = RecordingCapture()
  program = walk_exported_program(captured.program, capture, captured.parameters)
  return capture, program, captured


def run(capture, program, *args, **kwargs):
  """Through JSON, as a saved program would."""
  input_tree = json.loads(json.dumps(program.input_tree))
  output_tree = json.loads(json.dumps(program.output_tree))
  values = make_binder(input_tree, len(program.inputs), program.parameters)(args, kwargs)
  outputs = Replay(capture, program)(values)
  return make_unflatten(output_tree)(outputs, program.symbol_values(values))


def assert_same(got, expected):
  got_leaves, got_spec = pytree.tree_flatten(got)
  leaves, spec = pytree.tree_flatten(expected)
  assert got_spec == spec
  for a, b in zip(got_leaves, leaves):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
      torch.testing.assert_close(a, b)
    else:
      assert a == b


class Small(nn.Module):
  def __init__(self):
    super().__init__()
    self.conv = nn.Conv2d(3, 4, 3, padding=1)
    self.norm = nn.BatchNorm2d(4)
    self.head = nn.Linear(4, 5)

  def forward(self, x):
    y = torch.relu_(self.norm(self.conv(x)))
    return self.head(y.mean((2, 3)))


def test_static_program_replays_to_the_same_values():
  model, x = Small().eval(), torch.randn(2, 3, 8, 8)
  capture, program, captured = record(model, inputs=[x])
  assert captured.mode == "non-strict"
  assert capture.symbols == {}
  assert_same(run(capture, program, x), model(x).detach())
  assert capture.op_counts() == {"aten::conv2d": 1, "aten::batch_norm": 1, "aten::relu_": 1,
                                 "aten::mean.dim": 1, "aten::linear": 1}
  assert [w[0] for w in capture.weights] == ["conv.weight", "conv.bias", "norm.weight", "norm.bias",
                                             "head.weight", "head.bias", "norm.running_mean",
                                             "norm.running_var"]
  assert {w[2] for w in capture.weights} == {"parameter", "buffer"}


def test_all_arguments_are_filled_in():
  capture, _, _ = record(Small().eval(), inputs=[torch.randn(2, 3, 8, 8)])
  conv = capture.calls[0]
  assert conv.args == [("v", 0), ("v", 1), ("v", 2), [1, 1], [1, 1], [1, 1], 1]
  assert conv.schema.startswith("aten::conv2d(Tensor input, Tensor weight")
  mean = next(c for c in capture.calls if c.name == "aten::mean")
  assert mean.args[1:] == [[2, 3], False, None]


def test_origin_names_module_and_user_line():
  capture, _, _ = record(Small().eval(), inputs=[torch.randn(2, 3, 8, 8)])
  path, location = capture.calls[0].origin
  assert path == "conv"
  file, line = location.rsplit(":", 1)
  assert file.endswith("test_frontend_export.py")
  assert "self.norm(self.conv(x))" in open(__file__).read().splitlines()[int(line) - 1]


def test_dynamic_dims_give_symbols_and_expressions():
  class Model(nn.Module):
    def forward(self, x):
      b, s, c = x.shape
      return x.reshape(b * s, c), x.view(b, s * c), torch.cat([x[0], x.new_ones(s // 2, c)]), s * 2

  model = Model()
  b, s = Dim("b", min=1, max=8), Dim("s", min=4, max=64)
  capture, program, _ = record(model, inputs=[torch.randn(3, 6, 2)], dynamic_shapes=({0: b, 1: s},))
  assert sorted(capture.symbols.values()) == [(1, 8), (4, 64)]
  (s0, s1) = capture.inputs[0][2][:2]
  assert sorted(capture.symbols) == sorted([s0, s1])
  cat = next(c for c in capture.calls if c.name == "aten::cat")
  assert cat.results[0][1] == [f"floordiv({s1}, 2) + {s1}", 2]
  for shape in [(3, 6, 2), (1, 7, 2), (8, 64, 2)]:
    x = torch.randn(shape)
    assert_same(run(capture, program, x), model(x))


def test_example_of_batch_one_is_enlarged():
  model = Small().eval()
  capture, program, captured = record(
    model, inputs=[torch.randn(1, 3, 8, 8)], dynamic_shapes=({0: Dim("b", min=1, max=8)},))
  assert list(capture.symbols.values()) == [(1, 8)]
  assert "enlarged" in captured.notes[0]
  for batch in (1, 5):
    x = torch.randn(batch, 3, 8, 8)
    assert_same(run(capture, program, x), model(x).detach())


def test_kiln_input_ranges():
  class Model(nn.Module):
    def forward(self, ids, mask):
      return (ids * mask).float().sum(1)

  model = Model()
  shapes = dict(min_shape=(1, 16), opt_shape=(1, 32), max_shape=(8, 64), dtype=torch.int64,
                dim_names=("batch", "seq"))
  capture, program, _ = record(model, inputs={"ids": Input(name="ids", **shapes),
                                              "mask": Input(name="mask", **shapes)})
  assert sorted(capture.symbols.values()) == [(1, 8), (16, 64)]
  assert capture.inputs[0][2] == capture.inputs[1][2]
  ids, mask = torch.randint(0, 9, (1, 20)), torch.randint(0, 2, (1, 20))
  assert_same(run(capture, program, ids=ids, mask=mask), model(ids, mask))
  assert_same(run(capture, program, mask=mask, ids=ids), model(ids, mask))
  assert_same(run(capture, program, ids, mask), model(ids, mask))  # by position as well


def test_unnamed_ranges_of_kiln_input():
  capture, program, _ = record(Small().eval(), inputs=[Input(
    min_shape=(1, 3, 8, 8), opt_shape=(4, 3, 8, 8), max_shape=(8, 3, 8, 8))])
  assert list(capture.symbols.values()) == [(1, 8)]

  class Add(nn.Module):
    def forward(self, x, y):
      return x + y

  both = [Input(min_shape=(1, 3), max_shape=(8, 3)) for _ in range(2)]
  capture, _, _ = record(Add(), inputs=both)  # one size, though nobody named it
  assert list(capture.symbols.values()) == [(1, 8)]


@pytest.mark.parametrize("arguments", [
  dict(), dict(shape=(2,), max_shape=(3,)), dict(min_shape=(1,), max_shape=(0,)),
  dict(min_shape=(1, 2), max_shape=(4,)), dict(shape=(-1,)), dict(shape="ab"),
  dict(min_shape=(1,)), dict(shape=(2, 3), dim_names=("a",)), dict(shape=(2,), dim_names=("1 ",)),
  dict(shape=(2,), dtype="f32"), dict(min_shape=(1,), opt_shape=(9,), max_shape=(4,)),
])
def test_wrong_kiln_input_is_typed(arguments):
  with pytest.raises(FrontendError) as error:
    Input(**arguments)
  assert error.value.code == "K1101"


def test_names_with_different_ranges_are_refused():
  inputs = [Input(min_shape=(1, 3), max_shape=(n, 3), dim_names={0: "b"}) for n in (4, 5)]
  with pytest.raises(FrontendError, match="K1101.*b, 1..4 and 1..5"):
    capture_module(Small(), inputs=inputs)


@pytest.mark.parametrize("arguments", [
  dict(), dict(args=(1,), inputs=[1]), dict(inputs=3), dict(inputs={1: torch.ones(1)})])
def test_wrong_arguments_are_typed(arguments):
  with pytest.raises(FrontendError) as error:
    capture_module(Small().eval(), **arguments)
  assert error.value.code == "K1101"


def test_a_model_that_cannot_be_captured_is_typed():
  class Model(nn.Module):
    def forward(self, x):
      if x.sum() > 0:
        return x
      return -x

  with pytest.raises(FrontendError) as error:
    capture_module(Model(), inputs=[torch.ones(3)])
  assert error.value.code == "K1102"
  assert "non-strict:" in error.value.message and "strict:" in error.value.message


def test_training_mode_is_kept_and_said():
  with pytest.warns(UserWarning, match="training mode"):
    capture, _, captured = record(Small(), inputs=[torch.randn(2, 3, 8, 8)])
  norm = next(c for c in capture.calls if c.name == "aten::batch_norm")
  assert norm.args[5] is True
  assert any("training mode" in note for note in captured.notes)


def test_training_mode_that_changes_nothing_is_not_mentioned(recwarn):
  _, _, captured = record(Counter().train(), inputs=[torch.randn(2, 3)])
  assert captured.notes == [] and not [w for w in recwarn if "training" in str(w.message)]


def test_in_place_calls_on_views_stand_as_written():
  class Model(nn.Module):
    def forward(self, x):
      y = x * 2
      y[:, 1:3].mul_(3)
      y.view(-1)[0] = 7
      return y

  model, x = Model(), torch.randn(4, 6)
  capture, program, _ = record(model, inputs=[x])
  assert {"aten::mul_.Tensor", "aten::view"} <= set(capture.op_counts())
  assert_same(run(capture, program, x), model(x))


class Counter(nn.Module):
  def __init__(self):
    super().__init__()
    self.register_buffer("steps", torch.zeros(3))

  def forward(self, x):
    self.steps.add_(1)
    return x + self.steps


@pytest.mark.parametrize("decomposed", [False, True])
def test_buffer_mutation(decomposed):
  model, x = Counter(), torch.randn(2, 3)
  captured = capture_module(model, inputs=[x])
  exported = captured.program.run_decompositions() if decomposed else captured.program
  capture = RecordingCapture()
  program = walk_exported_program(exported, capture)
  expected = x + 1
  steps = dict((name, tensor) for name, tensor, _ in capture.weights)["steps"]
  before = steps.clone()
  assert_same(run(capture, program, x), expected + before)
  assert torch.equal(steps, before + 1)
  assert capture.mutations == ([("buffer", "steps", capture.mutations[0][2])] if decomposed else [])


@pytest.mark.parametrize("decomposed", [False, True])
def test_input_mutation(decomposed):
  class Model(nn.Module):
    def forward(self, x):
      x.mul_(2)
      return x + 1

  captured = capture_module(Model(), inputs=[torch.ones(3)])
  exported = captured.program.run_decompositions() if decomposed else captured.program
  capture = RecordingCapture()
  program = walk_exported_program(exported, capture)
  x = torch.full((3,), 5.0)
  assert_same(run(capture, program, x), torch.full((3,), 11.0))
  assert torch.equal(x, torch.full((3,), 10.0))
  assert bool(capture.mutations) == decomposed


def test_tied_weights_share_one_handle():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.embedding = nn.Embedding(10, 4)
      self.head = nn.Linear(4, 10, bias=False)
      self.head.weight = self.embedding.weight
      self.register_buffer("part", self.embedding.weight.detach()[:2])

    def forward(self, ids):
      return self.head(self.embedding(ids)), self.part + 1

  model, ids = Model().eval(), torch.randint(0, 10, (2, 3))
  capture, program, _ = record(model, inputs=[ids])
  assert len(capture.weights) == 2  # the view of other shape is its own weight
  assert_same(run(capture, program, ids), pytree.tree_map(torch.detach, model(ids)))


Pair = collections.namedtuple("Pair", "left right")


def test_nested_inputs_and_outputs():
  class Model(nn.Module):
    def forward(self, x, extras, *, scale=2.0, flag=None):
      pair, (y,) = extras["pair"], extras["tuple"]
      return {"a": [x + pair.left, None, 3], 1: Pair(pair.right * scale, (y, "text")),
              "o": collections.OrderedDict(z=y + 1)}

  model = Model()
  x, extras = torch.ones(2), {"pair": Pair(torch.ones(2), torch.ones(3)), "tuple": (torch.ones(1),)}
  capture, program, _ = record(model, args=(x, extras), kwargs={"scale": 3.0})
  got = run(capture, program, x, extras, scale=3.0)
  assert_same(got, model(x, extras, scale=3.0))
  assert type(got[1]) is Pair and type(got["o"]) is collections.OrderedDict
  with pytest.raises(StructureError, match="scale was fixed at capture to 3.0, got 4.0"):
    run(capture, program, x, extras, scale=4.0)
  with pytest.raises(StructureError, match="extras.*keys"):
    run(capture, program, x, {"pair": extras["pair"]}, scale=3.0)
  with pytest.raises(StructureError, match="missing arguments: scale"):
    run(capture, program, x, extras)
  with pytest.raises(StructureError, match="does not have: flag"):
    run(capture, program, x, extras, scale=3.0, flag=1)
  with pytest.raises(StructureError, match="too many positional"):
    run(capture, program, x, extras, 3, 4, scale=3.0)
  with pytest.raises(StructureError, match="given twice: x"):
    run(capture, program, x, extras, x=x, scale=3.0)
  with pytest.raises(StructureError, match="x must be a tensor, got list"):
    run(capture, program, [x], extras, scale=3.0)


@dataclasses.dataclass
class Result:
  first: torch.Tensor
  second: torch.Tensor


def test_registered_dataclass_output():
  torch.export.register_dataclass(Result, serialized_type_name="test_frontend_export.Result")

  class Model(nn.Module):
    def forward(self, x):
      return Result(x + 1, x * 2)

  model, x = Model(), torch.ones(2)
  capture, program, _ = record(model, inputs=[x])
  assert [name for _, name in capture.outputs] == ["first", "second"]
  got = run(capture, program, x)
  assert isinstance(got, Result)
  assert torch.equal(got.first, x + 1) and torch.equal(got.second, x * 2)


def test_type_that_is_not_there_comes_back_as_a_dict():
  description = {"kind": "custom", "type": "os.system", "context": ["a", "b"],
                 "items": [{"kind": "tensor", "index": 0}, {"kind": "const", "value": None}]}
  notes = []
  assert make_unflatten(description, notes)([5], {}) == {"a": 5, "b": None}
  assert "os.system" in notes[0]
  description["type"] = "not_installed_anywhere.Thing"
  assert make_unflatten(description, notes)([5], {}) == {"a": 5, "b": None}


@pytest.mark.parametrize("damaged", [
  {}, {"kind": "what"}, {"kind": "tensor"}, {"kind": "list"}, {"kind": "list", "items": 3},
  {"kind": "dict", "keys": ["a"], "items": []}, [], None,
  {"kind": "expr", "text": "__import__('os')"}, {"kind": "expr", "text": "s0 ** 99"}])
def test_damaged_descriptions_are_typed(damaged):
  with pytest.raises(FrontendError) as error:
    make_unflatten(damaged)
  assert error.value.code == "K1106"


def test_autocast_is_written_out():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(4, 4)

    def forward(self, x):
      y = self.linear(x)
      with torch.autocast("cpu", torch.bfloat16):
        z = self.linear(y)
      return y, z

  model, x = Model().eval(), torch.randn(2, 4)
  capture, program, captured = record(model, inputs=[x])
  assert any("autocast" in note for note in captured.notes)
  with torch.no_grad():
    expected = model(x)
  assert expected[1].dtype == torch.bfloat16
  assert_same(run(capture, program, x), expected)


def test_grad_mode_region_alone():
  class Model(nn.Module):
    def forward(self, x):
      with torch.enable_grad():
        y = x + 1
      return y * 2

  x = torch.ones(3)
  capture, program, captured = record(Model(), inputs=[x])
  assert any("wrap_with_set_grad_enabled" in str(n.target) for n in captured.program.graph.nodes)
  assert list(capture.op_counts()) == ["aten::add.Tensor", "aten::mul.Tensor"]
  assert_same(run(capture, program, x), x * 0 + 4)


def test_other_higher_order_operators_are_refused_with_location():
  class Model(nn.Module):
    def forward(self, x):
      return torch.cond(x.sum() > 0, lambda a: torch.rand_like(a), lambda a: a - 1, (x,))

  captured = capture_module(Model(), inputs=[torch.ones(3)])
  with pytest.raises(FrontendError) as error:
    walk_exported_program(captured.program, RecordingCapture())
  assert error.value.code == "K1103"
  assert "cond" in error.value.message


def test_custom_operators_are_ordinary_calls():
  @torch.library.custom_op("kiln_test::twice", mutates_args=())
  def twice(x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
    return x * by

  twice.register_fake(lambda x, by=2.0: torch.empty_like(x))

  @torch.library.custom_op("kiln_test::bump", mutates_args=("x",))
  def bump(x: torch.Tensor) -> None:
    x.add_(1)

  class Model(nn.Module):
    def forward(self, x):
      y = torch.ops.kiln_test.twice(x)
      bump(y)
      return y

  model, x = Model(), torch.ones(3)
  capture, program, captured = record(model, inputs=[x])
  call = capture.calls[0]
  assert (call.name, call.overload, call.args[1:]) == ("kiln_test::twice", "", [2.0])
  assert call.schema == 'kiln_test::twice(Tensor x, float by=2.) -> Tensor'
  assert_same(run(capture, program, x), model(x))
  # and in functional form, where the write is a higher-order operator
  functional = captured.program.run_decompositions()
  capture = RecordingCapture()
  program = walk_exported_program(functional, capture)
  assert_same(run(capture, program, x), model(x))


class EvenBatch(nn.Module):
  def forward(self, x, nested):
    if x.shape[0] % 2 == 0:
      return x + nested["y"][0]
    return x - 1


def test_conditions_that_the_program_depends_on_are_checked():
  x, nested = torch.ones(6, 2), {"y": [torch.ones(6, 2)]}
  capture, program, _ = record(EvenBatch(), args=(x, nested),
                               dynamic_shapes=({0: Dim.AUTO}, {"y": [{0: Dim.AUTO}]}))
  ((relation, left, right, text),) = capture.conditions
  assert (relation, left, right) == ("eq", f"mod({next(iter(capture.symbols))}, 2)", "0")
  assert "% 2" in text
  assert "aten::_assert_scalar" not in capture.op_counts()
  assert_same(run(capture, program, x, nested), x + 1)
  x, nested = torch.ones(7, 2), {"y": [torch.ones(7, 2)]}
  with pytest.raises(RuntimeError, match="% 2"):
    run(capture, program, x, nested)


def test_conditions_on_nested_inputs_of_a_program_that_the_user_exported():
  x, nested = torch.ones(6, 2), {"y": [torch.ones(6, 2)]}
  exported = torch.export.export(EvenBatch(), (x, nested), dynamic_shapes=(
    {0: Dim.AUTO}, {"y": [{0: Dim.AUTO}]}))
  assert any("['y']" in text for text in exported._guards_code)
  captured = prepare_program(exported)
  assert captured.parameters == capture_module(EvenBatch(), args=(x, nested)).parameters
  capture = RecordingCapture()
  program = walk_exported_program(captured.program, capture, captured.parameters)
  assert len(capture.conditions) == 1
  assert_same(run(capture, program, x, nested), x + 1)


def test_conditions_that_follow_from_the_ranges_are_not():
  class Model(nn.Module):
    def forward(self, x, y):
      return x.reshape(y.shape[0], -1) + y

  capture, _, captured = record(Model(), inputs=[torch.ones(4, 6), torch.ones(4, 6)],
                                dynamic_shapes=({0: Dim.AUTO, 1: Dim.AUTO},) * 2)
  assert captured.program._guards_code
  assert set(capture.op_counts()) == {"aten::reshape", "aten::add.Tensor"}


def test_asserts_are_dropped_only_when_proved():
  class Model(nn.Module):
    def forward(self, x):
      torch._check(x.shape[0] <= 100)
      return x.to(torch.float64) + 1

  capture, _, _ = record(Model(), inputs=[torch.ones(3, 2)],
                         dynamic_shapes=({0: Dim("b", max=50)},))
  assert set(capture.op_counts()) == {"aten::to.dtype", "aten::add.Tensor"}


def test_sizes_known_only_at_run_time_stay_calls():
  class Model(nn.Module):
    def forward(self, x):
      y = torch.nonzero(x)
      return y + 1

  x = torch.tensor([1, 0, 2])
  capture, program, _ = record(Model(), inputs=[x])
  assert capture.calls[0].full_name == "aten::nonzero"
  assert capture.calls[0].results[0][0] == "opaque"
  assert capture.symbols == {}
  assert_same(run(capture, program, x), torch.tensor([[1], [3]]))


def test_host_numbers_from_sizes():
  class Model(nn.Module):
    def forward(self, x):
      return x * (1.0 / x.shape[0] ** 0.5), x.shape[0] / 4

  model, x = Model(), torch.ones(6, 2)
  capture, program, _ = record(model, inputs=[x], dynamic_shapes=({0: Dim("b", max=50)},))
  assert any(c.name == "_operator::truediv" and c.results == [("scalar", "f64")]
             for c in capture.calls)
  assert_same(run(capture, program, x), model(x))
  x = torch.ones(9, 2)
  assert_same(run(capture, program, x), model(x))


def test_complex_results_are_opaque_and_complex_inputs_are_checked():
  class Model(nn.Module):
    def forward(self, x):
      return torch.fft.rfft(x).abs()

  model, x = Model(), torch.randn(8)
  capture, program, _ = record(model, inputs=[x])
  assert ("opaque", "dtype complex64") in [c.results[0] for c in capture.calls]
  assert_same(run(capture, program, x), model(x))
  captured = capture_module(Model(), inputs=[torch.randn(8, dtype=torch.float64)])
  walk_exported_program(captured.program, RecordingCapture())

  class Abs(nn.Module):
    def forward(self, x):
      return x.abs()

  z = torch.randn(2, dtype=torch.complex64)
  capture, program, _ = record(Abs(), inputs=[z])
  assert capture.object_inputs == [("x", "dtype complex64")]
  assert_same(run(capture, program, z), z.abs())
  for wrong in (z.to(torch.complex128), torch.randn(3, dtype=torch.complex64), z[None], z.real):
    with pytest.raises(StructureError, match="x must be torch.complex64 of shape"):
      run(capture, program, wrong)


def test_strict_capture_is_named_when_non_strict_fails(monkeypatch):
  export = torch.export.export

  def only_strict(*args, strict=False, **kwargs):
    if not strict:
      raise RuntimeError("no")
    return export(*args, strict=True, **kwargs)

  monkeypatch.setattr(torch.export, "export", only_strict)
  model, x = Small().eval(), torch.randn(2, 3, 8, 8)
  capture, program, captured = record(model, inputs=[x])
  assert captured.mode == "strict"
  assert "non-strict capture failed" in captured.notes[0]
  assert_same(run(capture, program, x), model(x).detach())


def test_a_failed_capture_does_not_spoil_the_next():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
      self.steps = self.steps + 1
      return x if x.sum() > 0 else -x

  hooks = len(nn.modules.module._global_buffer_registration_hooks)
  with pytest.raises(FrontendError, match="K1102"):
    capture_module(Model(), inputs=[torch.ones(3)])
  assert len(nn.modules.module._global_buffer_registration_hooks) == hooks


def test_tensor_results_in_lists():
  class Model(nn.Module):
    def forward(self, x):
      a, b, c = x.split(2, 1)
      return torch.cat([c, a, b], 1), torch.stack(x.unbind(0))

  model, x = Model(), torch.randn(3, 6)
  capture, program, _ = record(model, inputs=[x])
  assert len(capture.calls[0].handles) == 3
  assert_same(run(capture, program, x), model(x))


def test_inputs_that_are_not_contiguous_keep_their_strides():
  model, x = Small().eval(), torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
  capture, program, _ = record(model, inputs=[x])
  assert capture.inputs[0][3] == [192, 1, 24, 3]
  assert_same(run(capture, program, x), model(x).detach())


def test_walk_does_not_touch_the_exported_program():
  model, x = Small().eval(), torch.randn(2, 3, 8, 8)
  captured = capture_module(model, inputs=[x])
  before = captured.program.graph_module.code
  streams = []
  for _ in range(2):
    capture = RecordingCapture()
    walk_exported_program(captured.program, capture)
    streams.append([(c.full_name, copy.deepcopy(c.args), c.results) for c in capture.calls])
  assert streams[0] == streams[1]
  assert captured.program.graph_module.code == before
