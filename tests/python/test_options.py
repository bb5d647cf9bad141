"""Every option through every door: one row per option that proves its effect in the report."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import subprocess
import sys
import warnings

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


def fx_door(model, x, **options):
  program = kiln.compile(torch.fx.symbolic_trace(model), inputs=[x], ir="fx", **options)
  return program.report, program


def traced_door(model, x, **options):
  program = kiln.compile(model, inputs=[x], ir="fx", **options)
  return program.report, program


def torchscript_door(model, x, **options):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
    script = torch.jit.script(model)
  program = kiln.compile(script, inputs=[x], **options)
  return program.report, program


def scripted_door(model, x, **options):
  program = kiln.compile(model, inputs=[x], ir="torchscript", **options)
  return program.report, program


def jit_door(model, x, **options):
  torch._dynamo.reset()
  function = torch.compile(model, backend="kiln", options=options)
  function(x)
  return kiln.jit_reports()[-1], function


def jit_ir_door(model, x, **options):
  torch._dynamo.reset()
  function = kiln.compile(model, ir="torch_compile", **options)
  function(x)
  return kiln.jit_reports()[-1], function


def explain_door(model, x, **options):
  return kiln.explain(model, inputs=[x], **options), None


DOORS = {"module": module_door, "exported": exported_door, "fx": fx_door, "traced": traced_door,
         "torchscript": torchscript_door, "scripted": scripted_door,
         "torch.compile": jit_door, "ir=torch_compile": jit_ir_door, "explain": explain_door}


def in_torch(report):
  counts = collections.Counter()
  for row in report.fallbacks:
    counts[row["op"].split(".")[0]] += row["count"]
  return counts


def in_16_bits(report, dtype):
  """Every product is in the dtype, or the report says why it is not; none is PyTorch's."""
  precision = report.precision
  assert precision["asked"] == [dtype] and precision["storage"] == dtype and not report.fallbacks
  wide = sum(row["count"] for row in precision["stays_f32"] if row["op"] == "linear")
  computed = [row for row in report.kernels if "linear" in row["computes"]]
  assert all(row["reason"] for row in precision["stays_f32"])
  assert sum(row["dtype"] == "f32" for row in computed) == (wide if computed else 0)
  return wide in (0, 2)


# One or more rows per option: value, and what it does to the report. The model has 2 linear, 2 relu,
# 1 tanh and 1 mul.
ROWS = [
  ("torch_executed_ops", ["aten::tanh"], lambda r: in_torch(r) == {"aten::tanh": 1}),
  ("torch_executed_ops", [torch.ops.aten.relu.default], lambda r: in_torch(r) == {"aten::relu": 2}),
  ("torch_executed_ops", {"aten.tanh.default"}, lambda r: in_torch(r) == {"aten::tanh": 1}),
  # torch.export and Dynamo call it Tensor, TorchScript calls a product with a number Scalar.
  ("torch_executed_ops", {"aten.mul.Tensor", "aten.mul.Scalar"}, lambda r: in_torch(r) == {"aten::mul": 1}),
  ("torch_executed_modules", ["first"],
   lambda r: in_torch(r) == {"aten::linear": 1, "aten::relu": 1}),
  ("torch_executed_modules", [Block], lambda r: in_torch(r) == {"aten::linear": 2, "aten::relu": 2}),
  ("torch_executed_modules", [nn.Linear, "second"],
   lambda r: in_torch(r) == {"aten::linear": 2, "aten::relu": 1}),
  ("min_block_size", 100, lambda r: r.ops_native == 0),
  ("min_block_size", 2, lambda r: not r.fallbacks),
  ("threads", 1, lambda r: not r.fallbacks),
  ("precision", "fp32", lambda r: not r.fallbacks and not r.precision["asked"]),
  ("precision", "bf16", lambda r: in_16_bits(r, "bf16")),
  ("precision", torch.float16, lambda r: in_16_bits(r, "f16")),
  ("enabled_precisions", {torch.float32}, lambda r: not r.precision["asked"]),
  ("enabled_precisions", {torch.float32, torch.half}, lambda r: in_16_bits(r, "f16")),
  ("enabled_precisions", ["bf16"], lambda r: in_16_bits(r, "bf16")),
  ("target", "cpu", lambda r: r.target.startswith("cpu:")),
  ("cuda_graphs", False, lambda r: not r.fallbacks),
  ("allow_tf32", True, lambda r: not r.fallbacks),
  ("tune", "default", lambda r: not r.fallbacks),
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
      # Two products of four and eight numbers that are rounded to 8 bits, summed in f32.
      tolerance = {"rtol": 2**-6, "atol": 2**-6} if report.precision["asked"] else {}
      torch.testing.assert_close(program(x), model(x), **tolerance)


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
                        ("torch_executed_modules", [3]), ("cache", 0),
                        ("precision", torch.int8), ("enabled_precisions", {torch.int8}),
                        ("enabled_precisions", "bf16")):
      with pytest.raises(Exception, match=f"K1002.*{name}"):
        DOORS[door](model, x, **{name: value})
    with pytest.raises(Exception, match="K2010.*cpu:none"):
      DOORS[door](model, x, target="cpu:none")


def test_precisions_that_contradict_each_other():
  model, x = Model().eval(), torch.randn(3, 4)
  with pytest.raises(kiln.Error, match="contradict") as error:
    kiln.compile(model, inputs=[x], precision="bf16", enabled_precisions={torch.float16})
  assert error.value.code == "K1002"
  both = kiln.compile(model, inputs=[x], precision="bf16",
                      enabled_precisions={torch.float16, torch.bfloat16})
  assert both.report.precision["asked"] == ["bf16"]


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
    for ir in ("auto", "fx"):
      with pytest.raises(kiln.Error) as error:
        kiln.compile(model, ir=ir)
      assert error.value.code == "K1101" and line in str(error.value)


def test_explain_asks_for_the_same_threads(monkeypatch):
  asked = []
  explain = kiln.compiler._native.explain
  monkeypatch.setattr(kiln.compiler._native, "explain",
                      lambda cap, **options: asked.append(options) or explain(cap, **options))
  with torch.no_grad():
    kiln.explain(Model().eval(), inputs=[torch.randn(3, 4)], threads=3)
  assert [options["threads"] for options in asked] == [3]
