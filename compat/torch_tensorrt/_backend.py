"""The torch.compile backends "torch_tensorrt", "tensorrt" and "aot_torch_tensorrt_aten".

They are entry points of the distribution, so torch finds them with no import. In a checkout that is
only on the path there are none, so importing the package registers them.
"""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any, Callable, Sequence

import kiln
import torch
from kiln.frontends import dynamo
from kiln.frontends.errors import FrontendError
from torch.fx import GraphModule

from . import _conflict, _debugger
from ._settings import TORCH_COMPILE, translate

NAMES = ("torch_tensorrt", "tensorrt", "aot_torch_tensorrt_aten")

#: What pass_through_build_failures=False does not hide: the user's own wishes and mistakes.
_ALWAYS_RAISED = ("K10",)

# The real package may have been installed over this one and left the entry points.
_conflict.check()


def backend(module: GraphModule, examples: Sequence[Any], *,
            options: dict[str, Any] | None = None, **more: Any) -> Callable[..., Any]:
  """torch.compile(model, backend="torch_tensorrt", options={...}); options: the settings."""
  translated = translate({**(options or {}), **more}, TORCH_COMPILE)
  translated.allow([t for t in examples if isinstance(t, torch.nn.Parameter)] or
                   [t for t in examples if isinstance(t, torch.Tensor)])
  before = kiln.jit_reports()[-1:]
  with translated.compiling():
    try:
      run = dynamo.backend(module, examples, options=translated.options)
    except FrontendError as error:
      if translated.pass_through_build_failures or translated.options.get("strict") or \
          error.code.startswith(_ALWAYS_RAISED):
        raise
      warnings.warn(f"torch_tensorrt: a graph was not built and runs in PyTorch: {error}\n"
                    '  hint: options={"pass_through_build_failures": True} makes this an error',
                    stacklevel=2)
      return module.forward
    after = kiln.jit_reports()[-1:]
    if after and (not before or after[0] is not before[0]):
      _debugger.compiled(after[0])
  return run


def register() -> None:
  """Registers the names that are no entry points here."""
  entries = metadata.entry_points(group="torch_dynamo_backends").names
  missing = [name for name in NAMES if name not in entries]
  if not missing:
    return
  from torch._dynamo import register_backend

  for name in missing:
    register_backend(backend, name=name)
