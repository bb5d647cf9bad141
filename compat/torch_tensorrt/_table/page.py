"""The table as a page of the documentation: scripts/compat_page.py prints it."""

from __future__ import annotations

_HEAD = """# Coming from Torch-TensorRT

The distribution `torch-kiln-compat` is Kiln under the names that users of Torch-TensorRT know:
`import torch_tensorrt`, `torch.compile(model, backend="torch_tensorrt")`. This page says of each
name what becomes of it. It is written by `scripts/generate_docs.sh` from
`compat/torch_tensorrt/_table`, and `tests/python/test_compat_table.py` walks it row by row.

- **works**: has the known meaning.
- **accepted**: changes nothing that you could see; a note in the program's report says so whenever
  a value other than the default is given.
- **raises**: a `kiln.Error` (K1040 for a name, K1041 for a value) that says what to use instead.

An option that is in no row is an error with the nearest names (K1001), and so is a misspelt one.

## Beside the real one
Both distributions provide the module `torch_tensorrt`, so one environment can hold one of them.
Python packaging has no field with which a distribution could keep an installer from that, so the
package looks when it is imported: where the distribution `torch-tensorrt` is installed as well, the
import fails (K5201) and says which one to uninstall. After that, install the other again, as the
uninstalled one took files of the same names with it.

## What differs everywhere
- Models compute where their parameters are, in the dtypes that they have. Torch-TensorRT's default
  device is `cuda:0`; here it is the device of the model's parameters. This build knows the CPU.
- `enabled_precisions` is honoured through every door: float32 is lowered to the 16-bit dtypes of the
  set by the rules of [precision.md](precision.md). Torch-TensorRT's Dynamo door drops it since it
  builds strongly typed engines. A set that neither allows nor lowers the dtypes that the model has,
  such as `{torch.int8}` for a float32 model, raises.
- `min_block_size` is 1 unless given; Torch-TensorRT's default is 5, and 10 of `fx.compile`, whose
  `lower_precision` is float32 here unless given, not FP16.
- A compiled model is a `kiln.Program`. It is a `torch.nn.Module`, but has no submodules
  `_run_on_acc_0`: operators that stay in PyTorch run inside the program, and `program.report` lists
  them with the reason.
- `torch.ops.tensorrt` and `torch.classes.tensorrt` are not there, and programs saved by
  Torch-TensorRT hold engines of TensorRT, which cannot be read. Compile from the model again.
- Torch-TensorRT's environment variables have no counterparts of the same name; `KILN_LOGS` says what
  is logged. `kiln compile` is torchtrtc; torchtrtrun has no counterpart.
"""


def page() -> str:
  from . import sections

  lines = [_HEAD]
  for section in sections():
    lines += [f"## {section.title}"]
    if section.intro:
      lines += [section.intro, ""]
    lines += ["| name | | what becomes of it |", "|---|---|---|"]
    for row in section.rows:
      name = f"`{row.name.removeprefix('CompilationSettings.')}`"
      if row.values:
        name += f": {row.values}"
      text = row.text.replace("|", "\\|")
      lines.append(f"| {name} | {row.status} | {text} |")
    lines.append("")
  return "\n".join(lines).rstrip() + "\n"
