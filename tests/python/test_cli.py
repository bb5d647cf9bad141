"""The kiln tool: every command, its JSON, its errors and exit codes; the debug switches through it."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import kiln
from kiln_tool import ROOT, TORCH_LIBRARIES, run, run_json


class Model(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    self.linear = torch.nn.Linear(8, 4)

  def forward(self, image, scale):
    features = torch.relu(self.conv(image) * scale).mean((2, 3))
    return {"scores": torch.softmax(self.linear(features), -1), "features": features}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp("cli")
  torch.manual_seed(0)
  model = Model().eval()
  image = kiln.Input(min_shape=(1, 3, 8, 8), opt_shape=(2, 3, 8, 8), max_shape=(4, 3, 8, 8),
                     dim_names={0: "batch"}, name="image")
  program = kiln.compile(model, inputs=[image, kiln.Input((1,), name="scale")])
  path = folder / "model.kiln"
  program.save(path)
  return path, program


def test_overview_help_and_version():
  done = run()
  assert done.returncode == 2 and "kiln inspect" in done.stderr
  for command in ("run", "bench", "inspect", "doctor"):
    for words in (("help", command), (command, "--help"), (command, "-h")):
      done = run(*words)
      assert done.returncode == 0 and "--json" in done.stdout
  assert run("--version").stdout == f"kiln {kiln.__version__}\n"


@pytest.mark.parametrize("words, code, exit_code", [
  (["bnech"], "K1006", 2),
  (["bench", "M.kiln", "--itterations", "3"], "K1001", 2),
  (["bench", "M.kiln", "--iterations", "three"], "K1002", 2),
  (["bench", "M.kiln", "--iterations", "0"], "K1002", 2),
  (["bench", "M.kiln", "--duration", "nan"], "K1002", 2),
  (["bench", "M.kiln", "--profile=yes"], "K1002", 2),
  (["bench", "M.kiln", "--threads"], "K1002", 2),
  (["bench"], "K1008", 2),
  (["inspect", "a", "b"], "K1008", 2),
  (["doctor", "a"], "K1008", 2),
  (["run", "/nowhere/M.kiln", "--random"], "K3001", 1),
  (["inspect", "/nowhere/M.kiln"], "K3001", 1),
])
def test_wrong_command_lines(words, code, exit_code):
  done = run(*words)
  assert done.returncode == exit_code
  assert done.stderr.startswith(f"kiln: {code}: ") and done.stdout == ""


def test_a_misspelt_switch_is_an_error():
  done = run("doctor", KILN_OPTIONS="vreify=0")
  assert done.returncode == 1 and "K1001" in done.stderr and "verify" in done.stderr


def test_run_gives_the_bits_of_python(saved, tmp_path):
  path, program = saved
  image, scale = torch.randn(3, 3, 8, 8), torch.tensor([1.5])
  np.save(tmp_path / "image.npy", image.numpy())
  np.save(tmp_path / "scale.npy", scale.numpy())
  with torch.no_grad():
    expected = list(program(image, scale).values())
  threads = torch.get_num_threads()
  for inputs in ([tmp_path / "image.npy", tmp_path / "scale.npy"],
                 [f"scale={tmp_path}/scale.npy", f"image={tmp_path}/image.npy"]):
    given = [word for file in inputs for word in ("--input", file)]
    result = run_json("run", path, *given, "--out", tmp_path / "out", "--threads", threads)
    assert [tuple(o["shape"]) for o in result["outputs"]] == [tuple(e.shape) for e in expected]
    for output, tensor in zip(result["outputs"], expected, strict=True):
      assert np.array_equal(np.load(output["file"]), tensor.numpy())
      assert output["not_finite"] == 0
      assert output["max"] == pytest.approx(tensor.max().item(), rel=1e-6)
      assert output["mean"] == pytest.approx(tensor.mean().item(), rel=1e-5)


def test_random_runs_are_repeatable(saved):
  path, _ = saved
  once, again = run_json("run", path, "--random"), run_json("run", path, "--random")
  assert once["outputs"] == again["outputs"]
  four = run_json("run", path, "--random", "--shape", "image=4x3x8x8")
  assert four["outputs"][0]["shape"] == [4, 4]


@pytest.mark.parametrize("words, code, exit_code", [
  ([], "K4101", 1),
  (["--random", "--shape", "image=5x3x8x8"], "K4105", 1),
  (["--random", "--shape", "image=3x8x8"], "K1007", 2),
  (["--random", "--shape", "imag=1x3x8x8"], "K1007", 2),
  (["--random", "--shape", "image=1xax8x8"], "K1007", 2),
  (["--random", "--input", "image=/nowhere.npy"], "K3001", 1),
  (["--shape", "image=1x3x8x8"], "K1002", 2),
  (["--random", "--input", "image=/nowhere.npy", "--shape", "image=1x3x8x8"], "K1002", 2),
  (["--random", "--input", "a", "--input", "b", "--input", "c"], "K4101", 1),
])
def test_wrong_inputs(saved, words, code, exit_code):
  done = run("run", saved[0], *words)
  assert done.returncode == exit_code and done.stderr.startswith(f"kiln: {code}: ")


def test_npy_files_that_are_none(saved, tmp_path):
  (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff")
  done = run("run", saved[0], "--random", "--input", tmp_path / "bad.npy")
  assert done.returncode == 1 and "K3130" in done.stderr
  pair = np.dtype([("a", "f4"), ("b", "f4")])
  for array, why in ((np.asfortranarray(np.ones((2, 3), np.float32)), "Fortran order"),
                     (np.ones(1, ">f4"), "big-endian: '>f4'"), (np.ones(1, "c8"), "type '<c8'"),
                     (np.array([None]), "Python objects"), (np.ones(1, pair), "have fields")):
    np.save(tmp_path / "odd.npy", array)
    done = run("run", saved[0], "--random", "--input", f"scale={tmp_path}/odd.npy")
    assert done.returncode == 1 and "K3130" in done.stderr and why in done.stderr, done.stderr
  done = run("run", saved[0], "--random", "--out", tmp_path / "nowhere" / "out")
  assert done.returncode == 1 and "K3003" in done.stderr


def test_bench(saved):
  result = run_json("bench", saved[0], "--iterations", 7, "--shape", "image=2x3x8x8", "--profile",
                    "--threads", 1)
  assert result["runs"] == 7 and result["threads"] == 1
  assert result["inputs"]["image"] == [2, 3, 8, 8]
  seconds = result["seconds"]
  order = [seconds[name] for name in ("min", "p50", "p90", "p99", "max")]
  assert order == sorted(order) and order[0] > 0
  steps = result["profile"]["steps"]
  assert all(step["implementation"] and step["seconds"] >= 0 for step in steps)
  assert sum(s["steps"] for s in result["profile"]["by_kind"].values()) == len(steps)
  text = run("bench", saved[0], "--iterations", 3, "--profile").stdout
  for word in ("p50", "p99", "first run", "by kind", steps[0]["implementation"]):
    assert word in text


def test_inspect(saved):
  path, program = saved
  result = run_json("inspect", path, "--steps", "--verify", "--plan", "--graph")
  assert [i["name"] for i in result["inputs"]] == ["image", "scale"]
  assert result["inputs"][0]["dims"][0]["min"] == 1
  assert result["inputs"][0]["dims"][0]["max"] == 4
  assert result["report"]["ops_total"] == program.report.ops_total
  assert result["verified"] is True
  assert len(result["steps"]) == sum(result["steps_by_kind"].values()) > 0
  assert "main(" in result["graph"] and "slots" in result["plan"]["main"]
  assert result["memory"]["weight_bytes"] == 4 * (8 * 3 * 9 + 8 + 8 * 4 + 4)
  assert result["bytes"] == path.stat().st_size
  assert list(result["entries"])[0] == "kiln.json"
  text = run("inspect", path, "--steps").stdout
  for word in ("image", "f32", "weights.bin", "1..4"):
    assert word in text
  assert run("inspect", path, "--graph").stdout == result["graph"]
  assert json.loads(run("inspect", path, "--plan").stdout) == result["plan"]


def test_inspect_of_damaged_files(saved, tmp_path):
  whole = saved[0].read_bytes()
  for name, damaged in (("cut", whole[:-1]), ("flipped", whole[:100] + b"\x00" + whole[101:]),
                        ("empty", b""), ("text", b"hello")):
    path = tmp_path / name
    path.write_bytes(damaged)
    done = run("inspect", path, "--verify")
    assert done.returncode == 1 and done.stderr.startswith("kiln: K3"), name


def test_doctor():
  result = run_json("doctor", "--options")
  assert result["usable"] is True
  topics = {row["topic"]: row for row in result["findings"]}
  assert topics["oneDNN"]["details"]["version"].startswith("3.")
  assert topics["PyTorch"]["details"]["loaded_in_this_process"] is False
  assert topics["kiln"]["details"]["version"] == kiln.__version__
  for row in result["findings"]:
    assert row["verdict"] == "ok" or row["advice"], row
  assert "pass_limit" in result["options"]


def test_doctor_says_what_is_missing():
  done = run("doctor", KILN_DNNL_LIBRARY="/nowhere/libdnnl.so.3")
  assert done.returncode == 1
  assert "problem  oneDNN" in done.stdout and "K5101" in done.stdout
  assert "pip install onednn-devel-cpu-gomp" in done.stdout
  many = run_json("doctor", OMP_NUM_THREADS="999")
  threads = next(row for row in many["findings"] if row["topic"] == "threads")
  assert threads["verdict"] == "warning" and "OMP_NUM_THREADS=" in threads["advice"]


SCRIPT = """
import sys, torch, kiln
torch.manual_seed(0)
m = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Softmax(-1)).eval()
x = torch.randn(4, 8)
with torch.no_grad():
  p = kiln.compile(m, inputs=[x])
  assert torch.allclose(p(x), m(x), atol=1e-6)
