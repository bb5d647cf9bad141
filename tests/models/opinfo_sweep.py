"""PyTorch's own table of operators (op_db), each compiled and compared with eager.

A case is (operator, dtype). Its samples, OpInfo's own, are compiled one by one with the tensors as
inputs and everything else closed over. What came of it, the worst of the samples:

  native    every call runs in Kiln and the result is eager's
  fallback  some calls run in PyTorch and the result is eager's
  refusal   kiln.compile raised kiln.Error, other than the one for bugs
  WRONG     another result, or an error where eager has none
  CRASH     an exception that is no kiln.Error, a bug reported as K9001, a dead or hanging process
  none      eager itself cannot run any of the samples

Cases run in worker processes (this file as a program), so that a crash names its case and costs
only it.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Iterator

import torch
from torch import nn
from torch.utils import _pytree as pytree

OUTCOMES = ("none", "native", "fallback", "refusal", "WRONG", "CRASH")  # from good to bad
DTYPES = {"f32": torch.float32, "i64": torch.int64, "bool": torch.bool, "f64": torch.float64}
# Of operators that take none of DTYPES, and for longer sweeps.
MORE_DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "u8": torch.uint8, "i8": torch.int8,
               "i16": torch.int16, "i32": torch.int32, "c64": torch.complex64}
TOLERANCE = {torch.float32: (1.3e-6, 1e-5), torch.float64: (1e-7, 1e-7),
             torch.bfloat16: (1.6e-2, 1e-5), torch.float16: (1e-3, 1e-5)}
HANG_SECONDS = 120

# Results that nobody wrote to: only dtype, shape and strides count.
UNINITIALISED = {"empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided",
                 "empty_permuted", "resize_", "resize_as_"}
# Results of which a part is written: the state of random numbers and what pads rows are not.
PARTLY_WRITTEN = {"torch.ops.aten._flash_attention_forward",
                  "torch.ops.aten._efficient_attention_forward"}


@dataclass
class CaseResult:
  name: str     # "nn.functional.conv2d", "linalg.norm.subgradients_at_zero"
  dtype: str
  outcome: str
  detail: str = ""
  samples: int = 0
  seconds: float = 0.0

  @property
  def case(self) -> str:
    return f"{self.name}/{self.dtype}"


# ---- one case -----------------------------------------------------------------------------------


class Sampled(nn.Module):
  """A function of OpInfo with one of its samples: forward takes the sample's tensors."""

  def __init__(self, function: Callable, sample: Any, in_place: bool = False):
    super().__init__()
    self.function = function
    self.in_place = in_place
    self.leaves, self.spec = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
    self.places = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, torch.Tensor)]
    self.tensors = [self.leaves[i].detach() for i in self.places]
    for i in self.places:
      self.leaves[i] = None

  def forward(self, *tensors):
    leaves = list(self.leaves)
    for place, tensor in zip(self.places, tensors):
      leaves[place] = tensor
    first, args, kwargs = pytree.tree_unflatten(leaves, self.spec)
    if self.in_place:
      # A fresh tensor is written: what leaf an input is does not matter here.
      first = first.clone()
      view = first.view_as(first)
      return self.function(view, *args, **kwargs), first
    return self.function(first, *args, **kwargs)


def case_name(op: Any) -> str:
  return op.name + (f".{op.variant_test_name}" if op.variant_test_name else "")


def all_cases(dtypes: list[str], once: bool = False,
              device: str = "cpu") -> Iterator[tuple[Any, str]]:
  """(OpInfo, dtype name). `once`: each operator only at the first of its dtypes. Operators that
  take none of the dtypes come with the first other one that they take."""
  from torch.testing._internal.common_methods_invocations import op_db

  known = {**DTYPES, **MORE_DTYPES}
  for op in sorted(op_db, key=case_name):
    taken = [d for d in dtypes if op.supports_dtype(known[d], device)]
    if not taken:
      taken = [d for d in known if op.supports_dtype(known[d], device)][:1]
    for dtype in taken[:1] if once else taken:
      yield op, dtype


