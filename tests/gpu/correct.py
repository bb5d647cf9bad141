"""What must be right on a GPU: ./dev gpu-test correct. See gpu_test.py."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves

import kiln
from tests.gpu import models
from tests.gpu.stages import Stages
from tests.models import accuracy, zoo

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def _inputs(args: tuple, kwargs: dict) -> list | dict:
  return list(args) or dict(kwargs)


def on_gpu(args: tuple, kwargs: dict, dtype: torch.dtype | None = None) -> zoo.Inputs:
  return zoo.Inputs(models.to_device(args, dtype), models.to_device(kwargs, dtype))


def native_note(program) -> str:
  rows = program.report.fallbacks
  if not rows:
    return "native"
  return "fallbacks: " + ", ".join(sorted({f"{row['op']} ({row['reason'][:60]})" for row in rows}))


def check_model(name: str, kind: str, batch: int = 2) -> str:
  """Against fp64 and eager on the GPU, by the accuracy rule."""
  dtype = DTYPES[kind]
  model, args, kwargs = models.build(name, batch=batch, seq=64)
  _, args2, kwargs2 = models.build(name, batch=batch, seq=64, seed=1)
  eager = model.cuda().to(dtype)
  given = on_gpu(args, kwargs, dtype)
  oracle = accuracy.Oracle(eager, given, on_gpu(args2, kwargs2, dtype))
  program = kiln.compile(eager, inputs=_inputs(given.args, given.kwargs), cache=False)
  with torch.no_grad():
    verdicts = oracle.check(program(*given.args, **given.kwargs))
    oracle.check(program(*given.args, **given.kwargs))  # a second run, by then from a graph
  worst = max((v.error for v in verdicts if v.error is not None), default=0.0)
  return f"error {worst:.2e}; {native_note(program)}"


def check_precision(name: str, kind: str) -> str:
  """A float model compiled with precision=, inputs and outputs in float."""
  model, args, kwargs = models.build(name, batch=2, seq=64)
  _, args2, kwargs2 = models.build(name, batch=2, seq=64, seed=1)
  eager = model.cuda()
  given = on_gpu(args, kwargs)
  oracle = accuracy.Oracle(eager, given, on_gpu(args2, kwargs2))
  program = kiln.compile(eager, inputs=_inputs(given.args, given.kwargs),
                         precision={"f16": "fp16", "bf16": "bf16"}[kind], cache=False)
  with torch.no_grad():
    outputs = accuracy.leaves(program(*given.args, **given.kwargs))
    half = model.to(DTYPES[kind])
    low = accuracy.leaves(half(*models.to_device(args, DTYPES[kind]),
                               **models.to_device(kwargs, DTYPES[kind])))
  for got, rough, truth in zip(outputs, low, accuracy.leaves(oracle.truth), strict=True):
    if not isinstance(got, torch.Tensor) or not got.is_floating_point():
      continue
    error, allowed = (accuracy.relative_error(t, truth) for t in (got, rough))
    if not error <= 3 * allowed + 1e-6:
      raise AssertionError(f"error {error:.3g}, eager in {kind} has {allowed:.3g}")
  return native_note(program)


class _Hybrid(torch.nn.Module):
  """Runs of native work around calls that stay in PyTorch."""

  def __init__(self):
    super().__init__()
    self.a = torch.nn.Linear(32, 32)
    self.b = torch.nn.Linear(32, 32)

  def forward(self, x):
    y = torch.relu(self.a(x))
    y = torch.linalg.matrix_exp(y[:, :32, :] * 0.01)
    z = torch.fft.rfft(self.b(y)).abs()
    return z.softmax(-1), torch.bincount(x.flatten().abs().long() % 7, minlength=7)


def check_hybrid() -> str:
  model = _Hybrid().cuda().eval()
  x = torch.randn(2, 32, 32, device="cuda")
  program = kiln.compile(model, inputs=[x], cache=False)
  with torch.no_grad():
    for _ in range(3):
      for got, expected in zip(program(x), model(x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
  if not program.report.fallbacks:
    raise AssertionError("nothing fell back: the check checks nothing")
  return native_note(program)


def check_streams() -> str:
  """Several threads, each with a stream of its own, share one program."""
  model = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.GELU(),
                              torch.nn.Linear(1024, 256)).cuda().eval()
  program = kiln.compile(model, inputs=[torch.randn(64, 256, device="cuda")], cache=False)
  errors: list[str] = []

  def work(seed: int) -> None:
    try:
      generator = torch.Generator("cuda").manual_seed(seed)
      stream = torch.cuda.Stream()
      with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(50):
          x = torch.randn(64, 256, device="cuda", generator=generator)
          torch.testing.assert_close(program(x), model(x), rtol=1e-3, atol=1e-4)
      stream.synchronize()
    except Exception as error:  # noqa: BLE001
      errors.append(f"{type(error).__name__}: {str(error)[:300]}")

  threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  if errors:
    raise AssertionError("; ".join(errors))
  # One thread that changes streams.
  x = torch.randn(64, 256, device="cuda")
  with torch.no_grad():
    for i in range(20):
      with torch.cuda.stream(torch.cuda.Stream() if i % 2 else torch.cuda.default_stream()):
        torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
        torch.testing.assert_close(program(x), model(x), rtol=1e-3, atol=1e-4)
        torch.cuda.current_stream().synchronize()
  return "4 threads x 50 calls"


def check_dynamic() -> str:
  """CUDA graphs with dynamic shapes: many shapes, more than are kept, seen again later."""
  model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(),
                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                              torch.nn.Linear(16, 10)).cuda().eval()
  batch = torch.export.Dim("batch", min=1, max=64)
  side = torch.export.Dim("side", min=8, max=128)
  x = torch.randn(4, 3, 32, 32, device="cuda")
  exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch, 2: side, 3: side},))
  program = kiln.compile(exported, cache=False)
  generator = torch.Generator().manual_seed(0)
  shapes = [(int(torch.randint(1, 65, (), generator=generator)),
             int(torch.randint(8, 129, (), generator=generator))) for _ in range(40)]
  with torch.no_grad():
    for n, s in [*shapes, *shapes[:10], *shapes[:10]]:
      x = torch.randn(n, 3, s, s, device="cuda")
      torch.testing.assert_close(program(x), model(x), rtol=1e-3, atol=1e-4)
  return f"{len(shapes)} shapes"


class _Attention(torch.nn.Module):
  def __init__(self, causal: bool):
    super().__init__()
    self.project = torch.nn.Linear(256, 3 * 256)
    self.causal = causal

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    q, k, v = self.project(x).unflatten(-1, (3, 4, 64)).permute(2, 0, 3, 1, 4).unbind(0)
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
    return y.transpose(1, 2).flatten(2)


def check_dynamic_attention() -> str:
  """Lengths come and go: cuDNN's plans and the own kernel take turns in one program."""
  length = torch.export.Dim("length", min=1, max=1024)
  lengths = (1, 77, 128, 197, 512, 63, 64)
  for causal in (False, True):
    model = _Attention(causal).cuda().half().eval()
    x = torch.randn(2, 32, 256, device="cuda", dtype=torch.half)
    exported = torch.export.export(model, (x,), dynamic_shapes=({1: length},))
    program = kiln.compile(exported, cache=False)
    with torch.no_grad():
      for n in (*lengths, *lengths, *lengths):  # the third time from graphs
        x = torch.randn(2, n, 256, device="cuda", dtype=torch.half)
        torch.testing.assert_close(program(x), model(x), rtol=2e-2, atol=5e-3)
  return f"{len(lengths)} lengths"