print(p.report.target, sorted({k["kernel"] for k in p.report.kernels}),
      [row["implementation"] for row in p.profile(x)])
"""


def python_with(options):
  return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300,
                        env={**os.environ, "PYTHONPATH": str(ROOT / "python"),
                             "KILN_OPTIONS": options})


def test_debug_switches_do_what_they_say():
  plain = python_with("")
  assert plain.returncode == 0, plain.stderr
  assert "dnnl.matmul" in plain.stdout
  own = python_with("disable_providers=dnnl.matmul+dnnl.conv,poison_arena=1")
  assert own.returncode == 0, own.stderr
  assert "dnnl" not in own.stdout and "gemm" in own.stdout
  assert "K1002" in python_with("disable_providers=dnnl.matmull").stderr
  low = python_with("cpu_target=sse4")
  assert low.returncode == 0, low.stderr
  assert "cpu:sse4" in low.stdout and "avx" not in low.stdout


# ---- TorchScript --------------------------------------------------------------------------------


class Script(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = torch.nn.Linear(8, 4)
    self.register_buffer("calls", torch.zeros(4))

  def forward(self, x, y):
    self.calls += 1
    return torch.relu(self.linear(x)) + y * self.calls

  @torch.jit.export
  def encode(self, x):
    return torch.relu(self.linear(x))


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
  folder = tmp_path_factory.mktemp("torchscript")
  torch.manual_seed(0)
  module = torch.jit.script(Script().eval())
  torch.jit.save(module, folder / "model.ts")
  return folder / "model.ts"


def same_as_script(program, scripted, *args):
  reference = torch.jit.load(scripted)
  with torch.no_grad():
    for _ in range(2):
      torch.testing.assert_close(program(*args), reference(*args))


def test_compile_a_torchscript_module(scripted, tmp_path):
  args = (torch.randn(3, 8), torch.randn(4))
  inputs = ("[(1,8);(3,8);(16,8)]@f32%contiguous", "(4)")
  report = run_json("compile", scripted, *inputs, "-o", tmp_path / "a.kiln", **TORCH_LIBRARIES)
  assert report["ops_native"] == report["ops_total"] > 0
  program = kiln.load(tmp_path / "a.kiln")
  same_as_script(program, scripted, *args)
  with pytest.raises(kiln.Error) as error:
    program(torch.randn(17, 8), args[1])
  assert error.value.code == "K4105"
  assert run("compile", scripted, *inputs, "-o", tmp_path / "b.ts",
             **TORCH_LIBRARIES).returncode == 0
  same_as_script(torch.jit.load(tmp_path / "b.ts"), scripted, *args)
  done = run("compile", "--embed-engine", tmp_path / "a.kiln", "-o", tmp_path / "c.ts",
             **TORCH_LIBRARIES)
  assert done.returncode == 0, done.stderr
  same_as_script(torch.jit.load(tmp_path / "c.ts"), scripted, *args)
  report = run_json("compile", scripted, *inputs, "--teo", "aten::relu", "--mbs", "1",
                    "--save-engine", "-o", tmp_path / "d.ts", **TORCH_LIBRARIES)
  assert [row["op"] for row in report["fallbacks"]] == ["aten::relu"]
  (tmp_path / "d.ts").rename(tmp_path / "d.kiln")
  same_as_script(kiln.load(tmp_path / "d.kiln"), scripted, *args)


def test_what_a_torchscript_module_needs(scripted, tmp_path):
  done = run("compile", scripted, "--check-method-support", "forward", **TORCH_LIBRARIES)
  assert done.returncode == 0 and not done.stdout
  module = torch.jit.script(torch.nn.Module())
  module.define("def forward(self, x: Tensor):\n  return torch.logcumsumexp(x, 0)\n")
  torch.jit.save(module, tmp_path / "odd.ts")
  done = run("compile", tmp_path / "odd.ts", "--check-method-support=forward", **TORCH_LIBRARIES)
  assert done.returncode == 1 and "aten::logcumsumexp" in done.stdout
  (tmp_path / "text.ts").write_text("no zip")
  for words, code, status in (((scripted,), "K1101", 1), ((scripted, "(1,8", "(4)"), "K1007", 2),
                              ((scripted, "(1,8)", "(4)", "(4)"), "K1101", 1),
                              ((scripted, "[(4,8);(1,8);(4,8)]", "(4)"), "K1101", 1),
                              ((scripted, "(1,8)", "(4)", "--shape", "x=1"), "K1002", 2),
                              ((scripted, "(1,8)@f8", "(4)"), "K1007", 2),
                              ((scripted, "1,8", "4"), "K1007", 2),
                              ((scripted, "(1,8)%channels_last", "(4)"), "K1101", 1),
                              ((tmp_path / "text.ts", "(1,8)"), "K3122", 1),
                              ((tmp_path / "none.ts", "(1,8)"), "K3122", 1)):
    done = run("compile", *words, "-o", tmp_path / "no.kiln", **TORCH_LIBRARIES)
    assert code in done.stderr and done.returncode == status, (words, done.stderr)
    assert "Exception raised from" not in done.stderr
  assert not (tmp_path / "no.kiln").exists()
  done = run("compile", scripted, "(1,8)", "(4)", KILN_TORCH_COMPILE=str(tmp_path / "text.ts"))
  assert "K1020" in done.stderr and done.returncode == 1


def test_command_lines_of_torchtrtc(scripted, tmp_path):
  """Output and inputs in torchtrtc's places, its short options and its words."""
  args = (torch.randn(3, 8), torch.randn(4))
  inputs = ("[(1,8); (3,8); (16,8)]@FP32%NCHW", "(4)@float32")
  for name, options in (("a.ts", ()), ("b.jit", ("-p", "FP32")), ("c.pt", ("-pfp32", "-d", "CPU"))):
    done = run("compile", scripted, tmp_path / name, *inputs, *options, **TORCH_LIBRARIES)
    assert done.returncode == 0, done.stderr
    same_as_script(torch.jit.load(tmp_path / name), scripted, *args)
  report = run_json("compile", scripted, tmp_path / "half.ts", *inputs, "-p", "half",
                    **TORCH_LIBRARIES)
  assert report["precision"]["asked"] == ["f16"]


