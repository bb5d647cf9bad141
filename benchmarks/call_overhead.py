#!/usr/bin/env python3
"""What a call costs apart from the work: a tiny model by each way to call it, in microseconds.

  benchmarks/call_overhead.py [--rounds N]

The rows are measured in turn, many short rounds each; the figure is the median of the rounds'
fastest calls, so that other load on the machine shows little. Beside a saved `.pt2` stand programs
of torch.export with the same signature: one that returns its argument, which is torch's own share,
one that holds a single relu, and the model itself; beside a saved `.ts` the model by torch.jit.trace.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import torch
from torch import nn

import kiln


class Tiny(nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(8, 8)

  def forward(self, x):
    return torch.relu(self.linear(x))


class Same(nn.Module):
  def forward(self, x):
    return x


class Relu(nn.Module):
  def forward(self, x):
    return torch.relu(x)


def loaded(exported, folder):
  torch.export.save(exported, f"{folder}/m.pt2")
  return torch.export.load(f"{folder}/m.pt2").module()


def ways(folder):
  model, x = Tiny().eval(), torch.randn(4, 8)
  program = kiln.compile(model, inputs=[x])
  program.save(f"{folder}/k.pt2")
  program.save(f"{folder}/k.ts")
  script = torch.jit.load(f"{folder}/k.ts")
  ours, direct = torch.export.load(f"{folder}/k.pt2").module(), kiln.load(f"{folder}/k.pt2")
  traced = torch.jit.freeze(torch.jit.trace(model, x))
  holder, run = program.script_object(), torch.ops.kiln.run.default
  torch_programs = {cls: loaded(torch.export.export(cls().eval(), (x,)), folder)
                    for cls in (Same, Relu, Tiny)}
  return {
    "program(x)": lambda: program(x),
    'kiln.load("m.pt2")(x)': lambda: direct(x),
    "torch.ops.kiln.run": lambda: run([x], [], holder),
    'torch.export.load("m.pt2").module()(x)': lambda: ours(x),
    'torch.jit.load("m.ts")(x)': lambda: script(x),
    "torch.jit.trace: the model": lambda: traced(x),
    "torch.export: returns its argument": lambda: torch_programs[Same](x),
    "torch.export: one relu": lambda: torch_programs[Relu](x),
    "torch.export: the model": lambda: torch_programs[Tiny](x),
    "the model": lambda: model(x),
  }


def fastest(call, repeats=40, tries=10):
  best = float("inf")
  for _ in range(tries):
    start = time.perf_counter()
    for _ in range(repeats):
      call()
    best = min(best, (time.perf_counter() - start) / repeats)
  return best * 1e6


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=15)
  rounds = parser.parse_args().rounds
  torch.set_num_threads(1)
  with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    calls = ways(folder)
    times = {name: [] for name in calls}
    for call in calls.values():
      fastest(call)
    for _ in range(rounds):
      for name, call in calls.items():
        times[name].append(fastest(call))
  for name, values in times.items():
    print(f"{name:42} {statistics.median(values):6.1f} us")


if __name__ == "__main__":
  main()
