"""Checks of the types, the runtime and the tools that work, for test_compat_table.py."""

from __future__ import annotations

import collections
import json
import logging
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import kiln
import torch_tensorrt
from compat_model import X, error_of, exported, logged, net, same, works
from torch_tensorrt import Device, EngineCapability, Input

# ---- types ---------------------------------------------------------------------------------------


@works("Input", "Input(shape)", "Input.shape_mode")
def _():
  spec = Input((2, 3))
  assert spec.shape == (2, 3) and spec.shape_mode is Input._ShapeMode.STATIC
  assert spec.dtype == torch.float32 and Input(shape=[2, 3]).shape == (2, 3)
  named = collections.namedtuple("Shape", ["batch", "width"])
  both = {"min_shape": named(1, 2), "opt_shape": named(2, 3), "max_shape": named(4, 6)}
  assert Input(**both).as_argument().dim_names == {0: "batch", 1: "width"}
  assert error_of(lambda: Input()).code == "K1002"
  assert error_of(lambda: Input((2, 3), shape=(2, 3))).code == "K1002"


@works("Input(min_shape)", "Input(opt_shape)", "Input(max_shape)")
def _():
  spec = Input(min_shape=(1, 3, 6, 6), opt_shape=(4, 3, 6, 6), max_shape=(8, 3, 6, 6))
  assert spec.shape_mode is Input._ShapeMode.DYNAMIC and spec.shape["opt_shape"] == (4, 3, 6, 6)
  compiled = torch_tensorrt.compile(net(), inputs=[spec])
  for batch in (1, 5, 8):
    x = torch.randn(batch, 3, 6, 6)
    same(compiled(x), net()(x))
  assert error_of(lambda: compiled(torch.randn(9, 3, 6, 6))).code == "K4105"
  assert error_of(lambda: Input(min_shape=(1,))).code == "K1002"
  wrong = error_of(lambda: Input(min_shape=(2,), opt_shape=(1,), max_shape=(3,)))
  assert wrong.code == "K1101" and "torch_tensorrt.Input" in str(wrong)


@works("Input(dtype)")
def _():
  for kind in (torch.int64, torch_tensorrt.dtype.long, torch_tensorrt.dtype.i64, np.dtype("int64")):
    assert Input((2,), dtype=kind).example_tensor().dtype == torch.int64
  assert error_of(lambda: Input((2,), dtype="int64")).code == "K1002"


@works("Input(format)=contiguous, channels_last, channels_last_3d")
def _():
  spec = Input((2, 3, 4, 5), format=torch.channels_last)
  assert spec.format == torch_tensorrt.memory_format.channels_last
  assert spec.example_tensor().is_contiguous(memory_format=torch.channels_last)
  like = torch_tensorrt.memory_format.dhwc
  assert Input((1, 2, 3, 4, 5), format=like).example_tensor().is_contiguous(
    memory_format=torch.channels_last_3d)


@works("Input(tensor_domain)")
def _():
  values = Input((1000,), tensor_domain=(3.0, 4.0)).example_tensor()
  assert values.min() >= 3 and values.max() < 4
  assert set(Input((1000,), dtype=torch.int64, tensor_domain=(5, 7)).example_tensor().tolist()) == {
    5, 6}
  assert error_of(lambda: Input((2,), tensor_domain=(1, 1))).code == "K1002"


@works("Input(torch_tensor)")
def _():
  assert Input(torch_tensor=X).as_argument() is X and Input(torch_tensor=X).shape == tuple(X.shape)


@works("Input(name)")
def _():
  with pytest.raises(kiln.Error, match="pixels"):
    Input(min_shape=(2,), opt_shape=(1,), max_shape=(3,), name="pixels")


@works("Input(shared_dims)")
def _():
  class Two(nn.Module):
    def forward(self, x, y):
      return x.sum(0) * y.sum(0)

  def pair(one, other):
    shapes = {"min_shape": (1, 3), "opt_shape": (4, 3), "max_shape": (8, 3)}
    return [Input(**shapes, shared_dims={0: one}), Input(**shapes, shared_dims={0: other})]

  x, y = torch.randn(5, 3), torch.randn(7, 3)
  apart = torch_tensorrt.compile(Two(), inputs=pair("batch", "length"))
  same(apart(x, y), Two()(x, y))
  together = torch_tensorrt.compile(Two(), inputs=pair("batch", "batch"))
  same(together(x, y[:5]), Two()(x, y[:5]))
  assert error_of(lambda: together(x, y)).code in ("K4105", "K4106")


@works("Input(profiles)")
def _():
  def profile(low, opt, high):
    return {"min_shape": (low, 3), "opt_shape": (opt, 3), "max_shape": (high, 3)}

  spec = Input(profiles=[profile(1, 2, 4), profile(8, 8, 16)])
  assert (spec.min_shape, spec.opt_shape, spec.max_shape) == ((1, 3), (2, 3), (16, 3))
  compiled = torch_tensorrt.compile(nn.ReLU(), inputs=[spec])
  for batch in (1, 16):
    same(compiled(torch.ones(batch, 3)), torch.ones(batch, 3))


@works("Input.from_tensor", "Input.from_tensors", "Input.equivalent_spec")
def _():
  spec = Input.from_tensor(X.contiguous(memory_format=torch.channels_last))
  assert spec.shape == tuple(X.shape) and spec.format == torch.channels_last
  assert Input.equivalent_spec(spec, Input(tuple(X.shape), format=torch.channels_last))
  assert not Input.equivalent_spec(spec, Input(tuple(X.shape)))
  many = Input.from_tensors({"a": [X, 2], "b": (X,)})
  assert many["a"][0].shape == tuple(X.shape) and many["a"][1] == 2
  assert error_of(lambda: Input.from_tensor(X[..., ::2])).code == "K1101"
  assert Input.from_tensor(X[..., ::2], disable_memory_format_check=True).shape == (2, 3, 6, 3)


