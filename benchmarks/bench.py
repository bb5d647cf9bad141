"""Speed of Kiln against eager PyTorch and Inductor, and what building and loading cost.

  benchmarks/bench.py                      speed, all models, batch 1, 128 tokens, 2 threads
  benchmarks/bench.py --models bert,gpt2 --batch 4 --rounds 15
  benchmarks/bench.py --build              build time, peak memory, load time (a process per model)
  benchmarks/bench.py --call               cost of one call beyond the work, on a tiny model
  --json FILE   all figures;   --markdown FILE   the tables, as in docs/performance.md

Contestants run in one process on the same model and input, in turns: every round gives each of
them the same time, in an order that rotates. What counts is the ratio within a round; the table
shows its median and the interval that holds the middle half of the rounds. A contestant whose
results differ from eager's is an error, not a row.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[1]
for _folder in (ROOT, ROOT / "python"):
  sys.path.insert(0, str(_folder))

import torch  # noqa: E402

from tests.models import accuracy, zoo  # noqa: E402

CONTESTANTS = ("eager", "inductor", "kiln", "kiln_jit")


# ---- contestants --------------------------------------------------------------------------------


def make_contestant(name: str, model: torch.nn.Module, inputs: zoo.Inputs) -> Callable[[], Any]:
  """A function that runs the model once. Compilation and two warm-up calls are done."""
  if name == "eager":
    compiled = model
  elif name == "inductor":
    from torch._inductor import config

    config.freezing = True
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(model))
  elif name == "kiln":
    import kiln

    compiled = kiln.compile(model, inputs=list(inputs.args) or dict(inputs.kwargs), cache=False)
  elif name == "kiln_jit":
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="kiln", options={"cache": False})
  else:
    raise ValueError(f"unknown contestant {name!r}, there are {', '.join(CONTESTANTS)}")
  args, kwargs = inputs.args, inputs.kwargs
  run = lambda: compiled(*args, **kwargs)  # noqa: E731
  run()
  run()
  return run


def check_results(name: str, result: Any, expected: Any) -> None:
  """Guards the benchmark against fast nonsense; tests/python holds the accuracy rule."""
  for i, (a, b) in enumerate(zip(accuracy.leaves(result), accuracy.leaves(expected), strict=True)):
    if isinstance(a, torch.Tensor) and a.is_floating_point():
      error = accuracy.relative_error(a, b.double())
      if not error < 1e-3:
        raise SystemExit(f"{name}: output {i} differs from eager's by {error:.3g} (rms-relative)")


def time_calls(run: Callable[[], Any], seconds: float) -> float:
  """Median seconds of one call, over about `seconds` and at least three calls."""
  times: list[float] = []
  end = time.perf_counter() + seconds
  while len(times) < 3 or time.perf_counter() < end:
    start = time.perf_counter()
    run()
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def bench_model(label: str, names: list[str], batch: int, seq: int, rounds: int,
                seconds: float) -> dict:
  """Times of all contestants on one model: {contestant: [seconds per round]}."""
  _, builder, kw = next(case for case in zoo.ACCEPTANCE if case[0] == label)
  model, make_inputs = zoo.build(builder, **kw)
  inputs = make_inputs(batch, seq, 0)
  times: dict[str, list[float]] = {name: [] for name in names}
  failures: dict[str, str] = {}
  with torch.no_grad():
    expected = model(*inputs.args, **inputs.kwargs)
    runs: dict[str, Callable[[], Any]] = {}
    for name in names:
      try:
        runs[name] = make_contestant(name, model, inputs)
      except Exception as error:  # noqa: BLE001: a row says what failed
        if name == "eager":
          raise
        failures[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        continue
      check_results(f"{label}, {name}", runs[name](), expected)
    order = list(runs)
    for i in range(rounds):
      for name in order[i % len(order):] + order[: i % len(order)]:
        times[name].append(time_calls(runs[name], seconds))
  return {"model": label, "batch": batch, "times": {n: t for n, t in times.items() if t},
          "failures": failures}


def ratio(times: dict[str, list[float]], name: str, base: str) -> dict | None:
  """time(name) / time(base) per round: median and quartiles."""
  if name not in times or base not in times:
    return None
  ratios = sorted(a / b for a, b in zip(times[name], times[base]))
  quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
  return {"median": statistics.median(ratios), "low": quarters[0], "high": quarters[2]}


def speed(options: argparse.Namespace) -> list[dict]:
  rows = []
  for label in options.models:
    row = bench_model(label, options.contestants, options.batch, options.seq, options.rounds,
                      options.seconds)
    row["ratios"] = {f"{a}/{b}": ratio(row["times"], a, b)
                     for a in ("kiln", "kiln_jit", "inductor") for b in ("eager", "inductor")
                     if a != b and a in row["times"] and b in row["times"]}
    rows.append(row)
    print(speed_line(row), flush=True)
    torch._dynamo.reset()
  return rows


def speed_line(row: dict) -> str:
  parts = [f"{row['model']:20s}"]
  for name in CONTESTANTS:
    if name in row["times"]:
      parts.append(f"{name} {statistics.median(row['times'][name]) * 1e3:8.2f} ms")
    elif name in row["failures"]:
      parts.append(f"{name} failed ({row['failures'][name]})")
  for key in ("kiln/eager", "kiln/inductor"):
    if row["ratios"].get(key):
      r = row["ratios"][key]
      parts.append(f"{key} {r['median']:.2f} [{r['low']:.2f}, {r['high']:.2f}]")
  return "  ".join(parts)


# ---- build, memory, load ------------------------------------------------------------------------


def _status_kib(key: str) -> int:
  with open("/proc/self/status", encoding="ascii") as status:
    return int(next(line for line in status if line.startswith(key + ":")).split()[1])


def build_in_this_process(label: str, batch: int, seq: int) -> dict:
  """Builds, saves and loads one model; all figures of the build table."""
  import kiln

  _, builder, kw = next(case for case in zoo.ACCEPTANCE if case[0] == label)
  model, make_inputs = zoo.build(builder, **kw)
  inputs = make_inputs(batch, seq, 0)
  weights = sum(p.numel() * p.element_size() for p in
                [*model.parameters(), *model.buffers()])
  with torch.no_grad():
    model(*inputs.args, **inputs.kwargs)
  with open("/proc/self/clear_refs", "w", encoding="ascii") as clear:
    clear.write("5")  # resets the peak
  before = _status_kib("VmRSS")
  start = time.perf_counter()
  program = kiln.compile(model, inputs=list(inputs.args) or dict(inputs.kwargs), cache=False)
  total = time.perf_counter() - start
  peak = _status_kib("VmHWM")
  phases = dict(program.report.build_seconds)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.kiln")
    start = time.perf_counter()
    program.save(path)
    save = time.perf_counter() - start
    size = os.path.getsize(path)
    del program
    loads = []
    for _ in range(5):
      start = time.perf_counter()
      loaded = kiln.load(path)
      loads.append(time.perf_counter() - start)
      del loaded
  return {"model": label, "total_s": total, "capture_s": phases.get("capture", math.nan),
          "phases": phases, "weights_mib": weights / 2**20,
          "peak_over_model_mib": (peak - before) / 2**10, "save_s": save,
          "file_mib": size / 2**20, "load_s": statistics.median(loads)}


def build(options: argparse.Namespace) -> list[dict]:
  rows = []
  for label in options.models:
    command = [sys.executable, __file__, "--build-one", label, "--batch", str(options.batch),
               "--seq", str(options.seq), "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
      raise SystemExit(f"{label}: {done.stderr.strip()[-2000:]}")
    row = json.loads(done.stdout.strip().splitlines()[-1])
    rows.append(row)
    after_capture = row["total_s"] - row["capture_s"]
    print(f"{label:20s}  build {after_capture:5.2f} s after {row['capture_s']:5.2f} s of capture  "
          f"peak +{row['peak_over_model_mib']:6.0f} MiB for {row['weights_mib']:5.0f} MiB weights  "
          f"file {row['file_mib']:5.0f} MiB  load {row['load_s'] * 1e3:6.1f} ms", flush=True)
  return rows


# ---- cost of a call -----------------------------------------------------------------------------


def call_cost(options: argparse.Namespace) -> dict:
  """Time of prog(x) on a model with next to no work, and of allocating its output."""
  import kiln

  model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()).eval()
  x = torch.randn(1, 8)
  program = kiln.compile(model, inputs=[x], cache=False)
  count = options.calls

  def per_call(function: Callable[[], Any]) -> float:
    for _ in range(1000):
      function()
    times = []
    for _ in range(count):
      start = time.perf_counter_ns()
      function()
      times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e3

  with torch.no_grad():
    nothing = per_call(lambda: None)
    figures = {"prog(x)": per_call(lambda: program(x)) - nothing,
               "eager": per_call(lambda: model(x)) - nothing,
               "torch.empty": per_call(lambda: torch.empty(1, 8)) - nothing}
  for name, microseconds in figures.items():
    print(f"{name:12s} {microseconds:7.2f} us")
  return figures


# ---- output -------------------------------------------------------------------------------------


def machine() -> dict:
  model = "unknown"
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as info:
      model = next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
  except (OSError, StopIteration):
    pass
  return {"cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads(),
          "torch": torch.__version__, "python": platform.python_version()}


def markdown(results: dict) -> str:
  m = results["machine"]
  lines = [f"{m['cpu']}, {m['threads']} threads, torch {m['torch']}.", ""]
  if "speed" in results:
    lines += ["| model | eager | Inductor | kiln.compile | torch.compile | kiln / eager | "
              "kiln / Inductor |", "|---|---|---|---|---|---|---|"]
    for row in results["speed"]:
      cells = [f"{row['model']}, batch {row['batch']}"]
      for name in CONTESTANTS:
        times = row["times"].get(name)
        cells.append(f"{statistics.median(times) * 1e3:.2f} ms" if times
                     else "failed" if name in row["failures"] else "")
      for key in ("kiln/eager", "kiln/inductor"):
        r = row["ratios"].get(key)
        cells.append(f"{r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})" if r else "")
      lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
  if "build" in results:
    lines += ["| model | capture | build | peak above model | weights | file | load |",
              "|---|---|---|---|---|---|---|"]
    for row in results["build"]:
      build_s = row["total_s"] - row["capture_s"]
      lines.append(
        f"| {row['model']} | {row['capture_s']:.2f} s | {build_s:.2f} s | "
        f"{row['peak_over_model_mib']:.0f} MiB | {row['weights_mib']:.0f} MiB | "
        f"{row['file_mib']:.0f} MiB | {row['load_s'] * 1e3:.0f} ms |")
    lines.append("")
  if "call" in results:
    lines += ["| one call, tiny model | us |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in results["call"].items()]
    lines.append("")
  return "\n".join(lines)


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  labels = [case[0] for case in zoo.ACCEPTANCE]
  parser.add_argument("--models", default=",".join(labels))
  parser.add_argument("--contestants", default=",".join(CONTESTANTS))
  parser.add_argument("--batch", type=int, default=1)
  parser.add_argument("--seq", type=int, default=128)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--rounds", type=int, default=9)
  parser.add_argument("--seconds", type=float, default=0.4, help="per contestant and round")
  parser.add_argument("--calls", type=int, default=100_000, help="for --call")
  parser.add_argument("--build", action="store_true")
  parser.add_argument("--call", action="store_true")
  parser.add_argument("--build-one", help=argparse.SUPPRESS)
  parser.add_argument("--json", type=Path)
  parser.add_argument("--markdown", type=Path)
  options = parser.parse_args()
  options.models = options.models.split(",")
  options.contestants = options.contestants.split(",")
  for chosen, known in ((options.models, labels), (options.contestants, CONTESTANTS)):
    unknown = [name for name in chosen if name not in known]
    if unknown:
      parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
  return options


def main() -> None:
  options = parse()
  torch.set_num_threads(options.threads)
  if options.build_one:
    print(json.dumps(build_in_this_process(options.build_one, options.batch, options.seq)))
    return
  results: dict[str, Any] = {"machine": machine()}
  if options.build:
    results["build"] = build(options)
  if options.call:
    results["call"] = call_cost(options)
  if not (options.build or options.call):
    results["speed"] = speed(options)
  if options.json:
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
  if options.markdown:
    options.markdown.write_text(markdown(results), encoding="utf-8")


if __name__ == "__main__":
  main()
