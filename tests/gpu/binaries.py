"""C++ programs of the GPU tests: built with Kiln, taken along, run here."""

from __future__ import annotations

import subprocess
from pathlib import Path

COMPUTE_SANITIZER = ("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer")


def check_binary(path: Path, *arguments: str, before: tuple[str, ...] = (),
                 seconds: float = 400) -> str:
  """Runs a program; its last line when it ends with 0."""
  done = subprocess.run([*before, str(path), *arguments], capture_output=True, text=True,
                        timeout=seconds, check=False)
  lines = (done.stdout + done.stderr).strip().splitlines()
  if done.returncode != 0:
    raise AssertionError(f"exit status {done.returncode}:\n" + "\n".join(lines[-40:]))
  return lines[-1] if lines else "no output"
