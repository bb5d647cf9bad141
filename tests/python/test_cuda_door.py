"""Programs for GPUs on a machine without one: built, saved, looked at; what is refused, and why."""

import json
import os
import pathlib
import subprocess
import zipfile

import kiln
import pytest
import torch
from kiln import _native
from kiln.frontends import FrontendError, RecordingCapture
from kiln.frontends.graph_walker import GraphWalker
from kiln.frontends.placement import Placement, is_gpu, place
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release")) / "bin"

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


class Model(nn.Module):
  def __init__(self):
    super().__init__()
    self.scale = nn.Parameter(torch.linspace(0.5, 2, 8))

  def forward(self, x):
    return torch.relu(x * self.scale + 1).sum(1)


def fake(device, *shape, dtype=torch.float32):
  with FakeTensorMode():
    return torch.empty(*shape, device=device, dtype=dtype)


def test_a_program_lives_where_its_tensors_are():
  assert place([torch.ones(2)], "") == Placement(torch.device("cpu"), "")
  assert place([fake("cuda:1", 2), fake("cuda:1", 3)], "") == Placement(
    torch.device("cuda:1"), "cuda", 1)
  # numbers in tensors of the CPU go anywhere
  assert place([torch.tensor(2.0), fake("cuda:0", 2)], "").home == torch.device("cuda:0")
  assert place([fake("cuda:0", 2)], "cuda:sm_80").target == "cuda:sm_80"


def test_what_cannot_be_placed():
  with pytest.raises(FrontendError, match="K1118"):
    place([fake("cuda:0", 2), fake("cuda:1", 2)], "")
  with pytest.raises(FrontendError, match="K1002"):
    place([fake("cuda:0", 2)], "cpu")


def test_targets_that_mean_a_gpu():
  assert all(is_gpu(t) for t in ("cuda", "cuda:sm_90", "sm_90", "my_gpu.json"))
  assert not any(is_gpu(t) for t in ("", "cpu", "cpu:avx2"))


def test_tensors_of_other_devices_are_no_values_of_the_program():
  capture = RecordingCapture()
  walker = GraphWalker(capture, placement=place([fake("cuda:0", 2)], ""))
  assert capture.kind == "cuda"
  walker.add_input("here", fake("cuda:0", 2))
  walker.add_input("number", torch.tensor(3.0))
  walker.add_input("elsewhere", torch.ones(2))
  assert [name for name, *_ in capture.inputs] == ["here", "number"]
  assert capture.object_inputs == [("elsewhere", "on another device than the program: cpu")]
  with pytest.raises(FrontendError, match="K1104.*another device"):
    walker.add_weight("w", torch.ones(2), "parameter")


def test_the_own_device_goes_by_its_kind():
  on_gpu = GraphWalker(RecordingCapture(), placement=place([fake("cuda:1", 2)], ""))
  assert on_gpu._device(torch.device("cuda")) == ("device", "cuda")
  assert on_gpu._device(torch.device("cuda:1")) == ("device", "cuda")
  assert on_gpu._device(torch.device("cpu")) == ("device", "cpu")
  # captured on the CPU for a GPU: what the model asks for on its device is asked for on the GPU
  for_gpu = GraphWalker(RecordingCapture(), placement=place([torch.ones(2)], "sm_90"))
  assert for_gpu._device(torch.device("cpu")) == ("device", "cuda")


@no_gpu
@pytest.mark.parametrize("target", ["sm_90", "cuda:sm_80", "cuda:sm_100"])
def test_a_file_for_a_gpu_is_built_anywhere(tmp_path, target):
  program = kiln.compile(Model(), [torch.ones(3, 8)], target=target, cache=False)
  full = target if target.startswith("cuda:") else f"cuda:{target}"
  assert program.report.fallbacks == []
  assert any(full in note and "not here" in note for note in program.report.notes)
  with pytest.raises(kiln.Error, match="K530[123]"):
    program(torch.ones(3, 8))
  path = tmp_path / "model.kiln"
  program.save(path)
  with pytest.raises(kiln.Error, match="K530[123]") as caught:
    kiln.load(path)
  assert caught.value.hint
  inspected = subprocess.run([BIN / "kiln", "inspect", path], capture_output=True, text=True,
                             timeout=60)
  assert inspected.returncode == 0, inspected.stderr
  assert full in inspected.stdout


def inspected(path):
  done = subprocess.run([BIN / "kiln", "inspect", path, "--json"], capture_output=True, text=True,
                        timeout=60)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def test_a_file_with_machine_code(tmp_path):
  rows = torch.export.Dim("rows", max=64)
  program = kiln.compile(Model(), [torch.ones(3, 8)], dynamic_shapes={"x": {0: rows}},
                         target="sm_90", cache=False)
  path = tmp_path / "model.kiln"
  program.save(path, native=True)
  code = inspected(path)["code"]
  assert code["isa"] == "sm_90" and code["compiler"].startswith("NVRTC")
  assert {kernel["family"] for kernel in code["kernels"]} >= {"tile", "strided_copy"}
  with zipfile.ZipFile(path) as archive:
    names = [name for name in archive.namelist() if name.startswith("kernels/")]
    assert names == ["kernels/cuda_sm_90.json",
                     *sorted({kernel["code"] for kernel in code["kernels"]})]
    assert all(archive.read(name)[:4] == b"\x7fELF" for name in names[1:])
    offset = archive.getinfo(names[1]).header_offset
  # the same file again, from another program
  again = kiln.compile(Model(), [torch.ones(3, 8)], dynamic_shapes={"x": {0: rows}},
                       target="sm_90", cache=False)
  again.save(tmp_path / "again.kiln", native=True)
  assert (tmp_path / "again.kiln").read_bytes() == path.read_bytes()
  program.save(tmp_path / "plain.kiln")
  assert "code" not in inspected(tmp_path / "plain.kiln")
  # trust or none, code that is not what it was is found before anything is done with it
  damaged = bytearray(path.read_bytes())
  damaged[offset + 1000] ^= 1
  path.write_bytes(damaged)
  for trust in (False, True):
    with pytest.raises(kiln.Error, match="K3104"):
      kiln.load(path, trust=trust)


