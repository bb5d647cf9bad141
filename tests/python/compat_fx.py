"""Checks of torch_tensorrt.fx, for test_compat_table.py."""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import fx, nn

import kiln
import torch_tensorrt
from compat_model import X, error_of, logged, net, program, same, works
from compat_refusals import ACCEPTED, RAISES
from torch_tensorrt import Input
from torch_tensorrt.fx import InputTensorSpec
from torch_tensorrt.fx.utils import LowerPrecision


def traced() -> fx.GraphModule:
  return fx.symbolic_trace(net(), concrete_args={"bias": None})


def batches_of(compiled: kiln.Program, *sizes: int) -> None:
  for size in sizes:
    x = torch.randn(size, 3, 6, 6)
    same(compiled(x, None), net()(x))


def refuses_batch(compiled: kiln.Program, size: int) -> None:
  assert error_of(lambda: compiled(torch.randn(size, 3, 6, 6), None)).code in ("K4105", "K4106")


@works("compile(ir)=fx")
def _():
  for module in (traced(), net()):
    compiled = torch_tensorrt.compile(module, ir="fx", inputs=[X, None])
    same(compiled(X, None))
    refuses_batch(compiled, 3)
  compiled = torch_tensorrt.compile(traced(), "fx", [X, None], min_acc_module_size=50,
                                    optimization_level=3, max_workspace_size=1)
  assert compiled.report.fallbacks
  for text in ("optimization_level=3", "max_workspace_size)=1"):
    assert any(text in line for line in compiled.report.notes)
  same(torch_tensorrt.compile(net(), "fx", [X], kwarg_inputs={"bias": torch.ones(5)})(
    X, bias=torch.ones(5)), net()(X, torch.ones(5)))
  wide = torch_tensorrt.compile(traced(), "fx", [X, None], dynamic_batch=True)
  batches_of(wide, 1, 5)
  half = torch_tensorrt.compile(traced(), "fx", [X, None], enabled_precisions={torch.bfloat16})
  assert half.report.precision["asked"] == ["bf16"]
  exported = torch.export.export(net(), (X,))
  assert error_of(lambda: torch_tensorrt.compile(exported, ir="fx")).code == "K1018"
  assert error_of(lambda: torch_tensorrt.compile(net(), ir="fx")).code == "K1101"


@works("fx.compile", "fx.lower.compile", "fx.compile(dynamic_batch)=True")
def _():
  assert torch_tensorrt.fx.lower.compile is torch_tensorrt.fx.compile
  for module in (traced(), net()):
    before = module.state_dict()
    compiled = torch_tensorrt.fx.compile(module, [X, None])
    assert compiled.report.coverage == 1 and not compiled.report.notes
    batches_of(compiled, 1, 2, 9)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())

  class Fixed(nn.Module):
    def forward(self, x):
      return x.reshape(6, 4)

  error = error_of(lambda: torch_tensorrt.fx.compile(Fixed(), [torch.ones(2, 12)]))
  assert error.code == "K1102" and "dynamic_batch=False" in error.hint
  error = error_of(lambda: torch_tensorrt.fx.compile(traced(), [X, torch.ones(5)]))
  assert error.code == "K1002" and "dynamic_batch" in str(error)
  last = X.to(memory_format=torch.channels_last)
  same(torch_tensorrt.fx.compile(traced(), [last, None])(last, None))


@works("fx.compile(dynamic_batch)=False")
def _():
  compiled = torch_tensorrt.fx.compile(traced(), [X, None], dynamic_batch=False)
  batches_of(compiled, 2)
  refuses_batch(compiled, 3)


@works("fx.compile(max_batch_size)")
def _():
  compiled = torch_tensorrt.fx.compile(traced(), [X, None], max_batch_size=4)
  batches_of(compiled, 1, 4)
  refuses_batch(compiled, 5)
  for small in (1, 0):
    error = error_of(lambda: torch_tensorrt.fx.compile(traced(), [X, None], max_batch_size=small))
    assert error.code == "K1002" and "max_batch_size" in str(error)


