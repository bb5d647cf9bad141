"""Makes the .pt2 files beside it: python tests/data/make_pt2.py

Small programs that use what an archive can hold. tests/unit/frontend_pt2 reads them whole and
damaged. Torch writes them, so another version of it gives other bytes.
"""

from __future__ import annotations

import pathlib

import torch
from torch import nn
from torch.export import Dim

HERE = pathlib.Path(__file__).resolve().parent


class Stateful(nn.Module):
  """Buffers that change; tied weights; a buffer that is not persistent; a constant."""

  def __init__(self):
    super().__init__()
    self.first = nn.Linear(8, 4)
    self.second = nn.Linear(8, 4)
    self.second.weight = self.first.weight
    self.norm = nn.BatchNorm1d(4)
    self.register_buffer("total", torch.zeros(4))
    self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
    self.register_buffer("kept", torch.ones(4), persistent=False)
    self.constant = torch.tensor([1.0, 2.0, 3.0, 4.0])

  def forward(self, x):
    y = self.norm(self.first(x) + self.kept * self.constant) + self.second(x)
    self.total += y.sum(0)
    self.calls += 1
    return y + self.total


class Nested(nn.Module):
  """Holds for even numbers of rows only, which is a condition beyond the ranges."""

  def forward(self, x, more):
    pairs = x.reshape(2, x.shape[0] // 2, 4)
    return {"pairs": pairs, "rest": (torch.cat([x, more["q"]], 1), [more["r"] * 2.0]),
            "rows": x.shape[0] + 1, "name": "nested"}


def export(name: str, model: nn.Module, args: tuple, shapes: dict, functional: bool) -> None:
  program = torch.export.export(model.eval(), args, dynamic_shapes=shapes, strict=False)
  if functional:
    program = program.run_decompositions({})  # mutations go into the signature
  for node in program.graph.nodes:
    for key in ("stack_trace", "from_node"):  # files of this machine, addresses of this process
      node.meta.pop(key, None)
  torch.export.save(program, HERE / f"{name}.pt2")


def main() -> None:
  rows = {"x": {0: Dim("rows", min=2, max=64)}}
  for name, functional in (("stateful", True), ("in_place", False)):
    torch.manual_seed(0)
    export(name, Stateful(), (torch.randn(6, 8),), rows, functional)
  torch.manual_seed(0)
  even = 2 * Dim("half", min=1, max=32)
  more = {"q": torch.randn(6, 3), "r": torch.randn(2)}
  export("nested", Nested(), (torch.randn(6, 4), more),
         {"x": {0: even}, "more": {"q": {0: even}, "r": None}}, False)


if __name__ == "__main__":
  main()
