"""The README's Python samples run as they stand there, in order, in a process of their own."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python_blocks() -> list[str]:
  return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_there_are_samples():
  blocks = python_blocks()
  assert len(blocks) >= 3 and "kiln.compile" in blocks[0]


def test_samples_run(tmp_path):
  checks = (
    "assert y.shape == (8, 4)\n"
    "with torch.no_grad(): assert torch.allclose(y, model(x), atol=1e-5)\n"
    "with torch.no_grad(): assert torch.allclose(y_fx, model(x), atol=1e-5)\n"
    "with torch.no_grad(): assert torch.allclose(y_fast, model(x), atol=1e-5)\n"
    "with torch.no_grad(): assert torch.allclose(y_trt, model(x), atol=1e-5)\n"
    "with torch.no_grad(): assert torch.allclose(y_jit, model(x), atol=1e-5)\n"
    "assert small.shape == (1, 4) and large.shape == (64, 4)\n"
    "print('all samples ran')\n"
  )
  script = tmp_path / "samples.py"
  script.write_text("\n".join(python_blocks()) + checks)
  environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'compat'}"}
  done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, text=True,
                        capture_output=True, timeout=300)
  assert done.returncode == 0, done.stderr
  assert "all samples ran" in done.stdout
  assert "in Kiln (100 %)" in done.stdout  # the report
  assert "K4105" in done.stdout  # the size that is out of range
  assert (tmp_path / "model.kiln").exists()
