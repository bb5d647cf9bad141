#!/usr/bin/env python3
"""How long the kernels of the models take to compile for a GPU, which need not be here.

  benchmarks/nvrtc_time.py                              the five models, cuda:sm_90, float16
  benchmarks/nvrtc_time.py --models resnet50,bert --target cuda:sm_100 --precision fp32

Each row is two processes on two threads: one with an empty cache of kernels, one with what that has
left. The time is what `native=True` adds to making the bytes of a file: printing the sources, NVRTC,
and the cache on disk. `kernels` counts those of the plan and those of the runtime's copies.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for _folder in (ROOT, ROOT / "python"):
  sys.path.insert(0, str(_folder))

MODELS = ("resnet50", "mobilenet_v3_large", "vit_b_16", "bert", "gpt2")


def seconds_of(action) -> float:
  start = time.perf_counter()
  action()
  return time.perf_counter() - start


def measure(name: str, target: str, precision: str) -> dict[str, float]:
  """In a process of its own, with the cache that the environment names."""
  import torch

  import kiln
  from tests.models import zoo

  torch.set_num_threads(2)
  model, make_inputs = zoo.build(name, **({"use_cache": False} if name == "gpt2" else {}))
  inputs = make_inputs(batch=1, seq=128)
  program = kiln.compile(model, inputs=list(inputs.args) or dict(inputs.kwargs), target=target,
                         precision=precision, threads=2, cache=False)
  serialize = program._compiled.serialize  # what save() writes, without the disk and the weights
  plain = min(seconds_of(lambda: serialize(external_weights=True)) for _ in range(3))
  processor = time.process_time()
  data: list[bytes] = []
  seconds = seconds_of(lambda: data.append(serialize(external_weights=True, native=True))) - plain
  processor = time.process_time() - processor
  with zipfile.ZipFile(io.BytesIO(data[0])) as archive:
    lists = [n for n in archive.namelist() if n.startswith("kernels/") and n.endswith(".json")]
    kernels = json.loads(archive.read(lists[0]))["kernels"]
    size = sum(e.file_size for e in archive.infolist() if e.filename.endswith(".cubin"))
  return {"kernels": len(kernels), "plan": sum(k["family"] != "strided_copy" for k in kernels),
          "bytes": size, "seconds": seconds, "processor": processor}


def in_process(name: str, target: str, precision: str, cache: str) -> dict[str, float]:
  environment = dict(os.environ, KILN_CACHE_DIR=cache, OMP_NUM_THREADS="2")
  done = subprocess.run([sys.executable, __file__, "--measure", name, "--target", target,
                         "--precision", precision], env=environment, capture_output=True, text=True)
  if done.returncode != 0:
    raise SystemExit(done.stderr)
  return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--models", default=",".join(MODELS))
  parser.add_argument("--target", default="cuda:sm_90")
  parser.add_argument("--precision", default="fp16")
  parser.add_argument("--measure", help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.measure:
    print(json.dumps(measure(arguments.measure, arguments.target, arguments.precision)))
    return
  print(f"{arguments.target}, {arguments.precision}, 2 threads; seconds")
  print("| model | kernels | of the plan | KiB | cold | processor time | warm |\n"
        "|---|---|---|---|---|---|---|")
  for name in arguments.models.split(","):
    with tempfile.TemporaryDirectory() as cache:
      cold, warm = (in_process(name, arguments.target, arguments.precision, cache) for _ in "ab")
    print(f"| {name} | {cold['kernels']} | {cold['plan']} | {cold['bytes'] / 1024:.0f} "
          f"| {cold['seconds']:.2f} | {cold['processor']:.2f} | {warm['seconds']:.2f} |", flush=True)


if __name__ == "__main__":
  main()
