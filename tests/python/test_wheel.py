"""`pip install .`: a wheel that works in an environment with torch and without this source tree."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

USE = """
import pathlib, sys
import torch
import kiln

model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4)).eval()
x = torch.randn(8, 16)
with torch.no_grad():
  expected = model(x)
  program = kiln.compile(model, inputs=[x])
  program.save("model.kiln")
  for run in (program, kiln.load("model.kiln"), torch.compile(model, backend="kiln"),
              kiln.compile(torch.jit.script(model), inputs=[x])):
    torch.testing.assert_close(run(x), expected)
assert program.report.ops_native == program.report.ops_total
print(pathlib.Path(kiln.__file__).parent)
"""


def _tool(variable: str) -> str:
  """A compiler as build/release names it, so that what it compiled is found in its cache."""
  cache = (ROOT / "build/release/CMakeCache.txt").read_text()
  return re.search(rf"^CMAKE_{variable}_COMPILER:\w+=(.*)$", cache, re.MULTILINE).group(1)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("wheel")
  environment = {**os.environ, "CC": _tool("C"), "CXX": _tool("CXX"),
                 "CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}
  subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation",
                  "--no-deps", "--disable-pip-version-check", "--wheel-dir", folder, ROOT],
                 check=True, env=environment)
  [found] = folder.glob("torch_kiln-*.whl")
  return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
  """An environment with the packages of this one but Kiln, and with the wheel."""
  folder = tmp_path_factory.mktemp("environment")
  subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
  here, there = (Path(sysconfig.get_path("purelib", vars={"base": base}))
                 for base in (sys.prefix, str(folder)))
  for package in here.iterdir():
    if "kiln" not in package.name and package.suffix != ".pth":
      (there / package.name).symlink_to(package)
  # oneDNN's own package puts its library here.
  (folder / "lib/libdnnl.so.3").symlink_to(Path(sys.prefix) / "lib/libdnnl.so.3")
  subprocess.run([sys.executable, "-m", "pip", "--python", folder / "bin/python", "install",
                  "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", wheel],
                 check=True)
  return folder


def _clean() -> dict[str, str]:
  """The environment of a shell that knows nothing of this source tree."""
  return {name: value for name, value in os.environ.items()
          if not name.startswith(("PYTHON", "KILN_", "LD_"))}


def test_wheel_works_where_the_source_tree_is_unknown(environment, tmp_path):
  done = subprocess.run([environment / "bin/python", "-c", USE], cwd=tmp_path, env=_clean(),
                        capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert Path(done.stdout.strip()).is_relative_to(environment)


def test_command_of_the_wheel(environment, tmp_path):
  doctor = subprocess.run([environment / "bin/kiln", "doctor"], cwd=tmp_path, env=_clean(),
                          capture_output=True, text=True)
  assert doctor.returncode == 0, doctor.stdout + doctor.stderr
  assert "libdnnl" in doctor.stdout
  wrong = subprocess.run([environment / "bin/kiln", "run", "missing.kiln"], cwd=tmp_path,
                         env=_clean(), capture_output=True, text=True)
  assert wrong.returncode != 0 and "missing.kiln" in wrong.stderr


def test_what_the_wheel_holds(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    stub = ast.parse(archive.read("kiln/_native.pyi"))
  for name in ("kiln/py.typed", "kiln/bin/kiln", "kiln/include/kiln/program.h",
               "kiln/include/kiln/c_api.h"):
    assert name in names
  libraries = {name.split(".so")[0] for name in names if ".so" in name and name.startswith("kiln/l")}
  assert {f"kiln/lib/lib{name}" for name in ("kiln_runtime", "kiln", "kiln_torch",
                                             "kiln_torch_compile")} <= libraries
  assert not [name for name in names
              if not name.startswith(("kiln/", f"torch_kiln-"))], "files outside the package"
  # The stub names what the extension has.
  import kiln._native
  told = {node.name for node in stub.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
  there = {name for name in dir(kiln._native) if not name.startswith("_")}
  assert told and told <= there | {"_"}
  assert {"CaptureBuilder", "compile"} <= told


def test_editable_installation_compiles_nothing(tmp_path):
  """What ./dev does: the Python files as they lie in the tree, beside what the build made."""
  settings = re.findall(r"--config-settings (\S+)", (ROOT / "dev").read_text())
  assert settings
  source, folder = tmp_path / "source", tmp_path / "environment"
  source.mkdir()
  for name in ("pyproject.toml", "README.md", "LICENSE", "CMakeLists.txt"):
    (source / name).write_bytes((ROOT / name).read_bytes())
  (source / "python").symlink_to(ROOT / "python")
  subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
  # The packages around this one by their files alone: not its own editable installation.
  [site] = folder.glob("lib/python3*/site-packages")
  (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
  subprocess.run([sys.executable, "-m", "pip", "--python", folder / "bin/python", "install",
                  "--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-deps",
                  *(word for setting in settings for word in ("--config-settings", setting)),
                  "--editable", source], check=True)
  assert not (source / "build").exists()
  where = "import importlib.util; print(importlib.util.find_spec('kiln').origin)"
  done = subprocess.run([folder / "bin/python", "-c", where], cwd=tmp_path, env=_clean(),
                        capture_output=True, text=True, check=True)
  assert Path(done.stdout.strip()).resolve() == (ROOT / "python/kiln/__init__.py").resolve()
  assert (folder / "bin/kiln").exists()
