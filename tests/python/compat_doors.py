"""Checks of the doors and settings that work, for test_compat_table.py."""

from __future__ import annotations

import copy
import types
import zipfile
from typing import Any, Callable

import pytest
import torch
from torch import nn

import kiln
import torch_tensorrt
from compat_model import WORKS, Net, X, error_of, exported, logged, net, program, same, works
from kiln.options import parse_options
from torch_tensorrt import Device, Input
from torch_tensorrt._settings import COMPILE, translate

#: rows whose check builds with a C++ compiler
LONG = {"save(output_format)=aot_inductor", "torchtrtc --custom-torch-ops"}

# ---- torch.compile -------------------------------------------------------------------------------


def _backend(name: str) -> Callable:
  def check() -> None:
    torch._dynamo.reset()
    before = len(kiln.jit_reports())
    same(torch.compile(net(), backend=name)(X))
    assert len(kiln.jit_reports()) == min(before + 1, 64)
    assert kiln.jit_reports()[-1].coverage == 1
  return check


for _name in ("torch_tensorrt", "tensorrt", "aot_torch_tensorrt_aten"):
  WORKS[f'torch.compile(backend="{_name}")'] = _backend(_name)


@works("torch.compile(options)")
def _():
  torch._dynamo.reset()
  options = {"torch_executed_ops": {"aten.relu.default"}, "optimization_level": 3, "threads": 1}
  same(torch.compile(net(), backend="torch_tensorrt", options=options)(X))
  report = kiln.jit_reports()[-1]
  assert [row["op"] for row in report.fallbacks] == ["aten::relu"]
  assert any("optimization_level=3" in line for line in report.notes)
  wrong = torch.compile(net(), backend="torch_tensorrt", options={"optimisation_level": 3})
  torch._dynamo.reset()
  with pytest.raises(Exception, match="did you mean optimization_level"):
    wrong(X)


@works("torch.compile(dynamic)")
def _():
  torch._dynamo.reset()
  fast = torch.compile(net(), backend="torch_tensorrt", dynamic=True)
  before = len(kiln.jit_reports())
  for batch in (2, 3, 5):
    x = torch.randn(batch, 3, 6, 6)
    same(fast(x), net()(x))
  assert len(kiln.jit_reports()) <= before + 1


# ---- compiling -----------------------------------------------------------------------------------


@works("compile", "compile(ir)=default, dynamo", "compile(inputs)")
def _():
  for arguments in ({}, {"ir": "dynamo"}, {"ir": "default"}):
    compiled = torch_tensorrt.compile(net(), inputs=[X], **arguments)
    assert isinstance(compiled, kiln.Program)
    same(compiled(X))
  same(torch_tensorrt.compile(net(), inputs=[Input((2, 3, 6, 6))])(X))
  assert error_of(lambda: torch_tensorrt.compile(net())).code == "K1101"
  assert error_of(lambda: torch_tensorrt.compile(net(), ir="trt", inputs=[X])).code == "K1005"


@works("compile(module)=nn.Module, GraphModule, ExportedProgram")
def _():
  same(torch_tensorrt.compile(exported())(X))
  graph = torch.fx.symbolic_trace(nn.Sequential(net().linear, nn.ReLU()))
  same(torch_tensorrt.compile(graph, inputs=[torch.ones(2, 4)])(torch.ones(2, 4)),
       graph(torch.ones(2, 4)))


@works("compile(ir)=torch_compile")
def _():
  torch._dynamo.reset()
  same(torch_tensorrt.compile(net(), ir="torch_compile")(X))
  wide = Input(min_shape=(1, 3, 6, 6), opt_shape=(2, 3, 6, 6), max_shape=(4, 3, 6, 6))
  error = error_of(lambda: torch_tensorrt.compile(net(), ir="torch_compile", inputs=[wide]))
  assert error.code == "K1041" and "mark_dynamic" in error.hint


@works("compile(arg_inputs)")
def _():
  same(torch_tensorrt.compile(net(), arg_inputs=(X,))(X))
  assert error_of(lambda: torch_tensorrt.compile(net(), inputs=[X], arg_inputs=[X])).code == "K1002"


