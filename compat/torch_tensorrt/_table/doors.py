"""Rows of the doors: what compiles, saves, loads and refits."""

from __future__ import annotations

from . import ACCEPTED, RAISES, WORKS, Row, Section

_WINDOWS = ("Kiln builds for the machine that it runs on, and not for Windows yet; build where the "
            "program will run")
_EXECUTORCH = 'Kiln writes no ExecuTorch programs; output_format="kiln" gives a file that runs ' \
  "from C++ with neither Python nor torch"

SECTIONS = (
  Section("torch.compile", "", (
    Row('torch.compile(backend="torch_tensorrt")', WORKS, 'Kiln\'s backend "kiln"; with no import '
        "when the distribution is installed, else after `import torch_tensorrt`"),
    Row('torch.compile(backend="tensorrt")', WORKS, "the same"),
    Row('torch.compile(backend="aot_torch_tensorrt_aten")', WORKS, "the same"),
    Row("torch.compile(options)", WORKS, "the settings below and Kiln's own options; an unknown "
        "name is an error (K1001) that names the nearest ones"),
    Row("torch.compile(dynamic)", WORKS, "as torch says; `torch._dynamo.mark_dynamic(t, d, min=, "
        "max=)` gives a range"),
  )),
  Section("Compiling", "A compiled model is a `kiln.Program`, a `torch.nn.Module` with a report: "
          "`print(model.report)`.", (
    Row("compile", WORKS, "kiln.compile, or torch.compile for `ir=\"torch_compile\"`"),
    Row("compile(module)", WORKS, "an nn.Module, fx.GraphModule or ExportedProgram",
        "nn.Module, GraphModule, ExportedProgram"),
    Row("compile(module)", WORKS, "a scripted or traced module, through ts.compile", "ScriptModule"),
    Row("compile(ir)", WORKS, "ahead of time", "default, dynamo"),
    Row("compile(ir)", WORKS, "a torch.compile'd module, built at its first call", "torch_compile"),
    Row("compile(ir)", WORKS, "ts.compile, whose ScriptModule comes back; another module is "
        "scripted", "ts, torchscript"),
    Row("compile(ir)", WORKS, "ahead of time, by way of an FX graph: fx.compile", "fx"),
    Row("compile(inputs)", WORKS, "tensors, Input, plain values, nested in lists, tuples, dicts"),
    Row("compile(inputs)", ACCEPTED, "shapes are those of the first call; a range is an error",
        'with ir="torch_compile"'),
    Row("compile(arg_inputs)", WORKS, "the same as inputs"),
    Row("compile(kwarg_inputs)", WORKS, "keyword arguments of forward, by name"),
    Row("compile(enabled_precisions)", WORKS, "a permission, as in TensorRT: float32 is lowered to "
        "that 16-bit dtype of the set for which the machine has most kernels, as docs/precision.md "
        "says; the report says what stays float32. float32 is always allowed beside a 16-bit dtype",
        "sets that hold the model's own floating dtypes, or a 16-bit one for a float32 model"),
    Row("compile(enabled_precisions)", RAISES, "Kiln lowers float32 to float16 and bfloat16; for "
        "other dtypes add the model's own to the set (torch.float32 for most), or cast the model",
        "other sets"),
    Row("compile(settings)", WORKS, "the settings below and Kiln's own options; an unknown name is "
        "an error (K1001) that names the nearest ones"),
    Row("convert_method_to_trt_engine", WORKS, "the bytes of a `.kiln` file; write them to a file "
        "for torch_tensorrt.load, kiln.load, the `kiln` tool or C++. No report comes with them: "
        "what is accepted is a Python warning"),
    Row("convert_method_to_trt_engine(method_name)", WORKS, "as the model is called; of TorchScript "
        "any method", "forward"),
    Row("convert_method_to_trt_engine(method_name)", RAISES, "make a module whose forward calls "
        "the method, or use ir=\"ts\"", "others of another module"),
    Row("cross_compile_for_windows", RAISES, _WINDOWS),
    Row("load_cross_compiled_exported_program", RAISES, _WINDOWS),
    Row("dynamo.trace", WORKS, "torch.export.export with Kiln's handling of Input, containers and "
        "autocast"),
    Row("dynamo.trace(strict)", WORKS, "strict capture is tried where non-strict fails", "False"),
    Row("dynamo.trace(strict)", RAISES, "torch.export.export(model, args, strict=True) makes the "
        "exported program for dynamo.compile", "True"),
    Row("dynamo.trace(dynamic_shapes)", WORKS, "as torch.export's"),
    Row("dynamo.trace(settings)", WORKS, "checked here, and to be given to dynamo.compile"),
    Row("dynamo.compile", WORKS, "kiln.compile(exported_program)"),
    Row("dynamo.compile(exported_program)", WORKS, "an ExportedProgram; its ranges are the "
        "program's"),
    Row("dynamo.compile(inputs)", WORKS, "checked against the exported program, which has its "
        "shapes already"),
    Row("dynamo.compile(arg_inputs)", WORKS, "the same as inputs"),
    Row("dynamo.compile(kwarg_inputs)", WORKS, "checked in the same way"),
    Row("dynamo.convert_exported_program_to_serialized_trt_engine", WORKS, "the bytes of a `.kiln` "
        "file"),
    Row("dynamo.convert_exported_program_to_serialized_trt_engine(arg_input_binding_names)", RAISES,
        "inputs are named after forward's parameters: rename those"),
    Row("dynamo.convert_exported_program_to_serialized_trt_engine(kwarg_input_binding_names)",
        RAISES, "inputs are named after forward's parameters: rename those"),
    Row("dynamo.convert_exported_program_to_serialized_trt_engine(output_binding_names)", RAISES,
        "outputs are named after the exported program's: `kiln inspect` shows them"),
    Row("dynamo.convert_exported_program_to_serialized_trt_engine(lift_mutable_buffers)", WORKS,
        "either way: buffers that the model changes are always state of the program"),
    Row("dynamo.cross_compile_for_windows", RAISES, _WINDOWS),
    Row("dynamo.save_cross_compiled_exported_program", RAISES, _WINDOWS),
    Row("dynamo.load_cross_compiled_exported_program", RAISES, _WINDOWS),
    Row("dynamo.SourceIR", RAISES, "it names TensorRT's front ends; compile's `ir` takes their "
        "names as strings"),
    Row("MutableTorchTensorRTModule", WORKS, "the model compiled at its first call; notices new "
        "weights and changed attributes and follows them"),
    Row("MutableTorchTensorRTModule(settings)", WORKS, "as torch.compile's options"),
    Row("MutableTorchTensorRTModule(device)", WORKS, "as the setting"),
    Row("MutableTorchTensorRTModule(immutable_weights)", WORKS, "always so", "False"),
    Row("MutableTorchTensorRTModule(immutable_weights)", RAISES, "this class is for weights that "
        "change; compile() has the setting", "True"),
    Row("MutableTorchTensorRTModule(strict)", ACCEPTED, "the model is captured by torch.compile, "
        "which has no such choice"),
    Row("MutableTorchTensorRTModule(prefer_deferred_runtime_asserts_over_guards)", ACCEPTED,
        "the model is captured by torch.compile, which has no such choice"),
    Row("MutableTorchTensorRTModule(weight_streaming_budget)", RAISES, "weights lie once in the "
        "memory of the processor that computes; there is nothing to stream"),
    Row("MutableTorchTensorRTModule.set_expected_dynamic_shape_range", WORKS, "ranges of the sizes "
        "of coming inputs, as torch.export.Dim; a size outside compiles again"),
    Row("MutableTorchTensorRTModule.compile", WORKS, "forgets what was built; the next call "
        "builds"),
    Row("MutableTorchTensorRTModule.refit_gm", WORKS, "weights are looked at in every call, so "
        "there is nothing to wait for"),
    Row("MutableTorchTensorRTModule.set_weight_streaming_ctx", RAISES, "weights lie once in the "
        "memory of the processor that computes; there is nothing to stream"),
    Row("MutableTorchTensorRTModule.save", RAISES, "it would be a pickle; save the model's "
        "state_dict, or compile ahead of time and torch_tensorrt.save the program"),
    Row("MutableTorchTensorRTModule.load", RAISES, "it would be a pickle; torch_tensorrt.load "
        "reads saved programs"),
  )),
  Section("Saving and loading", "", (
    Row("save", WORKS, "program.save, torch.export.save or torch.jit.save, by what is saved"),
    Row("save(module)", WORKS, "programs, ExportedProgram and ScriptModule",
        "Program, ExportedProgram, ScriptModule"),
    Row("save(module)", RAISES, "compile it first, or export it and save the exported program",
        "nn.Module"),
    Row("save(output_format)", WORKS, "a `.pt2` archive for torch.export.load, whatever the suffix",
        "exported_program"),
    Row("save(output_format)", WORKS, "a module for torch.jit.load that calls the program; of a "
        "ScriptModule: torch.jit.save", "torchscript"),
    Row("save(output_format)", WORKS, "an AOTInductor package that calls the program, where "
        "AOTInductor can build", "aot_inductor"),
    Row("save(output_format)", WORKS, "Kiln's own file, also for C++ without torch; not in "
        "Torch-TensorRT", "kiln"),
    Row("save(output_format)", RAISES, _EXECUTORCH, "executorch"),
    Row("save(extra_files)", WORKS, "of an ExportedProgram or ScriptModule",
        "ExportedProgram, ScriptModule"),
    Row("save(extra_files)", RAISES, "keep the texts in a file beside it", "Program"),
    Row("save(inputs)", ACCEPTED, "a program knows its inputs"),
    Row("save(arg_inputs)", ACCEPTED, "a program knows its inputs"),
    Row("save(kwarg_inputs)", ACCEPTED, "a program knows its inputs"),
    Row("save(dynamic_shapes)", ACCEPTED, "a program knows the ranges of its sizes"),
    Row("save(retrace)", ACCEPTED, "nothing is traced: the program is written as it is"),
    Row("save(use_legacy_exporter)", ACCEPTED, "nothing is exported: the program is written as it "
        "is"),
    Row("save(pickle_protocol)", WORKS, "of an ExportedProgram: torch.export.save's; a program's "
        "file holds no pickle of Python objects"),
    Row("load", WORKS, "an ExportedProgram (call `.module()`), a ScriptModule or, of a `.kiln` "
        "file, a kiln.Program"),
    Row("load(extra_files)", WORKS, "of an ExportedProgram or ScriptModule"),
    Row("load(format)", WORKS, "not given: the file says what it is", "None"),
    Row("load(format)", RAISES, _EXECUTORCH, "executorch"),
    Row("dynamo.export", WORKS, "the program as an ExportedProgram, for torch.export.save and "
        "AOTInductor"),
    Row("dynamo.export(arg_inputs)", ACCEPTED, "a program knows its inputs"),
    Row("dynamo.export(kwarg_inputs)", ACCEPTED, "a program knows its inputs"),
    Row("dynamo.export(dynamic_shapes)", ACCEPTED, "a program knows the ranges of its sizes"),
    Row("dynamo.export(use_legacy_exporter)", ACCEPTED, "nothing is traced: the program is written "
        "as it is"),
    Row("dynamo.export(cross_compile_module)", RAISES, _WINDOWS, "True"),
  )),
  Section("New weights", "", (
    Row("dynamo.refit_module_weights", WORKS, "program.update_weights: the weights are packed "
        "again, nothing is rebuilt"),
    Row("dynamo.refit_module_weights(new_weight_module)", WORKS, "an ExportedProgram of the same "
        "model; also its module or a state_dict"),
    Row("dynamo.refit_module_weights(verify_output)", WORKS, "runs both on arg_inputs and "
        "kwarg_inputs; an error (K1042) where they differ"),
    Row("dynamo.refit_module_weights(in_place)", WORKS, "True: the program itself; False: a copy "
        "that shares the plan"),
  )),
)
