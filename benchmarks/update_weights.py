#!/usr/bin/env python3
"""prog.update_weights() with all tensors new, against copying all of them into other tensors.

    benchmarks/update_weights.py [--rounds 15] [--threads 2] [MODEL...]

Both in one process, in turns; medians, and the median of the ratios of neighbours. `cpu` is the
processor's time of both, which a busy machine changes less; exact with --threads 1, since waiting
threads count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[1]


def timed(body: Callable[[], None]) -> tuple[float, float]:
  wall, cpu = time.perf_counter(), time.process_time()
  body()
  return time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, rounds: int) -> str:
  import torch

  import kiln
  from tests.models import zoo

  model, make_inputs = zoo.build(name)
  inputs = make_inputs()
  exported = torch.export.export(model, inputs.args, inputs.kwargs or None)
  program = kiln.compile(exported, cache=False)
  states = [{k: v.clone() for k, v in model.state_dict().items()} for _ in range(2)]
  for value in states[1].values():
    if value.is_floating_point():
      value.mul_(1.01)
  targets = {k: torch.empty_like(v) for k, v in states[0].items()}

  def copy(state: dict) -> None:
    for key, value in state.items():
      targets[key].copy_(value)

  copies, updates = [], []
  for i in range(rounds + 2):
    state = states[(i + 1) % 2]
    copies.append(timed(lambda: copy(state)))
    updates.append(timed(lambda: program.update_weights(state)))
  copies, updates = copies[2:], updates[2:]  # the first ones fill fresh memory
  size = sum(v.numel() * v.element_size() for v in states[0].values())
  parts = [f"{name}, {size / 1e6:.0f} MB:"]
  for kind, unit in enumerate(("wall", "cpu")):
    copied, updated = ([1e3 * row[kind] for row in rows] for rows in (copies, updates))
    ratio = statistics.median(u / c for u, c in zip(updated, copied))
    parts.append(f"{unit} copy {statistics.median(copied):.1f} ms, update "
                 f"{statistics.median(updated):.1f} ms, ratio {ratio:.2f};")
  return " ".join(parts).rstrip(";")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("models", nargs="*", default=["resnet50", "bert"])
  parser.add_argument("--rounds", type=int, default=15)
  parser.add_argument("--threads", type=int, default=2)
  options = parser.parse_args()
  sys.path[:0] = [str(ROOT), str(ROOT / "python")]
  import torch

  torch.set_num_threads(options.threads)
  for name in options.models:
    with torch.no_grad():
      print(measure(name, options.rounds), flush=True)


if __name__ == "__main__":
  main()
