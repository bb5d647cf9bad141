"""Programs as ExportedPrograms and `.pt2` files: in this process, in a fresh one, and in C++."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess

import pytest
import torch
from torch import nn

import kiln
import pt2_cases
from damaged_files import damage
from pt2_cases import ROOT, cases, clone, run_python

KILN_RUN = torch.ops.kiln.run.default
KILN_RUN_MUTATING = torch.ops.kiln.run_.default


def compiled(name, **options):
  model, args, kwargs, dynamic_shapes = cases()[name]
  reference = copy.deepcopy(model)
  program = kiln.compile(model, inputs=args, kwargs=kwargs, dynamic_shapes=dynamic_shapes, **options)
  return program, reference, args, kwargs


def operators(exported):
  return [node.target for node in exported.graph.nodes if node.op == "call_function"]


def check_module(module, reference, args, kwargs, calls=2):
  """Both are called alike, several times, and must give and write the same."""
  with torch.no_grad():
    for _ in range(calls):
      given, expected = clone((args, kwargs)), clone((args, kwargs))
      torch.testing.assert_close(module(*given[0], **given[1]),
                                 reference(*expected[0], **expected[1]), rtol=1e-4, atol=1e-5)
      torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(cases()))
def test_exported_program_is_one_call(name):
  program, reference, args, kwargs = compiled(name)
  exported = program.exported_program()
  calls = [op for op in operators(exported) if isinstance(op, torch._ops.OpOverload)
           and not str(op).startswith(("aten.sym_", "aten.empty_strided"))]
  if name == "sizes":
    assert str(calls.pop()) == "aten.reshape.default"  # one result is a view of another
  assert calls == [KILN_RUN_MUTATING if name in ("counting", "writing") else KILN_RUN]
  assert not list(exported.parameters())
  check_module(exported.module(), reference, args, kwargs)


@pytest.mark.parametrize("name", list(cases()))
def test_round_trips(name, tmp_path):
  """Saved and loaded, decomposed, exported again and saved again: always the same program."""
  program, reference, args, kwargs = compiled(name)
  path = tmp_path / "model.pt2"
  kiln.save(program, path)
  check_module(torch.export.load(path).module(), copy.deepcopy(reference), args, kwargs)
  check_module(kiln.load(path), copy.deepcopy(reference), args, kwargs)
  check_module(kiln.load(torch.export.load(path)), copy.deepcopy(reference), args, kwargs)
  # a module shares its buffers with the exported program, so each gets a program of its own
  decomposed = torch.export.load(path).run_decompositions()
  torch.export.save(decomposed, tmp_path / "decomposed.pt2")
  check_module(decomposed.module(), copy.deepcopy(reference), args, kwargs)
  check_module(torch.export.load(tmp_path / "decomposed.pt2").module(), copy.deepcopy(reference),
               args, kwargs)
  again = torch.export.export(torch.export.load(path).module(), *clone((args, kwargs)),
                              dynamic_shapes=cases()[name][3])
  torch.export.save(again, tmp_path / "again.pt2")
  check_module(kiln.load(tmp_path / "again.pt2"), copy.deepcopy(reference), args, kwargs)
  kiln.load(path).save(tmp_path / "resaved.pt2")
  check_module(kiln.load(tmp_path / "resaved.pt2"), copy.deepcopy(reference), args, kwargs)


def test_dynamic_sizes_and_their_ranges(tmp_path):
  model, (x, y), _, dynamic_shapes = cases()["sizes"]
  exported = torch.export.export(model, (x, y), dynamic_shapes=dynamic_shapes)
  program = kiln.compile(exported)
  program.save(tmp_path / "model.pt2")
  loaded = torch.export.load(tmp_path / "model.pt2")
  assert sorted(str(r) for r in loaded.range_constraints.values()) == \
    sorted(str(r) for r in exported.range_constraints.values())
  module = loaded.module()
  with torch.no_grad():
    for rows, length in ((1, 4), (2, 11), (64, 5), (3, 100)):
      x, y = torch.randn(rows, 3, length), torch.randn(rows, 7)
      torch.testing.assert_close(module(x, y), model(x, y), rtol=1e-4, atol=1e-5)
    for wrong in ((torch.randn(65, 3, 9), torch.randn(65, 7)),
                  (torch.randn(2, 3, 101), torch.randn(2, 7)),
                  (torch.randn(2, 3, 9), torch.randn(3, 7))):
      with pytest.raises((RuntimeError, AssertionError)):
        module(*wrong)
  # the guards of the operator know the program's ranges too
  wide = torch.export.Dim("batch", min=1, max=1000)
  with pytest.raises(Exception, match="batch"):
    torch.export.export(module, (torch.randn(2, 3, 9), torch.randn(2, 7)),
                        dynamic_shapes=({0: wide, 2: torch.export.Dim("n", min=4, max=100)},
                                        {0: wide}))


def test_as_a_submodule(tmp_path):
  program, reference, args, _ = compiled("dynamic")
  program.save(tmp_path / "model.pt2")

  class Outer(nn.Module):
    def __init__(self, inner):
      super().__init__()
      self.inner = inner

    def forward(self, x):
      return self.inner(x * 2) + 1

  outer = Outer(torch.export.load(tmp_path / "model.pt2").module())
  check_module(outer, Outer(reference), args, {})
  exported = torch.export.export(outer, args)
  check_module(exported.module(), Outer(reference), args, {})
  torch.export.save(exported, tmp_path / "outer.pt2")
  with pytest.raises(kiln.Error) as error:
    kiln.load(tmp_path / "outer.pt2")
  assert error.value.code == "K3123"


def test_weights_are_stored_once(tmp_path):
  model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
  weights = sum(p.numel() * 4 for p in model.parameters())
  program = kiln.compile(model, inputs=[torch.randn(2, 256)])
  program.save(tmp_path / "model.pt2")
  assert os.path.getsize(tmp_path / "model.pt2") < weights + (64 << 10)
  (description, data, tensors), _ = program.script_object().__getstate__()
  assert sum(t.nbytes for t in tensors) == weights and data.nbytes < 64 << 10
  # the user's own memory, not a copy of it
  assert {t.data_ptr() for t in tensors} == {p.data_ptr() for p in model.parameters()}
  assert "0.weight" in description


def test_copies_share_one_program():
  program, reference, args, _ = compiled("dynamic")
  module = program.exported_program().module()
  with torch.no_grad():
    program(*args)
    before = program.bindings_made
    other = copy.deepcopy(module)
    torch.testing.assert_close(other(*args), reference(*args))
  assert program.bindings_made == before


# ---- what may be in a file ----------------------------------------------------------------------


def test_fallbacks_run_inside_the_program(tmp_path):
  program, reference, args, _ = compiled("hybrid")
  assert program.report.fallbacks
  program.save(tmp_path / "model.pt2")
  loaded = torch.export.load(tmp_path / "model.pt2")
  assert operators(loaded)[0] == KILN_RUN and len(loaded.constants) == 1
  check_module(loaded.module(), reference, args, {})


@pytest.mark.parametrize("name", ["hybrid", "nested"])
def test_the_open_form_shows_the_fallbacks(name, tmp_path):
  program, reference, args, kwargs = compiled(name)
  program.save(tmp_path / "model.pt2", embed_fallback=False)
  loaded = torch.export.load(tmp_path / "model.pt2")
  names = [str(op) for op in operators(loaded)]
  if name == "hybrid":
    assert names.count("kiln.run.default") == 2 and "aten.logcumsumexp.default" in names
    assert not any("linear" in n or "tanh" in n for n in names)
    with torch.no_grad():
      x = torch.randn(17, 16)
      torch.testing.assert_close(loaded.module()(x), reference(x), rtol=1e-4, atol=1e-5)
  else:
    assert names.count("kiln.run.default") == 1
  assert not list(loaded.parameters())
  check_module(loaded.module(), reference, args, kwargs)
  check_module(loaded.run_decompositions().module(), reference, args, kwargs)
  if name == "hybrid":
    with pytest.raises(kiln.Error) as error:
      kiln.load(tmp_path / "model.pt2")
    assert error.value.code == "K3123"


def test_the_open_form_of_a_loaded_program_is_refused(tmp_path):
  program, _, _, _ = compiled("static")
  program.save(tmp_path / "model.kiln")
  loaded = kiln.load(tmp_path / "model.kiln")
  with pytest.raises(kiln.Error) as error:
    loaded.save(tmp_path / "model.pt2", embed_fallback=False)
  assert error.value.code == "K1004"
  with pytest.raises(kiln.Error) as error:
    program.save(tmp_path / "model.kiln", embed_fallback=False)
  assert error.value.code == "K1010"


def test_a_kiln_file_becomes_a_pt2_file(tmp_path):
  program, reference, args, kwargs = compiled("nested")
  program.save(tmp_path / "model.kiln")
  kiln.load(tmp_path / "model.kiln").save(tmp_path / "model.pt2")
  check_module(torch.export.load(tmp_path / "model.pt2").module(), reference, args, kwargs)


@torch.library.custom_op("kiln_test_pt2::shift", mutates_args=())
def shift(x: torch.Tensor) -> torch.Tensor:
  return torch.roll(x, 1, -1)


@shift.register_fake
def _(x):
  return torch.empty_like(x)


def test_operators_outside_the_list_need_leave(tmp_path):
  class Model(nn.Module):
    def forward(self, x):
      return torch.ops.kiln_test_pt2.shift(torch.relu(x)) + 1

  x = torch.randn(3, 5)
  program = kiln.compile(Model(), inputs=[x])
  path = tmp_path / "model.pt2"
  program.save(path)
  del program  # else the file's program is found in memory
  with pytest.raises(kiln.Error) as error:
    kiln.load(path)
  assert error.value.code == "K3301" and "kiln_test_pt2::shift" in str(error.value)
  with pytest.raises(RuntimeError):
    torch.export.load(path)
  for loaded in (kiln.load(path, allow_ops=["kiln_test_pt2::shift"]), kiln.load(path, trust=True)):
    torch.testing.assert_close(loaded(x), Model()(x))
  with kiln.trusting(allow_ops=["kiln_test_pt2::shift"]):
    module = torch.export.load(path).module()
  torch.testing.assert_close(module(x), Model()(x))


def test_states_that_are_none():
  program, _, _, _ = compiled("static")
  (description, data, weights), _ = program.script_object().__getstate__()
  other = [w.clone() for w in weights]
  flipped = data.clone()
  flipped[len(flipped) // 2] ^= 1
  changed = [w.clone() for w in weights]
  changed[0].view(-1)[0] += 1
  bad = [
    ("", data, weights, "K301"),
    ("{}", data, weights, "K301"),
    (description.replace('"format":1', '"format":2'), data, weights, "K3108"),
    (description, data[:0], other, "K31"),
    (description, data[:1000], other, "K31"),
    (description, flipped, other, "K31"),
    (description, data.to(torch.int32), other, "K3121"),
    (description, data.view(1, -1), other, "K3121"),
    (description, data, other[:-1], "K3121"),
    (description, data, other[::-1], "K3121"),
    (description, data, changed, "K3121"),
    (description, data, [w.double() for w in other], "K3121"),
    (description, data, [w.to_sparse() if w.dim() == 2 else w for w in other], "K3121"),
    ('{"format":1,"weights":[]}', data, [], "K3112"),
  ]
  for text, program_bytes, tensors, code in bad:
    with pytest.raises(RuntimeError) as error:
      torch.classes.kiln.Program(text, program_bytes, tensors)
    assert code in str(error.value), (code, str(error.value))
  good = torch.classes.kiln.Program(description, data.clone(), other)
  x = torch.randn(4, 8)
  torch.testing.assert_close(torch.ops.kiln.run([x], [], good)[0], program(x))


def test_wrong_calls_of_the_operators():
  program, _, (x,), _ = compiled("dynamic")
  holder = program.script_object()
  for inputs, numbers, entry, code in (([], [], 0, "K4101"), ([x, x], [], 0, "K4101"),
                                       ([x], [3], 0, "K4101"), ([x.double()], [], 0, "K4102"),
                                       ([x[0]], [], 0, "K4104"), ([x[:, :7]], [], 0, "K4105"),
                                       ([x.to("meta")], [], 1, "K4120"),
                                       ([x], [], 1, "K4120")):
    with pytest.raises(RuntimeError) as error:
      torch.ops.kiln.run(inputs, numbers, holder, entry)
    assert code in str(error.value)
  mutating, _, args, _ = compiled("writing")
  holder = mutating.script_object()
  with pytest.raises(RuntimeError, match="run_"):
    torch.ops.kiln.run(list(args), [], holder)
  with pytest.raises(RuntimeError, match="K4101"):
    torch.ops.kiln.run_([args[1]], [args[0]], [], holder)
  out = torch.empty(4, 3).t()  # results may have any strides
  state, expected = args[1].clone(), args[1].clone()
  torch.ops.kiln.run_([state, out], [args[0]], [], holder)
  torch.testing.assert_close(out, pt2_cases.Writing()(args[0], expected))
  torch.testing.assert_close(state, expected)


# ---- results that only PyTorch understands -------------------------------------------------------


class Masks(nn.Module):
  """Result sizes that only running reveals: one alone, one shared by two results, one in sums only
  (`aten::cat` has a dim u0 + u1), and strides that depend on one (those of nonzero)."""

  def forward(self, x):
    low, high = x[x < 0], x[x > 0]
    return torch.nonzero(x > 0), high * 2, torch.tanh(x), torch.cat([low, low])


class Spectrum(nn.Module):
  def forward(self, x):
    return torch.fft.rfft(x), x + 1


class ComplexArgument(nn.Module):
  def forward(self, z, x):
    return z * x, z.real + x


class CountedSpectrum(nn.Module):
  def __init__(self):
    super().__init__()
    self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

  def forward(self, x):
    self.calls.add_(1)
    return torch.fft.rfft(x) * self.calls


ROWS = torch.export.Dim("rows", min=2, max=32)
OPAQUE = {
  "masks": (Masks, lambda n: (torch.randn(n, 3),), ({0: ROWS},), ["u*,2 i64", "u* f32", "s*,3 f32",
                                                                 "u* f32"]),
  "spectrum": (Spectrum, lambda n: (torch.randn(n, 9),), ({0: ROWS},), ["s*,5 c64", "s*,9 f32"]),
  "argument": (ComplexArgument,
               lambda n: (torch.randn(4, dtype=torch.complex64), torch.randn(n, 4)),
               (None, {0: ROWS}), ["s*,4 c64", "s*,4 f32"]),
  "writing": (CountedSpectrum, lambda n: (torch.randn(n, 9),), ({0: ROWS},), ["s*,5 c64"]),
}


def described(value):
  names = {torch.complex64: "c64", torch.float32: "f32", torch.int64: "i64"}
  dims = ",".join(d if d.isdigit() else d[0] + "*" for d in map(str, value.shape))
  return f"{dims} {names[value.dtype]}"


@pytest.mark.parametrize("name", list(OPAQUE))
def test_results_that_only_pytorch_understands(name, tmp_path):
  make, arguments, shapes, types = OPAQUE[name]
  program = kiln.compile(torch.export.export(make(), arguments(4), dynamic_shapes=shapes))
  path = tmp_path / "model.pt2"
  program.save(path)
  loaded = torch.export.load(path)
  results = loaded.graph.output_node().args[0]
  assert [described(n.meta["val"]) for n in results[-len(types):]] == types
  decomposed = torch.export.load(path).run_decompositions()
  torch.export.save(decomposed, tmp_path / "decomposed.pt2")
  again = torch.export.export(torch.export.load(path).module(), arguments(4), dynamic_shapes=shapes)
  torch.export.save(again, tmp_path / "again.pt2")
  for module in (loaded.module(), kiln.load(path), decomposed.module(),
                 torch.export.load(tmp_path / "decomposed.pt2").module(), again.module(),
                 kiln.load(tmp_path / "again.pt2")):
    reference = make()
    for rows in (4, 7):
      args = arguments(rows)
      torch.testing.assert_close(module(*args), reference(*args))


def test_results_that_a_file_cannot_promise(tmp_path):
  class Writing(nn.Module):
    def forward(self, x):
      x.add_(1)
      return torch.nonzero(x > 0)

  class Sparse(nn.Module):
    def forward(self, x):
      return torch.relu(x).to_sparse()

  for make, what in ((Writing, "writes its arguments or buffers and has a result whose shape"),
                     (Sparse, "a result whose type was not captured: output_0")):
    program = kiln.compile(make(), inputs=[torch.randn(5)])
    with pytest.raises(kiln.Error, match=f"K1014: .*{what}"):
      program.save(tmp_path / "model.pt2")
    assert not os.listdir(tmp_path)


def test_the_operator_on_plain_meta_tensors():
  """They have no tracer that a size could belong to."""
  program = kiln.compile(Spectrum(), inputs=[torch.randn(2, 9)])
  results = torch.ops.kiln.run([torch.empty(2, 9, device="meta")], [], program.script_object())
  assert [(tuple(r.shape), r.dtype, r.device.type) for r in results] == [
    ((2, 5), torch.complex64, "meta"), ((2, 9), torch.float32, "meta")]
  program = kiln.compile(Masks(), inputs=[torch.randn(2, 3)])
  with pytest.raises(RuntimeError, match="data-dependent"):
    torch.ops.kiln.run([torch.empty(2, 3, device="meta")], [], program.script_object())


# ---- files --------------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
  program, _, _, _ = compiled("static")
  path = tmp_path / "model.pt2"
  program.save(path)
  before = path.read_bytes()

  def fail(exported, name, **_):
    with open(name, "wb") as file:
      file.write(b"half")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(torch.export, "save", fail)
  with pytest.raises(kiln.Error) as error:
    program.save(path)
  assert error.value.code == "K3003" and path.read_bytes() == before
  assert os.listdir(tmp_path) == ["model.pt2"]
  with pytest.raises(kiln.Error) as error:
    program.save(tmp_path / "missing" / "model.pt2")
  assert error.value.code == "K3003"


def test_files_that_are_none(tmp_path):
  plain = torch.export.export(nn.Linear(2, 2), (torch.randn(1, 2),))
  torch.export.save(plain, tmp_path / "plain.pt2")
  (tmp_path / "text.pt2").write_text("not a zip")
  (tmp_path / "folder.pt2").mkdir()
  for name, code in (("plain", "K3123"), ("text", "K3104"), ("folder", "K3004"),
                     ("missing", "K3001")):
    with pytest.raises(kiln.Error) as error:
      kiln.load(tmp_path / f"{name}.pt2")
    assert error.value.code == code


RIGHT = """
def is_right(name):
  try:
    program = kiln.load(name)
  except kiln.Error as error:
    assert error.code.startswith("K"), error
    return False
  x, expected = (torch.load(path + end, weights_only=True) for end in (".x", ".y"))
  torch.testing.assert_close(program(x), expected)
  return True
