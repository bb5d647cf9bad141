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
//    "threads": 0, "strict": false, "min_block_size": 1, "target": "", "device_index": 0,
//    "allow_tf32": false, "precisions": ["f16"], "torch_executed_ops": [...],
//    "torch_executed_modules": [...], "tolerance": null or {"atol": 1e-8, "rtol": 1e-5}}
//
// The form "ts" is a TorchScript module around the program; of a `forward` that cannot be compiled
// as a whole, one in which parts are programs. With "embed", the model is a `.kiln` file that
// becomes one. Without an output nothing is compiled, and the answer names the operators of the
// method that Kiln has no rule for. With a tolerance nothing is written where the results for
// random inputs differ by more from the module's (K1042).
//
//   {"report": {...}}, {"missing": ["aten::logcumsumexp"]} or
//   {"error": {"code", "message", "hint", "origin": [place, ...]}}
//
// K3122: torch cannot read the model. Otherwise the codes of compile_method(). Nothing is thrown.
__attribute__((visibility("default"))) char* kiln_compile_torchscript(const char* request);

}
