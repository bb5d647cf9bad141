"""Programs as TorchScript modules and `.ts` files: in this process, in a fresh one, and in C++."""

from __future__ import annotations

import collections
import copy
import io
import os
import subprocess

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import kiln
from damaged_files import damage
from pt2_cases import ROOT, cases, clone, run_python
from tests.models import zoo

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

APP = ROOT / "build" / "release" / "bin" / "libtorch_app"
SCALES = (0.5, 2.0)


def compiled(name):
  """(program, the model, args, kwargs) of a case of pt2_cases.py."""
  model, args, kwargs, dynamic_shapes = cases()[name]
  reference = copy.deepcopy(model)
  return (kiln.compile(model, inputs=args, kwargs=kwargs, dynamic_shapes=dynamic_shapes), reference,
          args, kwargs)


def check_module(module, reference, args, kwargs, calls=4):
  """Called alike several times, through the profiling runs of torch's executor and after them, both
  give and write the same."""
  with torch.no_grad():
    for _ in range(calls):
      given, expected = clone((args, kwargs)), clone((args, kwargs))
      torch.testing.assert_close(module(*given[0], **given[1]),
                                 reference(*expected[0], **expected[1]), rtol=1e-4, atol=1e-5)
      torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


def refused(call, code):
  with pytest.raises(kiln.Error) as error:
    call()
  assert error.value.code == code, error.value
  return str(error.value)


class Same(nn.Module):
  """What `function` computes."""

  def __init__(self, function):
    super().__init__()
    self.forward = function


def module_of(function, *args, **kwargs):
  return kiln.compile(Same(function), inputs=list(args), kwargs=kwargs).script_module()


# `nested` has a result that holds tensors and tuples under the keys of one dict.
EXPRESSIBLE = [name for name in cases() if name != "nested"]


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_round_trips(name, tmp_path):
  """Saved and loaded by torch and by Kiln, and saved again by both: always the same program."""
  program, reference, args, kwargs = compiled(name)
  check_module(copy.deepcopy(program).script_module(), copy.deepcopy(reference), args, kwargs)
  path = tmp_path / "model.ts"
  program.save(path)
  check_module(torch.jit.load(path), copy.deepcopy(reference), args, kwargs)
  check_module(kiln.load(path), copy.deepcopy(reference), args, kwargs)
  torch.jit.save(torch.jit.load(path), tmp_path / "by_torch.ts")
  check_module(kiln.load(tmp_path / "by_torch.ts"), copy.deepcopy(reference), args, kwargs)
  kiln.load(tmp_path / "by_torch.ts").save(tmp_path / "by_kiln.ts")
  check_module(torch.jit.load(tmp_path / "by_kiln.ts"), copy.deepcopy(reference), args, kwargs)
  check_module(kiln.load(tmp_path / "by_kiln.ts"), copy.deepcopy(reference), args, kwargs)


def test_other_files_become_script_modules(tmp_path):
  program, reference, args, kwargs = compiled("counting")
  program.save(tmp_path / "model.kiln")
  program.save(tmp_path / "model.pt2")
  for suffix in (".kiln", ".pt2"):
    loaded = kiln.load(tmp_path / f"model{suffix}")
    loaded.save(tmp_path / "model.ts")
    check_module(torch.jit.load(tmp_path / "model.ts"), copy.deepcopy(reference), args, kwargs)
  loaded = kiln.load(tmp_path / "model.ts")
  loaded.save(tmp_path / "again.pt2")
  check_module(kiln.load(tmp_path / "again.pt2"), copy.deepcopy(reference), args, kwargs)
  refused(lambda: loaded.save(tmp_path / "again.kiln"), "K1010")
  refused(lambda: program.save(tmp_path / "model.pt"), "K1010")
  refused(lambda: program.save(tmp_path / "model.ts", embed_fallback=False), "K1010")


# ---- arguments ----------------------------------------------------------------------------------


class Arguments(nn.Module):
  def forward(self, x, pair, parts, named, scale: float, flip: bool, mask=None, *, mode="plus",
              bias):
    y = x * scale + pair[0] - pair[1][0] + parts[0] * parts[1] + named["a"] * named["b"]
    if mask is not None:
      y = y * mask
    return (y + bias if mode == "plus" else y - bias) * (-1 if flip else 1)


