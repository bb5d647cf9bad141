"""Times of Kiln's own attention kernels, in every tiling, beside cuDNN's.

  attention_bench.py [--only REGEX] [--chain] [--tilings T+T] [--check] [--json FILE]

Compiles one attention a shape with tune="default" and the debug switch attention_tilings=all, so
that the tuner times everything as it does for users: each candidate in a CUDA graph of repeats,
over copies of the operands that together are larger than the L2 cache. What it logs is the table.
--chain instead times twelve layers of projection, attention, projection as one program in a CUDA
graph, with one tiling (or cuDNN: none) for all: there operands come from the L2 cache, and kernels
overlap. --check runs each tiling of these and of odd shapes and compares with torch in float32.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.gpu.tuning_log import tuning_log  # noqa: E402

LAYERS = 12

# name: batch, heads, tokens, size of a head, mask, causal. q, k, v are parts of one projection.
SHAPES: dict[str, tuple[int, int, int, int, str, bool]] = {
    "bert b1": (1, 12, 128, 64, "keys", False),
    "bert b8": (8, 12, 128, 64, "keys", False),
    "bert b32": (32, 12, 128, 64, "keys", False),
    "bert b32 no mask": (32, 12, 128, 64, "", False),
    "bert b8 s384": (8, 12, 384, 64, "keys", False),
    "bert b8 s512": (8, 12, 512, 64, "keys", False),
    "no mask b4 s1024": (4, 12, 1024, 64, "", False),
    "vit b1": (1, 12, 197, 64, "", False),
    "vit b32": (32, 12, 197, 64, "", False),
    "gpt2 b1": (1, 12, 512, 64, "", True),
    "gpt2 b8": (8, 12, 512, 64, "", True),
    "gpt2 b4 s1024": (4, 12, 1024, 64, "", True),
}
# name: batch, heads, heads of k and v, queries, keys, sizes of a head and of its values, mask,
# causal.
ODD: dict[str, tuple[int, int, int, int, int, int, int, str, bool]] = {
    "odd heads": (2, 3, 3, 70, 130, 40, 24, "", False),
    "unaligned heads": (2, 3, 3, 70, 130, 44, 20, "", False),
    "grouped heads": (2, 6, 2, 100, 100, 64, 64, "", True),
    "large heads": (2, 3, 3, 90, 200, 128, 128, "keys", False),
    "large values": (1, 3, 3, 90, 60, 64, 128, "", False),
    "more keys, causal": (1, 3, 3, 70, 300, 64, 64, "", True),
    "fewer keys, causal": (1, 3, 3, 300, 70, 64, 64, "", True),
    "bool mask": (2, 3, 3, 77, 90, 64, 64, "bool", False),
    "full mask": (2, 3, 3, 128, 190, 64, 64, "full", False),
    "full mask of odd rows": (2, 3, 3, 128, 191, 64, 64, "full", False),
    "short": (4, 3, 3, 5, 9, 64, 64, "", False),
}
# Those of all keys at once only where there are as many keys.
TILINGS = ["w64x64", "w64x128", "w128x64", "w128x128", "w64x208", "w128x208", "64x64", "64x128",
           "128x64", "128x128", "64x208"]


def mask_of(kind: str, batch: int, rows: int, columns: int) -> Any:
  import torch

  torch.manual_seed(1)
  if kind == "":
    return None
  if kind == "keys":
    hidden = torch.arange(columns) >= torch.randint(columns // 2, columns + 1, (batch, 1))
    return (hidden.float() * -60000.0)[:, None, None, :]
  if kind == "bool":
    return torch.rand(batch, 1, 1, columns) > 0.3
  return torch.randn(batch, 1, rows, columns)


def packed(name: str, layers: int) -> tuple[Any, list[Any]]:
  """Attention whose operands are views of one projection; with `layers`, that many with their
  projections."""
  import torch

  batch, heads, tokens, size, mask_kind, causal = SHAPES[name]
  width = heads * size

  class Layer(torch.nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.before = torch.nn.Linear(width, 3 * width) if layers else torch.nn.Identity()
      self.after = torch.nn.Linear(width, width) if layers else torch.nn.Identity()

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
      q, k, v = (part.view(batch, tokens, heads, size).transpose(1, 2)
                 for part in self.before(x).chunk(3, -1))
      y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                                           is_causal=causal)
      return self.after(y.transpose(1, 2).reshape(batch, tokens, width))

  class Model(torch.nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.layers = torch.nn.ModuleList(Layer() for _ in range(max(layers, 1)))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
      for layer in self.layers:
        x = layer(x, mask)
      return x

  torch.manual_seed(0)
  x = torch.randn(batch, tokens, width if layers else 3 * width)
  mask = mask_of(mask_kind, batch, tokens, tokens)
  return Model().eval(), [x] if mask is None else [x, mask]


def plain(name: str) -> tuple[Any, list[Any]]:
  import torch

  batch, heads, kv_heads, rows, columns, size, values, mask_kind, causal = ODD[name]

  class Model(torch.nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
                mask: torch.Tensor | None = None) -> torch.Tensor:
      return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=heads != kv_heads)

  torch.manual_seed(0)
  inputs = [torch.randn(batch, heads, rows, size), torch.randn(batch, kv_heads, columns, size),
            torch.randn(batch, kv_heads, columns, values)]
  mask = mask_of(mask_kind, batch, rows, columns)
  return Model().eval(), inputs if mask is None else [*inputs, mask]


def compiled(model: Any, inputs: list[Any], tune: str) -> tuple[Any, list[Any]]:
  import torch

  sys.path.insert(0, str(ROOT / "python"))
  import kiln

  given = [x.cuda().half() if x.dtype != torch.bool else x.cuda() for x in inputs]
  return kiln.compile(model.cuda().half(), inputs=given, cache=False, tune=tune), given


def worst_error(name: str, tune: str) -> float:
  """Of the program's result, relative to its largest number."""
  import torch

  model, inputs = packed(name, 0) if name in SHAPES else plain(name)
  wide = [x.half().float().cuda() if x.dtype != torch.bool else x.cuda() for x in inputs]
  with torch.no_grad():
    expected = model.cuda()(*wide)
    program, given = compiled(model, inputs, tune)
    actual = program(*given).float()
  return float((actual - expected).abs().max() / expected.abs().max())