"""


@pytest.mark.parametrize("flips, step", [(60, 8192),
                                         pytest.param(2000, 1024, marks=pytest.mark.long)])
def test_damaged_files(tmp_path, flips, step):
  program, _, (x,), _ = compiled("static")
  path = tmp_path / "model.pt2"
  program.save(path)
  torch.save(x, f"{path}.x")
  torch.save(program(x), f"{path}.y")
  errors, _ = damage(path, flips, step, RIGHT)
  assert errors > 0.5 * flips  # the others hit padding, or names that nobody reads


# ---- fresh processes ----------------------------------------------------------------------------


def save_case(folder, name, program, reference, calls, **options):
  program.save(folder / f"{name}.pt2", **options)
  rows = []
  with torch.no_grad():
    for args, kwargs in calls:
      given = clone((args, kwargs))
      rows.append((args, kwargs, reference(*given[0], **given[1])))
  torch.save(rows, folder / f"{name}.pt")


def test_a_fresh_process_runs_them(tmp_path):
  names = []
  for name in cases():
    program, reference, args, kwargs = compiled(name)
    save_case(tmp_path, name, program, reference, [(args, kwargs)] * 2)
    names.append(name)
    if name == "hybrid":
      save_case(tmp_path, "hybrid_open", program, reference, [(args, kwargs)],
                embed_fallback=False)
      names.append("hybrid_open")
  done = run_python(pt2_cases.CHECK, tmp_path, *names)
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.count("right") == len(names)


@pytest.mark.parametrize("name, options", [("resnet50", {}), ("bert", {"layers": 2})],
                         ids=["resnet50", "bert"])
def test_models_in_a_fresh_process(tmp_path, name, options):
  from tests.models import zoo
  model, make_inputs = zoo.build(name, **options)
  args, kwargs = make_inputs(seed=3)
  program = kiln.compile(model, inputs=args, kwargs=kwargs)
  with torch.no_grad():
    expected = program(*args, **kwargs)
    torch.testing.assert_close(list(torch.utils._pytree.tree_leaves(expected)),
                               list(torch.utils._pytree.tree_leaves(model(*args, **kwargs))),
                               rtol=1e-2, atol=1e-3)
  program.save(tmp_path / "model.pt2")
  weights = sum(t.nbytes for t in model.state_dict().values())
  assert os.path.getsize(tmp_path / "model.pt2") < 1.05 * weights + (8 << 20)
  leaves = torch.utils._pytree.tree_leaves(expected)
  torch.save((args, kwargs, leaves), tmp_path / "data.pt")
  script = """