@pytest.mark.parametrize("words, code, exit_code", [
  (["-o", "a.ts", "b.ts"], "K1002", 2),
  (["--device-type", "tpu"], "K1002", 2),
  (["--device-type", "gpu", "--target", "cuda"], "K1002", 2),
  (["--device-type", "cpu", "--gpu-id", "0"], "K1002", 2),
  (["--target", "cuda:sm_90", "--gpu-id", "0"], "K1002", 2),
  (["--gpu-id", "-1"], "K1002", 2),
  (["-p", "f64"], "K1002", 2),
  (["-v", "--info"], "K1002", 2),
  (["--verbose=3"], "K1002", 2),
  (["--engine-capability", "fast"], "K1002", 2),
  (["--allow-tf32", "--disable-tf32"], "K1002", 2),
  (["--atol", "1", "--no-threshold-check"], "K1002", 2),
  (["--atol", "-1"], "K1002", 2),
  (["--embed-engine", "--strict"], "K1002", 2),
  (["--check-method-support", "forward", "--rtol", "1"], "K1002", 2),
  (["--check-method-support", "forward", "out.ts"], "K1008", 2),
  (["--embed-engine", "out.ts", "(1,8)"], "K1008", 2),
  (["--workspace-siz", "1"], "K1001", 2),
])
def test_options_that_contradict_each_other(words, code, exit_code):
  done = run("compile", "/nowhere/model.ts", *words)
  assert done.returncode == exit_code and done.stderr.startswith(f"kiln: {code}: "), done.stderr


