"""Checks of torchtrtc's options, for test_compat_table.py."""

from __future__ import annotations

import functools
import pathlib
import subprocess
import tempfile
from typing import Any, Callable

import torch
import torch.utils.cpp_extension

import kiln
import kiln_tool
from compat_model import X, same, works
from compat_ts import Odd, traced
from kiln_tool import TORCH_LIBRARIES

SPEC = "(2,3,6,6)@f32%contiguous"


def once(check: Callable) -> Callable:
  """A check of several rows, run for the first of them: each run of the tool loads libtorch."""
  @functools.cache
  def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
      check(pathlib.Path(folder))
  return run


def compiled(folder: pathlib.Path, *options: Any, name: str = "out.ts", json: bool = False) -> Any:
  """Runs `kiln compile` on the model with its input; the result as a callable, or the report."""
  torch.jit.save(traced(), folder / "in.ts")
  words = ("compile", folder / "in.ts", folder / name, SPEC, *options)
  if json:
    return kiln_tool.run_json(*words, **TORCH_LIBRARIES)
  done = kiln_tool.run(*words, **TORCH_LIBRARIES)
  assert done.returncode == 0, done.stderr
  return done


@works("torchtrtc", "torchtrtc --disable-tf32", "torchtrtc --engine-capability=standard",
       "torchtrtc --no-threshold-check", "torchtrtc --device-type=gpu")
@once
def _(folder):
  compiled(folder, "--disable-tf32", "--engine-capability=standard", "--no-threshold-check",
           "--device-type", "cpu")
  same(torch.jit.load(folder / "out.ts")(X))
  if not torch.cuda.is_available():
    done = kiln_tool.run("compile", folder / "in.ts", SPEC, "--device-type=gpu", **TORCH_LIBRARIES)
    assert kiln_tool.error_of(done).code == "K5301"


@works("torchtrtc --gpu-id")
@once
def _(folder):
  torch.jit.save(traced(), folder / "in.ts")
  done = kiln_tool.run("compile", folder / "in.ts", SPEC, "--gpu-id", "999", **TORCH_LIBRARIES)
  assert kiln_tool.error_of(done).code in ("K5301", "K5302", "K5303"), "no such GPU"


@works("torchtrtc --verbose", "torchtrtc --info", "torchtrtc --warnings")
@once
def _(folder):
  for option in ("-v", "--verbose"):
    assert "kiln passes debug: " in compiled(folder, option).stderr
  for option in ("--i", "--info"):
    assert "debug: " not in compiled(folder, option).stderr
  torch.jit.save(traced(), folder / "in.ts")
  for option in ("-w", "--warnings"):
    done = kiln_tool.run("compile", folder / "in.ts", SPEC, option, KILN_LOGS="debug",
                         **TORCH_LIBRARIES)
    assert done.returncode == 0 and done.stderr == ""


@works("torchtrtc --enable-precision=float, f32, fp32, half, f16, fp16")
@once
def _(folder):
  for words, asked in ((("-p", "float"), []), (("-pf32",), []), (("--enable-precision=fp32",), []),
                       (("-p", "half"), ["f16"]), (("-p", "f16", "-p", "f32"), ["f16"]),
                       (("--enable-precision", "fp16"), ["f16"])):
    assert compiled(folder, *words, json=True)["precision"]["asked"] == asked
  same(torch.jit.load(folder / "out.ts")(X), rtol=1e-2, atol=1e-2)


@works("torchtrtc --torch-executed-op", "torchtrtc --torch-executed-mod",
       "torchtrtc --min-block-size", "torchtrtc --require-full-compilation")
@once
def _(folder):
  def kept(*words: str) -> set[str]:
    return {row["op"] for row in compiled(folder, *words, json=True)["fallbacks"]}

  assert kept("--require-full-compilation") == set()
  for words in (("--torch-executed-op=aten::relu",), ("--teo", "aten::relu")):
    assert kept(*words) == {"aten::relu"}
  for words in (("--torch-executed-mod=linear",), ("--tem", "linear")):
    assert kept(*words) == {"aten::linear"}
  for words in (("--min-block-size=100",), ("--mbs", "100")):
    assert len(kept(*words)) > 3
  done = kiln_tool.run("compile", folder / "in.ts", SPEC, "--teo", "aten::relu",
                       "--require-full-compilation", **TORCH_LIBRARIES)
  assert kiln_tool.error_of(done).code == "K2001"


