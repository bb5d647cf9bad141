"""What is accepted and what raises, for test_compat_table.py: the values and calls to try."""

from __future__ import annotations

import pathlib
from typing import Any, Callable

import torch

import kiln
import torch_tensorrt
from compat_model import X, exported, net, program, same
from torch_tensorrt import Device, EngineCapability, Input

# ---- what is accepted ----------------------------------------------------------------------------

ACCEPTED_SETTINGS: dict[str, Any] = {
  "workspace_size": 1 << 20, "max_aux_streams": 4, "version_compatible": True,
  "optimization_level": 5, "truncate_double": True, "use_complex_decomposition": False,
  "use_fast_partitioner": False, "enable_experimental_decompositions": True, "disable_tf32": True,
  "assume_dynamic_shape_support": True, "sparse_weights": True,
  "engine_capability": EngineCapability.STANDARD, "num_avg_timing_iters": 3,
  "dla_sram_size": 1 << 21, "dla_local_dram_size": 1 << 20, "dla_global_dram_size": 1 << 20,
  "hardware_compatible": True, "timing_cache_path": "timing.bin", "lazy_engine_init": True,
  "use_fp32_acc": True, "refit_identical_engine_weights": True, "immutable_weights": False,
  "tiling_optimization_level": "full", "l2_limit_for_tiling": 1 << 20,
  "use_distributed_mode_trace": True, "offload_module_to_cpu": True,
  "autocast_low_precision_type": torch.float16, "autocast_excluded_nodes": {"^conv"},
  "autocast_excluded_ops": {torch.ops.aten.relu.default}, "autocast_max_output_threshold": 10.0,
  "autocast_max_depth_of_reduction": 10, "autocast_calibration_dataloader": [X],
  "enable_resource_partitioning": True, "dynamically_allocate_resources": True,
  "decompose_attention": True, "disabled_constant_fold_exclusions": frozenset({"rule"}),
  "attn_bias_is_causal": False,
  "fallback_data_dependent_ops": True, "refit": True, "cache_built_engines": False,
  "reuse_cached_engines": False, "make_refittable": True, "truncate_long_and_double": True,
  "use_python_runtime": True,
}


def _saved(**arguments: Any) -> Callable:
  def check(folder: pathlib.Path) -> list[str]:
    plain = torch_tensorrt.dynamo.compile(exported())
    noted = torch_tensorrt.dynamo.compile(exported())
    torch_tensorrt.save(plain, folder / "plain", output_format="kiln")
    torch_tensorrt.save(noted, folder / "noted", output_format="kiln", **arguments)
    assert (folder / "plain").read_bytes() == (folder / "noted").read_bytes()
    return noted.report.notes
  return check


def _context(make: Callable) -> Callable:
  def check(folder: pathlib.Path) -> list[str]:
    own = torch_tensorrt.dynamo.compile(exported())
    with make(own) as inside:
      assert inside is own and torch.equal(inside(X), program()(X))
    return own.report.notes
  return check


def _debugger(**arguments: Any) -> Callable:
  def check(folder: pathlib.Path) -> list[str]:
    with torch_tensorrt.dynamo.Debugger("error", **arguments):
      own = torch_tensorrt.dynamo.compile(exported())
    assert torch.equal(own(X), program()(X))
    return own.report.notes
  return check


def _inputs_of_torch_compile(folder: pathlib.Path) -> list[str]:
  torch._dynamo.reset()
  same(torch_tensorrt.compile(net(), ir="torch_compile", inputs=[X[:1]])(X))
  return kiln.jit_reports()[-1].notes


def _gpu_fallback(folder: pathlib.Path) -> list[str]:
  own = torch_tensorrt.dynamo.compile(exported(), device=Device("cpu", allow_gpu_fallback=True))
  return own.report.notes


def _mutable(**arguments: Any) -> Callable:
  def check(folder: pathlib.Path) -> list[str]:
    torch._dynamo.reset()
    same(torch_tensorrt.MutableTorchTensorRTModule(net(), **arguments)(X))
    return kiln.jit_reports()[-1].notes
  return check


def _export(**arguments: Any) -> Callable:
  def check(folder: pathlib.Path) -> list[str]:
    own = torch_tensorrt.dynamo.compile(exported())
    same(torch_tensorrt.dynamo.export(own, **arguments).module()(X))
    return own.report.notes
  return check


_runtime = torch_tensorrt.runtime
ACCEPTED: dict[str, Callable] = {
  'compile(inputs)=with ir="torch_compile"': _inputs_of_torch_compile,
  "save(inputs)": _saved(inputs=[X]),
  "save(arg_inputs)": _saved(arg_inputs=[X]),
  "save(kwarg_inputs)": _saved(kwarg_inputs={"bias": X}),
  "save(dynamic_shapes)": _saved(dynamic_shapes=({},)),
  "save(retrace)": _saved(retrace=False),
  "save(use_legacy_exporter)": _saved(use_legacy_exporter=True),
  "dynamo.export(arg_inputs)": _export(arg_inputs=[X]),
  "dynamo.export(kwarg_inputs)": _export(kwarg_inputs={"bias": X}),
  "dynamo.export(dynamic_shapes)": _export(dynamic_shapes=({},)),
  "dynamo.export(use_legacy_exporter)": _export(use_legacy_exporter=True),
  "MutableTorchTensorRTModule(strict)": _mutable(strict=False),
  "MutableTorchTensorRTModule(prefer_deferred_runtime_asserts_over_guards)": _mutable(
    prefer_deferred_runtime_asserts_over_guards=True),
  "Device(allow_gpu_fallback)": _gpu_fallback,
  "runtime.enable_cudagraphs": _context(_runtime.enable_cudagraphs),
  "runtime.enable_pre_allocated_outputs": _context(_runtime.enable_pre_allocated_outputs),
  "runtime.enable_output_allocator": _context(_runtime.enable_output_allocator),
  "runtime.optimization_profile": _context(lambda p: _runtime.optimization_profile(p, 1)),
  "dynamo.runtime.ResourceAllocationStrategy": _context(
    torch_tensorrt.dynamo.runtime.ResourceAllocationStrategy),
  "dynamo.Debugger(profile_format)": _debugger(profile_format="trex"),
  "dynamo.Debugger(engine_builder_monitor)": _debugger(engine_builder_monitor=False),
}


