"""Checks of the TorchScript door, for test_compat_table.py."""

from __future__ import annotations

import functools
import pathlib
import warnings
from typing import Any, Callable

import torch
from torch import nn

import kiln
import torch_tensorrt
from compat_model import X, error_of, net, same, works
from torch_tensorrt import Device, EngineCapability, Input, ts


@functools.cache
def traced() -> torch.jit.ScriptModule:
  return torch.jit.trace(net(), X)


def _warnings(call: Callable) -> list[str]:
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    call()
  return [str(w.message) for w in caught]


@works("ts.compile", "ts.compile(inputs)", "ts.compile(settings)", "ts.compile(capability)")
def _():
  for given in ([X], [Input((2, 3, 6, 6))], X):
    module = ts.compile(traced(), inputs=given, min_block_size=3, require_full_compilation=True,
                        capability=EngineCapability.STANDARD, device=Device("cpu"))
    assert isinstance(module, torch.jit.ScriptModule)
    same(module(X))
  calls = str(module.inlined_graph)
  assert "kiln::run" in calls and "aten::conv" not in calls
  wide = Input(min_shape=(1, 3, 6, 6), opt_shape=(2, 3, 6, 6), max_shape=(4, 3, 6, 6))
  same(ts.compile(traced(), inputs=[wide])(X[:1]), net()(X[:1]))
  assert error_of(lambda: ts.compile(net(), inputs=[X])).code == "K1002"
  assert error_of(lambda: ts.compile(traced())).code == "K1101"
  assert error_of(lambda: ts.compile(traced(), inputs=[X], capability="none")).code == "K1002"
  assert error_of(lambda: ts.compile(traced(), inputs=[X], workspace_sze=1)).code == "K1001"
  assert any("max_aux_streams=4" in line for line in _warnings(
    lambda: ts.compile(traced(), inputs=[X], max_aux_streams=4)))


@works("compile(module)=ScriptModule", "compile(ir)=ts, torchscript")
def _():
  for ir in ("default", "ts", "torchscript"):
    compiled = torch_tensorrt.compile(traced(), ir=ir, inputs=[X])
    assert isinstance(compiled, torch.jit.ScriptModule) and "kiln::run" in str(compiled.inlined_graph)
    same(compiled(X))
  own = nn.Sequential(net().conv, nn.ReLU())
  same(torch_tensorrt.compile(own, ir="ts", inputs=[X])(X), own(X))
  for ir in ("dynamo", "fx", "torch_compile"):
    assert error_of(lambda: torch_tensorrt.compile(traced(), ir=ir, inputs=[X])).code == "K1018"
  assert error_of(lambda: torch_tensorrt.compile(traced(), ir="ts")).code == "K1101"
  assert error_of(lambda: torch_tensorrt.compile(traced(), "ts", [X], kwarg_inputs={"bias": X})
                  ).code == "K1002"
  data = torch_tensorrt.convert_method_to_trt_engine(own, inputs=[X], ir="ts")
  same(ts.embed_engine_in_new_module(data)(X), own(X))


class Pair(nn.Module):
  def forward(self, pair: tuple[torch.Tensor, list[torch.Tensor]], x: torch.Tensor):
    return pair[0] * pair[1][0] + x


@works("ts.compile(input_signature)", "ts.convert_method_to_trt_engine(input_signature)",
       "ts.convert_method_to_trt_engine(capability)")
def _():
  model, args = torch.jit.script(Pair()), ((X, [X + 1]), X - 1)
  signature = ((Input.from_tensor(X), [X]), X)
  same(ts.compile(model, input_signature=signature)(*args), Pair()(*args))
  data = ts.convert_method_to_trt_engine(model, input_signature=signature,
                                         capability=EngineCapability.STANDARD)
  same(ts.embed_engine_in_new_module(data)(*args), Pair()(*args))
  assert error_of(lambda: ts.compile(model, inputs=[X], input_signature=signature)).code == "K1002"


@works("ts.convert_method_to_trt_engine", "ts.embed_engine_in_new_module",
       "ts.embed_engine_in_new_module(device)")
def _(folder):
  data = ts.convert_method_to_trt_engine(traced(), "forward", inputs=[X])
  (folder / "engine.kiln").write_bytes(data)
  same(kiln.load(folder / "engine.kiln")(X))
  module = ts.embed_engine_in_new_module(data, device=Device("cpu"))
  same(module(X))
  torch.jit.save(module, folder / "engine.ts")
  same(torch.jit.load(folder / "engine.ts")(X))
  assert error_of(lambda: ts.embed_engine_in_new_module("engine.kiln")).code == "K1002"
  assert error_of(lambda: ts.embed_engine_in_new_module(data[:-9])).code.startswith("K31")


class Coder(nn.Module):
  """Nothing but methods of other names."""

  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(6, 4)

  @torch.jit.export
  def encode(self, x, scale: float = 2.0):
    return torch.relu(self.linear(x)) * scale

  @torch.jit.export
  def decide(self, x):
    return x if bool(x.sum() > 0) else -x


@works("ts.convert_method_to_trt_engine(method_name)")
def _():
  coder = torch.jit.script(Coder().eval())
  for convert in (ts.convert_method_to_trt_engine, torch_tensorrt.convert_method_to_trt_engine):
    data = convert(coder, "encode", inputs=[Input(X.shape)])
    same(ts.embed_engine_in_new_module(data)(X), coder.encode(X))
    assert error_of(lambda: convert(coder, "decode", inputs=[X])).code == "K1002"
    assert error_of(lambda: convert(coder, "decide", inputs=[X])).code == "K1145"
  # A module is scripted first.
  data = torch_tensorrt.convert_method_to_trt_engine(Coder().eval(), "encode", inputs=[X], ir="ts")
  assert isinstance(data, bytes)


class Odd(nn.Module):
  def forward(self, x):
    return torch.logcumsumexp(torch.relu(x), -1)

  @torch.jit.export
  def other(self, x):
    if x.size(0) > 2:
      x = x.add_(1)
    return torch.relu(x)


@works("ts.check_method_op_support", "ts.check_method_op_support(method_name)")
def _():
  assert ts.check_method_op_support(traced()) is True
  odd = torch.jit.script(Odd())
  assert ts.check_method_op_support(odd) is False
  assert ts.check_method_op_support(odd, "other") is True
  assert error_of(lambda: ts.check_method_op_support(odd, "none")).code == "K1002"


@works("ts.logging")
def _():
  assert ts.logging is torch_tensorrt.logging


def _accepts(call: Callable, **arguments: Any) -> Callable:
  def check(folder: pathlib.Path) -> list[str]:
    return _warnings(lambda: call(traced(), inputs=[X], **arguments))
  return check


ACCEPTED: dict[str, Callable] = {
  "ts.compile(allow_shape_tensors)": _accepts(ts.compile, allow_shape_tensors=True),
  "ts.convert_method_to_trt_engine(allow_shape_tensors)": _accepts(
    ts.convert_method_to_trt_engine, allow_shape_tensors=True),
}


def _embed(**arguments: Any) -> Callable:
  return lambda folder: ts.embed_engine_in_new_module(b"", **arguments)


RAISES: dict[str, Callable] = {
  "ts.compile(dryrun)=True or a path": lambda folder: ts.compile(traced(), inputs=[X],
                                                                 dryrun=True),
  "ts.embed_engine_in_new_module(input_binding_names)=a list": _embed(input_binding_names=["x"]),
  "ts.embed_engine_in_new_module(output_binding_names)=a list": _embed(output_binding_names=["y"]),
}
