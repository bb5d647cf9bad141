"""./dev demo: real models through the whole of Kiln, checked at every step.

  python examples/demo.py [--threads N]

Each model is compiled, compared with eager PyTorch (both against the same model in double
precision), timed against it, saved to one file, and run from that file by a C++ program. The exit
code is 0 only if every check holds. Files go to build/demo.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "examples")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

import demo_models  # noqa: E402
import kiln  # noqa: E402

BUILD = Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build" / "release"))
OUTPUT = ROOT / "build" / "demo"

checks: list[tuple[str, bool]] = []
rows: list[dict[str, str]] = []


def say(text: str = "") -> None:
  print(text, flush=True)


def check(what: str, holds: bool, detail: str = "") -> bool:
  checks.append((what, bool(holds)))
  say(f"  [{'ok' if holds else 'FAILED'}] {what}" + (f": {detail}" if detail else ""))
  return bool(holds)


def leaves(value: Any) -> list[torch.Tensor]:
  return [value] if isinstance(value, torch.Tensor) else list(value)


def rms_error(values: Sequence[torch.Tensor], truth: Sequence[torch.Tensor]) -> float:
  """The largest rms(value - truth) / rms(truth) of the outputs."""
  def rms(t: torch.Tensor) -> float:
    return t.double().pow(2).mean().sqrt().item()
  return max(rms(v.double() - t.double()) / rms(t) for v, t in zip(values, truth, strict=True))


def compare(name: str, model: torch.nn.Module, program: Callable, args: tuple) -> str:
  """Kiln against eager, both measured against the model in double precision."""
  double = copy.deepcopy(model).double()
  with torch.no_grad():
    truth = leaves(double(*(a.double() if a.is_floating_point() else a for a in args)))
    eager, own = leaves(model(*args)), leaves(program(*args))
  error, eager_error = rms_error(own, truth), rms_error(eager, truth)
  check(f"{name}: as exact as eager PyTorch", error <= 2 * eager_error + 1e-6,
        f"rms-relative error {error:.1e}, eager's {eager_error:.1e}")
  return f"{error:.1e} / {eager_error:.1e}"


def time_both(model: torch.nn.Module, program: Callable, args: tuple, rounds: int = 9,
              seconds_a_round: float = 0.25) -> tuple[float, float, float]:
  """Medians of eager and Kiln in seconds and of their ratio, in alternating rounds."""
  def one_round(run: Callable, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
      run(*args)
    return (time.perf_counter() - start) / repeats
  with torch.no_grad():
    for run in (model, program):
      one_round(run, 2)
    repeats = max(1, int(seconds_a_round / one_round(model, 1)))
    pairs = [(one_round(model, repeats), one_round(program, repeats)) for _ in range(rounds)]
  return (statistics.median(e for e, _ in pairs), statistics.median(k for _, k in pairs),
          statistics.median(e / k for e, k in pairs))


def show_time(name: str, model: torch.nn.Module, program: Callable, args: tuple) -> dict[str, str]:
  eager, own, ratio = time_both(model, program, args)
  check(f"{name}: not slower than eager PyTorch", ratio >= 1,
        f"{own * 1e3:.2f} ms, eager {eager * 1e3:.2f} ms, {ratio:.2f} x as fast")
  return {"eager ms": f"{eager * 1e3:.2f}", "kiln ms": f"{own * 1e3:.2f}",
          "speed-up": f"{ratio:.2f} x"}


def loaded_libraries(trace: Path) -> list[str]:
  """Libraries that the loader initialised, dlopen'd ones included, from glibc's own log."""
  found = []
  for file in trace.parent.glob(trace.name + ".*"):
    for line in file.read_text(errors="replace").splitlines():
      _, mark, path = line.partition("calling init: ")
      if mark:
        found.append(path.strip())
    file.unlink()
  return found


def run_in_cpp(path: Path, args: tuple, threads: int) -> tuple[list[np.ndarray], list[str]]:
  """Outputs of examples/cpp_runner in a process of its own, and the libraries in that process."""
  files = []
  for i, tensor in enumerate(args):
    files.append(OUTPUT / f"{path.stem}.in{i}.npy")
    np.save(files[-1], tensor.numpy())
  prefix, trace = OUTPUT / f"{path.stem}.out", OUTPUT / f"{path.stem}.loader"
  for old in OUTPUT.glob(f"{path.stem}.out*.npy"):
    old.unlink()
  command = [BUILD / "bin" / "cpp_runner", path, *files, "--out", prefix, "--threads", threads]
  environment = {"PATH": os.environ.get("PATH", ""), "LD_DEBUG": "files",
                 "LD_DEBUG_OUTPUT": str(trace)}
  for name in ("KILN_DNNL_LIBRARY", "KILN_OPTIONS"):
    if name in os.environ:
      environment[name] = os.environ[name]
  done = subprocess.run([str(word) for word in command], env=environment, capture_output=True,
                        text=True, timeout=300)
  libraries = loaded_libraries(trace)
  if done.returncode != 0:
    raise RuntimeError(f"cpp_runner failed: {done.stderr.strip()}")
  count = len(list(OUTPUT.glob(f"{path.stem}.out*.npy")))
  return [np.load(f"{prefix}{i}.npy") for i in range(count)], libraries


def check_file(name: str, program: kiln.Program, args: tuple, threads: int) -> dict[str, str]:
  """Saves, loads and runs in C++; all must give the same bits."""
  path = OUTPUT / f"{name}.kiln"
  program.save(path)
  start = time.perf_counter()
  loaded = kiln.load(path)
  seconds = time.perf_counter() - start
  size = path.stat().st_size / 2**20
  say(f"  saved to {path.relative_to(ROOT)} ({size:.1f} MiB), loaded in {seconds * 1e3:.0f} ms")
  own = leaves(program(*args))
  again = leaves(loaded(*args))
  check(f"{name}: the loaded file gives the same bits",
        len(own) == len(again) and all(map(torch.equal, own, again)))
  outputs, libraries = run_in_cpp(path, args, threads)
  same = len(own) == len(outputs) and all(
    np.array_equal(a.numpy(), b, equal_nan=True) for a, b in zip(own, outputs))
  check(f"{name}: the C++ program gives the same bits", same)
  names = sorted({Path(library).name for library in libraries})
  foreign = [n for n in names if "torch" in n or "python" in n.lower() or "c10" in n]
  check(f"{name}: no Python and no torch in the C++ process",
        not foreign and any("kiln_runtime" in n for n in names), " ".join(foreign or names))
  return {"file": f"{size:.1f} MiB", "load ms": f"{seconds * 1e3:.0f}"}


def show_report(name: str, program: kiln.Program) -> str:
  for line in str(program.report).splitlines():
    say(f"    {line}")
  report = program.report
  check(f"{name}: every captured call runs in Kiln", report.ops_native == report.ops_total)
  return f"{report.ops_native}/{report.ops_total}"


# ---- the four parts -----------------------------------------------------------------------------


def resnet(threads: int) -> torch.nn.Module:
  say("\n1. ResNet-50 on two photographs (china.jpg and flower.jpg of scikit-learn)")
  photos = demo_models.photographs()
  model = demo_models.resnet50(photos)
  program = kiln.compile(model, inputs=[photos])
  calls = show_report("resnet50", program)
  row = {"model": "ResNet-50, 2 photographs", "native calls": calls,
         "error, eager's": compare("resnet50", model, program, (photos,))}
  row |= show_time("resnet50", model, program, (photos,))
  row |= check_file("resnet50", program, (photos,), threads)
  rows.append(row)
  return model


def bert(threads: int) -> None:
  say("\n2. BERT-base on a paragraph, batch 1..8 and 16..256 tokens in one program")
  model = demo_models.SentenceEncoder().eval()
  sizes = {"min_shape": (1, 16), "opt_shape": (2, 64), "max_shape": (8, 256),
           "dim_names": ("batch", "tokens"), "dtype": torch.int64}
  program = kiln.compile(model, inputs=[
    kiln.Input(name="input_ids", value_range=(0, 30521), **sizes),
    kiln.Input(name="attention_mask", value_range=(1, 1), **sizes),
  ])
  calls = show_report("bert", program)
  whole = demo_models.tokenize([" ".join(demo_models.sentences())])
  batch = demo_models.tokenize(demo_models.sentences())
  for what, args in (("the paragraph", whole), ("its sentences", batch)):
    say(f"  {what}: {args[0].shape[0]} x {args[0].shape[1]} tokens")
    errors = compare("bert", model, program, args)
  try:
    program(*demo_models.tokenize(["word " * 300]))
    check("bert: a text that is too long is an error", False)
  except kiln.Error as error:
    check("bert: a text that is too long is an error", error.code == "K4105", str(error))
  row = {"model": f"BERT-base, {batch[0].shape[0]} x {batch[0].shape[1]} tokens",
         "native calls": calls, "error, eager's": errors}
  row |= show_time("bert", model, program, batch)
  row |= check_file("bert", program, batch, threads)
  rows.append(row)


def digits(threads: int) -> None:
  say("\n3. A small CNN, trained here on handwritten digits")
  train_images, train_labels, images, labels = demo_models.digits()
  start = time.perf_counter()
  model = demo_models.train_digits(train_images, train_labels)
  say(f"  trained on {len(train_labels)} digits in {time.perf_counter() - start:.1f} s")
  program = kiln.compile(model, inputs=[kiln.Input(
    name="images", min_shape=(1, 1, 8, 8), opt_shape=(len(labels), 1, 8, 8),
    max_shape=(512, 1, 8, 8))])
  calls = show_report("digits", program)

  def right(scores: torch.Tensor) -> int:
    return int((scores.argmax(1) == labels).sum())
  with torch.no_grad():
    eager, own = right(model(images)), right(program(images))
  say(f"  right before: {eager} of {len(labels)} ({100 * eager / len(labels):.1f} %), "
      f"compiled: {own}")
  check("digits: has learnt", eager >= 0.95 * len(labels))
  check("digits: accuracy is kept", own == eager)
  row = {"model": f"digits CNN, {len(labels)} digits", "native calls": calls,
         "error, eager's": compare("digits", model, program, (images,))}
  row |= show_time("digits", model, program, (images,))
  row |= check_file("digits", program, (images,), threads)
  saved = right(kiln.load(OUTPUT / "digits.kiln")(images))
  check("digits: accuracy is kept in the file", saved == eager)
  rows.append(row)


def one_line(model: torch.nn.Module) -> None:
  say('\n4. The one-line way: torch.compile(model, backend="kiln")')
  photos = demo_models.photographs()
  fast = torch.compile(model, backend="kiln")
  before = len(kiln.jit_reports())
  compare("torch.compile", model, fast, (photos,))
  check("torch.compile: Kiln built it", len(kiln.jit_reports()) == before + 1
        and kiln.jit_reports()[-1].ops_native == kiln.jit_reports()[-1].ops_total)


def print_summary() -> None:
  columns = list(rows[0]) if rows else []
  widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}
  say("\nSummary")
  if rows:
    say("  " + "  ".join(c.ljust(widths[c]) for c in columns).rstrip())
    for row in rows:
      say("  " + "  ".join(row[c].ljust(widths[c]) for c in columns).rstrip())
  failed = [what for what, holds in checks if not holds]
  say(f"  {len(checks) - len(failed)} of {len(checks)} checks hold")
  for what in failed:
    say(f"  FAILED: {what}")


def main() -> int:
  parser = argparse.ArgumentParser(description="Kiln on real models, checked at every step.")
  parser.add_argument("--threads", type=int, default=0, help="default: torch's setting")
  arguments = parser.parse_args()
  # Advice of libraries on their own use; errors and Kiln's messages are not affected.
  warnings.filterwarnings("ignore", category=FutureWarning)
  warnings.filterwarnings("ignore", category=DeprecationWarning)
  if arguments.threads > 0:
    torch.set_num_threads(arguments.threads)
  threads = torch.get_num_threads()
  OUTPUT.mkdir(parents=True, exist_ok=True)
  start = time.perf_counter()
  say(f"torch {torch.__version__}, kiln {kiln.__version__}, {threads} threads")
  model = None
  for part in (lambda: resnet(threads), lambda: bert(threads), lambda: digits(threads)):
    try:
      model = part() or model
    except (kiln.Error, RuntimeError, OSError, subprocess.SubprocessError) as error:
      check("no error", False, str(error))
  if model is not None:
    try:
      one_line(model)
    except (kiln.Error, RuntimeError) as error:
      check("torch.compile: no error", False, str(error))
  print_summary()
  say(f"  {time.perf_counter() - start:.0f} s")
  return 0 if rows and all(holds for _, holds in checks) else 1


if __name__ == "__main__":
  sys.exit(main())
