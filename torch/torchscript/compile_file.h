// The one function by which the `kiln` tool, which links no torch, compiles TorchScript: it opens
// this library with dlopen and asks for `kiln_compile_torchscript`.
#pragma once

extern "C" {

// `request` and the answer are JSON objects; the answer is freed by free().
//
//   {"model": path, "output": path, "form": "kiln" or "ts", "embed": false, "method": "forward",
//    "custom_ops": [library, ...],
//    "inputs": [{"min": [...], "opt": [...], "max": [...], "dtype": "f32",
//                "channels_last": false}],
//    "threads": 0, "strict": false, "min_block_size": 1, "target": "", "precisions": ["f16"],
//    "torch_executed_ops": [...], "torch_executed_modules": [...]}
//
// The form "ts" is a TorchScript module around the program. With "embed", the model is a `.kiln`
// file that becomes one. Without an output nothing is compiled, and the answer says whether Kiln
// has a rule for every operator of the method.
//
//   {"report": {...}}, {"supported": true} or {"error": {"code", "message", "hint"}}
//
// K3122: torch cannot read the model. Otherwise the codes of compile_method(). Nothing is thrown.
__attribute__((visibility("default"))) char* kiln_compile_torchscript(const char* request);

}
