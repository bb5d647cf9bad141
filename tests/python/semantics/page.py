"""docs/semantics.md from the table of cases. The tests hold the table to what happens."""

from __future__ import annotations

import sys

from . import cases  # noqa: F401: registers the cases
from .case import CASES, AsEager, Case
from .doors import DOORS, Door

INTRODUCTION = """# What a compiled model does, compared with the model itself

A compiled model is called as the model was, and does what the model did: values, dtypes, shapes and
strides of the results, which results share memory with which, the nesting that they come in, what is
written into inputs and buffers. This page lists what that covers and where it ends. It is written by
`scripts/semantics_page.py` from the table in `tests/python/semantics`, and every cell is a test that
compares with eager, call by call.

- *as eager*: no difference.
- *refuses*: an error with the code that is given (see [errors.md](errors.md)), while compiling or at
  the call that cannot be right. Nothing is computed wrongly in silence.
- *differs*: works, with the difference that is named.

What holds everywhere: programs are for inference, so results do not require grad. Values may differ
as sums in another order do (torch's own tolerances for the dtype). Strides of dims of size 1 mean
nothing and are not compared.

| door | column |
|---|---|
"""

COLUMNS = (("module", "module"), ("export", "exported"), ("functional", "decomposed"),
           ("fx", "fx"), ("torch.compile", "torch.compile"), ("file", "loaded"), ("pt2", "loaded .pt2"),
           ("command", "kiln compile"), ("torchscript", "TorchScript"))


def page() -> str:
  text = INTRODUCTION
  for name, column in COLUMNS:
    text += f"| {DOORS[name].title} | {column} |\n"
  text += ("\nFiles give the same in the process that wrote them and in a new one. *decomposed* is "
           "looked at where\ninputs or buffers are written; elsewhere it is as *exported*. *fx* traces "
           "the module and refuses what\ntorch.fx would take for granted. A graph that "
           "`torch.fx.symbolic_trace` made does what its own forward\ndoes, but that has lost some "
           "of the module already: writes to buffers and random numbers happened\nonce, while it was "
           "traced, and autocast and hooks of the module are gone. A leaf module whose Python\nlooks "
           'at values is an error (K1102) that names its node; `ir="torch_compile"` runs it between\n'
           "programs.\n")
  heading = None
  for case in CASES.values():
    title = sys.modules[type(case).__module__].TITLE
    if title != heading:
      heading = title
      text += f"\n## {title}\n\n| | {' | '.join(column for _, column in COLUMNS)} |\n"
      text += "|---|" + "---|" * len(COLUMNS) + "\n"
    text += f"| {case.title} | {' | '.join(_row(case))} |\n"
  return text


def _row(case: Case) -> list[str]:
  cells = [_cell(case, DOORS[name]) for name, _ in COLUMNS]
  same = f"as *{COLUMNS[0][1]}*"
  return cells[:1] + [same if cell == cells[0] and cell != AsEager().cell() else cell
                      for cell in cells[1:]]


def _cell(case: Case, door: Door) -> str:
  shown = door if door.takes(case) or door.name in case.doors else DOORS[door.follows]
  return shown.outcome(case).cell().replace("|", "\\|")


def differing_doors() -> list[str]:
  """Cases whose file is described otherwise for a new process: the page has one column for both."""
  return [name for name, case in CASES.items()
          if DOORS["file"].outcome(case).cell() != DOORS["fresh"].outcome(case).cell()]