@works("compile(kwarg_inputs)")
def _():
  bias = torch.ones(5)
  compiled = torch_tensorrt.compile(net(), inputs=[X], kwarg_inputs={"bias": Input((5,))})
  same(compiled(X, bias=bias), net()(X, bias))


@works("compile(enabled_precisions)=sets that hold the model's own floating dtypes, or a 16-bit one "
       "for a float32 model",
       "CompilationSettings.enabled_precisions")
def _():
  for allowed in ({torch.float32}, [torch_tensorrt.dtype.f32], {torch_tensorrt.dtype.float}):
    compiled = torch_tensorrt.compile(net(), inputs=[X], enabled_precisions=allowed)
    assert not any("enabled_precisions" in line for line in compiled.report.notes)
    assert not compiled.report.precision["asked"]
  for allowed in ({torch.float, torch.half}, {torch.half}, {torch_tensorrt.dtype.f16}):
    compiled = torch_tensorrt.compile(net(), inputs=[X], enabled_precisions=allowed)
    assert compiled.report.precision["asked"] == ["f16"]
    assert compiled(X).dtype == torch.float32
    same(compiled(X), rtol=1e-2, atol=1e-2)
  compiled = torch_tensorrt.compile(net(), inputs=[X],
                                    enabled_precisions={torch.float, torch.bfloat16, torch.int8})
  assert compiled.report.precision["asked"] == ["bf16"]
  assert any("allows i8, which is not used" in line for line in compiled.report.notes)
  half = nn.Linear(4, 4).half().eval()
  x = torch.ones(2, 4, dtype=torch.half)
  compiled = torch_tensorrt.compile(half, inputs=[x], enabled_precisions={torch.half})
  with torch.no_grad():
    assert compiled(x).dtype == torch.half


@works("compile(settings)")
def _():
  compiled = torch_tensorrt.compile(net(), inputs=[X], max_aux_streams=2, threads=1)
  assert any("max_aux_streams=2" in line for line in compiled.report.notes)
  assert error_of(lambda: torch_tensorrt.compile(net(), inputs=[X], max_streams=2)).code == "K1001"


@works("convert_method_to_trt_engine", "convert_method_to_trt_engine(method_name)=forward")
def _(folder):
  (folder / "engine").write_bytes(
    torch_tensorrt.convert_method_to_trt_engine(net(), "forward", inputs=[X]))
  same(torch_tensorrt.load(folder / "engine")(X))
  with pytest.warns(UserWarning, match="optimization_level=1 changes nothing"):
    torch_tensorrt.convert_method_to_trt_engine(net(), inputs=[X], optimization_level=1)


@works("dynamo.trace", "dynamo.trace(strict)=False")
def _():
  wide = Input(min_shape=(1, 3, 6, 6), opt_shape=(2, 3, 6, 6), max_shape=(4, 3, 6, 6))
  traced = torch_tensorrt.dynamo.trace(net(), arg_inputs=[wide], strict=False)
  assert isinstance(traced, torch.export.ExportedProgram)
  same(traced.module()(X[:1]), net()(X[:1]))


@works("dynamo.trace(settings)")
def _():
  traced = torch_tensorrt.dynamo.trace(net(), [X], optimization_level=3, min_block_size=2)
  same(traced.module()(X))
  assert error_of(lambda: torch_tensorrt.dynamo.trace(net(), [X], optimisation=3)).code == "K1001"


@works("dynamo.trace(dynamic_shapes)")
def _():
  traced = torch_tensorrt.dynamo.trace(net(), [X], dynamic_shapes=(
    {0: torch.export.Dim("batch", min=1, max=8)},))
  same(torch_tensorrt.dynamo.compile(traced)(X[:1]), net()(X[:1]))


@works("dynamo.compile", "dynamo.compile(exported_program)")
def _():
  same(program()(X))
  assert program().report.coverage == 1
  error = error_of(lambda: torch_tensorrt.dynamo.compile(net(), [X]))
  assert error.code == "K1002" and "dynamo.trace" in str(error)