def clones(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
  """Copies with the strides of the originals; tensors that overlap themselves stay as they are."""
  return [t.clone() if t.layout != torch.strided or torch._debug_has_internal_overlap(t) else
          torch.empty_strided(t.size(), t.stride(), dtype=t.dtype, device=t.device).copy_(t) for t in tensors]


def run(module: Callable, tensors: list[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
  """The output and the inputs after the call."""
  inputs = clones(tensors)
  torch.manual_seed(17)
  with torch.no_grad():
    return module(*inputs), inputs


def strides_of(t: torch.Tensor) -> list[int]:
  """The strides that mean something."""
  return [stride for size, stride in zip(t.shape, t.stride()) if size > 1] if t.numel() else []


def is_dense(t: torch.Tensor) -> bool:
  return torch.ops.aten.is_non_overlapping_and_dense(t)


def compare_tensor(actual: torch.Tensor, expected: torch.Tensor, truth: Any,
                   values_count: bool) -> str:
  """Empty when they agree."""
  for what in ("dtype", "shape", "layout"):
    if getattr(actual, what) != getattr(expected, what):
      return f"{what} {getattr(actual, what)}, eager's {getattr(expected, what)}"
  if expected.layout != torch.strided:
    actual, expected = actual.to_dense(), expected.to_dense()
  elif is_dense(expected) and strides_of(actual) != strides_of(expected):
    return f"strides {actual.stride()}, eager's {expected.stride()} of {list(expected.shape)}"
  if not values_count or not expected.numel():
    return ""
  if not expected.is_floating_point() and not expected.is_complex():
    if torch.equal(actual, expected):
      return ""
    return f"{int((actual != expected).sum())} of {expected.numel()} elements differ"
  if expected.is_complex():
    actual, expected = torch.view_as_real(actual.resolve_conj()), \
      torch.view_as_real(expected.resolve_conj())
    if isinstance(truth, torch.Tensor) and truth.is_complex():
      truth = torch.view_as_real(truth.resolve_conj())
  relative, absolute = TOLERANCE[expected.dtype]
  if torch.allclose(actual, expected, relative, absolute, equal_nan=True):
    return ""
  a, e = actual.double(), expected.double()
  finite = a.isfinite() & e.isfinite()
  special = ~(finite | (a == e) | (a.isnan() & e.isnan()))
  if special.any():
    i = special.flatten().nonzero()[0].item()
    return (f"{int(special.sum())} of {e.numel()} elements not finite alike: "
            f"{a.flatten()[i].item()}, eager's {e.flatten()[i].item()}")
  worst = (a - e)[finite].abs().max().item()
  message = f"off by {worst:.3g} of {e[finite].abs().max().item():.3g}"
  if not isinstance(truth, torch.Tensor) or truth.shape != e.shape or truth.is_complex():
    return message
  # Both round. Kiln may be off from f64's result by twice what eager is off.
  t = truth.double()
  if not t[finite].isfinite().all():
    return message
  scale = max(1.0, t[finite].abs().max().item())
  ours, eagers = ((x - t)[finite].abs().max().item() for x in (a, e))
  if eagers <= 1e-3 * scale and ours <= 2 * eagers + relative * scale:
    return ""
  # What eager adds up in 16 bits, Kiln may add up in f32.
  if expected.dtype in (torch.float16, torch.bfloat16) and ours <= eagers:
    return ""
  return f"{message}; from f64 {ours:.3g}, eager {eagers:.3g}"


def ties_apart(name: str, sample: Any, actual: Any, expected: Any) -> Any:
  """`expected` with the indices of `actual` where both point at equal elements: torch promises no
  order of equal ones but for stable sorts."""
  if name not in ("sort", "argsort", "topk") or sample.kwargs.get("stable"):
    return expected
  position = 1 if name == "topk" else 0
  dim = sample.kwargs.get("dim", sample.args[position] if len(sample.args) > position else -1)
  ours, theirs = (x if name == "argsort" else x[1] for x in (actual, expected))
  source = sample.input.reshape(1) if sample.input.dim() == 0 else sample.input
  picked, wanted = (source.gather(dim, i.reshape(1) if i.dim() == 0 else i)
                    for i in (ours, theirs))
  ordered = ours.sort(dim).values
  distinct = ours.dim() == 0 or not (ordered.diff(dim=dim) == 0).any()
  if not distinct or not torch.equal(picked.nan_to_num(), wanted.nan_to_num()):
    return expected
  return ours if name == "argsort" else type(expected)((expected[0], ours))


def compare(actual: Any, expected: Any, truth: Callable[[], Any], values_count: bool) -> str:
  """Nested outputs. `truth` computes the same in f64, or gives None."""
  got, got_spec = pytree.tree_flatten(actual)
  want, want_spec = pytree.tree_flatten(expected)
  if len(got) != len(want):
    return f"{len(got)} results, eager has {len(want)}"
  if got_spec != want_spec and not isinstance(expected, torch.Size):  # export makes it a tuple
    return f"results as {type(actual).__name__}, eager's as {type(expected).__name__}"
  exact: list | None = None
  for i, (a, e) in enumerate(zip(got, want)):
    if isinstance(e, torch.Tensor) != isinstance(a, torch.Tensor):
      return f"result {i} is a {type(a).__name__}, eager's a {type(e).__name__}"
    if not isinstance(e, torch.Tensor):
      if type(a) is not type(e) or (a != e and a == a):
        return f"result {i} is {a!r}, eager's {e!r}"
      continue
    message = compare_tensor(a, e, None, values_count)
    if message and e.is_floating_point() and e.dtype != torch.float64:
      if exact is None:
        exact = pytree.tree_leaves(truth())
      if len(exact) == len(want):
        message = compare_tensor(a, e, exact[i], values_count)
    if message:
      return f"result {i}: {message}"
  return ""


def wide_run(module: Sampled) -> Any:
  """Eager's result with every float input in f64; None where it cannot."""
  try:
    wide = [t.double() if t.is_floating_point() else t for t in module.tensors]
    return run(module, wide)[0]
  except Exception:  # noqa: BLE001: closed-over dtypes and the like
    return None


def judge_sample(function: Callable, sample: Any, name: str, in_place: bool) -> tuple[str, str]:
  import kiln

  module = Sampled(function, sample, in_place).eval()
  try:
    expected, inputs_after = run(module, module.tensors)
  except Exception as error:  # noqa: BLE001: samples that eager refuses are no cases
    return "none", f"{type(error).__name__}: {str(error)[:100]}"
  try:
    program = kiln.compile(module, inputs=clones(module.tensors))
  except kiln.Error as error:
    return "CRASH" if error.code.startswith("K9") else "refusal", str(error).split("\n")[0]
  except Exception as error:  # noqa: BLE001
    return "CRASH", f"compile: {type(error).__name__}: {str(error)[:300]}"
  try:
    actual, actual_after = run(program, module.tensors)
  except kiln.Error as error:
    return "CRASH" if error.code.startswith("K9") else "WRONG", f"run: {str(error)[:300]}"
  except Exception as error:  # noqa: BLE001
    return "CRASH", f"run: {type(error).__name__}: {str(error)[:300]}"
  if not in_place:
    expected = ties_apart(name, sample, actual, expected)
  message = compare(actual, expected, lambda: wide_run(module),
                    name.split(".")[0] not in UNINITIALISED) or \
    compare(actual_after, inputs_after, lambda: None, name.split(".")[0] not in UNINITIALISED)
  if message:
    return "WRONG", message
  fallbacks = program.report.fallbacks
  if not fallbacks:
    return "native", ""
  return "fallback", "; ".join(dict.fromkeys(
    f"{row['op']} {row['code']} {row['reason']}" for row in fallbacks))


def judge_case(op: Any, dtype: str, max_samples: int, in_place: bool,
               device: str = "cpu") -> CaseResult:
  start = time.perf_counter()
  result = CaseResult(case_name(op), dtype, "none")
  function = op.inplace_variant if in_place else op.op
  torch.manual_seed(3)
  # Fills what nobody writes.
  torch.use_deterministic_algorithms(op.name in PARTLY_WRITTEN, warn_only=True)
  kind = {**DTYPES, **MORE_DTYPES}[dtype]
  try:
    samples = list(islice(op.sample_inputs(device, kind), max_samples))
  except Exception as error:  # noqa: BLE001: tables of samples have bugs, too
    result.detail = f"no samples: {type(error).__name__}: {str(error)[:100]}"
    samples = []
  for number, sample in enumerate(samples):
    if in_place and (sample.broadcasts_input or not isinstance(sample.input, torch.Tensor)):
      continue
    outcome, detail = judge_sample(function, sample, result.name, in_place)
    result.samples += 1
    if OUTCOMES.index(outcome) > OUTCOMES.index(result.outcome):
      result.outcome, result.detail = outcome, f"sample {number}: {detail}" if detail else ""
  result.seconds = time.perf_counter() - start
  return result


# ---- many cases ---------------------------------------------------------------------------------


def sweep(dtypes: list[str], max_samples: int = 2, once: bool = False, in_place: bool = False,
          only: str = "", workers: int = 2, cut: tuple[int, int] = (0, 1),
          device: str = "cpu") -> list[CaseResult]:
  """Judges all cases, or those of names with `only` in them, in `workers` processes. `cut` (i, n):
  only the i-th of n parts."""
  results: list[CaseResult] = []
  failures: queue.Queue = queue.Queue()

  def feed(part: int) -> None:
    try:
      skip = 0
      while skip >= 0:
        skip = run_worker(part, skip)
    except Exception as error:  # noqa: BLE001: handed on to the caller's thread
      failures.put(error)

  def run_worker(part: int, skip: int) -> int:
    """-1 at the end, else how many cases to skip next time."""
    command = [sys.executable, str(Path(__file__).resolve()), "--dtypes", *dtypes,
               "--samples", str(max_samples), "--part", str(cut[0] + cut[1] * part),
               "--parts", str(cut[1] * workers), "--skip", str(skip), "--only", only,
               "--device", device]
    command += ["--once"] * once + ["--in-place"] * in_place
    with tempfile.TemporaryFile() as noise:
      process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, text=True)
      last = [time.monotonic()]
      watchdog_ends = threading.Event()

      def watch() -> None:
        while not watchdog_ends.wait(1):
          if time.monotonic() - last[0] > HANG_SECONDS:
            process.kill()

      watcher = threading.Thread(target=watch, daemon=True)
      watcher.start()
      current, done, finished = None, skip, False
      for line in process.stdout:
        last[0] = time.monotonic()
        if not line.startswith("@"):
          continue
        row = json.loads(line[1:])
        if row.get("finished"):
          finished = True
        elif "start" in row:
          current = row["start"]
        else:
          results.append(CaseResult(**row))
          current, done = None, done + 1
      code = process.wait()
      watchdog_ends.set()
      watcher.join()
      if finished and code == 0:
        return -1
      noise.seek(0)
      tail = noise.read().decode(errors="replace").strip()[-300:]
      if current is None:
        raise RuntimeError(f"worker ended with {code} between cases: {tail}")
      results.append(CaseResult(*current, "CRASH", f"process ended with {code}: {tail}"))
      return done + 1

  threads = [threading.Thread(target=feed, args=(i,)) for i in range(workers)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  if not failures.empty():
    raise failures.get()
  return sorted(results, key=lambda r: (r.name, r.dtype))


def table(results: list[CaseResult]) -> str:
  """Counts by dtype and outcome."""
  dtypes = sorted({r.dtype for r in results},
                  key=[*DTYPES, *MORE_DTYPES].index)
  lines = [f"{'':6s}" + "".join(f"{o:>10s}" for o in OUTCOMES)]
  for dtype in [*dtypes, "all"]:
    rows = [r for r in results if dtype in (r.dtype, "all")]
    lines.append(f"{dtype:6s}" + "".join(
      f"{sum(r.outcome == o for r in rows):10d}" for o in OUTCOMES))
  return "\n".join(lines)


def worker(arguments: argparse.Namespace) -> None:
  import warnings

  from torch.testing._internal import common_methods_invocations

  warnings.simplefilter("ignore")
  torch.set_num_threads(1)
  # OpInfo's random operators set the seed themselves, which no capture sees; run() sets it here.
  common_methods_invocations.wrapper_set_seed = lambda op, *args, **kwargs: op(*args, **kwargs)
  cases = [c for c in all_cases(arguments.dtypes, arguments.once, arguments.device)
           if arguments.only in case_name(c[0]) and
           (not arguments.in_place or c[0].inplace_variant is not None)]
  out = os.fdopen(os.dup(1), "w")  # operators that print do not disturb the rows
  os.dup2(2, 1)

  def say(row: dict) -> None:
    out.write("@" + json.dumps(row) + "\n")
    out.flush()

  for op, dtype in cases[arguments.part::arguments.parts][arguments.skip:]:
    say({"start": [case_name(op), dtype]})
    say(vars(judge_case(op, dtype, arguments.samples, arguments.in_place, arguments.device)))
  say({"finished": True})


def main() -> None:
  parser = argparse.ArgumentParser(description="Judges the cases of one part, a row of JSON each.")
  parser.add_argument("--dtypes", nargs="+", default=["f32"])
  parser.add_argument("--samples", type=int, default=2)
  parser.add_argument("--part", type=int, default=0)
  parser.add_argument("--parts", type=int, default=1)
  parser.add_argument("--skip", type=int, default=0)
  parser.add_argument("--only", default="")
  parser.add_argument("--device", default="cpu")
  parser.add_argument("--once", action="store_true")
  parser.add_argument("--in-place", action="store_true")
  worker(parser.parse_args())


if __name__ == "__main__":
  root = Path(__file__).resolve().parents[2]
  sys.path[:0] = [str(root), str(root / "python")]
  main()
