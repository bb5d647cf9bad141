"""Rows of the runtime, of logging and debugging, and of what has no counterpart."""

from __future__ import annotations

from . import ACCEPTED, RAISES, WORKS, Row, Section

_STREAMING = ("weights lie once in the memory of the processor that computes; there is nothing to "
              "stream")
_RTX = "it is TensorRT-RTX's; Kiln compiles nothing at run time"
_CONVERTER = ("operators without a kernel run in PyTorch, inside the same program; "
              "docs/adding_an_op.md says how Kiln gets a new one")
_KERNELS = "register a torch.library custom operator: it runs inside the program, in PyTorch"
_ONE_DEVICE = "this build computes on one device, the CPU: leave the call out"
_CUDA_GRAPH = "there are no CUDA graphs on the CPU: leave the call out"
_LOAD = "kiln.load reads a saved program, and torch_tensorrt.load any saved model"
_DISTRIBUTED = "each process compiles and runs its own program; collectives run in PyTorch"

SECTIONS = (
  Section("Runtime", "Context managers that are accepted write their note into the report of the "
          "program that they get.", (
    Row("runtime.enable_cudagraphs", ACCEPTED, "there are no launches to record on the CPU: a run "
        "is one call already"),
    Row("runtime.set_cudagraphs_mode", WORKS, "", "False"),
    Row("runtime.set_cudagraphs_mode", RAISES, _CUDA_GRAPH, "True"),
    Row("runtime.get_cudagraphs_mode", WORKS, "False"),
    Row("runtime.get_whole_cudagraphs_mode", WORKS, "False"),
    Row("runtime.enable_pre_allocated_outputs", ACCEPTED, "memory of outputs comes from PyTorch's "
        "allocator, in the call"),
    Row("runtime.enable_output_allocator", ACCEPTED, "outputs always have the size that they come "
        "to"),
    Row("runtime.optimization_profile", ACCEPTED, "one program serves all profiles"),
    Row("runtime.weight_streaming", RAISES, _STREAMING),
    Row("runtime.set_multi_device_safe_mode", RAISES, _ONE_DEVICE),
    Row("runtime.RuntimeSettings", RAISES, _RTX),
    Row("runtime.runtime_config", RAISES, _RTX),
    Row("runtime.set_dynamic_shapes_kernel_strategy", RAISES, _RTX),
    Row("runtime.RuntimeCache", RAISES, _RTX),
    Row("runtime.runtime_cache", RAISES, _RTX),
    Row("runtime.TorchTensorRTModule", RAISES, _LOAD),
    Row("runtime.PythonTorchTensorRTModule", RAISES, _LOAD),
    Row("dynamo.runtime.TorchTensorRTModule", RAISES, _LOAD),
    Row("dynamo.runtime.PythonTorchTensorRTModule", RAISES, _LOAD),
    Row("dynamo.runtime.ResourceAllocationStrategy", ACCEPTED, "scratch memory belongs to the "
        "threads that call"),
  )),
  Section("Looking inside", "", (
    Row("logging.set_level", WORKS, "the level of the Python logger \"kiln\"; what the C++ side "
        "logs is set by KILN_LOGS"),
    Row("logging.internal_errors", WORKS, "a context with that level"),
    Row("logging.errors", WORKS, "a context with that level"),
    Row("logging.warnings", WORKS, "a context with that level"),
    Row("logging.info", WORKS, "a context with that level"),
    Row("logging.debug", WORKS, "a context with that level"),
    Row("logging.graphs", WORKS, "a context with that level"),
    Row("dynamo.Debugger", WORKS, "a context for compiling"),
    Row("dynamo.Debugger(log_level)", WORKS, "as in torch_tensorrt.logging"),
    Row("dynamo.Debugger(logging_dir)", WORKS, "the folder for save_layer_info"),
    Row("dynamo.Debugger(save_layer_info)", WORKS, "one JSON report per program in logging_dir"),
    Row("dynamo.Debugger(capture_fx_graph_before)", RAISES, 'program.ir("simplified") and '
        'program.ir("lowered") show the graph; KILN_OPTIONS=dump_ir=all writes it after each pass'),
    Row("dynamo.Debugger(capture_fx_graph_after)", RAISES, 'program.ir("simplified") and '
        'program.ir("lowered") show the graph; KILN_OPTIONS=dump_ir=all writes it after each pass'),
    Row("dynamo.Debugger(save_engine_profile)", RAISES, "program.profile(x) times every step, and "
        "so does `kiln bench M.kiln --profile`", "True"),
    Row("dynamo.Debugger(profile_format)", ACCEPTED, "it only speaks to save_engine_profile, which "
        "raises"),
    Row("dynamo.Debugger(engine_builder_monitor)", ACCEPTED, "a build takes too little time to "
        "show its progress; the report has the seconds of each phase"),
  )),
  Section("Without a counterpart", "", (
    Row("dynamo.conversion.dynamo_tensorrt_converter", RAISES, _CONVERTER),
    Row("dynamo.conversion.DYNAMO_CONVERTERS", RAISES, "docs/ops.md lists the operators; "
        "kiln.explain(model, inputs=[...]) says what runs where"),
    Row("dynamo.conversion.ConversionContext", RAISES, _CONVERTER),
    Row("dynamo.conversion.ConverterPriority", RAISES, _CONVERTER),
    Row("dynamo.conversion.plugins.custom_op", RAISES, _KERNELS),
    Row("dynamo.conversion.plugins.generate_plugin", RAISES, _KERNELS),
    Row("dynamo.conversion.plugins.generate_plugin_converter", RAISES, _KERNELS),
    Row("dynamo.partitioning.fast_partition", RAISES, "kiln.compile partitions; min_block_size and "
        "torch_executed_ops steer it"),
    Row("dynamo.partitioning.global_partition", RAISES, "kiln.compile partitions; min_block_size "
        "and torch_executed_ops steer it"),
    Row("dynamo.partitioning.get_graph_converter_support", RAISES, "kiln.explain(model, "
        "inputs=[...]) has ops_total, ops_native and the reason of every fallback"),
    Row("dynamo.lowering.get_decompositions", RAISES, "torch.export.default_decompositions() is "
        "torch's own table; Kiln takes models undecomposed"),
    Row("dynamo.lowering.post_lowering", RAISES, "Kiln's passes work on its own graph: "
        "docs/adding_a_pass.md"),
    Row("dynamo.lowering.pre_export_lowering", RAISES, "Kiln's passes work on its own graph: "
        "docs/adding_a_pass.md"),
    Row("kernels.cuda_kernel_op", RAISES, _KERNELS),
    Row("kernels.ptx_op", RAISES, _KERNELS),
    Row("kernels.KernelSpec", RAISES, _KERNELS),
    Row("distributed.distributed_context", RAISES, _DISTRIBUTED),
    Row("distributed.set_distributed_mode", RAISES, _DISTRIBUTED),
    Row("distributed.setup_nccl_for_torch_tensorrt", RAISES, _DISTRIBUTED),
    Row("executorch.export", RAISES, 'torch_tensorrt.save(..., output_format="kiln") gives a file '
        "that runs from C++ with neither Python nor torch"),
    Row("executorch.TensorRTPartitioner", RAISES, "see executorch.export"),
    Row("executorch.TensorRTBackend", RAISES, "see executorch.export"),
    Row("executorch.get_edge_compile_config", RAISES, "see executorch.export"),
  )),
)