def check_capture() -> str:
  """Inside somebody else's capture."""
  model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()).cuda().eval()
  x = torch.randn(8, 64, device="cuda")
  program = kiln.compile(model, inputs=[x], cache=False)
  with torch.no_grad():
    for _ in range(2):
      program(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      y = program(x)
    x.copy_(torch.randn(8, 64, device="cuda"))
    graph.replay()
    torch.testing.assert_close(y, model(x), rtol=1e-3, atol=1e-4)
  return "captured and replayed"


def check_bad_index() -> str:
  model = torch.nn.Embedding(10, 4).cuda()
  good = torch.tensor([1, 2], device="cuda")
  program = kiln.compile(model, inputs=[good], cache=False)
  program(torch.tensor([1, 12], device="cuda"))
  torch.cuda.synchronize()
  try:
    program(good)
  except kiln.Error as error:
    if error.code != "K4410":
      raise
  else:
    raise AssertionError("an index out of range was not reported")
  torch.testing.assert_close(program(good), model(good))
  return "reported by the next call; the device goes on"


def check_update() -> str:
  model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).cuda().eval()
  x = torch.randn(2, 3, 16, 16, device="cuda")
  program = kiln.compile(model, inputs=[x], cache=False)
  before = program(x)
  old = {k: v.clone() for k, v in model.state_dict().items()}
  new = {k: v + 0.5 if v.is_floating_point() else v for k, v in old.items()}
  program.update_weights(new)
  model.load_state_dict(new)
  with torch.no_grad():
    torch.testing.assert_close(program(x), model(x), rtol=1e-3, atol=1e-4)
  program.update_weights(old)
  if not torch.equal(program(x), before):
    raise AssertionError("A -> B -> A is not bit-identical")
  return "A -> B -> A"


def check_files(folder: Path) -> str:
  model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU()).cuda().eval()
  x = torch.randn(8, 64, device="cuda")
  program = kiln.compile(model, inputs=[x], cache=False)
  expected = program(x)
  for suffix in ("kiln", "pt2"):
    path = folder / f"model.{suffix}"
    program.save(str(path))
    if not torch.equal(kiln.load(str(path))(x), expected):
      raise AssertionError(f"another result from the .{suffix} file")
  return ".kiln and .pt2"