class Tiles(nn.Module):
  """Nothing that a library of NVIDIA's computes."""

  def forward(self, x):
    return torch.softmax(torch.relu(x + 1), 1), x.sum(0)


@pytest.mark.skipif(not (BIN / "kiln_load_native").exists(), reason="the C++ tests are not built")
def test_machine_code_runs_on_the_runtime_library_alone(tmp_path):
  rows = torch.export.Dim("rows", min=2, max=64)
  program = kiln.compile(Tiles(), [torch.ones(3, 24)], dynamic_shapes={"x": {0: rows}},
                         target="sm_90", cache=False)
  path = tmp_path / "model.kiln"

  def loaded(*options):
    return subprocess.run([BIN / "kiln_load_native", path, *options], capture_output=True,
                          text=True, timeout=60)

  program.save(path)
  assert "K5309" in loaded("--trust").stderr
  program.save(path, native=True)
  kernels = [k["code"] for k in inspected(path)["code"]["kernels"] if k["family"] == "tile"]
  done = loaded("--trust")
  assert done.returncode == 0, done.stderr
  assert sorted(done.stdout.split()) == sorted(set(kernels))
  refused = loaded()
  assert "K3303" in refused.stderr and not refused.stdout


def test_what_holds_no_machine_code(tmp_path):
  program = kiln.compile(Model(), [torch.ones(3, 8)], cache=False)
  with pytest.raises(kiln.Error, match="K2011"):
    program.save(tmp_path / "model.kiln", native=True)
  assert not (tmp_path / "model.kiln").exists()
  with pytest.raises(FrontendError, match="K1010"):
    program.save(tmp_path / "model.pt2", native=True)
  program.save(tmp_path / "model.kiln")
  with pytest.raises(FrontendError, match="K1010"):
    kiln.load(tmp_path / "model.kiln").save(tmp_path / "other.kiln", native=True)


def test_the_tool_compiles_machine_code(tmp_path):
  archive, path = tmp_path / "model.pt2", tmp_path / "model.kiln"
  torch.export.save(torch.export.export(Model().eval(), (torch.ones(3, 8),)), archive)
  done = subprocess.run([BIN / "kiln", "compile", archive, "--target", "cuda:sm_80", "--native"],
                        capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr
  assert inspected(path)["code"]["isa"] == "sm_80"
  shown = subprocess.run([BIN / "kiln", "inspect", path], capture_output=True, text=True,
                         timeout=60)
  assert "machine code for sm_80 by NVRTC" in shown.stdout
  refused = subprocess.run([BIN / "kiln", "compile", archive, "--native"], capture_output=True,
                           text=True, timeout=60)
  assert refused.returncode != 0 and "K2011" in refused.stderr


def test_doctor_tells_of_the_gpu_and_of_what_its_programs_need():
  done = subprocess.run([BIN / "kiln", "doctor", "--json"], capture_output=True, text=True,
                        timeout=60)
  finding = next(f for f in json.loads(done.stdout)["findings"] if f["topic"] == "CUDA")
  details = finding["details"]
  for library in ("nvrtc", "cublaslt", "cudnn"):
    assert details[library]["found"] or details[library]["code"] in ("K5305", "K5307")
  if not torch.cuda.is_available():
    assert details["driver_error"] in ("K5301", "K5302", "K5303")
    assert finding["advice"]


@no_gpu
def test_a_gpu_described_by_a_file(tmp_path):
  path = tmp_path / "gpu.json"
  path.write_text(json.dumps({"isa": "sm_90", "multiprocessors": 78, "l2_bytes": 33554432,
                              "shared_bytes_per_block": 232448,
                              "memory_bytes_per_second": 4000000000000}))
  program = kiln.compile(Model(), [torch.ones(3, 8)], target=str(path), cache=False)
  assert any("cuda:sm_90" in note for note in program.report.notes)
  path.write_text('{"isa": "sm_90"}')
  with pytest.raises(kiln.Error, match="K2010"):
    kiln.compile(Model(), [torch.ones(3, 8)], target=str(path), cache=False)


@no_gpu
def test_the_gpu_of_a_machine_without_one():
  with pytest.raises(kiln.Error, match="K530[123]"):
    kiln.compile(Model(), [torch.ones(3, 8)], target="cuda", cache=False)


def test_unknown_targets_name_the_known_ones():
  with pytest.raises(kiln.Error, match="K2010") as caught:
    kiln.compile(Model(), [torch.ones(3, 8)], target="sm_42", cache=False)
  assert "sm_90" in caught.value.hint
  with pytest.raises(kiln.Error, match="K2010"):
    kiln.compile(Model(), [torch.ones(3, 8)], target="tpu", cache=False)


def test_cuda_graphs_is_an_option_everywhere():
  program = kiln.compile(Model(), [torch.ones(3, 8)], cuda_graphs=False, cache=False)
  torch.testing.assert_close(program(torch.ones(3, 8)), Model()(torch.ones(3, 8)))
  with pytest.raises(FrontendError, match="K1002"):
    kiln.compile(Model(), [torch.ones(3, 8)], cuda_graphs=1)


def test_programs_say_where_they_run():
  program = kiln.compile(Model(), [torch.ones(3, 8)], cache=False)
  assert isinstance(program._native, _native.NativeProgram)
  assert program._native.device() == "cpu"