@works("fx.compile(input)", "fx.InputTensorSpec")
def _():
  compile = torch_tensorrt.fx.compile
  spec = InputTensorSpec.from_tensor(X)
  assert spec == InputTensorSpec((2, 3, 6, 6), torch.float32)
  assert InputTensorSpec.from_tensors([X]) == [spec]
  fixed = compile(traced(), [spec, None])
  same(fixed(X, None))
  refuses_batch(fixed, 3)
  ranged = InputTensorSpec.from_tensors_with_dynamic_batch_size([X], (1, 3, 6))
  assert ranged[0].shape == (-1, 3, 6, 6)
  assert ranged[0].to_random_tensor().shape == (3, 3, 6, 6)
  assert [t.shape for t in InputTensorSpec.create_inputs_from_specs([spec, *ranged])] == [
    X.shape, (3, 3, 6, 6)]
  batches_of(compile(traced(), [*ranged, None]), 1, 6)
  inside = compile(traced(), [InputTensorSpec((3, 6, 6), torch.float32, has_batch_dim=False), None],
                   max_batch_size=3)
  batches_of(inside, 1, 3)
  refuses_batch(inside, 4)
  several = InputTensorSpec((-1, 3, 6, 6), torch.float32, shape_ranges=[
    ((1, 3, 6, 6), (1, 3, 6, 6), (2, 3, 6, 6)), ((4, 3, 6, 6), (5, 3, 6, 6), (7, 3, 6, 6))])
  batches_of(compile(traced(), [several, None]), 1, 7)
  batches_of(compile(traced(), [Input(min_shape=(1, 3, 6, 6), opt_shape=(2, 3, 6, 6),
                                      max_shape=(4, 3, 6, 6)), None]), 4)
  same(compile(fx.symbolic_trace(nn.ReLU()), X)(X), torch.relu(X))
  for wrong in (lambda: compile(traced(), [InputTensorSpec((-1, 3, 6, 6), torch.float32), None]),
                lambda: InputTensorSpec.from_tensors_with_dynamic_batch_size(
                  [X, X[:1]], (1, 2, 3))):
    assert error_of(wrong).code == "K1002"


@works("fx.compile(min_acc_module_size)")
def _():
  assert torch_tensorrt.fx.compile(traced(), [X, None], 50).report.fallbacks


@works("fx.compile(lower_precision)=FP32, FP16, BF16", "fx.utils.LowerPrecision")
def _():
  assert LowerPrecision.from_str("torch.half") is LowerPrecision.FP16
  assert LowerPrecision.from_str("bfloat16") is LowerPrecision.BF16
  assert LowerPrecision.from_str("float") is LowerPrecision.FP32
  assert LowerPrecision.from_str("int8") is LowerPrecision.INT8
  assert LowerPrecision.from_str("fp64") is None and LowerPrecision.from_str("x") is None
  for value, asked in ((LowerPrecision.FP16, ["f16"]), ("bf16", ["bf16"]), ("fp32", [])):
    compiled = torch_tensorrt.fx.compile(traced(), [X, None], lower_precision=value)
    assert compiled.report.precision["asked"] == asked
    assert compiled(X, None).dtype == torch.float32
    same(compiled(X, None), rtol=2e-2, atol=2e-2)
  error = error_of(lambda: torch_tensorrt.fx.compile(traced(), [X, None], lower_precision="fp5"))
  assert error.code == "K1002"


@works("fx.compile(verbose_log)")
def _():
  with logged() as lines:
    torch_tensorrt.fx.compile(traced(), [X, None], verbose_log=True)
  assert any(line.startswith("kernels:") for line in lines)


@works("fx.compile(correctness_atol)", "fx.compile(correctness_rtol)")
def _():
  class Chosen(nn.Module):
    """Not the same each time, so that there is something to find."""
    def __init__(self):
      super().__init__()
      self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
      self.calls.add_(1)
      return x + self.calls

  compile = torch_tensorrt.fx.compile
  same(compile(traced(), [X, None], correctness_atol=1e-5, correctness_rtol=1e-5)(X, None))
  ranged = InputTensorSpec.from_tensors_with_dynamic_batch_size([X], (1, 3, 6))
  compile(traced(), [*ranged, None], correctness_atol=1e-5)
  for name in ("correctness_atol", "correctness_rtol"):
    error = error_of(lambda: compile(Chosen(), [X], **{name: 1e-3}))
    assert error.code == "K1042" and "correctness_atol" in error.hint
  assert error_of(lambda: compile(traced(), [X, None], correctness_atol=-1)).code == "K1002"


@works("fx.compile(settings)")
def _():
  compiled = torch_tensorrt.fx.compile(traced(), [X, None], torch_executed_ops={"aten::relu"},
                                       optimization_level=2)
  assert [row["op"] for row in compiled.report.fallbacks] == ["aten::relu"]
  assert any("optimization_level=2" in line for line in compiled.report.notes)
  assert error_of(lambda: torch_tensorrt.fx.compile(traced(), [X, None], max_batch=2)).code == "K1001"
  strict = {"require_full_compilation": True, "torch_executed_ops": ["aten::relu"]}
  assert error_of(lambda: torch_tensorrt.fx.compile(traced(), [X, None], **strict)).code == "K2001"


def _accepted(name: str, value: Any) -> Callable:
  def check(folder) -> list[str]:
    compiled = torch_tensorrt.fx.compile(traced(), [X, None], **{name: value})
    assert torch.equal(compiled(X, None), program()(X))
    return compiled.report.notes
  return check


ACCEPTED.update((f"fx.compile({name})", _accepted(name, value)) for name, value in {
  "max_workspace_size": 1 << 20, "explicit_batch_dimension": True, "timing_cache_prefix": "cache",
  "save_timing_cache": True, "cuda_graph_batch_size": 8, "is_aten": True,
  "use_experimental_fx_rt": True}.items())

RAISES["fx.compile(lower_precision)=INT8"] = lambda folder: torch_tensorrt.fx.compile(
  traced(), [X, None], lower_precision=LowerPrecision.INT8)
