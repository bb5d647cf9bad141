"""Speed on a GPU: ./dev gpu-test bench. Eager, Inductor and Kiln side by side.

Device time: each contestant's call is captured once in a CUDA graph and replayed many times between
two events, so that the host costs nothing; contestants take turns. Inductor runs as
`reduce-overhead` would (its own graphs off, since ours captures it), with freezing and
cudnn.benchmark; Kiln as it is by default and with tune="default" ("tuned"). Host-inclusive: one
call and a synchronisation, input already on the device.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import Any, Callable

import torch

from tests.gpu import models
from tests.gpu.stages import Stages
from tests.models import accuracy

ROUNDS = 7
CASES = [("resnet50", 1, 0), ("resnet50", 32, 0), ("bert", 1, 128), ("bert", 32, 128),
         ("vit_b_16", 1, 0), ("vit_b_16", 32, 0), ("mobilenet_v3_large", 1, 0),
         ("mobilenet_v3_large", 32, 0), ("gpt2", 1, 512), ("gpt2", 8, 512)]


def contestants(model: torch.nn.Module, args: tuple, kwargs: dict) -> dict[str, Callable[[], Any]]:
  import kiln
  from torch._inductor import config

  runs: dict[str, Callable[[], Any]] = {"eager": lambda: model(*args, **kwargs)}
  config.freezing = True
  torch.backends.cudnn.benchmark = True
  torch._dynamo.reset()
  inductor = torch.compile(model)
  runs["inductor"] = lambda: inductor(*args, **kwargs)
  given = list(args) or dict(kwargs)
  for name, tune in (("kiln", "off"), ("tuned", "default")):
    program = kiln.compile(model, inputs=given, cache=False, tune=tune)
    runs[name] = lambda program=program: program(*args, **kwargs)
  return runs


def captured(run: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
  side = torch.cuda.Stream()
  side.wait_stream(torch.cuda.current_stream())
  with torch.cuda.stream(side):
    for _ in range(3):
      run()
  torch.cuda.current_stream().wait_stream(side)
  torch.cuda.synchronize()
  graph = torch.cuda.CUDAGraph()
  with torch.cuda.graph(graph):
    result = run()
  return graph, result


def device_ms(graph: torch.cuda.CUDAGraph, repeats: int) -> float:
  start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
  start.record()
  for _ in range(repeats):
    graph.replay()
  end.record()
  end.synchronize()
  return start.elapsed_time(end) / repeats


def host_ms(run: Callable[[], Any], repeats: int = 30) -> float:
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    times.append(time.perf_counter() - start)
  return statistics.median(times) * 1e3


def kernel_table(graph: torch.cuda.CUDAGraph, rows: int = 12) -> str:
  """Kernels of one replay: microseconds, calls, name; the longest first."""
  from torch.profiler import ProfilerActivity, profile

  with profile(activities=[ProfilerActivity.CUDA]) as profiler:
    for _ in range(5):
      graph.replay()
    torch.cuda.synchronize()
  times: dict[str, list[float]] = defaultdict(list)
  for event in profiler.events():
    if event.device_time > 0:
      times[event.name].append(event.device_time)
  total = sum(map(sum, times.values())) / 5
  lines = [f"{total:9.1f} us in {sum(map(len, times.values())) // 5} kernels"]
  for name, each in sorted(times.items(), key=lambda item: -sum(item[1]))[:rows]:
    lines.append(f"{sum(each) / 5:9.1f} us {len(each) // 5:4d} x {name[:110]}")
  return "\n".join(lines)


def bench_model(name: str, batch: int, seq: int) -> str:
  model, args, kwargs = models.build(name, batch=batch, seq=seq or 128)
  model = model.cuda().half()
  if name in ("resnet50", "mobilenet_v3_large"):
    model = model.to(memory_format=torch.channels_last)
  args, kwargs = models.to_device(args, torch.float16), models.to_device(kwargs, torch.float16)
  with torch.no_grad():
    runs = contestants(model, args, kwargs)
    expected = [t.float() for t in accuracy.leaves(runs["eager"]()) if isinstance(t, torch.Tensor)]
    graphs, failures, host = {}, {}, {}
    for key, run in runs.items():
      try:
        graphs[key], result = captured(run)
        graphs[key].replay()
        torch.cuda.synchronize()
        leaves = [t for t in accuracy.leaves(result) if isinstance(t, torch.Tensor)]
        error = max(accuracy.relative_error(a.float(), b.double())
                    for a, b in zip(leaves, expected, strict=True))
        if not error < 0.05:
          raise AssertionError(f"differs from eager by {error:.3g}")
      except Exception as error:  # noqa: BLE001: a contestant that cannot be captured is no row
        graphs.pop(key, None)
        failures[key] = f"{type(error).__name__}: {str(error)[:300]}"
    times: dict[str, list[float]] = {key: [] for key in graphs}
    repeats = max(5, min(200, int(30 / max(device_ms(g, 3) for g in graphs.values()))))
    for i in range(ROUNDS):
      for key in list(graphs)[i % len(graphs):] + list(graphs)[: i % len(graphs)]:
        times[key].append(device_ms(graphs[key], repeats))
    for key, run in runs.items():
      host[key] = host_ms(run)
    table = kernel_table(graphs["tuned"]) if "tuned" in graphs else ""
  parts = [f"{key} {statistics.median(t):.4f}" for key, t in times.items()]
  for own in ("kiln", "tuned"):
    for base in ("eager", "inductor"):
      if own in times and base in times:
        ratio = statistics.median(a / b for a, b in zip(times[base], times[own]))
        parts.append(f"{base}/{own} {ratio:.2f}")
  parts.append("host ms: " + ", ".join(f"{k} {v:.3f}" for k, v in host.items()))
  text = "device ms: " + ", ".join(parts)
  if failures:
    text += "; failed: " + "; ".join(f"{k}: {v}" for k, v in failures.items())
  if "kiln" in failures or "tuned" in failures:
    raise AssertionError(text)
  return text + "\n" + table


def host_cost() -> str:
  """Microseconds of one call of a tiny program on the host; nothing waits for the device."""
  import kiln

  model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()).cuda().half().eval()
  x = torch.randn(8, 64, device="cuda", dtype=torch.float16)
  program = kiln.compile(model, inputs=[x], cache=False)

  def per_call(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(20):
      torch.cuda.synchronize()
      start = time.perf_counter()
      for _ in range(100):
        run()
      times.append((time.perf_counter() - start) / 100)
    return statistics.median(times) * 1e6

  with torch.no_grad():
    graph, _ = captured(lambda: program(x))
    return (f"kiln {per_call(lambda: program(x)):.1f} us, eager {per_call(lambda: model(x)):.1f} us, "
            f"replay of torch's graph of it {per_call(graph.replay):.1f} us, "
            f"torch.empty {per_call(lambda: torch.empty(8, 64, device='cuda')):.1f} us")


def run(stages: Stages) -> None:
  stages.run("host cost of a call", host_cost)
  for name, batch, seq in CASES:
    stages.run(f"{name} batch {batch}",
               lambda name=name, batch=batch, seq=seq: bench_model(name, batch, seq), needs=45)
