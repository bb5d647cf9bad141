"""Checks of torch_tensorrt.ts and of the TorchScript door, for test_compat_table.py."""

from __future__ import annotations

import functools
import warnings

import torch
from torch import nn

import kiln
import torch_tensorrt
from compat_model import X, error_of, net, same, works
from torch_tensorrt import Input


@functools.cache
def traced() -> torch.jit.ScriptModule:
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return torch.jit.trace(net(), X)


@works("compile(module)=ScriptModule", "compile(ir)=ts, torchscript")
def _():
  for ir in ("default", "ts", "torchscript"):
    compiled = torch_tensorrt.compile(traced(), ir=ir, inputs=[X])
    assert isinstance(compiled, kiln.Program) and compiled.report.coverage == 1
    same(compiled(X))
  same(torch_tensorrt.compile(nn.Sequential(net().conv), ir="ts", inputs=[X])(X), net().conv(X))
  for ir in ("dynamo", "fx", "torch_compile"):
    assert error_of(lambda: torch_tensorrt.compile(traced(), ir=ir, inputs=[X])).code == "K1018"
  assert error_of(lambda: torch_tensorrt.compile(traced(), ir="ts")).code == "K1101"


@works("ts.compile", "ts.compile(inputs)", "ts.compile(input_signature)", "ts.compile(settings)")
def _():
  compile = torch_tensorrt.ts.compile
  same(compile(traced(), [X])(X))
  same(compile(traced(), inputs=[Input((2, 3, 6, 6))])(X))
  same(compile(traced(), input_signature=(X,))(X))
  assert error_of(lambda: compile(traced(), [X], input_signature=(X,))).code == "K1002"
  half = compile(traced(), [X], enabled_precisions={torch.bfloat16}, torch_executed_ops=["aten::relu"],
                 optimization_level=2)
  assert half.report.precision["asked"] == ["bf16"]
  assert [row["op"] for row in half.report.fallbacks] == ["aten::relu"]
  assert any("optimization_level=2" in line for line in half.report.notes)
  assert error_of(lambda: compile(traced(), [X], optimisation_level=2)).code == "K1001"


@works("ts.convert_method_to_trt_engine", "ts.convert_method_to_trt_engine(method_name)=forward")
def _(folder):
  data = torch_tensorrt.ts.convert_method_to_trt_engine(traced(), "forward", [X])
  (folder / "engine").write_bytes(data)
  same(torch_tensorrt.load(folder / "engine")(X))