import sys, torch, kiln
args, kwargs, expected = torch.load(sys.argv[1] + "/data.pt", weights_only=True)
# Kiln first: it imports the types of results, which torch wants to be there
for load in (kiln.load, lambda path: torch.export.load(path).module()):
  module = load(sys.argv[1] + "/model.pt2")
  with torch.no_grad():
    got = torch.utils._pytree.tree_leaves(module(*args, **kwargs))
  for a, b in zip(got, expected, strict=True):
    assert torch.equal(a, b), (a - b).abs().max()
"""
  done = run_python(script, tmp_path)
  assert done.returncode == 0, done.stderr[-3000:]


# ---- without Python -----------------------------------------------------------------------------

RUNNER = ROOT / "build" / "release" / "bin" / "torch_runner"


def run_without_python(folder, model, inputs):
  """The results of examples/torch_runner, which knows nothing of Kiln but the library's path."""
  library = next(line.split()[-1] for line in open("/proc/self/maps")
                 if line.rstrip().endswith("libkiln_torch.so"))
  torch.save(list(inputs), folder / "inputs.pt")
  done = subprocess.run([RUNNER, library, model, folder / "inputs.pt", folder / "outputs.pt"],
                        capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]
  return torch.load(folder / "outputs.pt", weights_only=False)