@works("dynamo.compile(inputs)", "dynamo.compile(arg_inputs)")
def _():
  compile = torch_tensorrt.dynamo.compile
  same(compile(exported(), [X])(X))
  same(compile(exported(), arg_inputs=[Input((2, 3, 6, 6))])(X))
  wide = Input(min_shape=(1, 3, 6, 6), opt_shape=(2, 3, 6, 6), max_shape=(4, 3, 6, 6))
  for wrong in ([X, X], [X[:1]], [X.double()], [X[0]], [wide]):
    assert error_of(lambda: compile(exported(), wrong)).code == "K1101"
  same(compile(torch_tensorrt.dynamo.trace(net(), [wide]), [wide])(X))


@works("dynamo.compile(kwarg_inputs)")
def _():
  bias = torch.ones(5)
  traced = torch_tensorrt.dynamo.trace(net(), [X], kwarg_inputs={"bias": bias})
  same(torch_tensorrt.dynamo.compile(traced, [X], kwarg_inputs={"bias": bias})(X, bias=bias),
       net()(X, bias))


@works("dynamo.convert_exported_program_to_serialized_trt_engine",
       "dynamo.convert_exported_program_to_serialized_trt_engine(lift_mutable_buffers)")
def _(folder):
  convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
  data = convert(exported(), [X], lift_mutable_buffers=True)
  assert data == convert(exported()), "equal programs give equal bytes"
  (folder / "m.kiln").write_bytes(data)
  same(kiln.load(folder / "m.kiln")(X))


@works("MutableTorchTensorRTModule", "MutableTorchTensorRTModule.compile",
       "MutableTorchTensorRTModule.refit_gm")
def _():
  torch._dynamo.reset()
  model = Net().eval().requires_grad_(False)
  mutable = torch_tensorrt.MutableTorchTensorRTModule(model, max_aux_streams=1)
  same(mutable(X), model(X))
  before = mutable(X)
  mutable.load_state_dict({k: v + 0.5 for k, v in model.state_dict().items()})
  mutable.refit_gm()
  same(mutable(X), model(X))
  assert not torch.allclose(mutable(X), before)
  mutable.scale = 3.0
  assert model.scale == 3.0
  same(mutable(X), model(X))
  mutable.compile()
  same(mutable(X), model(X))
  assert list(mutable.state_dict()) == list(model.state_dict()) and mutable.conv is model.conv


@works("MutableTorchTensorRTModule(settings)", "MutableTorchTensorRTModule(device)",
       "MutableTorchTensorRTModule(immutable_weights)=False")
def _():
  torch._dynamo.reset()
  mutable = torch_tensorrt.MutableTorchTensorRTModule(
    net(), device=Device("cpu"), immutable_weights=False, torch_executed_ops={"aten::relu"})
  same(mutable(X))
  assert [row["op"] for row in kiln.jit_reports()[-1].fallbacks] == ["aten::relu"]
  wrong = error_of(lambda: torch_tensorrt.MutableTorchTensorRTModule(net(), workspace=1))
  assert wrong.code == "K1001"


@works("MutableTorchTensorRTModule.set_expected_dynamic_shape_range")
def _():
  torch._dynamo.reset()
  mutable = torch_tensorrt.MutableTorchTensorRTModule(net())
  mutable.set_expected_dynamic_shape_range(({0: torch.export.Dim("batch", min=2, max=8)},), {})
  before = len(kiln.jit_reports())
  for batch in (2, 5, 8):
    x = torch.randn(batch, 3, 6, 6)
    same(mutable(x), net()(x))
  assert len(kiln.jit_reports()) == before + 1


# ---- saving, loading, new weights ----------------------------------------------------------------


@works("save", "save(module)=Program, ExportedProgram, ScriptModule", "save(output_format)=kiln",
       "load", "load(format)=None")
def _(folder):
  torch_tensorrt.save(program(), folder / "m.trt", output_format="kiln", inputs=[X])
  same(torch_tensorrt.load(folder / "m.trt")(X))
  torch_tensorrt.save(exported(), folder / "m.pt2")
  same(torch_tensorrt.load(folder / "m.pt2").module()(X))
  with zipfile.ZipFile(folder / "m.aoti", "w") as archive:
    for name in ("m/archive_format", "m/data/aotinductor/model/wrapper.so"):
      archive.writestr(name, "")
  assert "aoti_load_package" in error_of(lambda: torch_tensorrt.load(folder / "m.aoti")).hint
  (folder / "m.txt").write_text("no model")
  assert error_of(lambda: torch_tensorrt.load(folder / "m.txt")).code == "K3103"
  assert error_of(lambda: torch_tensorrt.load(folder / "none")).code == "K3001"
  assert sorted(p.name for p in folder.iterdir()) == ["m.aoti", "m.pt2", "m.trt",
                                                         "m.txt"]