# ---- what raises with a value --------------------------------------------------------------------

REFUSED_SETTINGS: dict[str, Any] = {
  "engine_capability": EngineCapability.SAFETY, "strip_engine_weights": True,
  "enable_weight_streaming": True, "enable_cross_compile_for_windows": True,
  "enable_autocast": True, "cpu_memory_budget": 1 << 30, "custom_engine_cache": object(),
  "engine_cache_dir": "cache", "engine_cache_size": 1 << 30,
}


def _save(**arguments: Any) -> Callable:
  return lambda folder: torch_tensorrt.save(program(), folder / "file", **arguments)


def _convert(**arguments: Any) -> Callable:
  convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
  return lambda folder: convert(exported(), **arguments)


def _make_mutable(**arguments: Any) -> Callable:
  return lambda folder: torch_tensorrt.MutableTorchTensorRTModule(net(), **arguments)


def _make(kind: Callable, *args: Any, **arguments: Any) -> Callable:
  return lambda folder: kind(*args, **arguments)


def _on_mutable(name: str, *args: Any) -> Callable:
  return lambda folder: getattr(torch_tensorrt.MutableTorchTensorRTModule(net()), name)(*args)


def _dryrun(folder: pathlib.Path) -> None:
  torch_tensorrt.compile(net(), ir="torch_compile", dryrun=True)


_CONVERT = "dynamo.convert_exported_program_to_serialized_trt_engine"
RAISES: dict[str, Callable] = {
  "compile(enabled_precisions)=other sets": lambda folder: torch_tensorrt.compile(
    net(), inputs=[X], enabled_precisions={torch.int8}),
  "convert_method_to_trt_engine(method_name)=others of another module": lambda folder:
  torch_tensorrt.convert_method_to_trt_engine(net(), "encode", inputs=[X]),
  "dynamo.trace(strict)=True": lambda folder: torch_tensorrt.dynamo.trace(net(), [X], strict=True),
  f"{_CONVERT}(arg_input_binding_names)": _convert(arg_input_binding_names=["x"]),
  f"{_CONVERT}(kwarg_input_binding_names)": _convert(kwarg_input_binding_names={}),
  f"{_CONVERT}(output_binding_names)": _convert(output_binding_names=["y"]),
  "MutableTorchTensorRTModule.set_weight_streaming_ctx": _on_mutable("set_weight_streaming_ctx", 1),
  "MutableTorchTensorRTModule(immutable_weights)=True": _make_mutable(immutable_weights=True),
  "MutableTorchTensorRTModule(weight_streaming_budget)": _make_mutable(weight_streaming_budget=1),
  "dynamo.export(cross_compile_module)=True": lambda folder: torch_tensorrt.dynamo.export(
    program(), cross_compile_module=True),
  "MutableTorchTensorRTModule.save": _make(
    torch_tensorrt.MutableTorchTensorRTModule.save, None, "path"),
  "MutableTorchTensorRTModule.load": _make(torch_tensorrt.MutableTorchTensorRTModule.load, "path"),
  "save(module)=nn.Module": lambda folder: torch_tensorrt.save(net(), folder / "file"),
  "save(output_format)=executorch": _save(output_format="executorch"),
  "save(extra_files)=Program": _save(extra_files={"words": ""}),
  "load(format)=executorch": lambda folder: torch_tensorrt.load("file", format="executorch"),
  "CompilationSettings.device=cuda, gpu, dla": lambda folder: torch_tensorrt.dynamo.compile(
    exported(), device=torch.device("cuda:0")),
  "CompilationSettings.dryrun=through torch.compile": _dryrun,
  "Input(format)=vectorised formats": _make(
    Input, (1, 4, 2, 2), format=torch_tensorrt.memory_format.chw4),
  "Input(is_shape_tensor)=True": _make(Input, (2,), dtype=torch.int64, is_shape_tensor=True),
  "Device=gpu:N, cuda:N, gpu_id=": _make(Device, gpu_id=0),
  "Device=dla:N, dla_core=": _make(Device, "dla:0", allow_gpu_fallback=True),
  "runtime.set_cudagraphs_mode=True": _make(torch_tensorrt.runtime.set_cudagraphs_mode, True),
  "dynamo.Debugger(capture_fx_graph_before)": _make(
    torch_tensorrt.dynamo.Debugger, capture_fx_graph_before=["constant_fold"]),
  "dynamo.Debugger(capture_fx_graph_after)": _make(
    torch_tensorrt.dynamo.Debugger, capture_fx_graph_after=["constant_fold"]),
  "dynamo.Debugger(save_engine_profile)=True": _make(
    torch_tensorrt.dynamo.Debugger, save_engine_profile=True),
}
