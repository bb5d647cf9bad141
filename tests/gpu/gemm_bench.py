"""Times of Kiln's own kernels for small products, in every tiling, beside cuBLASLt's algorithms.

  gemm_bench.py [--only REGEX] [--tilings TILINGS] [--check] [--json FILE]

Compiles one linear layer a shape with tune="default" and the debug switch gemm_tilings=all (or
TILINGS), so that the tuner times everything as it does for users: each candidate in a CUDA graph of
repeats, over copies of the operands that together are larger than the L2 cache. What it logs is the
table.
--check instead runs each tiling of some shapes by itself and compares with torch in float32.
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

# name: rows, columns, depth, what comes behind (bias always).
SHAPES: dict[str, tuple[int, int, int, str]] = {}
for _model, _rows in (("bert", 128), ("vit", 197), ("gpt2", 512), ("bert32", 4096),
                      ("vit32", 6304)):
  SHAPES[f"{_model} qkv"] = (_rows, 2304, 768, "")
  SHAPES[f"{_model} out"] = (_rows, 768, 768, "add")
  SHAPES[f"{_model} fc1"] = (_rows, 3072, 768, "")
  SHAPES[f"{_model} fc1 gelu"] = (_rows, 3072, 768, "gelu")
  SHAPES[f"{_model} fc2"] = (_rows, 768, 3072, "add")
CHECKED = ("bert out", "bert fc1 gelu", "vit fc2")


def layer(columns: int, depth: int, behind: str) -> Any:
  import torch

  class Layer(torch.nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.linear = torch.nn.Linear(depth, columns)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
      y = self.linear(x)
      if behind == "add":
        return y + residual
      return torch.nn.functional.gelu(y) if behind == "gelu" else y

  torch.manual_seed(0)
  return Layer().eval()


def worst_error(name: str, tune: str) -> float:
  """Of the program's result, relative to its largest number."""
  import torch

  sys.path.insert(0, str(ROOT / "python"))
  import kiln

  rows, columns, depth, behind = SHAPES[name]
  module = layer(columns, depth, behind).cuda()
  x, residual = torch.randn(rows, depth).cuda(), torch.randn(rows, columns).cuda()
  with torch.no_grad():
    expected = module.half().float()(x.half().float(), residual.half().float())
    module = module.half()
    given = [x.half(), residual.half()]
    program = kiln.compile(module, inputs=given, cache=False, tune=tune)
    actual = program(*given).float()
  return float((actual - expected).abs().max() / expected.abs().max())


def child(names: list[str], tune: str) -> None:
  for name in names:
    print(f"SHAPE {name}", file=sys.stderr, flush=True)
    error = worst_error(name, tune)
    print(f"ERROR {error:.2e}", file=sys.stderr, flush=True)


def run_child(names: list[str], tune: str, tilings: str) -> str:
  return tuning_log(__file__, [tune, *names], f"gemm_tilings={tilings}")


def parse(log: str) -> dict[str, dict[str, Any]]:
  """By shape: times of the library's algorithms in its order, of the own tilings, and the error."""
  shapes: dict[str, dict[str, Any]] = {}
  current: dict[str, Any] = {}
  for line in log.splitlines():
    if line.startswith("SHAPE "):
      current = shapes.setdefault(line[6:], {"library": [], "own": {}, "error": None})
    elif line.startswith("ERROR "):
      current["error"] = float(line[6:])
    elif match := re.match(r"kiln tuning debug: .* kiln:multistage_gemm (\S+) stages (\d+) split "
                           r"(\d+): ([0-9.e+-]+)$", line):
      current["own"][f"{match[1]}/{match[2]}/{match[3]}"] = float(match[4])
    elif match := re.match(r"kiln tuning debug: .* kiln:warpgroup_gemm (\S+) stages (\d+)( overlap)?: "
                           r"([0-9.e+-]+)$", line):
      current["own"][f"w{match[1]}/{match[2]}/{'o' if match[3] else 's'}"] = float(match[4])
    elif match := re.match(r"kiln tuning debug: cublaslt .*: ([0-9.e+-]+)$", line):
      current["library"].append(float(match[1]))
  return shapes


def table(shapes: dict[str, dict[str, Any]]) -> None:
  print(f"{'shape':16} {'M x N x K':16} {'first':>6} {'best':>6} {'own':>6} {'ratio':>5}  "
        "own tilings, fastest first (us)")
  for name, times in shapes.items():
    rows, columns, depth, _ = SHAPES[name]
    own = sorted(times["own"].items(), key=lambda item: item[1])
    library = times["library"]
    first, best = (library[0], min(library)) if library else (float("nan"), float("nan"))
    fastest = own[0][1] if own else float("nan")
    print(f"{name:16} {rows:4}x{columns:4}x{depth:4}   {first:6.2f} {best:6.2f} {fastest:6.2f} "
          f"{best / fastest:5.2f}  " + "  ".join(f"{t} {us:.2f}" for t, us in own[:6]) +
          ("" if times["error"] is None else f"  error {times['error']:.0e}"))


def by_split_and_tile(shapes: dict[str, dict[str, Any]]) -> None:
  """What a model of the times is fitted to: each tile's best number of stages, by split."""
  for name, times in shapes.items():
    best: dict[str, dict[int, float]] = {}
    for tiling, us in times["own"].items():
      tile, _, split = tiling.split("/")
      if tile.startswith("w"):
        continue
      of_tile = best.setdefault(tile, {})
      of_tile[int(split)] = min(us, of_tile.get(int(split), 1e9))
    print(name)
    for tile, splits in best.items():
      print(f"  {tile:12} " + "  ".join(f"{s}: {us:.2f}" for s, us in sorted(splits.items())))


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", default="")
  parser.add_argument("--tilings", default="all")
  parser.add_argument("--check", action="store_true")
  parser.add_argument("--json", type=Path, default=None)
  parser.add_argument("--child", nargs="+", default=None, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.child:
    child(options.child[1:], options.child[0])
    return 0
  names = [name for name in SHAPES if re.search(options.only, name)]
  if not options.check:
    shapes = parse(run_child(names, "default", options.tilings))
    if options.json is not None:
      options.json.write_text(json.dumps(shapes))
    table(shapes)
    by_split_and_tile(shapes)
    return 0
  wrong = 0
  tilings = [f"{tile}/{stages}/{split}"
             for tile in ("16x64x64", "32x64x64", "64x32x64", "64x64x64", "64x96x64", "64x128x64",
                          "128x32x64", "128x64x64", "128x96x64", "128x128x64")
             for stages, split in ((3, 1), (3, 4))]
  for tiling in tilings:
    for name, times in parse(run_child(list(CHECKED), "off", tiling)).items():
      ok = times["error"] is not None and times["error"] < 2e-3
      wrong += not ok
      print(f"{'ok' if ok else 'WRONG':6} {tiling:16} {name:16} {times['error']}")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