@works("save(output_format)=exported_program")
def _(folder):
  torch_tensorrt.save(program(), folder / "m.ep")
  same(torch_tensorrt.load(folder / "m.ep").module()(X))


@works("save(output_format)=torchscript")
def _(folder):
  torch_tensorrt.save(torch.jit.trace(net(), X), folder / "m.ts", output_format="torchscript")
  same(torch_tensorrt.load(folder / "m.ts")(X))
  torch_tensorrt.save(program(), folder / "program", output_format="torchscript")
  same(torch_tensorrt.load(folder / "program")(X))


@works("save(output_format)=aot_inductor")
def _(folder):
  torch_tensorrt.save(program(), folder / "m.pt2", output_format="aot_inductor")
  same(torch._inductor.aoti_load_package(str(folder / "m.pt2"))(X))


@works("save(extra_files)=ExportedProgram, ScriptModule", "load(extra_files)",
       "save(pickle_protocol)")
def _(folder):
  torch_tensorrt.save(exported(), folder / "m.pt2", extra_files={"words": "some"},
                      pickle_protocol=3)
  extra = {"words": ""}
  torch_tensorrt.load(folder / "m.pt2", extra)
  assert extra["words"] == "some"
  torch_tensorrt.save(torch.jit.trace(net(), X), folder / "m.ts", output_format="torchscript",
                      extra_files={"words": b"other"})
  torch_tensorrt.load(folder / "m.ts", extra)
  assert extra["words"] == b"other"


@works("dynamo.export")
def _():
  out = torch_tensorrt.dynamo.export(program(), arg_inputs=[X])
  assert isinstance(out, torch.export.ExportedProgram)
  same(out.module()(X))


def _new_weights() -> tuple[nn.Module, torch.export.ExportedProgram]:
  model = copy.deepcopy(net())
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.mul_(1.5).add_(0.1)
  return model, torch.export.export(model, (X,))


@works("dynamo.refit_module_weights", "dynamo.refit_module_weights(new_weight_module)")
def _():
  model, new = _new_weights()
  for source in (new, model, model.state_dict()):
    own = torch_tensorrt.dynamo.compile(exported())
    refitted = torch_tensorrt.dynamo.refit_module_weights(own, source, in_place=True)
    same(refitted(X), model(X))


@works("dynamo.refit_module_weights(verify_output)")
def _():
  model, new = _new_weights()
  refit = torch_tensorrt.dynamo.refit_module_weights
  own = torch_tensorrt.dynamo.compile(exported())
  same(refit(own, new, arg_inputs=[X], verify_output=True, in_place=True)(X), model(X))
  other = copy.deepcopy(model)
  other.scale = 2.0  # not a weight
  error = error_of(lambda: refit(own, torch.export.export(other, (X,)), arg_inputs=[X],
                                 verify_output=True, in_place=True))
  assert error.code == "K1042"
  assert error_of(lambda: refit(own, new, verify_output=True, in_place=True)).code == "K1002"


@works("dynamo.refit_module_weights(in_place)")
def _():
  model, new = _new_weights()
  own = torch_tensorrt.dynamo.compile(exported())
  refitted = torch_tensorrt.dynamo.refit_module_weights(own, new)
  same(refitted(X), model(X))
  same(own(X))


# ---- settings ------------------------------------------------------------------------------------


@works("dynamo.CompilationSettings")
def _():
  settings = torch_tensorrt.dynamo.CompilationSettings(optimization_level=2)
  compiled = torch_tensorrt.dynamo.compile(exported(), **vars(settings))
  assert [line for line in compiled.report.notes if "optimization_level=2" in line]
  assert len([line for line in compiled.report.notes if "Torch-TensorRT" in line]) == 1


