#!/usr/bin/env python3
"""Time from captured program to program ready to run: without the cache, filling it, finding it.

    benchmarks/warm_start.py [--rounds 5] [MODEL...]

Each measurement is a fresh process (model of tests/models/zoo.py, torch.export before the clock
starts); the three alternate. Prints medians and the ratios of medians; the processor's time as well,
which a busy machine changes less (exact with --threads 1, since waiting threads count).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("off", "filling", "hit")


def measure(name: str, kind: str) -> dict:
  """In the process that compiles."""
  sys.path[:0] = [str(ROOT), str(ROOT / "python")]
  import torch

  import kiln
  from tests.models import zoo

  model, make_inputs = zoo.build(name)
  inputs = make_inputs()
  with torch.no_grad():
    exported = torch.export.export(model, inputs.args, inputs.kwargs or None)
  wall, cpu = time.perf_counter(), time.process_time()
  program = kiln.compile(exported, cache=kind != "off")
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  outcome = program.report.cache["program"]
  assert outcome == {"off": "off", "filling": "miss", "hit": "hit"}[kind], outcome
  return {"wall": wall, "cpu": cpu, "phases": program.report.build_seconds}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("models", nargs="*", default=["resnet50", "bert"])
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.one:
    print(json.dumps(measure(options.models[0], options.one)))
    return
  for name in options.models:
    rows: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
      with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
          done = subprocess.run(
            [sys.executable, __file__, name, "--one", kind], capture_output=True, text=True,
            check=False, env={**os.environ, "KILN_OPTIONS": "", "KILN_CACHE_DIR": folder + "/kiln",
                              "OMP_NUM_THREADS": str(options.threads)})
          if done.returncode != 0:
            raise SystemExit(f"{name}: {done.stderr.strip()[-2000:]}")
          rows[kind].append(json.loads(done.stdout.strip().splitlines()[-1]))
    phases = {k: statistics.median(r["phases"][k] for r in rows["hit"])
              for k in rows["hit"][0]["phases"]}
    for time_of in ("wall", "cpu"):
      off, filling, hit = (statistics.median(r[time_of] for r in rows[k]) for k in KINDS)
      print(f"{name}, {time_of}: off {off:.3f} s, filling {filling:.3f} s, hit {hit:.3f} s = "
            f"{100 * hit / off:.0f} % of off, {100 * hit / filling:.0f} % of filling", flush=True)
    print("  hit by phase, wall: " + ", ".join(f"{k} {1e3 * v:.0f} ms" for k, v in phases.items()
                                               if v >= 5e-4), flush=True)


if __name__ == "__main__":
  main()
