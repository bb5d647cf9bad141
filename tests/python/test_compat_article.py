"""The snippets by which Torch-TensorRT is usually introduced, with a model and inputs filled in."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

import kiln

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENTRY_POINTS = """\
[torch_dynamo_backends]
kiln = kiln.frontends.dynamo:backend
torch_tensorrt = torch_tensorrt._backend:backend
tensorrt = torch_tensorrt._backend:backend
aot_torch_tensorrt_aten = torch_tensorrt._backend:backend
"""


def small() -> nn.Module:
  torch.manual_seed(0)
  return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                       nn.Flatten(), nn.Linear(8, 10)).eval()


@pytest.fixture
def example():
  with torch.no_grad():
    yield small(), torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_just_in_time(example):
  model, x = example
  import torch_tensorrt

  optimized_model = torch.compile(model, backend="torch_tensorrt")
  torch.testing.assert_close(optimized_model(x), model(x))
  assert kiln.jit_reports()[-1].coverage == 1 and torch_tensorrt.__version__


def test_ahead_of_time(example):
  model, x = example
  import torch_tensorrt

  exported_model = torch.export.export(model, (x,))
  compiled_model = torch_tensorrt.dynamo.compile(exported_model)
  torch.testing.assert_close(compiled_model(x), model(x))


def test_unified_interface(example):
  model, x = example
  import torch_tensorrt

  trt_model = torch_tensorrt.compile(model, ir="dynamo", inputs=[x])
  torch.testing.assert_close(trt_model(x), model(x))
  for text in ("torch_tensorrt.compile needs the inputs", "inputs=[torch_tensorrt.Input("):
    with pytest.raises(kiln.Error) as error:
      torch_tensorrt.compile(model, ir="dynamo")
    assert text in str(error.value)


def test_torchscript(example):
  model, x = example
  import torch_tensorrt

  scripted_model = torch.jit.script(model)
  trt_model = torch_tensorrt.ts.compile(scripted_model, inputs=[x])
  torch.testing.assert_close(trt_model(x), model(x))
  trt_model = torch_tensorrt.compile(model, ir="torchscript", inputs=[x])
  torch.testing.assert_close(trt_model(x), model(x))


def test_fx(example):
  model, x = example
  import torch_tensorrt

  traced_model = torch.fx.symbolic_trace(model)
  trt_model = torch_tensorrt.fx.compile(traced_model, [x])
  torch.testing.assert_close(trt_model(x), model(x))
  torch.testing.assert_close(trt_model(x[:1]), model(x[:1]))
  with pytest.raises(kiln.Error, match="K1101.*torch_tensorrt.fx.compile needs the inputs") as error:
    torch_tensorrt.fx.compile(traced_model)
  assert "[torch_tensorrt.Input(" in error.value.hint


@pytest.mark.parametrize("ir", ["dynamo", "torchscript", "fx"])
def test_key_parameters(example, ir):
  model, x = example
  import torch_tensorrt

  trt_model = torch_tensorrt.compile(
    model, ir=ir, inputs=[torch_tensorrt.Input((2, 3, 16, 16))],
    enabled_precisions={torch.float32, torch.bfloat16})
  if ir != "torchscript":  # a ScriptModule has no report
    assert trt_model.report.precision["asked"] == ["bf16"]
  torch.testing.assert_close(trt_model(x), model(x), rtol=2e-2, atol=2e-2)


# ---- in a process of its own, installed and not -------------------------------------------------


def run_program(source: str, folders: list, folder: pathlib.Path) -> subprocess.CompletedProcess:
  script = folder / "program.py"
  script.write_text(textwrap.dedent(source))
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(f) for f in folders)}
  return subprocess.run([sys.executable, str(script)], cwd=folder, env=environment, text=True,
                        capture_output=True, timeout=300)


def distribution(folder: pathlib.Path, name: str, version: str, entries: str = "") -> None:
  """What an installer leaves of a distribution, apart from its files."""
  info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
  info.mkdir(parents=True)
  (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
  if entries:
    (info / "entry_points.txt").write_text(entries)


JIT = """
    {first}
    import sys
    import torch
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()).eval()
    x = torch.ones(2, 4)
    for backend in ("torch_tensorrt", "tensorrt", "aot_torch_tensorrt_aten"):
      torch._dynamo.reset()
      optimized_model = torch.compile(model, backend=backend)
      with torch.no_grad():
        torch.testing.assert_close(optimized_model(x), model(x))
    import kiln
    print([report.coverage for report in kiln.jit_reports()], "torch_tensorrt" in sys.modules)
"""


@pytest.mark.parametrize("installed", [True, False])
def test_backend_with_and_without_import(tmp_path, installed):
  """Installed, nothing is imported; the second name is then looked up with the package imported."""
  folders = [ROOT / "python", ROOT / "compat"]
  if installed:
    distribution(tmp_path / "site", "torch-kiln-compat", "0.1.0", ENTRY_POINTS)
    folders.append(tmp_path / "site")
  first = "" if installed else "import torch_tensorrt"
  done = run_program(JIT.format(first=first), folders, tmp_path)
  assert done.returncode == 0, done.stderr
  assert done.stdout == "[1.0, 1.0, 1.0] True\n"


def test_entry_points_are_those_of_the_project():
  import tomllib

  project = tomllib.loads((ROOT / "compat" / "pyproject.toml").read_text())["project"]
  own = {line for line in ENTRY_POINTS.splitlines()[1:] if "torch_tensorrt" in line}
  points = project["entry-points"]["torch_dynamo_backends"]
  assert own == {f"{name} = {value}" for name, value in points.items()}
  main = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  assert project["version"] == main["version"] == kiln.__version__
  assert project["dependencies"] == [f"{main['name']}=={main['version']}"]


def test_refuses_to_stand_beside_the_real_one(tmp_path):
  distribution(tmp_path / "site", "torch-kiln-compat", "0.1.0", ENTRY_POINTS)
  distribution(tmp_path / "site", "torch-tensorrt", "2.11.0")
  source = """
      from importlib.metadata import entry_points
      backends = entry_points(group="torch_dynamo_backends")
      for attempt in (lambda: __import__("torch_tensorrt"), backends["tensorrt"].load):
        try:
          attempt()
        except ImportError as error:
          print(error)
        else:
          raise SystemExit("no error")
  """
  done = run_program(source, [ROOT / "python", ROOT / "compat", tmp_path / "site"], tmp_path)
  assert done.returncode == 0, done.stderr
  assert done.stdout.count("K5201") == 2 and "torch-tensorrt 2.11.0" in done.stdout
  assert "pip uninstall torch-kiln-compat torch-tensorrt" in done.stdout


def test_readme_of_the_distribution(capsys):
  code = re.findall(r"```python\n(.*?)```", (ROOT / "compat/README.md").read_text(), re.S)
  names: dict = {}
  exec("\n".join(code), names)
  with torch.no_grad():
    for fast in (names["fast"], names["jit"]):
      torch.testing.assert_close(fast(names["x"]), names["model"](names["x"]))
  assert "calls in Kiln (100 %)" in capsys.readouterr().out