def arguments():
  t = torch.randn
  return (t(2, 3), (t(3), [t(3)]), [t(2, 3), t(3)], {"a": t(3), "b": t(2, 3)}, 0.5, True), {
    "bias": t(3)}


def test_the_signature_is_the_model_s():
  args, kwargs = arguments()
  module = kiln.compile(Arguments(), inputs=[*args, None], kwargs=kwargs).script_module()
  schema = module.forward.schema
  assert [(a.name, str(a.type), a.default_value) for a in schema.arguments[1:]] == [
    ("x", "Tensor", None), ("pair", "Tuple[Tensor, List[Tensor]]", None),
    ("parts", "List[Tensor]", None), ("named", "Dict[str, Tensor]", None),
    ("scale", "float", None), ("flip", "bool", None), ("mask", "Optional[Tensor]", None),
    ("bias", "Tensor", None)]
  expected = Arguments()(*args, **kwargs)
  x, pair, parts, named, scale, flip = args
  for given, keywords in (
      ((*args, None), kwargs), ((*args, None, kwargs["bias"]), {}),
      ((), dict(x=x, pair=pair, parts=parts, named=named, scale=scale, flip=flip, mask=None,
                **kwargs)),
      ((x, pair), dict(parts=parts, named={"b": named["b"], "a": named["a"]}, flip=flip, mask=None,
                       scale=scale, **kwargs))):
    torch.testing.assert_close(module(*given, **keywords), expected)
  for wrong, text in (
      ({"scale": 0.25}, "scale was fixed at capture to 0.5"),
      ({"flip": False}, "flip was fixed at capture to true"),
      ({"mask": x}, "mask was fixed at capture to null"),
      ({"parts": parts[:1]}, "parts must be a list of 2"),
      ({"named": {"a": x, "c": x}}, "named has no key"),
      ({"named": {**named, "c": x}}, "named must be a dict of 2"),
      ({"pair": (x, [])}, r"pair\[1\] must be a list of 1")):
    given = dict(x=x, pair=pair, parts=parts, named=named, scale=scale, flip=flip, mask=None,
                 **kwargs)
    with pytest.raises(torch.jit.Error, match=f"K4101: {text}"):
      module(**{**given, **wrong})


def test_fixed_arguments_at_the_end_may_be_left_out():
  x = torch.randn(3)
  module = module_of(lambda x, scale, flip: x * scale, x, 0.5, True)
  assert [a.default_value for a in module.forward.schema.arguments[2:]] == [0.5, True]
  for given in ((), (0.5,), (0.5, True)):
    torch.testing.assert_close(module(x, *given), x * 0.5)


def test_numbers_that_vary():
  n = torch.export.Dim.DYNAMIC
  program = kiln.compile(torch.export.export(
    Same(lambda x, n: (x + n, n * 2, x.size(0))), (torch.randn(4), 7),
    dynamic_shapes=({0: n}, n)))
  module = program.script_module()
  for size, number in ((4, 7), (9, 3), (5, 12)):
    x = torch.randn(size)
    result = module(x, number)
    torch.testing.assert_close(result[0], x + number)
    assert result[1:] == (number * 2, size)


def test_names_that_the_text_needs_itself():
  """Arguments may have the names of what the module's code calls."""
  def forward(aten_, results, size, kiln_, annotate_, prim_, constant, max, len):
    return aten_ + results * size - kiln_ + annotate_, (prim_ * constant).flatten(0), max - len

  args = [torch.randn(2, 3) for _ in range(9)]
  module = module_of(forward, *args)
  assert [a.name for a in module.forward.schema.arguments[1:]] == [
    "aten_", "results", "size", "kiln_", "annotate_", "prim_", "constant", "max", "len"]
  buffer = io.BytesIO()
  torch.jit.save(module, buffer)
  buffer.seek(0)
  torch.testing.assert_close(torch.jit.load(buffer)(*args), forward(*args))


def test_fixed_values_of_all_kinds():
  def forward(x, text, none, infinite, no_number, negative, big, numbers):
    return x + 1

  values = ('a "quoted"\n\\text\\', None, float("-inf"), float("nan"), -3, 2**62, [1, 2])
  x = torch.randn(3)
  module = module_of(forward, x, *values)
  buffer = io.BytesIO()
  torch.jit.save(module, buffer)
  buffer.seek(0)
  module = torch.jit.load(buffer)
  torch.testing.assert_close(module(x, *values), x + 1)
  for i, other in enumerate(("a", x, float("inf"), 1.0, 3, 2**62 + 1, [2, 1])):
    changed = [*values]
    changed[i] = other
    with pytest.raises(torch.jit.Error, match="K4101"):
      module(x, *changed)


