#!/usr/bin/env python3
"""Writes docs/options.md from python/kiln/options.py. Needs a build (kiln._native).

    scripts/options_page.py           write
    scripts/options_page.py --check   say whether it is out of date, and fail
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

PAGE = ROOT / "docs" / "options.md"

HEAD = """\
# Options

Written by `scripts/options_page.py` from `python/kiln/options.py`. `ir=` of `kiln.compile` names the
door; without it the type of the model does: an nn.Module goes through torch.export, an
fx.GraphModule through fx, a ScriptModule or ScriptFunction through torchscript. A door that does not
take the model's type is an error (K1018) that names those that do. Every option means the same
through every door:

| door | how |
|---|---|
| module | `kiln.compile(module, inputs=..., OPTION=VALUE)` |
| exported | `kiln.compile(exported_program, OPTION=VALUE)` |
| fx | `kiln.compile(graph_module, inputs=..., OPTION=VALUE)`, or `ir="fx"` with another module |
| torchscript | `kiln.compile(script_module, inputs=..., OPTION=VALUE)`, or `ir="torchscript"` with another \
module |
| torch.compile | `torch.compile(module, backend="kiln", options={"OPTION": VALUE})`, or \
`kiln.compile(module, ir="torch_compile", OPTION=VALUE)` |
| explain | `kiln.explain(...)`, as `kiln.compile` |

An unknown name is K1001, with the nearest known one; a value that an option cannot have is K1002
(see [errors.md](errors.md)). Through torch.compile, both come before anything is compiled.

| option | default | value | meaning |
|---|---|---|---|
"""

TAIL = """
What a door sees differently:

- explain builds and runs nothing, so `threads` and `cache` are checked and change nothing.
- fx knows modules that torch.fx traced into by the calls that it recorded in them; a graph made by
  hand says nothing of them.
- torchscript has overloads of its own for numbers: `x * 2` is `aten::mul.Scalar` there, and
  `aten::mul.Tensor` elsewhere. `"aten::mul"` names both.
- exported and torch.compile know modules by the calls that were captured inside them: the path or
  class of a module without any call names nothing there. torch.compile records no calls of the
  compiled module itself, only of the modules inside it.
- torch.compile with graph breaks makes several programs, and options are for each: `min_block_size`
  counts within one.
"""


def page() -> str:
  from kiln import options

  rows = []
  defaults = options.Options()
  for name, text in options.DESCRIPTIONS.items():
    _, expected = options._CHECKS[name]
    names = [f"`{name}`", *(f"`{a}`" for a, target in options._ALIASES.items() if target == name)]
    rows.append(f"| {', '.join(names)} | `{getattr(defaults, name)!r}` | {expected} | {text} |\n")
  return HEAD + "".join(rows) + TAIL


def main() -> int:
  text = page()
  if "--check" in sys.argv[1:]:
    if PAGE.exists() and PAGE.read_text() == text:
      return 0
    print("docs/options.md is out of date: run scripts/options_page.py", file=sys.stderr)
    return 1
  PAGE.write_text(text)
  return 0


if __name__ == "__main__":
  sys.exit(main())
