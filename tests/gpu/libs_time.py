"""Times of cuBLASLt's and cuDNN's steps beside torch's, on a machine with an NVIDIA GPU.

  libs_time.py [BINARY]     BINARY: kiln_cuda_libs_check

Runs the binary with --time and torch at the same shapes (a CUDA graph of repeats, cudnn.benchmark on),
and prints a line per case: microseconds of both and their ratio (above 1: Kiln is faster).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import torch

ROOT = Path(__file__).resolve().parents[2]


def microseconds(call: Callable[[], Any], calls: int = 20) -> float:
  """One call, in a graph of repeats; the median of seven launches."""
  stream = torch.cuda.Stream()
  with torch.cuda.stream(stream):
    for _ in range(3):
      call()
  torch.cuda.synchronize()
  graph = torch.cuda.CUDAGraph()
  with torch.cuda.graph(graph):
    for _ in range(calls):
      call()
  times = []
  for _ in range(7):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    times.append(begin.elapsed_time(end) * 1000 / calls)
  return sorted(times)[3]


def torch_call(case: dict[str, Any]) -> Callable[[], Any]:
  params = case["params"]
  half = {"dtype": torch.float16, "device": "cuda"}
  if "dims_x" in case:
    x = torch.randn(case["dims_x"], **half).to(memory_format=torch.channels_last)
    w = torch.randn(case["dims_w"], **half).to(memory_format=torch.channels_last)
    b = torch.randn(case["dims_w"][0], **half)

    def conv() -> torch.Tensor:
      y = torch.nn.functional.conv2d(x, w, b, params["stride"], params["padding_low"],
                                     params["dilation"], params["groups"])
      return torch.relu_(y) if params["activation"] == "relu" else y

    return conv
  m, k = case["dims_a"]
  n = case["dims_b"][1]
  x, w, b = torch.randn(m, k, **half), torch.randn(n, k, **half), torch.randn(n, **half)
  return lambda: torch.nn.functional.linear(x, w, b)


def main() -> int:
  binary = sys.argv[1] if len(sys.argv) > 1 else \
    str(ROOT / "build/release/bin/kiln_cuda_libs_check")
  torch.backends.cudnn.benchmark = True
  done = subprocess.run([binary, "--time"], capture_output=True, text=True, check=False)
  lines = done.stdout.splitlines()
  known: dict[str, float] = {}
  for line in lines:
    if not line.startswith("{"):
      print(line)
      continue
    case = json.loads(line)
    shape = " ".join(str(case[key]) for key in ("dims_x", "dims_w", "dims_a", "dims_b")
                     if key in case)
    if shape not in known:
      known[shape] = microseconds(torch_call(case))
    print(f"{case['name']:<18} {shape:<44} {case['implementation']:<16} "
          f"{case['microseconds']:8.2f} us  torch {known[shape]:8.2f} us  "
          f"ratio {known[shape] / case['microseconds']:5.2f}  {case['tflops']:6.1f} TF")
  print(done.stderr, end="")
  return done.returncode


if __name__ == "__main__":
  sys.exit(main())
