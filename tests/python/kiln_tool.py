"""The `kiln` tool as tests call it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
from typing import Any

import torch

import kiln
from kiln.frontends.errors import FrontendError

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release")) / "bin"
#: What TorchScript needs in the environment.
TORCH_LIBRARIES = {"LD_LIBRARY_PATH": str(pathlib.Path(torch.__file__).parent / "lib")}


def run(*arguments: Any, **environment: str) -> subprocess.CompletedProcess:
  return subprocess.run([str(BIN / "kiln"), *map(str, arguments)], capture_output=True, text=True,
                        timeout=120, env={**os.environ, **environment})


def run_json(*arguments: Any, **environment: str) -> Any:
  done = run(*arguments, "--json", **environment)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def error_of(done: subprocess.CompletedProcess) -> kiln.Error:
  """What a run that failed said."""
  found = re.fullmatch(r"kiln: (K\d{4}): (.*?)\n(?:  at .*\n)*(?:  hint: (.*)\n)?", done.stderr,
                       re.DOTALL)
  assert done.returncode != 0 and found, done.stderr
  return FrontendError(found[1], found[2], hint=found[3] or "")