def _fallbacks(**settings: Any) -> list[str]:
  compiled = torch_tensorrt.compile(net(), inputs=[X], **settings)
  same(compiled(X))
  return [row["op"] for row in compiled.report.fallbacks]


@works("CompilationSettings.min_block_size")
def _():
  assert _fallbacks() == []
  assert _fallbacks(min_block_size=50) != []


@works("CompilationSettings.torch_executed_ops")
def _():
  for op in ("torch.ops.aten.relu.default", torch.ops.aten.relu.default, "aten::relu"):
    assert _fallbacks(torch_executed_ops={op}) == ["aten::relu"]


@works("CompilationSettings.torch_executed_modules")
def _():
  for entry in ("linear", nn.Linear, "torch.nn.Linear", "torch.nn.modules.linear.Linear"):
    assert _fallbacks(torch_executed_modules=[entry]) == ["aten::linear"]
  error = error_of(lambda: _fallbacks(torch_executed_modules=["torch.nn.LSTM"]))
  assert error.code == "K1002" and "torch.nn.LSTM" in str(error)


@works("CompilationSettings.require_full_compilation")
def _():
  settings = {"require_full_compilation": True, "torch_executed_ops": ["aten::relu"]}
  error = error_of(lambda: torch_tensorrt.dynamo.compile(exported(), **settings))
  assert error.code == "K2001" and "require_full_compilation=False" in error.hint
  torch._dynamo.reset()
  with pytest.raises(Exception, match="K2001"):
    torch.compile(net(), backend="torch_tensorrt", options=settings)(X)


@works("CompilationSettings.pass_through_build_failures")
def _():
  from torch_tensorrt import _backend
  torch._dynamo.reset()

  def failing(module, examples, options=None):
    raise kiln.Error("K2412", "no kernel", hint="planted by the test")

  own, _backend.dynamo = _backend.dynamo, types.SimpleNamespace(backend=failing)
  try:
    with pytest.warns(UserWarning, match="runs in PyTorch: K2412"):
      same(torch.compile(net(), backend="torch_tensorrt")(X))
    torch._dynamo.reset()
    with pytest.raises(Exception, match="K2412"):
      torch.compile(net(), backend="torch_tensorrt",
                    options={"pass_through_build_failures": True})(X)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="K2412"):
      torch.compile(net(), backend="torch_tensorrt",
                    options={"require_full_compilation": True})(X)
  finally:
    _backend.dynamo = own


@works("CompilationSettings.device=cpu", "Device=cpu")
def _():
  for device in (Device("cpu"), torch.device("cpu"), "cpu", Device._current_device()):
    same(torch_tensorrt.dynamo.compile(exported(), device=device)(X))
  assert Device("cpu") == Device._from(torch.device("cpu"))
  assert Device("cpu").to(torch.device) == torch.device("cpu")
  assert error_of(lambda: Device("tpu")).code == "K1002"


@works("CompilationSettings.dryrun=True or a path")
def _(folder):
  path = folder / "dryrun.txt"
  same(torch_tensorrt.dynamo.compile(exported(), dryrun=str(path))(X))
  assert "calls in Kiln (100 %)" in path.read_text()
  assert torch_tensorrt.compile(net(), inputs=[X], dryrun=path) is net()


@works("CompilationSettings.cache_built_engines=with reuse_cached_engines",
       "CompilationSettings.reuse_cached_engines=with cache_built_engines")
def _():
  def cache(**given: bool) -> bool:
    return parse_options(translate(given, COMPILE).options).cache

  off = {"cache_built_engines": False, "reuse_cached_engines": False}
  assert cache() and cache(cache_built_engines=True, reuse_cached_engines=True)
  assert not cache(**off)
  same(torch_tensorrt.dynamo.compile(exported(), **off)(X))


@works("CompilationSettings.strip_engine_weights=True, converting to an engine")
def _():
  convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
  weight = net().linear.weight.detach().numpy().tobytes()
  assert weight in convert(exported())
  assert weight not in convert(exported(), strip_engine_weights=True)


@works("CompilationSettings.debug")
def _():
  with logged() as lines:
    torch_tensorrt.dynamo.compile(exported(), debug=True)
  assert any(line.startswith("kernels:") for line in lines)