def chain_time(name: str) -> float:
  """Microseconds of one layer."""
  import torch

  with torch.no_grad():
    program, given = compiled(*packed(name, LAYERS), "off")
    for _ in range(3):
      program(*given)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      program(*given)
    times = []
    for _ in range(30):
      start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
      graph.replay()  # the device is busy when the first event comes
      start.record()
      for _ in range(4):
        graph.replay()
      end.record()
      end.synchronize()
      times.append(start.elapsed_time(end) * 1000 / 4 / LAYERS)
  return sorted(times)[len(times) // 2]


def child(what: str, names: list[str]) -> None:
  for name in names:
    print(f"SHAPE {name}", file=sys.stderr, flush=True)
    if what == "chain":
      print(f"CHAIN {chain_time(name):.3f}", file=sys.stderr, flush=True)
    else:
      error = worst_error(name, "default" if what == "tune" else "off")
      print(f"ERROR {error:.2e}", file=sys.stderr, flush=True)


def run_child(what: str, names: list[str], tilings: str, cudnn: bool) -> str:
  switches = f"attention_tilings={tilings}" + ("" if cudnn else ",disable_providers=cudnn.sdpa")
  return tuning_log(__file__, [what, *names], switches)


def parse(log: str) -> dict[str, dict[str, Any]]:
  """By shape: times of cuDNN's engines, of the own tilings, of a chain's layer, and the error."""
  shapes: dict[str, dict[str, Any]] = {}
  current: dict[str, Any] = {}
  for line in log.splitlines():
    if line.startswith("SHAPE "):
      current = shapes.setdefault(line[6:], {"cudnn": [], "own": {}, "error": None, "chain": None})
    elif line.startswith("ERROR "):
      current["error"] = float(line[6:])
    elif line.startswith("CHAIN "):
      current["chain"] = float(line[6:])
    elif match := re.match(r"kiln tuning debug: attention .* kiln:attention (\S+): ([0-9.e+-]+)$",
                           line):
      current["own"][match[1]] = float(match[2])
    elif match := re.match(r"kiln tuning debug: cudnn .* eng\S*: ([0-9.e+-]+)$", line):
      current["cudnn"].append(float(match[1]))
  return shapes


def table(shapes: dict[str, dict[str, Any]]) -> None:
  print(f"{'shape':18} {'cuDNN':>7} {'own':>7} {'ratio':>5}  own tilings, fastest first (us)")
  for name, times in shapes.items():
    own = sorted(times["own"].items(), key=lambda item: item[1])
    best = min(times["cudnn"], default=float("nan"))
    fastest = own[0][1] if own else float("nan")
    print(f"{name:18} {best:7.2f} {fastest:7.2f} {best / fastest:5.2f}  " +
          "  ".join(f"{t} {us:.2f}" for t, us in own) + f"  error {times['error']}")


def chain(names: list[str], tilings: list[str]) -> dict[str, dict[str, float]]:
  times: dict[str, dict[str, float]] = {name: {} for name in names}
  for tiling in ["none", *tilings]:
    log = run_child("chain", names, tiling, cudnn=tiling == "none")
    for name, measured in parse(log).items():
      if measured["chain"] is not None:
        times[name]["cudnn" if tiling == "none" else tiling] = measured["chain"]
  print("a layer of projection, attention, projection (us), fastest first")
  for name, of_name in times.items():
    print(f"{name:18} " + "  ".join(f"{tiling} {us:.2f}" for tiling, us in
                                    sorted(of_name.items(), key=lambda item: item[1])), flush=True)
  return times


def check(names: list[str], tilings: list[str]) -> int:
  wrong = 0
  for tiling in tilings:
    for name, measured in parse(run_child("check", names, tiling, cudnn=False)).items():
      ok = measured["error"] is not None and measured["error"] < 3e-3
      wrong += not ok
      print(f"{'ok' if ok else 'WRONG':6} {tiling:8} {name:24} {measured['error']}", flush=True)
  return 1 if wrong else 0


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", default="")
  parser.add_argument("--tilings", default="+".join(TILINGS))
  parser.add_argument("--chain", action="store_true")
  parser.add_argument("--check", action="store_true")
  parser.add_argument("--json", type=Path, default=None)
  parser.add_argument("--child", nargs="+", default=None, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.child:
    child(options.child[0], options.child[1:])
    return 0
  names = [name for name in [*SHAPES, *(ODD if options.check else ())]
           if re.search(options.only, name)]
  tilings = options.tilings.split("+")
  if options.check:
    return check(names, tilings)
  result: dict[str, Any]
  if options.chain:
    result = chain(names, tilings)
  else:
    result = parse(run_child("tune", names, "all", cudnn=True))
    table(result)
  if options.json is not None:
    options.json.write_text(json.dumps(result))
  return 0


if __name__ == "__main__":
  sys.exit(main())