def check_torch_compile() -> str:
  model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU()).cuda().eval()
  from kiln.frontends import dynamo

  # By the function: there need be no installed package with entry points here.
  fast = torch.compile(model, backend=dynamo.backend)
  with torch.no_grad():
    for n in (4, 9, 17):
      x = torch.randn(n, 64, device="cuda")
      torch.testing.assert_close(fast(x), model(x), rtol=1e-3, atol=1e-4)
  return "three shapes"


def check_memory() -> str:
  """No growth over compile-run-delete cycles; the peak is what the report says."""
  x = torch.randn(16, 3, 64, 64, device="cuda")

  def cycle() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(),
                                torch.nn.Conv2d(32, 32, 3)).cuda().eval()
    program = kiln.compile(model, inputs=[x], cache=True)
    program(x)

  def in_use() -> int:
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return total - free

  for _ in range(20):
    cycle()
  start = in_use()
  for _ in range(200):
    cycle()
  growth = in_use() - start
  if growth > 4 << 20:
    raise AssertionError(f"200 cycles left {growth / 2**20:.1f} MiB")
  return f"200 cycles, growth {growth / 2**20:.1f} MiB"


def check_peak(name: str, batch: int) -> str:
  """Runs take no more beyond the model, its inputs and results than memory() says."""
  model, args, kwargs = models.build(name, batch=batch, seq=128)
  model = model.cuda().half()
  given = on_gpu(args, kwargs, torch.float16)
  gc.collect()
  torch.cuda.synchronize()
  torch.cuda.empty_cache()
  before = torch.cuda.memory_allocated()
  torch.cuda.reset_peak_memory_stats()
  program = kiln.compile(model, inputs=_inputs(given.args, given.kwargs), cache=False)
  building = torch.cuda.max_memory_allocated() - before
  torch.cuda.reset_peak_memory_stats()
  for _ in range(4):
    result = program(*given.args, **given.kwargs)
  torch.cuda.synchronize()
  peak = torch.cuda.max_memory_allocated() - before
  results = 2 * sum(t.nbytes for t in tree_leaves(result) if isinstance(t, torch.Tensor))
  said = program.memory()
  text = (f"peak {peak / 2**20:.1f} MiB beside {said['weights'] / 2**20:.1f} of weights, said "
          f"{said['constants'] / 2**20:.1f} + {said['working'] / 2**20:.1f}, results "
          f"{results / 2**20:.1f}; while building {building / 2**20:.1f}")
  total = said["weights"] + said["constants"] + said["working"] + results
  if peak + said["weights"] > 1.05 * total:
    raise AssertionError(text)
  return text


def check_op_db(kind: str, part: int, parts: int) -> str:
  from tests.models import opinfo_sweep

  results = opinfo_sweep.sweep([kind], max_samples=1, workers=12, cut=(part, parts), device="cuda")
  bad = [f"{r.outcome} {r.case}: {r.detail}" for r in results if r.outcome in ("WRONG", "CRASH")]
  counts = {o: sum(r.outcome == o for r in results) for o in opinfo_sweep.OUTCOMES}
  summary = ", ".join(f"{n} {o}" for o, n in counts.items() if n)
  if bad:
    raise AssertionError(f"{summary}\n" + "\n".join(bad))
  return summary


def run(stages: Stages, folder: Path, binaries: Path) -> None:
  from tests.gpu.binaries import check_binary

  # The fast path of eager's encoder layers has another GELU (tanh) than the layers say.
  torch.backends.mha.set_fastpath_enabled(False)

  stages.run("libraries", lambda: check_binary(binaries / "kiln_cuda_libs_check"), needs=60)
  table = str(Path(__file__).with_name("kernel_table.py"))
  for own in ((), ("--own",)):
    stages.run(f"kernel table {' '.join(own)}",
               lambda own=own: check_binary(Path(sys.executable), table, *own), needs=60)
  for name, check in (("hybrid", check_hybrid), ("torch.compile", check_torch_compile),
                      ("capture", check_capture), ("streams", check_streams),
                      ("dynamic shapes", check_dynamic),
                      ("dynamic attention", check_dynamic_attention),
                      ("bad index", check_bad_index),
                      ("update_weights", check_update),
                      ("files", lambda: check_files(folder))):
    stages.run(name, check)
  for name in models.ALL:
    for kind in ("f32", "f16"):
      stages.run(f"{name} {kind}", lambda name=name, kind=kind: check_model(name, kind))
  for name in models.FIVE:
    for kind in ("f16", "bf16"):
      stages.run(f"{name} precision={kind}",
                 lambda name=name, kind=kind: check_precision(name, kind))
  stages.run("memory", check_memory, needs=60)
  for name in models.FIVE:
    for batch in (1, 32):
      stages.run(f"memory of {name}, batch {batch}",
                 lambda name=name, batch=batch: check_peak(name, batch))
  for kind in ("f32", "f16"):
    for part in range(4):
      stages.run(f"op_db {kind} {part + 1}/4",
                 lambda kind=kind, part=part: check_op_db(kind, part, 4), needs=60)
