"""Which door a model goes through: by its type, or as `ir` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch.export import ExportedProgram

from .capture import (Capture, Request, script, through_export, through_fx, through_torchscript)
from .frontends.errors import FrontendError
from .frontends.torchscript_frontend import Stopped


@dataclass(frozen=True)
class Door:
  """`capture` is None where torch.compile captures, when the model is called. `convert` makes the
  model one that `capture` takes."""

  name: str
  capture: Callable[[Request], Capture | Stopped] | None
  convert: Callable[[Any], Any] = lambda model: model


DOORS: dict[str, Door] = {door.name: door for door in (
  Door("dynamo", through_export),
  Door("fx", through_fx),
  Door("torch_compile", None),
  Door("torchscript", through_torchscript, script),
)}
_ALIASES = {"ts": "torchscript"}


@dataclass(frozen=True)
class _Kind:
  """A type of model with the doors that take it, its own first."""

  types: tuple[type, ...]
  text: str
  doors: tuple[str, ...]
  otherwise: str  # how to come to another door


#: More special types first.
_KINDS = (
  _Kind((ExportedProgram,), "an ExportedProgram", ("dynamo",),
        "exported.module() is an nn.Module for the other doors"),
  _Kind((torch.jit.ScriptModule, torch.jit.ScriptFunction, torch._C.ScriptMethod), "TorchScript",
        ("torchscript",), "the module that was scripted or traced goes through the other doors"),
  _Kind((torch.fx.GraphModule,), "an fx.GraphModule",
        ("fx", "dynamo", "torch_compile", "torchscript"), ""),
  _Kind((torch.nn.Module,), "an nn.Module", ("dynamo", "fx", "torch_compile", "torchscript"), ""),
)

#: What can be said for `ir`.
IRS = ("auto", *DOORS, *_ALIASES)


def choose(model: Any, ir: str = "auto") -> Door:
  """The door for `model`. K1005 for an unknown `ir`, K1018 where the door does not take the model's
  type, K1101 where none does."""
  if ir not in IRS:
    raise FrontendError("K1005", f"unknown ir: {ir!r}", hint=f"known: {', '.join(IRS)}")
  kind = next((kind for kind in _KINDS if isinstance(model, kind.types)), None)
  if kind is None:
    raise FrontendError("K1101", f"expected {' or '.join(kind.text for kind in _KINDS)}, got "
                        f"{type(model).__name__}")
  name = kind.doors[0] if ir == "auto" else _ALIASES.get(ir, ir)
  if name not in kind.doors:
    known = " or ".join(f'ir="{door}"' for door in kind.doors)
    raise FrontendError("K1018", f'ir="{ir}" does not take {kind.text}',
                        hint=f"leave ir out, or give {known}; {kind.otherwise}")
  return DOORS[name]