@pytest.mark.parametrize("option", ["--method=encode", "--save-engine", "--atol=1", "--rtol=1",
                                    "--custom-torch-ops=lib.so", "--no-threshold-check",
                                    "--check-method-support=forward"])
def test_options_that_are_for_torchscript(option):
  done = run("compile", "/nowhere/model.pt2", option)
  assert done.returncode == 2 and done.stderr.startswith("kiln: K1002: "), done.stderr
  assert "is for TorchScript modules" in done.stderr


@pytest.mark.parametrize("words, code, exit_code", [
  (["model.ts", "(1,8)", "-o", ""], "K1002", 2),
  (["model.ts", "(1,8)", "-o", "model.ts"], "K1002", 2),
  (["model.ts", "(1,8)", "-o", "a.pt2"], "K1010", 2),
  (["model.kiln", "--embed-engine", "-o", "a.kiln"], "K1010", 2),
  (["model.pt2", "-o", ""], "K1002", 2),
  (["model.pt2", "-o", "a.ts"], "K1010", 2),
  (["model.pt2", "-o", "model.pt2"], "K1010", 2),
  (["model", "-o", "sub/../model"], "K1002", 2),
  (["model", "-o", "link"], "K1002", 2),
  (["model.pt2", "-o", "a.kiln", "--report", "./a.kiln"], "K1002", 2),
  (["model.pt2", "--report", "model.pt2"], "K1002", 2),
  (["model.pt2", "--report", ""], "K1002", 2),
  (["model.ts", "(1,8)", "--report", "nowhere/report.json"], "K3003", 1),
  (["model.pt2", "--report", "nowhere/report.json"], "K3003", 1),
])
def test_outputs_that_take_the_place_or_name_of_others(words, code, exit_code, tmp_path,
                                                       monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("model", "model.ts", "model.pt2", "model.kiln"):
    (tmp_path / name).write_text("a model")
  (tmp_path / "sub").mkdir()
  (tmp_path / "link").symlink_to("model")
  before = sorted(tmp_path.iterdir())
  done = run("compile", *words)
  assert done.returncode == exit_code and done.stderr.startswith(f"kiln: {code}: "), done.stderr
  assert sorted(tmp_path.iterdir()) == before
  assert all(path.read_text() == "a model" for path in before if path.is_file())


def test_torchscript_that_cannot_be_written(scripted, tmp_path):
  for words in (("(1,8)", "(4)"), ("(1,8)", "--method", "encode")):
    done = run("compile", scripted, tmp_path / "nowhere" / "a.ts", *words, **TORCH_LIBRARIES)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("kiln: K3003: ")


def test_another_method(scripted, tmp_path):
  for name in ("a.kiln", "a.ts"):
    done = run("compile", scripted, "(3,8)", "--method", "encode", "-o", tmp_path / name,
               **TORCH_LIBRARIES)
    assert done.returncode == 0, done.stderr
  x = torch.randn(3, 8)
  with torch.no_grad():
    expected = torch.jit.load(scripted).encode(x)
    torch.testing.assert_close(kiln.load(tmp_path / "a.kiln")(x), expected)
    torch.testing.assert_close(torch.jit.load(tmp_path / "a.ts")(x), expected)
  done = run("compile", scripted, "(3,8)", "--method", "none", **TORCH_LIBRARIES)
  assert done.returncode == 1 and "K1101" in done.stderr


def test_results_can_be_compared(scripted, tmp_path):
  """On random inputs; buffers that the comparison writes are not those of the file."""
  for name in ("a.ts", "a.kiln"):
    words = ("compile", scripted, "(3,8)", "(4)", "-o", tmp_path / name)
    done = run(*words, "-p", "bf16", "--atol", "0", "--rtol", "0", **TORCH_LIBRARIES)
    assert done.returncode == 1 and "K1042" in done.stderr and not (tmp_path / name).exists()
    assert re.search(r"largest difference is 0\.00\d*[1-9]", done.stderr), done.stderr
    done = run(*words, "--atol", "1e-5", **TORCH_LIBRARIES)
    assert done.returncode == 0, done.stderr
    load = torch.jit.load if name == "a.ts" else kiln.load
    same_as_script(load(tmp_path / name), scripted, torch.randn(3, 8), torch.randn(4))


class CountsCalls(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.calls = torch.zeros(1)  # a constant of the trace

  def forward(self, x):
    self.calls.add_(1)
    return x * self.calls


def test_a_comparison_leaves_constants_that_are_written(tmp_path):
  module = torch.jit.trace(CountsCalls(), (torch.ones(3),), check_trace=False)
  module.save(tmp_path / "model.pt")
  for name in ("a.ts", "a.kiln"):
    done = run("compile", tmp_path / "model.pt", "(3)", "-o", tmp_path / name, "--atol", "1e-5",
               **TORCH_LIBRARIES)
    assert done.returncode == 0, done.stderr
    load = torch.jit.load if name == "a.ts" else kiln.load
    same_as_script(load(tmp_path / name), tmp_path / "model.pt", torch.randn(3))


class Decides(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.first = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU())
    self.last = torch.nn.Linear(8, 4)

  def forward(self, x):
    y = self.first(x)
    if bool(y.sum() > 1000):
      return y
    return self.last(y)


def test_a_module_is_compiled_in_parts(tmp_path):
  module = torch.jit.script(Decides().eval())
  torch.jit.save(module, tmp_path / "model.ts")
  words = ("compile", tmp_path / "model.ts", "(3,8)")
  report = run_json(*words, "-o", tmp_path / "parts.ts", "--atol=1e-4", "--rtol=1e-4",
                    "--tem", "first.1", **TORCH_LIBRARIES)
  assert report["ops_total"] == 3 and report["ops_native"] == 2
  assert [row["module_path"] for row in report["fallbacks"]] == ["first.1"]
  (kept,) = [note for note in report["notes"] if note.startswith("stays in TorchScript: ")]
  assert re.search(r"\(root\): method forward: .*value of a tensor at .*test_cli.py:\d+", kept)
  parts = torch.jit.load(tmp_path / "parts.ts")
  assert str(parts.inlined_graph).count("kiln::run") == 2
  for x in (torch.randn(3, 8), torch.full((3, 8), 1e4)):
    with torch.no_grad():
      torch.testing.assert_close(parts(x), module(x))
  for more in (["--strict", "-o", tmp_path / "a.ts"], ["-o", tmp_path / "a.kiln"]):
    done = run(*words, *more, **TORCH_LIBRARIES)
    assert done.returncode == 1 and re.search(r"K1145.*\n  at .*test_cli.py:\d+", done.stderr)


def test_a_module_is_compiled_in_parts_for_ranges(tmp_path):
  module = torch.jit.script(Decides().eval())
  torch.jit.save(module, tmp_path / "model.ts")
  report = run_json("compile", tmp_path / "model.ts", "[(1,8);(3,8);(6,8)]", "-o",
                    tmp_path / "parts.ts", **TORCH_LIBRARIES)
  assert report["ops_total"] == report["ops_native"] == 3
  parts = torch.jit.load(tmp_path / "parts.ts")
  for size in (1, 4, 6):
    for x in (torch.randn(size, 8), torch.full((size, 8), 1e4)):
      with torch.no_grad():
        torch.testing.assert_close(parts(x), module(x))
  with pytest.raises(RuntimeError, match="K4105"):
    parts(torch.randn(7, 8))
