"""Every option through every door: one row per option that proves its effect in the report."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import subprocess
import sys

import pytest
import torch
from torch import nn

import kiln
from kiln import options as kiln_options

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Block(nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(4, 4)

  def forward(self, x):
    return torch.relu(self.linear(x))


class Model(nn.Module):
  def __init__(self):
    super().__init__()
    self.first, self.second = Block(), Block()

  def forward(self, x):
    return torch.tanh(self.second(self.first(x))) * 2


def module_door(model, x, **options):
  program = kiln.compile(model, inputs=[x], **options)
  return program.report, program


def exported_door(model, x, **options):
  program = kiln.compile(torch.export.export(model, (x,)), **options)
  return program.report, program


def jit_door(model, x, **options):
  torch._dynamo.reset()
  function = torch.compile(model, backend="kiln", options=options)
  function(x)
  return kiln.jit_reports()[-1], function


def explain_door(model, x, **options):
  return kiln.explain(model, inputs=[x], **options), None


DOORS = {"module": module_door, "exported": exported_door, "torch.compile": jit_door,
         "explain": explain_door}


def in_torch(report):
  counts = collections.Counter()
  for row in report.fallbacks:
    counts[row["op"].split(".")[0]] += row["count"]
  return counts


# One or more rows per option: value, and what it does to the report. The model has 2 linear, 2 relu,
# 1 tanh and 1 mul.
ROWS = [
  ("torch_executed_ops", ["aten::tanh"], lambda r: in_torch(r) == {"aten::tanh": 1}),
  ("torch_executed_ops", [torch.ops.aten.relu.default], lambda r: in_torch(r) == {"aten::relu": 2}),
  ("torch_executed_ops", {"aten.tanh.default"}, lambda r: in_torch(r) == {"aten::tanh": 1}),
  ("torch_executed_ops", {"aten.mul.Tensor"}, lambda r: in_torch(r) == {"aten::mul": 1}),
  ("torch_executed_modules", ["first"],
   lambda r: in_torch(r) == {"aten::linear": 1, "aten::relu": 1}),
  ("torch_executed_modules", [Block], lambda r: in_torch(r) == {"aten::linear": 2, "aten::relu": 2}),
  ("torch_executed_modules", [nn.Linear, "second"],
   lambda r: in_torch(r) == {"aten::linear": 2, "aten::relu": 1}),
  ("min_block_size", 100, lambda r: r.ops_native == 0),
  ("min_block_size", 2, lambda r: not r.fallbacks),
  ("threads", 1, lambda r: not r.fallbacks),
  ("precision", "fp32", lambda r: not r.fallbacks),
  ("target", "cpu", lambda r: r.target.startswith("cpu:")),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_effect(row, door):
  name, value, holds = row
  torch.manual_seed(0)
  model, x = Model().eval(), torch.randn(3, 4)
  with torch.no_grad():
    report, program = DOORS[door](model, x, **{name: value})
    assert holds(report), report
    if program is not None:
      torch.testing.assert_close(program(x), model(x))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["strict", "require_full_compilation"])
def test_strict(name, door):
  model, x = Model().eval(), torch.randn(3, 4)
  with torch.no_grad():
    report, _ = DOORS[door](model, x, **{name: True})
    assert not report.fallbacks
    with pytest.raises(Exception, match="K20"):
      DOORS[door](model, x, **{name: True, "torch_executed_ops": ["aten::tanh"]})


@pytest.mark.parametrize("door", DOORS)
def test_wrong_options_raise(door):
  model, x = Model().eval(), torch.randn(3, 4)
  with torch.no_grad():
    with pytest.raises(Exception, match="K1001.*min_blok_size(.|\n)*did you mean min_block_size"):
      DOORS[door](model, x, min_blok_size=2)
    for name, value in (("strict", 1), ("min_block_size", 0), ("threads", -1), ("precision", "fp3"),
                        ("target", 5), ("torch_executed_ops", "aten::add"),
                        ("torch_executed_modules", [3]), ("cache", 0)):
      with pytest.raises(Exception, match=f"K1002.*{name}"):
        DOORS[door](model, x, **{name: value})
    with pytest.raises(Exception, match="K2010.*cpu:none"):
      DOORS[door](model, x, target="cpu:none")


def test_every_option_has_a_row():
  names = {field.name for field in dataclasses.fields(kiln_options.Options)}
  assert set(kiln_options._INTERNAL) < names
  names -= set(kiln_options._INTERNAL)
  # `cache` needs processes of its own, in test_cache.py: here the cache is off.
  assert names == {row[0] for row in ROWS} | {"strict", "cache"}
  assert names == set(kiln_options.DESCRIPTIONS) == set(kiln_options._CHECKS)


def test_page_is_up_to_date():
  done = subprocess.run([sys.executable, ROOT / "scripts" / "options_page.py", "--check"],
                        capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr


def test_without_inputs_the_error_shows_the_line_to_write():
  class Two(nn.Module):
    def forward(self, ids, *, mask, scale=2):
      return ids * mask * scale

  for model, line in (
      (nn.Sequential(nn.Conv2d(3, 4, 1)), "inputs=[torch.randn(1, 3, 224, 224)]"),
      (nn.Linear(7, 2), "inputs=[torch.randn(1, 7)]"),
      (Two(), 'inputs={"ids": torch.randn(SHAPE), "mask": torch.randn(SHAPE)}')):
    with pytest.raises(kiln.Error) as error:
      kiln.compile(model)
    assert error.value.code == "K1101" and line in str(error.value)
