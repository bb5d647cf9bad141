"""Rows of torch_tensorrt.fx."""

from __future__ import annotations

from . import ACCEPTED, RAISES, WORKS, Row, Section

_WORDS = "fx.compile takes the same words as arguments"
_TRACED = "torch.fx.symbolic_trace makes the graph, or torch_tensorrt.fx.compile does"
_CONVERTER = "Kiln has kernels of its own and no converters; what it has no kernel for runs in PyTorch"

SECTIONS = (
  Section("FX", "`fx.compile(graph_module, inputs)` is `kiln.compile(..., ir=\"fx\")`; "
          "`compile(module, ir=\"fx\")` takes the same words, with the batch of the inputs unless "
          "`dynamic_batch=True`.", (
    Row("fx.compile", WORKS, "kiln.compile through the FX door: an fx.GraphModule, or another module "
        "that torch.fx can trace"),
    Row("fx.lower.compile", WORKS, "the same"),
    Row("fx.compile(input)", WORKS, "tensors, fx.InputTensorSpec and Input"),
    Row("fx.compile(min_acc_module_size)", WORKS, "kiln.compile's min_block_size; not given: 1"),
    Row("fx.compile(max_batch_size)", WORKS, "with dynamic_batch, the largest batch"),
    Row("fx.compile(max_workspace_size)", ACCEPTED, "scratch memory is what the plan needs: it is "
        "laid out before the first run, and no kernel asks for more"),
    Row("fx.compile(explicit_batch_dimension)", ACCEPTED, "shapes always have their batch; "
        "dynamic_batch says whether it may change"),
    Row("fx.compile(lower_precision)", WORKS, "kiln.compile's precision: results stay float32 and "
        "the module as it is. Not given: float32; Torch-TensorRT makes the module half",
        "FP32, FP16, BF16"),
    Row("fx.compile(lower_precision)", RAISES, "Kiln lowers float32 to float16 and bfloat16; 8 bits "
        "come with a later version", "INT8"),
    Row("fx.compile(verbose_log)", WORKS, "Kiln's log while compiling, as the setting debug"),
    Row("fx.compile(timing_cache_prefix)", ACCEPTED, "kernels are chosen by rules; none are timed"),
    Row("fx.compile(save_timing_cache)", ACCEPTED, "kernels are chosen by rules; none are timed"),
    Row("fx.compile(cuda_graph_batch_size)", ACCEPTED, "runs on a GPU are recorded at each shape by "
        "themselves, unless kiln's cuda_graphs=False says not to"),
    Row("fx.compile(dynamic_batch)", WORKS, "dim 0 of all tensors is one batch of 1 to "
        "max_batch_size; a model that fixes its batch is an error (K1102). InputTensorSpec and Input "
        "say their own ranges", "True"),
    Row("fx.compile(dynamic_batch)", WORKS, "the batch of the inputs alone", "False"),
    Row("fx.compile(is_aten)", ACCEPTED, "the graph is always captured as ATen calls"),
    Row("fx.compile(use_experimental_fx_rt)", ACCEPTED, "there is one runtime"),
    Row("fx.compile(correctness_atol)", WORKS, "given: results are compared with the module's on the "
        "inputs; an error (K1042) where they differ. Not given: nothing is compared"),
    Row("fx.compile(correctness_rtol)", WORKS, "the same"),
    Row("fx.compile(settings)", WORKS, "the settings below and Kiln's own options"),
    Row("fx.InputTensorSpec", WORKS, "a description of an input, as Input is; several shape_ranges "
        "are one range that holds them"),
    Row("fx.utils.LowerPrecision", WORKS, "the names of precisions"),
    Row("fx.lower.Lowerer", RAISES, _WORDS),
    Row("fx.lower.LowerTrtInterpreter", RAISES, _WORDS),
    Row("fx.lower_setting.LowerSetting", RAISES, _WORDS),
    Row("fx.lower_setting.LowerSettingBasic", RAISES, _WORDS),
    Row("fx.TRTModule", RAISES, "kiln.load gives a torch.nn.Module"),
    Row("fx.TRTInterpreter", RAISES, _WORDS),
    Row("fx.TRTInterpreterResult", RAISES, "fx.compile returns a kiln.Program, with its report"),
    Row("fx.tracer", RAISES, _TRACED),
    Row("fx.tools", RAISES, "kiln.explain says what would run where"),
    Row("fx.passes", RAISES, "passes on FX graphs run before fx.compile: hand over what they return"),
    Row("fx.CONVERTERS", RAISES, _CONVERTER),
    Row("fx.tensorrt_converter", RAISES, _CONVERTER),
  )),
)
