"""The options of every door, checked in one place."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any, Callable, Sequence

import torch

from .frontends.errors import FrontendError


@dataclass
class Options:
  """What a compilation was asked for.

  strict: an error instead of any call left to PyTorch
  min_block_size: native runs of fewer ops go back to PyTorch
  torch_executed_ops: operators that stay in PyTorch: "aten::add", "aten.add.Tensor" or the op itself
  torch_executed_modules: modules (paths or classes) that stay in PyTorch, with all they contain
  notes: lines for the report, from a caller that translated options of its own
  threads: threads of the program; 0: what torch.set_num_threads says at each call
  precision: "fp32"
  target: "cpu"
  cache: look for the compiled program on disk first, and keep it there (docs/cache.md)
  """

  strict: bool = False
  min_block_size: int = 1
  torch_executed_ops: Sequence[Any] = field(default_factory=tuple)
  torch_executed_modules: Sequence[Any] = field(default_factory=tuple)
  notes: Sequence[str] = field(default_factory=tuple)
  threads: int = 0
  precision: str = "fp32"
  target: str = ""
  cache: bool = True

  def op_names(self) -> list[str]:
    return [_op_name(op) for op in self.torch_executed_ops]

  def module_paths(self, model: torch.nn.Module | None) -> list[str]:
    """Paths of the modules kept in PyTorch; a class stands for all its instances in `model`."""
    paths: list[str] = []
    for entry in self.torch_executed_modules:
      if isinstance(entry, str):
        paths.append(entry)
        continue
      if not isinstance(entry, type) or model is None:
        raise FrontendError("K1002", "torch_executed_modules takes module paths, and classes where "
                            f"the model is a module: {entry!r}")
      paths += [name for name, module in model.named_modules() if isinstance(module, entry)]
    return paths


_ALIASES = {"require_full_compilation": "strict"}


def _op_name(op: Any) -> str:
  """"aten::add.Tensor" of torch.ops.aten.add.Tensor, its text or "aten.add.Tensor"."""
  if isinstance(op, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
    name = str(op)
  elif isinstance(op, str):
    name = op
  else:
    raise FrontendError("K1002", f"torch_executed_ops takes operators and their names: {op!r}")
  name = name.removeprefix("torch.ops.")
  if "::" not in name:
    namespace, _, rest = name.partition(".")
    name = f"{namespace}::{rest}"
  return name


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
  "strict": (lambda v: isinstance(v, bool), "True or False"),
  "min_block_size": (lambda v: type(v) is int and v >= 1, "an integer of at least 1"),
  "torch_executed_ops": (lambda v: isinstance(v, (list, tuple, set, frozenset)), "a list"),
  "torch_executed_modules": (lambda v: isinstance(v, (list, tuple, set, frozenset)), "a list"),
  "notes": (lambda v: isinstance(v, (list, tuple)), "a list of lines"),
  "threads": (lambda v: type(v) is int and v >= 0, "an integer, 0 for the caller's setting"),
  "precision": (lambda v: v in ("fp32", torch.float32), '"fp32" (others are not built yet)'),
  "target": (lambda v: isinstance(v, str), "a string"),
  "cache": (lambda v: isinstance(v, bool), "True or False"),
}


def parse_options(given: dict[str, Any]) -> Options:
  """Options from keyword arguments. K1001 for an unknown name, K1002 for a value that is not one."""
  options = Options()
  for name, value in given.items():
    known = _ALIASES.get(name, name)
    if known not in _CHECKS:
      near = difflib.get_close_matches(name, [*_CHECKS, *_ALIASES], n=3)
      hint = f"did you mean {' or '.join(near)}?" if near else \
        f"known options: {', '.join([*_CHECKS, *_ALIASES])}"
      raise FrontendError("K1001", f"unknown option: {name}", hint=hint)
    valid, expected = _CHECKS[known]
    if not valid(value):
      raise FrontendError("K1002", f"option {name} takes {expected}: {value!r}")
    setattr(options, known, tuple(value) if isinstance(value, (set, frozenset, list)) else value)
  return options
