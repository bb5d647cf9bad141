"""16-bit precision: models lowered to it, and models that are half already."""

from __future__ import annotations

import copy
import json
import zipfile

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import kiln
from test_pt2_reader import compile_file
from tests.models import accuracy, zoo

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LONG = pytest.mark.long
#: By default what is quick; the acceptance models whole in the long run.
MODELS = [("mobilenet_v3_large", "mobilenet_v3_large", {}, ()),
          ("bert_of_2_layers", "bert", {"layers": 2}, ()),
          *((label, name, keywords, LONG) for label, name, keywords in zoo.ACCEPTANCE
            if label != "mobilenet_v3_large")]


def converted(value, dtype):
  return pytree.tree_map(
    lambda leaf: leaf.to(dtype) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
    else leaf, value)


def example(inputs):
  return list(inputs.args) or dict(inputs.kwargs)


def run(program, inputs):
  with torch.no_grad():
    return program(*inputs.args, **inputs.kwargs)


def assert_all_native(report):
  assert report.ops_native == report.ops_total and not report.fallbacks and report.segments == 1


@pytest.fixture(scope="module", params=[
  pytest.param(case, id=case[0], marks=case[3]) for case in MODELS])
def model_case(request):
  _, builder, keywords, _ = request.param
  model, make_inputs = zoo.build(builder, **keywords)
  inputs = make_inputs(1, 128, 0)
  return model, inputs, accuracy.Oracle(model, inputs, make_inputs(1, 128, 1))


@pytest.mark.parametrize("precision", DTYPES)
def test_models_are_right(model_case, precision):
  """Lowered, and cast by their owner: not worse than three times eager in that dtype."""
  model, inputs, oracle = model_case
  dtype = DTYPES[precision]
  half = copy.deepcopy(model).to(dtype)
  half_inputs = type(inputs)(*converted((inputs.args, inputs.kwargs), dtype))
  eager = run(half, half_inputs)

  lowered = kiln.compile(model, inputs=example(inputs), precision=precision)
  judged = accuracy.judge(run(lowered, inputs), converted(eager, torch.float32), oracle.truth,
                          oracle.other, accuracy.factor_for(dtype))
  accuracy.check(judged)
  assert_all_native(lowered.report)

  program = kiln.compile(half, inputs=example(half_inputs))
  accuracy.check(accuracy.judge(run(program, half_inputs), eager, oracle.truth, oracle.other))
  assert_all_native(program.report)


class Net(nn.Module):
  """A product, what follows it, what must not, and a residual sum."""

  def __init__(self):
    super().__init__()
    self.first = nn.Linear(32, 64)
    self.norm = nn.LayerNorm(64)
    self.second = nn.Linear(64, 64)

  def forward(self, x):
    y = self.norm(torch.nn.functional.gelu(self.first(x)))
    return torch.exp(y + self.second(y)).sum(-1)


@pytest.fixture
def net():
  torch.manual_seed(0)
  return Net().eval(), torch.randn(5, 32)


def error(got, want):
  return accuracy.relative_error(got, want.detach().double())


@torch.no_grad()
def test_report_says_what_stays_f32_and_why(net):
  model, x = net
  program = kiln.compile(model, inputs=[x], precision="bf16")
  precision = program.report.precision
  assert precision["asked"] == ["bf16"] and precision["storage"] == "bf16"
  rows = {row["op"]: row for row in precision["stays_f32"]}
  assert rows["exp"]["reason"] == "small errors grow in it" and rows["exp"]["count"] == 1
  assert "test_precision.py" in rows["exp"]["location"]
  if "linear" in rows:
    pytest.skip(f"no products in bf16 here: {rows['linear']['reason']}")
  for row in program.report.kernels:
    assert row["dtype"] == ("f32" if row["computes"] == "cast" else "bf16"), row
  text = str(program.report)
  assert "precision: asked for bf16" in text and "1 x exp stays f32: small errors grow" in text
  assert "precision" not in str(kiln.compile(model, inputs=[x]).report)
  # parts of 2^8 in the exponent of exp
  assert 1e-5 < error(program(x), model(x)) < 3e-2


