"""Rows of the TorchScript door."""

from __future__ import annotations

from . import ACCEPTED, RAISES, WORKS, Row, Section

_NAMES = ("a .kiln file knows the names and the order of its arguments and results: `kiln inspect` "
          "shows them")

SECTIONS = (
  Section("TorchScript", "Modules of torch.jit.script and torch.jit.trace. A compiled one is a "
          "ScriptModule that torch.jit.save writes; torch.jit.load runs it after `import kiln`, and "
          "torch::jit::load in C++ with libkiln_torch.", (
    Row("ts.compile", WORKS, "kiln.compile(scripted, inputs=[...]).script_module(); what is "
        "accepted is a Python warning, since a ScriptModule has no report"),
    Row("ts.compile(inputs)", WORKS, "tensors, Input, plain values, nested in lists, tuples, dicts"),
    Row("ts.compile(input_signature)", WORKS, "the tuple of all arguments, of any depth; instead of "
        "inputs"),
    Row("ts.compile(capability)", WORKS, "as engine_capability"),
    Row("ts.compile(allow_shape_tensors)", ACCEPTED, "sizes are always followed where they are used "
        "as numbers"),
    Row("ts.compile(settings)", WORKS, "the settings of CompilationSettings, under the same names"),
    Row("ts.compile(dryrun)", RAISES, "kiln.explain(scripted, inputs=[...]) gives the report",
        "True or a path"),
    Row("ts.convert_method_to_trt_engine", WORKS, "the bytes of a `.kiln` file"),
    Row("ts.convert_method_to_trt_engine(method_name)", WORKS, "any method; the program does what "
        "it does"),
    Row("ts.convert_method_to_trt_engine(input_signature)", WORKS, "as for ts.compile"),
    Row("ts.convert_method_to_trt_engine(capability)", WORKS, "as for ts.compile"),
    Row("ts.convert_method_to_trt_engine(allow_shape_tensors)", ACCEPTED, "sizes are always followed "
        "where they are used as numbers"),
    Row("ts.embed_engine_in_new_module", WORKS, "the bytes of a `.kiln` file as a ScriptModule with "
        "the arguments and results of its model"),
    Row("ts.embed_engine_in_new_module(input_binding_names)", RAISES, _NAMES, "a list"),
    Row("ts.embed_engine_in_new_module(output_binding_names)", RAISES, _NAMES, "a list"),
    Row("ts.embed_engine_in_new_module(device)", WORKS, "checked; a program runs where it was "
        "compiled for"),
    Row("ts.check_method_op_support", WORKS, "whether Kiln has a rule for every operator on tensors; "
        "prints the others. kiln.explain(scripted, inputs=[...]) also knows shapes and dtypes"),
    Row("ts.check_method_op_support(method_name)", WORKS, "any method"),
    Row("ts.TensorRTCompileSpec", RAISES, "Kiln is no backend of torch._C._jit_to_backend; "
        "torch_tensorrt.ts.compile(module, inputs=[...]) gives a ScriptModule too"),
    Row("ts.logging", WORKS, "the same as torch_tensorrt.logging"),
  )),
)