needs_runner = pytest.mark.skipif(not RUNNER.exists(), reason=f"{RUNNER} is not built")


@needs_runner
@pytest.mark.parametrize("name, options", [
  ("static", {}), ("dynamic", {}), ("hybrid", {}), ("hybrid", {"embed_fallback": False}),
  ("sizes", {})], ids=["static", "dynamic", "hybrid", "hybrid_open", "sizes"])
def test_torch_runs_files_without_python(tmp_path, name, options):
  program, reference, args, _ = compiled(name)
  program.save(tmp_path / "model.pt2", **options)
  got = run_without_python(tmp_path, tmp_path / "model.pt2", args)
  with torch.no_grad():
    expected = reference(*args)
  expected = expected if isinstance(expected, tuple) else (expected,)
  torch.testing.assert_close(got, list(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.long
@needs_runner
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler")
def test_an_aot_inductor_package_runs_without_python(tmp_path):
  program, reference, args, _ = compiled("hybrid")
  for embed_fallback in (True, False):
    exported = program.exported_program(embed_fallback=embed_fallback)
    package = tmp_path / "model.aoti.pt2"
    torch._inductor.aoti_compile_and_package(exported, package_path=str(package))
    got = run_without_python(tmp_path, package, args)
    with torch.no_grad():
      torch.testing.assert_close(got, [reference(*args)], rtol=1e-4, atol=1e-5)


# ---- programs from an ExportedProgram of this process


class Weighted(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = torch.nn.Linear(4, 3)
    self.register_buffer("calls", torch.zeros(()))

  def forward(self, x):
    self.calls.add_(1)
    return self.linear(x) * 2


@pytest.mark.parametrize("from_file", [False, True])
def test_programs_of_one_exported_program_are_independent(from_file, tmp_path):
  torch.manual_seed(0)
  model, x = Weighted().eval(), torch.randn(2, 4)
  with torch.no_grad():
    compiled = kiln.compile(model, inputs=[x])
    exported = compiled.exported_program()
    if from_file:
      torch.export.save(exported, tmp_path / "m.pt2")
      exported = torch.export.load(tmp_path / "m.pt2")
    first, second = kiln.load(exported), kiln.load(exported)
    want = model.linear(x) * 2
    first.update_weights({"linear.weight": torch.zeros(3, 4)})
    torch.testing.assert_close(first(x), (model.linear.bias * 2).expand(2, 3))
    for other in (second, compiled, exported.module(), kiln.load(exported)):
      torch.testing.assert_close(other(x), want)
    # The buffers are the ExportedProgram's, as those of its modules are.
    assert float(exported.state_dict["calls"]) == (4 if from_file else 5)
    assert first.calls is exported.state_dict["calls"]


@pytest.mark.parametrize("threads", [0, 1])
def test_threads_of_a_program_from_an_exported_program(threads):
  model, x = torch.nn.Linear(4, 3).eval(), torch.randn(2, 4)
  before = torch.get_num_threads()
  program = kiln.load(kiln.compile(model, inputs=[x]).exported_program(), threads=threads)
  try:
    with torch.no_grad():
      for n in (1, 2):
        torch.set_num_threads(n)
        torch.testing.assert_close(program(x), model(x))
  finally:
    torch.set_num_threads(before)
  assert program.bindings_made == (2 if threads == 0 else 1)
  assert copy.deepcopy(program)._load_options == {"threads": threads}
