"""kiln compile on .pt2 files: the same program as the export door's, without Python."""

import os
import pathlib
import re
import subprocess

import pytest
import torch
from torch.export import Dim

import kiln
from kir_text import graph
from tests.models import zoo

ROOT = pathlib.Path(__file__).resolve().parents[2]
KILN = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release")) / "bin/kiln"
LONG = pytest.mark.long


def compile_file(path, *options):
  target = path.with_suffix(".kiln")
  done = subprocess.run([str(KILN), "compile", str(path), "-o", str(target), *map(str, options)],
                        capture_output=True, text=True, timeout=600)
  return done, target


def compiled(path, *options):
  done, target = compile_file(path, *options)
  assert done.returncode == 0, done.stderr
  return target


def leaves(value):
  return [v for v in torch.utils._pytree.tree_leaves(value)]


def assert_equal(got, expected):
  got, expected = leaves(got), leaves(expected)
  assert len(got) == len(expected)
  for a, b in zip(got, expected):
    assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


class Nested(torch.nn.Module):
  """Tied weights, all kinds of constants, nested inputs and outputs, sizes as results."""

  def __init__(self):
    super().__init__()
    self.first = torch.nn.Linear(8, 4)
    self.second = torch.nn.Linear(8, 4)
    self.second.weight = self.first.weight
    self.register_buffer("kept", torch.ones(4), persistent=False)
    self.constant = torch.tensor([1.0, 2.0, 3.0, 4.0])

  def forward(self, x, more, flag=True):
    y = self.first(x) + self.kept * self.constant + self.second(x)
    z = y.reshape(x.shape[0] * 2, -1) if flag else y
    left, right = torch.split(y, 2, 1)
    return {"y": y, "z": (z * 2.0, x.shape[0] + 1), "t": y.transpose(0, 1)[1:],
            "m": y.masked_fill(y > 0, float("-inf")),
            "c": torch.cat([left, right, more["q"]], 1)}


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
  torch.manual_seed(0)
  batch = Dim("batch", min=2, max=64)
  model, inputs = Nested().eval(), (torch.randn(4, 8), {"q": torch.randn(4, 3)})
  shapes = {"x": {0: batch}, "more": {"q": {0: batch}}}
  program = torch.export.export(model, inputs, dynamic_shapes=shapes)
  path = tmp_path_factory.mktemp("pt2") / "nested.pt2"
  torch.export.save(program, path)
  return kiln.compile(program), path


def test_nested_inputs_and_outputs(nested):
  expected, path = nested
  loaded = kiln.load(compiled(path))
  for size in (2, 5):
    x, more = torch.randn(size, 8), {"q": torch.randn(size, 3)}
    assert_equal(loaded(x, more), expected(x, more))
    assert_equal(loaded(x=x, more=more), expected(x, more))
  with pytest.raises(kiln.Error):
    loaded(torch.randn(65, 8), {"q": torch.randn(65, 3)})


def test_keywords_are_not_given_by_position(tmp_path):
  class Model(torch.nn.Module):
    def forward(self, x, *, y):
      return x - y

  x, y = torch.ones(2), torch.full((2,), 3.0)
  program = torch.export.export(Model(), (x,), {"y": y})
  torch.export.save(program, tmp_path / "model.pt2")
  for door in (kiln.compile(program), kiln.load(compiled(tmp_path / "model.pt2"))):
    assert_equal(door(x, y=y), x - y)
    assert_equal(door(x=x, y=y), x - y)
    with pytest.raises(kiln.Error, match="K4101"):
      door(x, y)


def test_shapes_narrow_the_export(nested):
  expected, path = nested
  loaded = kiln.load(compiled(path, "--shape", "x=5x8"))
  x, more = torch.randn(5, 8), {"q": torch.randn(5, 3)}
  assert_equal(loaded(x, more), expected(x, more))
  with pytest.raises(kiln.Error):
    loaded(torch.randn(4, 8), {"q": torch.randn(4, 3)})
  for option, code in (("x=5x9", "K1144"), ("x=1x8", "K1144"), ("w=5x8", "K1144"), ("x=5y", "K1007"),
                       ("x=2x8:9x8:8x8", "K1007")):
    done, _ = compile_file(path, "--shape", option)
    assert done.returncode != 0 and code in done.stderr, (option, done.stderr)


def conditions(path):
  text = graph(path)
  return text[text.index("conditions {"):text.index("main(")]


class Conditions(torch.nn.Module):
  def forward(self, x, y):
    torch._check(x.shape[0] >= y.shape[0], lambda: "x is too short")
    torch._check(x.shape[0] % 3 != 1)
    scaled = x * 2 if y.shape[0] % 2 == 0 else x
    return scaled + 1, y + 1