@works("Input.example_tensor")
def _():
  spec = Input(min_shape=(1, 3), opt_shape=(4, 3), max_shape=(8, 3))
  assert [spec.example_tensor(f"{k}_shape").shape[0] for k in ("min", "opt", "max")] == [1, 4, 8]
  assert error_of(lambda: spec.example_tensor()).code == "K1002"


@works("DeviceType")
def _():
  assert Device(device_type=torch_tensorrt.DeviceType.CPU) == Device("cpu")
  assert {"UNKNOWN", "GPU", "DLA"} <= set(torch_tensorrt.DeviceType.__members__)


@works("EngineCapability")
def _():
  torch_tensorrt.dynamo.CompilationSettings(engine_capability=EngineCapability.STANDARD)


@works("Platform")
def _():
  assert torch_tensorrt.Platform.current_platform() is torch_tensorrt.Platform.LINUX_X86_64


@works("dtype")
def _():
  own = torch_tensorrt.dtype
  for name in ("u8", "i8", "i32", "i64", "f16", "f32", "f64", "b", "bf16", "f8", "f4"):
    member = own[name]
    assert own._from(member.to(torch.dtype)) is member and member == member.to(torch.dtype)
  assert own._from(np.float32) is own.f32 and own.half.to(np.dtype) == np.dtype("float16")
  assert own.bf16.try_to(np.dtype) is None and own.try_from("f32") is None
  assert own.try_from(torch.complex64) is None
  assert own._from(torch.complex64, use_default=True) is own.f32
  assert own.float == own.float32 == own.fp32 and own.long == torch.int64
  with pytest.raises(TypeError, match="complex64"):
    own._from(torch.complex64)
  assert len({own.f32, own.float}) == 1


@works("memory_format")
def _():
  own = torch_tensorrt.memory_format
  assert own._from(torch.channels_last) is own.hwc and own.hwc == torch.channels_last
  assert own.contiguous.to(torch.memory_format) == torch.contiguous_format
  assert own.chw32.try_to(torch.memory_format) is None


@works("ENABLED_FEATURES")
def _():
  features = torch_tensorrt.ENABLED_FEATURES
  assert features.dynamo_frontend and features.fx_frontend and features.refit
  assert features.torchscript_frontend and not features.tensorrt_rtx


@works("__version__")
def _():
  assert torch_tensorrt.__version__ == kiln.__version__


# ---- runtime, logging, debugging -----------------------------------------------------------------


@works("runtime.set_cudagraphs_mode=False", "runtime.get_cudagraphs_mode",
       "runtime.get_whole_cudagraphs_mode")
def _():
  torch_tensorrt.runtime.set_cudagraphs_mode(False)
  assert torch_tensorrt.runtime.get_cudagraphs_mode() is False
  assert torch_tensorrt.runtime.get_whole_cudagraphs_mode() is False


def _starts(context: Any) -> set[str]:
  with logged() as lines, context:
    torch_tensorrt.dynamo.compile(exported())
  return {line.partition(":")[0] for line in lines}


@works("logging.internal_errors", "logging.errors", "logging.warnings", "logging.info",
       "logging.debug", "logging.graphs")
def _():
  log = torch_tensorrt.logging
  for quiet in (log.internal_errors, log.errors, log.warnings):
    assert _starts(quiet()) == set()
  assert _starts(log.info()) == {"compiled"}
  assert _starts(log.debug()) == {"compiled", "kernels"}
  assert _starts(log.graphs()) == {"compiled", "kernels", "graph"}


@works("logging.set_level")
def _():
  before = logging.getLogger("kiln").level
  try:
    torch_tensorrt.logging.set_level(logging.INFO)
    with logged() as lines:
      torch_tensorrt.dynamo.compile(exported())
    assert len(lines) == 1
    assert error_of(lambda: torch_tensorrt.logging.set_level("loud")).code == "K1002"
  finally:
    torch_tensorrt.logging.set_level(before)


@works("dynamo.Debugger", "dynamo.Debugger(log_level)")
def _():
  assert _starts(torch_tensorrt.dynamo.Debugger()) == {"compiled", "kernels"}
  assert _starts(torch_tensorrt.dynamo.Debugger(log_level="error")) == set()
  assert error_of(lambda: torch_tensorrt.dynamo.Debugger("loud")).code == "K1002"


@works("dynamo.Debugger(logging_dir)", "dynamo.Debugger(save_layer_info)")
def _(folder):
  torch._dynamo.reset()
  with torch_tensorrt.dynamo.Debugger("error", logging_dir=folder / "logs", save_layer_info=True):
    torch_tensorrt.dynamo.compile(exported())
    torch.compile(net(), backend="tensorrt")(X)
  debugger = torch_tensorrt.dynamo.Debugger("error", save_layer_info=True)
  with debugger:
    torch_tensorrt.dynamo.compile(exported())
  assert len(list(pathlib.Path(debugger.logging_dir).iterdir())) == 1
  shutil.rmtree(debugger.logging_dir)
  names = sorted(path.name for path in (folder / "logs").iterdir())
  assert names == ["program_0_layer_information.json", "torch_compile_1_layer_information.json"]
  for name in names:
    assert json.loads((folder / "logs" / name).read_text())["kernels"]