@torch.no_grad()
def test_explain_says_the_same(net):
  model, x = net
  built = kiln.compile(model, inputs=[x], precision="bf16").report.precision
  explained = kiln.explain(model, inputs=[x], precision="bf16").precision
  assert explained["stays_f32"] == built["stays_f32"] and explained["storage"] == "bf16"


@torch.no_grad()
def test_weights_can_be_updated_and_files_keep_the_precision(net, tmp_path):
  model, x = net
  program = kiln.compile(model, inputs=[x], precision="bf16")
  want = program(x)
  program.save(tmp_path / "net.kiln")
  loaded = kiln.load(tmp_path / "net.kiln")
  assert torch.equal(loaded(x), want)
  assert loaded.report.precision == program.report.precision
  torch.manual_seed(1)
  other = Net().eval()
  program.update_weights(other.state_dict())
  assert torch.equal(program(x), kiln.compile(other, inputs=[x], precision="bf16")(x))
  assert not torch.equal(program(x), want)


def test_command_line(net, tmp_path):
  model, x = net
  path = tmp_path / "net.pt2"
  torch.export.save(torch.export.export(model, (x,)), path)
  report = tmp_path / "report.json"
  done, target = compile_file(path, "--precision", "bf16", "--report", report)
  assert done.returncode == 0, done.stderr
  assert json.loads(report.read_text())["precision"]["asked"] == ["bf16"]
  with torch.no_grad():
    assert torch.equal(kiln.load(target)(x), kiln.compile(model, inputs=[x], precision="bf16")(x))
  with zipfile.ZipFile(target) as archive:
    assert "bf16" in archive.read("graph.kir").decode()


class Masked(nn.Module):
  """A mask of the lowest f32, which is beyond both dtypes, and one multiplied by zero."""

  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(16, 16)

  def forward(self, x, keep):
    lowest = torch.finfo(torch.float32).min
    scores = self.linear(x)
    return (torch.softmax(scores.masked_fill(~keep, lowest), -1),
            torch.softmax(scores + (1 - keep.float()) * lowest, -1))


@torch.no_grad()
@pytest.mark.parametrize("precision", DTYPES)
def test_masks_stay_finite(precision):
  torch.manual_seed(0)
  model, x, keep = Masked().eval(), torch.randn(4, 16), torch.rand(4, 16) > 0.3
  keep[2] = False  # every score masked: an even row, no NaN
  program = kiln.compile(model, inputs=[x, keep], precision=precision)
  for got, want in zip(program(x, keep), model(x, keep)):
    torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-3)


class Mixed(nn.Module):
  """An f32 part in a half model, and an autocast region in an f32 model."""

  def __init__(self, autocast):
    super().__init__()
    self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)
    self.autocast = autocast

  def forward(self, x):
    if self.autocast is not None:
      with torch.autocast("cpu", dtype=self.autocast):
        y = self.second(torch.relu(self.first(x)))
      return torch.exp(y.float())
    y = self.first(x)
    wide = y.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
    return self.second(wide.to(y.dtype))


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
@pytest.mark.parametrize("autocast", [False, True], ids=["mixed", "autocast"])
def test_mixed_models(autocast, dtype):
  torch.manual_seed(0)
  model, x = Mixed(dtype if autocast else None).eval(), torch.randn(6, 32)
  truth = copy.deepcopy(model).double()
  truth.autocast = None
  if autocast:
    want = torch.exp(truth.second(torch.relu(truth.first(x.double()))))
  else:
    want = truth(x.double())
    model, x = model.to(dtype), x.to(dtype)
  program = kiln.compile(model, inputs=[x])
  eager = model(x)
  got = program(x)
  assert got.dtype == eager.dtype
  assert error(got, want) <= 3 * error(eager, want) + 1e-6
  assert_all_native(program.report)
