"""Both doors on the acceptance models (fewer layers where layers repeat): the stream computes the
model, whole and in the order captured."""

from __future__ import annotations

import pytest
import torch
from kiln.frontends import (Input, RecordingCapture, capture_module, make_binder, make_unflatten,
                            walk_exported_program)
from kiln.frontends.dynamo_frontend import compile_dynamo_graph
from torch.export import Dim
from torch.utils import _pytree as pytree

from replay import Replay
from tests.models import accuracy, zoo

CASES = [
  ("resnet18", {}), ("mobilenet_v3_large", {}), ("vit_b_16", {}),
  ("bert", {"layers": 2, "hidden": 128}),
  ("gpt2", {"layers": 2, "hidden": 128, "use_cache": False}),
  ("gpt2", {"layers": 2, "hidden": 128, "use_cache": True}),
]
IDS = ["resnet18", "mobilenet_v3_large", "vit_b_16", "bert", "gpt2", "gpt2_cache"]


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def case(request):
  """(name, model, make_inputs); one model at a time is held."""
  name, keywords = request.param
  return name, *zoo.build(name, **keywords)


def shapes_of(name, inputs):
  if not zoo.is_text(name):
    return ({0: Dim("batch", min=1, max=8)},)
  dims = {0: Dim("batch", min=1, max=8), 1: Dim("seq", min=16, max=256)}
  return {key: dims for key in inputs.kwargs}


def assert_same(got, expected):
  for a, b in zip(accuracy.leaves(got), accuracy.leaves(expected), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_export(case, dynamic):
  name, model, make_inputs = case
  example = make_inputs(2, 32, 0)
  captured = capture_module(model, example.args, example.kwargs,
                            dynamic_shapes=shapes_of(name, example) if dynamic else None)
  capture = RecordingCapture()
  program = walk_exported_program(captured.program, capture, captured.parameters)
  assert len(capture.symbols) == (0 if not dynamic else 2 if zoo.is_text(name) else 1)
  bind = make_binder(program.input_tree, len(program.inputs), program.parameters)
  notes = []
  rebuild = make_unflatten(program.output_tree, notes)
  for batch, seq, seed in [(1, 16, 1), (3, 50, 2)] if dynamic else [(2, 32, 1)]:
    inputs = make_inputs(batch, seq, seed)
    values = bind(inputs.args, inputs.kwargs)
    got = rebuild(Replay(capture, program)(values), program.symbol_values(values))
    with torch.no_grad():
      expected = model(*inputs.args, **inputs.kwargs)
    assert_same(got, expected)
    assert type(got) is type(expected)
    assert pytree.tree_structure(got) == pytree.tree_structure(expected)
  assert notes == []
  for call in capture.calls:
    assert call.name.startswith("aten::") and "assert" not in call.name
    assert all(meta[0] not in ("opaque", "scalar") for meta in call.results), call.full_name
    assert call.origin[1], f"{call.full_name} has no location"


def test_torch_compile(case):
  torch._dynamo.reset()
  name, model, make_inputs = case
  captures = []

  def lower(build):
    capture = RecordingCapture()
    program = build(capture)
    captures.append(capture)
    # eager's attention kernels choose their own strides where the composite is traced otherwise
    return Replay(capture, program)

  function = torch.compile(model, backend=lambda m, e: compile_dynamo_graph(m, e, lower))
  inputs = make_inputs(2, 32, 0)
  with torch.no_grad():
    got, expected = function(*inputs.args, **inputs.kwargs), model(*inputs.args, **inputs.kwargs)
  assert_same(got, expected)
  assert type(got) is type(expected)
  assert len(captures) == 1
  ops = captures[0].op_counts()
  broken = {"aten::addmm", "aten::mm", "aten::convolution", "aten::native_layer_norm",
            "aten::_native_batch_norm_legit_no_training", "aten::max_pool2d_with_indices",
            "aten::_scaled_dot_product_flash_attention_for_cpu"}
  if name == "gpt2":
    broken.remove("aten::addmm")  # its Conv1D is written as addmm
  assert not broken & set(ops)
  parameters = {name for name, _ in model.named_parameters()}
  assert {n for n, _, kind in captures[0].weights if kind == "parameter"} == parameters


def test_bert_from_kiln_inputs():
  model, make_inputs = zoo.build("bert", layers=1, hidden=64)
  spec = dict(min_shape=(1, 16), opt_shape=(4, 128), max_shape=(8, 256), dtype=torch.int64,
              dim_names=("batch", "seq"))
  names = ("input_ids", "attention_mask", "token_type_ids")
  captured = capture_module(model, inputs={n: Input(name=n, **spec) for n in names})
  capture = RecordingCapture()
  program = walk_exported_program(captured.program, capture, captured.parameters)
  assert sorted(capture.symbols.values()) == [(1, 8), (16, 256)]
  inputs = make_inputs(1, 77, 3)
  values = make_binder(program.input_tree, 3, program.parameters)((), inputs.kwargs)
  outputs = Replay(capture, program)(values)
  with torch.no_grad():
    torch.testing.assert_close(outputs[0], model(**inputs.kwargs).last_hidden_state,
                               rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name, kw", [
  ("resnet18", {}), ("mobilenet_v3_large", {}), ("vit_b_16", {}), ("bert", {"layers": 2}),
  ("gpt2", {"layers": 2})], ids=["resnet18", "mobilenet_v3_large", "vit_b_16", "bert", "gpt2"])
def test_zoo_outputs_can_be_trusted(name, kw):
  model, make_inputs = zoo.build(name, **kw)
  oracle = accuracy.Oracle(model, make_inputs(2, 32, 0), make_inputs(2, 32, 1))
  assert all(v.status == "ok" for v in oracle.check(oracle.eager))
  again, _ = zoo.build(name, **kw)
  for (key, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
    assert torch.equal(a, b), key