# ---- results ------------------------------------------------------------------------------------

Point = collections.namedtuple("Point", ["high", "count"])


def shape_of(value):
  """The nesting; a named tuple by its fields, since torch makes a class of its own for it."""
  if hasattr(value, "_fields"):
    return (value._fields, *map(shape_of, value))
  if isinstance(value, dict):
    return {key: shape_of(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return (type(value), *map(shape_of, value))
  return None


@pytest.mark.parametrize("function", [
  lambda x: [x + 1, x * 2],
  lambda x: {"a": x + 1, "b": {"c": x}["c"] * 2},
  lambda x: ((x + 1,), [[x * 2], [x * 3]]),
  lambda x: (x + 1, None, 3, 2.5, True, "text"),
  lambda x: [x + 1, None],
  lambda x: {1: x + 1, 5: x * 2},
  lambda x: (),
  lambda x: ([], {}, x + 1),
  lambda x: Point(x + 1, 4),
  lambda x: (x, x.t(), (x + 1).view(-1), x[1:, ::2], x.sum()),
], ids=["list", "dict", "tuples", "constants", "optionals", "integer_keys", "nothing", "empty",
        "named_tuple", "views"])
def test_nested_results(function):
  x = torch.randn(4, 3)
  module = module_of(function, x)
  expected = function(x)
  for _ in range(2):
    got = module(x)
    assert shape_of(got) == shape_of(expected)
    for mine, other in zip(pytree.tree_leaves(got), pytree.tree_leaves(expected)):
      if isinstance(other, torch.Tensor):
        torch.testing.assert_close(mine, other)
      else:
        assert type(mine) is type(other) and mine == other
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    module = torch.jit.load(buffer)
    kiln.load(module)


def test_results_have_no_derivative():
  """None that torch would make up: its backward() leaves the gradients of the arguments empty."""

  class Counts(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("calls", torch.zeros(3))

    def forward(self, x):
      self.calls += 1
      return x * self.calls

  x = torch.randn(4, 3, requires_grad=True)
  for module in (module_of(lambda x: x * 2, x), kiln.compile(Counts(), inputs=[x]).script_module()):
    for _ in range(3):  # TorchScript's executor writes the graph anew after the first calls
      assert not module(x).requires_grad


def test_results_that_are_views_share_memory():
  x = torch.randn(4, 3)
  same, turned = module_of(lambda x: (x, x.t()), x)(x)
  assert same.data_ptr() == x.data_ptr() == turned.data_ptr()
  assert turned.stride() == (1, 3)


def test_results_of_unknown_shape():
  """A `.pt2` file cannot hold these."""
  module = module_of(lambda x: (torch.nonzero(x > 0), (x > 0).sum().item()), torch.randn(7))
  for x in (torch.randn(7), torch.zeros(7), torch.ones(7)):
    found, count = module(x)
    assert torch.equal(found, torch.nonzero(x > 0)) and count == int((x > 0).sum())


def test_a_model_output_is_a_dict():
  from tests.models import zoo
  model, make_inputs = zoo.build("bert", layers=1)
  args, kwargs = make_inputs(seed=3)
  program = kiln.compile(model, inputs=args, kwargs=kwargs)
  module = program.script_module()
  with torch.no_grad():
    expected, got = program(*args, **kwargs), module(*args, **kwargs)
  assert list(got) == list(expected.keys())
  for key, value in got.items():
    assert torch.equal(value, expected[key])


def test_what_torchscript_cannot_express(tmp_path):
  x = torch.randn(3)

  def check(code, function, *args, **kwargs):
    program = kiln.compile(Same(function), inputs=list(args), kwargs=kwargs)
    refused(program.script_module, code)
    refused(lambda: program.save(tmp_path / "model.ts"), code)
    assert not os.listdir(tmp_path)

  check("K1019", lambda x: {"a": x + 1, "b": (x, x)}, x)
  check("K1019", lambda x: [x + 1, 3], x)
  check("K1019", lambda x: {"a": x + 1, 3: x + 2}, x)
  check("K1019", lambda x: x[0] + 1, [x, 3])
  check("K1019", lambda p: p.high + 1, Point(x, 3))
  check("K1019", lambda x: torch.view_as_real(x) + 1, x.to(torch.complex64))
  # names that torch itself changes or trips over when it writes and reads a module
  check("K1019", lambda CONSTANTS: CONSTANTS + 1, x)
  check("K1019", lambda annotate: annotate + 1, x)
  check("K1019", lambda inf: inf + 1, x)


# ---- buffers ------------------------------------------------------------------------------------


def test_buffers_are_the_module_s(tmp_path):
  program, reference, (x,), _ = compiled("counting")
  module = program.script_module()
  assert sorted(dict(module.named_buffers())) == ["calls", "inner.total"]
  assert sorted(module.state_dict()) == ["calls", "inner.total"]
  assert not list(module.parameters())
  with torch.no_grad():
    module(x)
    # the program's own tensors, as in an exported program
    assert program.calls.item() == 1 == module.state_dict()["calls"].item()
    program(x)
    assert module.calls.item() == 2
    for _ in range(2):
      reference(x)
    torch.jit.save(module, tmp_path / "model.ts")
    loaded, direct = torch.jit.load(tmp_path / "model.ts"), kiln.load(tmp_path / "model.ts")
    expected = reference(x)
    for other in (loaded, direct):
      assert other.calls.item() == 2
      torch.testing.assert_close(other(x), expected, rtol=1e-4, atol=1e-5)
      assert other.calls.item() == 3
    loaded.load_state_dict({"calls": torch.tensor(40), "inner.total": torch.zeros(4)})
    assert loaded(x)[1].item() == 82
    # a program of a module shares the module's buffers
    assert kiln.load(loaded)(x)[1].item() == 84 and loaded.calls.item() == 42


def test_buffers_survive_torch_s_optimisations():
  program, reference, (x,), _ = compiled("counting")
  frozen = torch.jit.freeze(program.script_module())
  check_module(frozen, reference, (x,), {})


def test_names_of_buffers():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.layers = nn.Sequential(nn.Linear(2, 2), nn.Module())
      self.layers[1].register_buffer("total", torch.zeros(2))
      self.register_buffer("program", torch.zeros(2))

    def forward(self, x):
      self.layers[1].total += x
      self.program -= x
      return self.layers[0](x) + self.layers[1].total * self.program

  model, x = Model().eval(), torch.randn(2)
  reference = copy.deepcopy(model)
  module = kiln.compile(model, inputs=[x]).script_module()
  assert sorted(module.state_dict()) == ["layers.1.total", "program"]
  buffer = io.BytesIO()
  torch.jit.save(module, buffer)
  buffer.seek(0)
  loaded = torch.jit.load(buffer)
  check_module(loaded, reference, (x,), {})
  assert kiln.load(loaded).program.equal(reference.program)


# ---- inside TorchScript -------------------------------------------------------------------------


def test_as_a_submodule(tmp_path):
  program, reference, args, _ = compiled("dynamic")

  class Outer(nn.Module):
    def __init__(self, inner):
      super().__init__()
      self.inner = inner

    def forward(self, x):
      return self.inner(x * 2) + 1

  outer = torch.jit.script(Outer(program.script_module()))
  check_module(outer, Outer(reference), args, {})
  torch.jit.save(outer, tmp_path / "outer.ts")
  check_module(torch.jit.load(tmp_path / "outer.ts"), Outer(reference), args, {})
  refused(lambda: kiln.load(tmp_path / "outer.ts"), "K3124")


def test_modules_that_are_none(tmp_path):
  program, _, args, _ = compiled("static")
  plain = torch.jit.script(nn.Linear(2, 2))
  refused(lambda: kiln.load(plain), "K3124")
  changed = program.script_module()
  changed.define("def other(self, x: Tensor):\n  return x\n")
  refused(lambda: kiln.load(changed), "K3124")
  (tmp_path / "text.ts").write_text("not a zip")
  (tmp_path / "folder.ts").mkdir()
  torch.save(args, tmp_path / "tensors.ts")
  program.save(tmp_path / "exported.pt2")
  os.rename(tmp_path / "exported.pt2", tmp_path / "exported.ts")
  for name, code in (("text", "K3104"), ("folder", "K3004"), ("missing", "K3001"),
                     ("tensors", "K3122"), ("exported", "K3122")):
    refused(lambda: kiln.load(tmp_path / f"{name}.ts"), code)


def test_errors_of_a_run_have_kiln_s_code():
  program, _, (x,), _ = compiled("dynamic")
  module = program.script_module()
  for wrong, code in ((x.double(), "K4102"), (x[0], "K4104"), (x[:, :7], "K4105")):
    with pytest.raises(RuntimeError, match=code):
      module(wrong)


@torch.library.custom_op("kiln_test_ts::shift", mutates_args=())
def shift(x: torch.Tensor) -> torch.Tensor:
  return torch.roll(x, 1, -1)


@shift.register_fake
def _(x):
  return torch.empty_like(x)


def test_operators_outside_the_list_need_leave(tmp_path):
  x = torch.randn(3, 5)
  program = kiln.compile(Same(lambda x: torch.ops.kiln_test_ts.shift(torch.relu(x)) + 1), inputs=[x])
  path = tmp_path / "model.ts"
  program.save(path)
  del program  # else the file's program is found in memory
  assert "kiln_test_ts::shift" in refused(lambda: kiln.load(path), "K3301")
  with pytest.raises(RuntimeError, match="K3301"):
    torch.jit.load(path)
  expected = torch.roll(torch.relu(x), 1, -1) + 1
  for loaded in (kiln.load(path, allow_ops=["kiln_test_ts::shift"]), kiln.load(path, trust=True)):
    torch.testing.assert_close(loaded(x), expected)
  with kiln.trusting(allow_ops=["kiln_test_ts::shift"]):
    torch.testing.assert_close(torch.jit.load(path)(x), expected)


# ---- files --------------------------------------------------------------------------------------


def test_weights_are_stored_once(tmp_path):
  model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
  weights = sum(p.numel() * 4 for p in model.parameters())
  kiln.compile(model, inputs=[torch.randn(2, 256)]).save(tmp_path / "model.ts")
  assert os.path.getsize(tmp_path / "model.ts") < weights + (64 << 10)


RIGHT = {"kiln": """
def is_right(name):
  try:
    program = kiln.load(name)
  except kiln.Error:
    return False
  x, expected = torch.load(path + ".xy", weights_only=True)
  torch.testing.assert_close(program(x), expected)
  return True
""", "torch": """
def is_right(name):
  try:
    torch.jit.load(name)
  except Exception:
    return False
  return True
"""}


@pytest.mark.parametrize("load", ["kiln", "torch"])
@pytest.mark.parametrize("flips, step", [(60, 8192),
                                         pytest.param(2000, 1024, marks=pytest.mark.long)])
def test_damaged_files(tmp_path, flips, step, load):
  """Torch's own reader checks no checksums, so what it takes may compute something else; it must not
  crash in Kiln's class."""
  program, _, (x,), _ = compiled("static")
  path = tmp_path / "model.ts"
  program.save(path)
  torch.save((x, program(x)), f"{path}.xy")
  # torch's reader may take a length of 2 GB from a damaged pickle, and fills the memory first.
  errors, _ = damage(path, flips, step, RIGHT[load], seconds=2 if load == "kiln" else 20)
  assert errors > 0.5 * flips or load == "torch"


# ---- fresh processes ----------------------------------------------------------------------------

FRESH = """
import sys, torch, kiln
for name in sys.argv[2:]:
  for load in (torch.jit.load, kiln.load):
    module = load(f"{sys.argv[1]}/{name}.ts")
    for args, kwargs, expected in torch.load(f"{sys.argv[1]}/{name}.pt", weights_only=True):
      with torch.no_grad():
        got = module(*args, **kwargs)
      torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
  print("right", name)
"""


def test_a_fresh_process_runs_them(tmp_path):
  for name in EXPRESSIBLE:
    program, reference, args, kwargs = compiled(name)
    program.save(tmp_path / f"{name}.ts")
    given = clone((args, kwargs))
    with torch.no_grad():
      torch.save([(args, kwargs, reference(*given[0], **given[1]))], tmp_path / f"{name}.pt")
  done = run_python(FRESH, tmp_path, *EXPRESSIBLE)
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.count("right") == len(EXPRESSIBLE)


needs_app = pytest.mark.skipif(not APP.exists(), reason=f"{APP} is not built")


def run_app(folder, model, inputs):
  """The results of examples/libtorch_app, a C++ program."""
  torch.save(list(inputs), folder / "inputs.pt")
  done = subprocess.run([APP, model, folder / "inputs.pt", folder / "outputs.pt"],
                        capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]
  return torch.load(folder / "outputs.pt", weights_only=False)


@needs_app
@pytest.mark.parametrize("suffix", [".ts", ".kiln"])
@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_a_libtorch_program_runs_them(tmp_path, name, suffix):
  """Bit for bit what Python computes; `hybrid` has an operator that runs in ATen."""
  program, _, args, _ = compiled(name)
  program.save(tmp_path / f"model{suffix}")
  got = run_app(tmp_path, tmp_path / f"model{suffix}", args)
  with torch.no_grad():
    expected = pytree.tree_leaves(program(*clone(args)))
  assert len(got) == len(expected)
  for mine, other in zip(got, expected):
    assert torch.equal(mine, other)
  if name == "hybrid":
    assert [row["op"] for row in program.report.fallbacks] == ["aten::logcumsumexp"]


@needs_app
def test_a_libtorch_program_says_what_is_wrong(tmp_path):
  (tmp_path / "model.kiln").write_text("not a program")
  torch.save([torch.randn(2)], tmp_path / "inputs.pt")
  for model, text in (("model.kiln", "K3103"), ("missing.kiln", "K3001")):
    done = subprocess.run([APP, tmp_path / model, tmp_path / "inputs.pt", tmp_path / "out.pt"],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and text in done.stderr


TS_COMPILE = ROOT / "build" / "release" / "bin" / "ts_compile"


@pytest.mark.skipif(not TS_COMPILE.exists(), reason=f"{TS_COMPILE} is not built")
def test_a_cpp_program_compiles_under_the_names_of_torch_tensorrt(tmp_path):
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(8, 4)
      self.register_buffer("calls", torch.zeros(4))

    def forward(self, x, y, scale: float = 2.0):
      self.calls += 1
      return torch.logcumsumexp(torch.relu(self.linear(x)) * scale + y, 0), self.calls * 2

  def compile_it(*sizes):
    return subprocess.run([TS_COMPILE, tmp_path / "model.ts", tmp_path / "compiled.ts",
                           tmp_path / "engine.kiln", *sizes], capture_output=True, text=True,
                          timeout=300)

  reference = torch.jit.script(Model().eval())
  torch.jit.save(reference, tmp_path / "model.ts")
  done = compile_it("1x8:3x8:16x8", "4")
  assert done.returncode == 0, done.stderr[-2000:]
  assert "aten::logcumsumexp" in done.stdout and "Kiln" in done.stdout
  for load, name in ((torch.jit.load, "compiled.ts"), (kiln.load, "engine.kiln")):
    module = load(tmp_path / name)
    for rows in (3, 9):
      args = torch.randn(rows, 8), torch.randn(4)
      expected = torch.jit.load(tmp_path / "model.ts")
      with torch.no_grad():
        expected.calls.fill_(module.calls[0].item())
        torch.testing.assert_close(module(*args), expected(*args), rtol=1e-4, atol=1e-5)
  program = kiln.load(tmp_path / "engine.kiln")
  program.update_weights(reference.state_dict())  # the names are the module's
  for sizes, text in ((("1x8",), "no input is given for argument y"), (("1x7", "4"), "K1146"),
                      (("4x8:1x8:2x8", "4"), "no range")):
    done = compile_it(*sizes)
    assert done.returncode == 1 and text in done.stderr, done.stderr


@pytest.mark.long
@needs_app
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large", "vit_b_16", "bert", "gpt2"])
def test_models_travel(tmp_path, name):
  """Traced, compiled and saved: a fresh process and a C++ program compute the same bits."""
  model, make_inputs = zoo.build(name, **({"use_cache": False} if name == "gpt2" else {}))
  args, kwargs = make_inputs()
  traced = zoo.traced(model, args, kwargs)
  program = kiln.compile(traced, inputs=list(args) or dict(kwargs))
  program.save(tmp_path / f"{name}.ts")
  with torch.no_grad():
    expected = pytree.tree_leaves(program(*args, **kwargs))
    torch.save([((), kwargs, program(**kwargs)) if kwargs else (args, {}, program(*args))],
               tmp_path / f"{name}.pt")
  names = [argument.name for argument in traced.forward.schema.arguments[1:]]
  got = run_app(tmp_path, tmp_path / f"{name}.ts", args or [kwargs[n] for n in names])
  assert len(got) == len(expected)
  assert all(map(torch.equal, got, expected))
  done = run_python(FRESH, tmp_path, name)
  assert done.returncode == 0, done.stderr[-3000:]
