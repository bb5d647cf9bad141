"""Tests and benchmarks on a machine with an NVIDIA GPU; ./dev gpu-test is the way to start them.

  gpu_test.py correct | sanitize | bench [--state FILE] [--seconds 480] [--only REGEX]
           [--binaries FOLDER]

What was ok is kept in the state file, so that a run that ended early is continued by the next.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for _folder in (ROOT, ROOT / "python"):
  sys.path.insert(0, str(_folder))

from tests.gpu.stages import Stages  # noqa: E402


def sanitize(stages: Stages) -> None:
  from tests.gpu.binaries import COMPUTE_SANITIZER, check_binary

  tool = next((t for t in COMPUTE_SANITIZER if shutil.which(t)), None)
  if tool is None:
    raise SystemExit("compute-sanitizer was not found")
  table = str(ROOT / "tests/gpu/kernel_table.py")
  for own in ((), ("--own",)):
    stages.run(f"memcheck {' '.join(own)}", lambda own=own: check_binary(
      Path(sys.executable), table, *own,
      before=(tool, "--tool", "memcheck", "--error-exitcode", "9")), needs=120)


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("what", choices=["correct", "sanitize", "bench"])
  parser.add_argument("--state", type=Path, default=None)
  parser.add_argument("--seconds", type=float, default=480)
  parser.add_argument("--only", default="")
  parser.add_argument("--binaries", type=Path, default=ROOT / "build/release/bin")
  options = parser.parse_args()
  import torch

  if not torch.cuda.is_available():
    raise SystemExit("torch sees no CUDA device here")
  state = options.state or ROOT / f"build/gpu/{options.what}.jsonl"
  state.parent.mkdir(parents=True, exist_ok=True)
  stages = Stages(state, options.seconds, options.only)
  if options.what == "sanitize":
    sanitize(stages)
  elif options.what == "bench":
    from tests.gpu import bench

    bench.run(stages)
  else:
    from tests.gpu import correct

    with tempfile.TemporaryDirectory() as folder:
      correct.run(stages, Path(folder), options.binaries)
  return stages.close()


if __name__ == "__main__":
  sys.exit(main())