@works("torchtrtc --save-engine", "torchtrtc --embed-engine")
@once
def _(folder):
  compiled(folder, "--save-engine", name="engine.ts")
  (folder / "engine.ts").rename(folder / "engine.kiln")
  same(kiln.load(folder / "engine.kiln")(X))
  done = kiln_tool.run("compile", folder / "engine.kiln", folder / "embedded.ts", "--embed-engine",
                       "-d", "cpu", **TORCH_LIBRARIES)
  assert done.returncode == 0, done.stderr
  same(torch.jit.load(folder / "embedded.ts")(X))


@works("torchtrtc --check-method-support")
@once
def _(folder):
  torch.jit.save(torch.jit.script(Odd()), folder / "odd.ts")
  for method, code in (("other", 0), ("forward", 1)):
    done = kiln_tool.run("compile", folder / "odd.ts", f"--check-method-support={method}",
                         **TORCH_LIBRARIES)
    assert done.returncode == code and ("aten::logcumsumexp" in done.stdout) == bool(code)


@works("torchtrtc --atol", "torchtrtc --rtol")
@once
def _(folder):
  for words in (("--atol=1e-4",), ("--rtol", "1e-2", "--atol", "1e-4")):
    compiled(folder, *words)
  (folder / "out.ts").unlink()
  for words in (("--atol=0", "--rtol=0"), ("--rtol=1e-7",)):
    done = kiln_tool.run("compile", folder / "in.ts", folder / "out.ts", SPEC, "-pbf16", *words,
                         **TORCH_LIBRARIES)
    assert kiln_tool.error_of(done).code == "K1042" and not (folder / "out.ts").exists()


OPERATOR = """
#include <ATen/ATen.h>
#include <torch/library.h>
at::Tensor twice(const at::Tensor& x) { return x + x; }
TORCH_LIBRARY(kiln_test, m) {
  m.def("twice(Tensor x) -> Tensor");
  m.impl("twice", c10::DispatchKey::CompositeExplicitAutograd, twice);
}
"""


@works("torchtrtc --custom-torch-ops")
def _(folder):
  module = torch.jit.script(torch.nn.Module())
  namespace = torch.library.Library("kiln_test", "DEF")
  namespace.define("twice(Tensor x) -> Tensor")  # for TorchScript's compiler
  module.define("def forward(self, x: Tensor):\n  return torch.ops.kiln_test.twice(x)\n")
  torch.jit.save(module, folder / "twice.ts")
  words = ("compile", folder / "twice.ts", folder / "twice.kiln", "(3,4)")
  assert kiln_tool.error_of(kiln_tool.run(*words, **TORCH_LIBRARIES)).code == "K3122"
  (folder / "twice.cpp").write_text(OPERATOR)
  headers = [f"-I{path}" for path in torch.utils.cpp_extension.include_paths()]
  subprocess.run(["c++", "-std=c++20", "-shared", "-fPIC", "-w", *headers, "twice.cpp", "-o",
                  "twice.so"], cwd=folder, check=True)
  report = kiln_tool.run_json(*words, "--custom-torch-ops", folder / "twice.so", **TORCH_LIBRARIES)
  assert [row["op"] for row in report["fallbacks"]] == ["kiln_test::twice"]
  done = kiln_tool.run(*words, "--custom-torch-ops", folder / "none.so", **TORCH_LIBRARIES)
  assert kiln_tool.error_of(done).code == "K3001"


def _refused(*words: str) -> Callable:
  def call(folder: pathlib.Path) -> None:
    done = kiln_tool.run("compile", folder / "in.ts", folder / "out.ts", SPEC, *words)
    assert done.returncode == 2
    raise kiln_tool.error_of(done)
  return call


_VALUED = ("--custom-converters", "--calibration-cache-file", "--dla-core", "--dla-sram-size",
           "--dla-local-dram-size", "--dla-global-dram-size", "--num-avg-timing-iters",
           "--workspace-size")
_FLAGS = ("--allow-gpu-fallback", "--allow-shape-tensors", "--build-debuggable-engine",
          "--sparse-weights", "--truncate-long-double", "--truncate", "--truncate-64bit")
RAISES: dict[str, Callable] = {
  "torchtrtc --enable-precision=int8, i8, char": _refused("-p", "int8"),
  "torchtrtc --device-type=dla": _refused("--device-type=dla"),
  "torchtrtc --engine-capability=safety, dla_standalone": _refused("--engine-capability", "safety"),
  **{f"torchtrtc {name}": _refused(name, "1") for name in _VALUED},
  **{f"torchtrtc {name}": _refused(name) for name in _FLAGS},
}
