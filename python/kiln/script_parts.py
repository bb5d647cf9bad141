"""Which submodules of a scripted module become programs, and for which sizes.

Found by C++ (torch/torchscript/module_parts.h), which asks here for each program.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch.utils import _pytree as pytree

from . import _native
from .frontends.errors import FrontendError
from .frontends.torchscript_frontend import Sizes, Stopped, script_module_paths
from .options import Options
from .program import Program
from .report import Report

#: Makes a program, or its report alone, of a submodule that is called with these arguments.
Build = Callable[[torch.jit.ScriptModule, tuple, Sizes, Options], "Program | Report | Stopped"]


@dataclass
class Parts:
  """What was built by module path, the modules of these programs, and for each module that stays in
  TorchScript why."""

  built: dict[str, Program | Report]
  modules: dict[str, torch.jit.ScriptModule]
  kept: dict[str, str]


def compile_parts(model: torch.jit.ScriptModule, stopped: Stopped, options: Options,
                  build: Build) -> Parts:
  """K1145 where no part can be compiled."""
  if not isinstance(model, torch.jit.ScriptModule):
    raise stopped.error()
  submodules = dict(model.named_modules(remove_duplicate=False))
  made: dict[str, Program | Report] = {}
  modules: dict[str, torch.jit.ScriptModule] = {}

  def ask(path: str, args: tuple, dims: list, symbols: list, executed: list[str]
          ) -> tuple[str, Any]:
    sizes = Sizes([_dims_of(leaf, dims) for leaf in pytree.tree_leaves(args)], symbols)
    program = build(submodules[path], args, sizes,
                    dataclasses.replace(options, torch_executed_modules=tuple(executed)))
    if isinstance(program, Stopped):
      return "stopped", (program.module_path, program.function, program.location, program.reason)
    report = program if isinstance(program, Report) else program.report
    if not report.ops_native:
      return "nothing native", None
    made[path] = program
    if isinstance(program, Report):
      return "built", None
    try:
      modules[path] = program.script_module()
    except FrontendError as error:
      return "no module", f"{error.code}: {error.message}"
    return "built", modules[path]

  leaves = pytree.tree_leaves((stopped.args, stopped.kwargs))
  built, kept = _native.find_script_parts(
    model, stopped.args, stopped.kwargs, stopped.sizes.of_tensors(leaves), stopped.sizes.symbols,
    (stopped.module_path, stopped.function, stopped.location, stopped.reason),
    script_module_paths(model, options.torch_executed_modules), options.min_block_size, ask)
  if not built:
    raise stopped.error()
  return Parts({path: made[path] for path in built},
               {path: modules[path] for path in built if path in modules}, kept)


def _dims_of(leaf: Any, dims: list[tuple[torch.Tensor, list[str]]]) -> list[str] | None:
  return next((texts for tensor, texts in dims if tensor is leaf), None)
