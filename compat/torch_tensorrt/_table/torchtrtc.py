"""Rows of the command line: torchtrtc's options, which `kiln compile` has or refuses."""

from __future__ import annotations

from . import RAISES, WORKS, Row, Section

_NO_DLA = "there is no DLA here: leave it out"
_EXACT = "long and double stay what they are, so results are at least as exact: leave it out"


def _of(*rows: Row) -> tuple[Row, ...]:
  return tuple(Row(f"torchtrtc {row.name}".strip(), row.status, row.text, row.values)
               for row in rows)


SECTIONS = (
  Section("The command line", "`kiln compile` takes the command lines of torchtrtc: `torchtrtc "
          'in.ts out.ts "(1,3,224,224)" -p f16` becomes `kiln compile in.ts out.ts '
          '"(1,3,224,224)" -p f16`. What raises ends the tool with code 2.', _of(
    Row("", WORKS, "kiln compile; an output called .ts, .pt, .pth or .jit is a TorchScript module, "
        "any other one a `.kiln` file. Programs for the CPU unless the options name a GPU"),
    Row("--verbose", WORKS, "-v too: everything that Kiln logs, on standard error"),
    Row("--info", WORKS, "--i too: without the debug lines"),
    Row("--warnings", WORKS, "-w too: nothing is logged, as is so unless KILN_LOGS is set"),
    Row("--require-full-compilation", WORKS, "as --strict"),
    Row("--check-method-support", WORKS, "prints the operators without a rule; code 1 where there "
        "are any"),
    Row("--disable-tf32", WORKS, "as is so without it: --allow-tf32 is Kiln's own option"),
    Row("--enable-precision", WORKS, "-p too: what float32 may be lowered to; bf16 as well",
        "float, f32, fp32, half, f16, fp16"),
    Row("--enable-precision", RAISES, "float32 is lowered to fp16 or bf16 (docs/precision.md)",
        "int8, i8, char"),
    Row("--device-type", WORKS, "-d too: as --target cuda", "gpu"),
    Row("--device-type", RAISES, "gpu or cpu", "dla"),
    Row("--gpu-id", WORKS, "which GPU; alone it means --device-type gpu as well"),
    Row("--engine-capability", WORKS, "what is built anyway", "standard"),
    Row("--engine-capability", RAISES, "leave it out", "safety, dla_standalone"),
    Row("--torch-executed-op", WORKS, "--teo too: an operator that stays in PyTorch"),
    Row("--torch-executed-mod", WORKS, "--tem too: the path of a module that stays in PyTorch"),
    Row("--min-block-size", WORKS, "--mbs too; it always counts, and not given it is 1"),
    Row("--embed-engine", WORKS, "a `.kiln` file as a TorchScript module"),
    Row("--save-engine", WORKS, "a `.kiln` file, whatever the output is called"),
    Row("--atol", WORKS, "given this or --rtol, module and program run on random inputs; where "
        "results differ by more, that is an error (K1042) and not only a line, in any precision"),
    Row("--rtol", WORKS, "see --atol"),
    Row("--no-threshold-check", WORKS, "as is so without --atol and --rtol"),
    Row("--custom-torch-ops", WORKS, "a library with operators that the module calls"),
    Row("--custom-converters", RAISES, "operators without a rule run in PyTorch, inside the same "
        "program: leave it out; --custom-torch-ops opens a library with operators"),
    Row("--allow-gpu-fallback", RAISES, "it only speaks to a DLA, which is not here: leave it out"),
    Row("--allow-shape-tensors", RAISES, "sizes are always followed where they are used as numbers: "
        "leave it out"),
    Row("--build-debuggable-engine", RAISES, "KILN_OPTIONS=dump_ir=all writes the graph after each "
        "pass, and `kiln inspect --graph` shows that of a file"),
    Row("--calibration-cache-file", RAISES, "there is no int8 calibration: --enable-precision takes "
        "fp32, fp16 and bf16"),
    Row("--dla-core", RAISES, _NO_DLA),
    Row("--dla-sram-size", RAISES, _NO_DLA),
    Row("--dla-local-dram-size", RAISES, _NO_DLA),
    Row("--dla-global-dram-size", RAISES, _NO_DLA),
    Row("--num-avg-timing-iters", RAISES, "kernels are chosen by rules and not by timing them: "
        "leave it out"),
    Row("--sparse-weights", RAISES, "no kernel makes use of sparse weights: leave it out"),
    Row("--truncate-long-double", RAISES, _EXACT),
    Row("--truncate", RAISES, _EXACT),
    Row("--truncate-64bit", RAISES, _EXACT),
    Row("--workspace-size", RAISES, "scratch memory is what the plan needs, laid out before the "
        "first run: leave it out"),
  )),
)