@pytest.mark.parametrize("deferred", [False, True], ids=["guards", "asserts"])
def test_conditions_on_sizes_are_the_export_door_s(deferred, tmp_path):
  exported = torch.export.export(
    Conditions(), (torch.ones(6, 2), torch.ones(4, 2)),
    dynamic_shapes=({0: Dim.AUTO}, {0: Dim.AUTO}),
    prefer_deferred_runtime_asserts_over_guards=deferred)
  torch.export.save(exported, tmp_path / "model.pt2")
  target = compiled(tmp_path / "model.pt2")
  program = kiln.compile(exported)
  program.save(tmp_path / "door.kiln")

  assert conditions(target) == conditions(tmp_path / "door.kiln")
  assert conditions(target).count("\n") == 5, conditions(target)
  run = subprocess.run([str(KILN), "run", str(target), "--random"], capture_output=True, text=True)
  assert run.returncode == 0, run.stderr  # sizes that nobody gave are chosen to fit
  loaded = kiln.load(target)
  x, y = torch.randn(9, 2), torch.randn(6, 2)
  assert_equal(loaded(x, y), Conditions()(x, y))
  for rows, others in ((5, 6), (7, 6), (9, 5)):
    with pytest.raises(kiln.Error, match="K4106"):
      loaded(torch.ones(rows, 2), torch.ones(others, 2))


class Integers(torch.nn.Module):
  def forward(self, x, more):
    return x[:more["n"]] * more["n"], more["n"] + 1


def test_conditions_on_integers_are_the_export_door_s(tmp_path):
  exported = torch.export.export(Integers(), (torch.ones(6, 2), {"n": 4}),
                                 dynamic_shapes=({0: Dim.AUTO}, {"n": Dim.DYNAMIC}))
  assert any(" and " in text and "['n']" in text for text in exported._guards_code)
  torch.export.save(exported, tmp_path / "model.pt2")
  target = compiled(tmp_path / "model.pt2")
  kiln.compile(exported).save(tmp_path / "door.kiln")
  assert conditions(target) == conditions(tmp_path / "door.kiln")
  loaded, x = kiln.load(target), torch.randn(9, 2)
  assert_equal(loaded(x, {"n": 5}), Integers()(x, {"n": 5}))
  with pytest.raises(kiln.Error, match="K4106: .*L\\['more'\\]\\['n'\\]"):
    loaded(x, {"n": 10})


def test_damaged_files(nested, tmp_path):
  _, path = nested
  data = path.read_bytes()
  damaged = tmp_path / "damaged.pt2"
  for length in range(0, len(data), 4096):
    damaged.write_bytes(data[:length])
    done, _ = compile_file(damaged)
    assert done.returncode == 1 and re.search(r"K31\d\d", done.stderr), (length, done.stderr)


class Types(torch.nn.Module):
  def forward(self, x):
    return x.to(torch.complex64), (x * 3).to(torch.float8_e4m3fn).to(torch.float32)


def test_types_that_kiln_has_not_stay_in_torch(tmp_path):
  path, x = tmp_path / "types.pt2", torch.randn(2, 3)
  torch.export.save(torch.export.export(Types(), (x,)), path)
  assert_equal(kiln.load(str(compiled(path)))(x), Types()(x))


class States(torch.nn.Module):
  def __init__(self, used):
    super().__init__()
    self.lstm = torch.nn.LSTM(4, 3)
    self.used = used

  def forward(self, x):
    y, (h, c) = self.lstm(x)
    return y * 2, h * 2 if self.used else h, c


def test_hidden_states_of_an_lstm(tmp_path):
  path, x = tmp_path / "lstm.pt2", torch.randn(2, 5, 4)
  model = States(False).eval()
  torch.export.save(torch.export.export(model, (x,)), path)
  with torch.no_grad():
    expected = model(x)
  for got, wanted in zip(kiln.load(str(compiled(path)))(x), expected, strict=True):
    torch.testing.assert_close(got, wanted)
  torch.export.save(torch.export.export(States(True).eval(), (x,)), path)
  done, _ = compile_file(path)
  assert done.returncode != 0 and "K1140" in done.stderr and "LSTM" in done.stderr


def test_unknown_options_name_the_nearest(nested):
  done, _ = compile_file(nested[1], "--prescision", "fp32")
  assert done.returncode == 2 and "K1001" in done.stderr and "precision" in done.stderr
  for value, code in (("fp12", "K1002"), ("int8", "K1041")):
    done, _ = compile_file(nested[1], "--precision", value)
    assert done.returncode == 2 and code in done.stderr


#: By default what is quick; the models of the acceptance table whole in the long run.
MODELS = [("resnet50", "resnet50", {}, ()), ("bert_of_2_layers", "bert", {"layers": 2}, ()),
          *((label, name, keywords, LONG) for label, name, keywords in zoo.ACCEPTANCE
            if label != "resnet50")]


@pytest.mark.parametrize("name, keywords", [
  pytest.param(name, keywords, id=label, marks=marks) for label, name, keywords, marks in MODELS])
def test_models_are_the_export_door_s(name, keywords, tmp_path):
  model, make_inputs = zoo.build(name, **keywords)
  args, kwargs = make_inputs()
  with torch.no_grad():
    program = torch.export.export(model, args, kwargs)
  path = tmp_path / "model.pt2"
  torch.export.save(program, path)
  expected = kiln.compile(program)
  expected.save(tmp_path / "expected.kiln")
  target = compiled(path)
  assert graph(target) == graph(tmp_path / "expected.kiln")
  loaded = kiln.load(target)
  with torch.no_grad():
    assert_equal(loaded(*args, **kwargs), expected(*args, **kwargs))
