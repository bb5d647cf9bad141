#!/usr/bin/env python3
"""Runs the C++ examples of a build on models that torch alone made, and compares with eager.

    run_examples.py BUILD [FOLDER_OF_KILN]

BUILD has bin/ and lib/. It is there for builds with sanitizers, whose programs Python cannot load:
tests/python/test_install.py runs the examples of a release build. FOLDER_OF_KILN has the Python package
with an extension of whichever build; without one torch_runner, which needs a file that only Python
writes, is left out.
"""

from __future__ import annotations

import copy
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings
from typing import Any

import torch
from torch import Tensor, nn

warnings.simplefilter("ignore")  # torch calls TorchScript deprecated


class Plain(nn.Module):
  """Kernels of oneDNN and of Kiln, two inputs and outputs."""

  def __init__(self) -> None:
    super().__init__()
    self.conv = nn.Conv2d(3, 8, 3, padding=1)
    self.linear = nn.Linear(8, 4)

  def forward(self, image: Tensor, scale: Tensor):
    features = torch.relu(self.conv(image) * scale).mean((2, 3))
    return torch.softmax(self.linear(features), -1), features


class Hybrid(Plain):
  """An operator without a kernel, a buffer that is written."""

  def __init__(self) -> None:
    super().__init__()
    self.register_buffer("calls", torch.zeros(1))

  def forward(self, image: Tensor, scale: Tensor):
    self.calls += 1
    features = torch.relu(self.conv(image) * scale).mean((2, 3))
    return torch.logcumsumexp(self.linear(features), -1), features + self.calls


class Parts(Plain):
  """Something that stays in TorchScript."""

  def forward(self, image: Tensor, scale: Tensor):
    features = self.conv(image).mean((2, 3))
    if bool(features.sum() > 1000):
      return features, features
    return self.linear(features) * scale, features


INPUTS = (torch.linspace(-1, 1, 3 * 3 * 8 * 8).reshape(3, 3, 8, 8), torch.tensor([1.5]))
#: Another exit code than the programs' own. NVIDIA's libcusparseLt, which torch loads, exports parts of
#: its own std::vector<bool> that free() where ours were made by new: not a mismatch of ours.
SANITIZER = {"ASAN_OPTIONS": "exitcode=99:alloc_dealloc_mismatch=0", "LSAN_OPTIONS": "exitcode=99",
             "UBSAN_OPTIONS": "exitcode=99:print_stacktrace=1"}

OPEN_FORM = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, kiln
program = kiln.compile(torch.export.load(sys.argv[1]))
program.save(sys.argv[2])
"""


class Examples:
  def __init__(self, build: pathlib.Path, folder: pathlib.Path):
    self.build, self.folder = build, folder

  def run(self, name: str, *words: Any, ok: bool = True) -> str:
    own = {key: f"{value}:{os.environ.get(key, '')}" for key, value in SANITIZER.items()}
    done = subprocess.run([self.build / "bin" / name, *map(str, words)], cwd=self.folder, text=True,
                          capture_output=True, timeout=300, env={**os.environ, **own})
    text = done.stdout + done.stderr
    assert done.returncode == (0 if ok else 1) and "Sanitizer" not in text, f"{name}: {text}"
    print(f"{name} {' '.join(map(str, words))}: {'done' if ok else text.splitlines()[0][:90]}")
    return text

  def compare(self, outputs: Any, model: nn.Module) -> None:
    with torch.no_grad():
      for got, expected in zip(outputs, model(*INPUTS), strict=True):
        torch.testing.assert_close(got.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)

  def raw(self, prefix: str) -> list[Tensor]:
    return [torch.frombuffer(bytearray((self.folder / f"{prefix}{i}.bin").read_bytes()),
                             dtype=torch.float32) for i in range(2)]

  def check_plain(self) -> None:
    """A .pt2 file without Python and torch, its .kiln file in C++ and C."""
    model = Plain().eval()
    torch.export.save(torch.export.export(model, INPUTS), self.folder / "plain.pt2")
    for i, tensor in enumerate(INPUTS):
      (self.folder / f"in{i}.bin").write_bytes(tensor.numpy().tobytes())
    words = ("in0.bin", "in1.bin", "--out")
    self.run("cpp_compile", "plain.pt2", "plain.kiln", *words, "compiled")
    self.compare(self.raw("compiled"), model)
    self.run("c_runner", "plain.kiln", *words, "c")
    self.compare(self.raw("c"), model)
    self.run("cpp_compile", "in0.bin", "no.kiln", ok=False)

  def check_torchscript(self, model: nn.Module, name: str, engine: bool) -> None:
    """A scripted module compiled in C++; the result in a libtorch program."""
    torch.jit.save(torch.jit.script(model), self.folder / f"{name}.ts")
    torch.save(list(INPUTS), self.folder / "inputs.pt")
    compiled, kiln = f"{name}_compiled.ts", f"{name}.kiln"
    self.run("ts_compile", f"{name}.ts", compiled, kiln, "3x3x8x8", "1", ok=engine)
    for file in (compiled, kiln) if engine else (compiled,):
      self.run("libtorch_app", file, "inputs.pt", "outputs.pt")
      outputs = torch.load(self.folder / "outputs.pt", weights_only=False)
      self.compare(outputs, copy.deepcopy(model))
      # Half of a file is refused.
      data = (self.folder / file).read_bytes()
      (self.folder / f"half_{file}").write_bytes(data[:len(data) // 2])
      self.run("libtorch_app", f"half_{file}", "inputs.pt", "outputs.pt", ok=False)

  def check_exported(self, package: pathlib.Path) -> None:
    """A .pt2 file of torch with a program inside, in torch's own runner."""
    model = Plain().eval()
    torch.export.save(torch.export.export(model, INPUTS), self.folder / "exported.pt2")
    subprocess.run([sys.executable, "-c", OPEN_FORM, "exported.pt2", "program.pt2"],
                   cwd=self.folder, check=True, env={**os.environ, "PYTHONPATH": str(package)})
    torch.save(list(INPUTS), self.folder / "inputs.pt")
    library = self.build / "lib" / "libkiln_torch.so"
    self.run("torch_runner", library, "program.pt2", "inputs.pt", "outputs.pt")
    self.compare(torch.load(self.folder / "outputs.pt", weights_only=False), model)


def main(build: str, package: str = "") -> None:
  torch.manual_seed(0)
  with tempfile.TemporaryDirectory() as folder:
    examples = Examples(pathlib.Path(build).resolve(), pathlib.Path(folder))
    examples.check_plain()
    examples.check_torchscript(Hybrid().eval(), "hybrid", engine=True)
    examples.check_torchscript(Parts().eval(), "parts", engine=False)
    if package and list(pathlib.Path(package, "kiln").glob("_native*.so")):
      examples.check_exported(pathlib.Path(package).resolve())


if __name__ == "__main__":
  main(*sys.argv[1:])
