"""The options of every door, checked in one place."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Sequence

import torch

from .frontends.errors import FrontendError
from .frontends.origins import clean_module_path


@dataclass
class Options:
  """What a compilation was asked for; DESCRIPTIONS says what each means."""

  strict: bool = False
  min_block_size: int = 1
  torch_executed_ops: Sequence[Any] = field(default_factory=tuple)
  torch_executed_modules: Sequence[Any] = field(default_factory=tuple)
  notes: Sequence[str] = field(default_factory=tuple)  # lines for the report; no user's option
  threads: int = 0
  precision: str = "fp32"
  target: str = ""
  cache: bool = True

  def op_names(self) -> list[str]:
    return [_op_name(op) for op in self.torch_executed_ops]

  def module_paths(self, source: Any) -> list[str]:
    """Paths of the modules kept in PyTorch; a class stands for all its instances.

    `source` tells of the instances: a module, or an FX graph whose calls say where they stand.
    """
    paths: list[str] = []
    classes: list[type] = []
    for entry in self.torch_executed_modules:
      if isinstance(entry, str):
        paths.append(entry)
      elif isinstance(entry, type):
        classes.append(entry)
      else:
        raise FrontendError("K1002", "option torch_executed_modules takes paths and classes of "
                            f"modules: {entry!r}")
    if classes:
      instances = _modules_of_graph(source) if isinstance(source, torch.fx.Graph) \
        else ((path, type(module)) for path, module in source.named_modules())
      paths += [path for path, cls in instances if issubclass(cls, tuple(classes))]
    return paths


def _modules_of_graph(graph: torch.fx.Graph) -> Iterator[tuple[str, type]]:
  """Path and class of each module that the calls of a graph stand in, once each."""
  seen: set[tuple[str, Any]] = set()
  for node in graph.nodes:
    for path, cls in (node.meta.get("nn_module_stack") or {}).values():
      if (path, cls) in seen:
        continue
      seen.add((path, cls))
      if isinstance(cls, str):  # torch.export keeps the qualified name
        cls = _class_of_name(cls)
      if isinstance(cls, type):
        yield clean_module_path(path), cls


def _class_of_name(name: str) -> Any:
  """The class of a qualified name, where its module is loaded; else None."""
  module, _, rest = name.rpartition(".")
  while module and module not in sys.modules:
    module, _, first = module.rpartition(".")
    rest = f"{first}.{rest}"
  found: Any = sys.modules.get(module)
  for part in rest.split("."):
    found = getattr(found, part, None)
  return found


#: What each option means, through every door; docs/options.md is made of it.
DESCRIPTIONS = {
  "strict": "an error instead of any call left to PyTorch, and of results that lose their gradient",
  "min_block_size": "native runs of fewer ops go back to PyTorch",
  "torch_executed_ops": 'operators that stay in PyTorch: `"aten::add"`, `"aten.add.Tensor"` or '
                        "the operator itself",
  "torch_executed_modules": "modules (paths, or classes for all their instances) that stay in "
                            "PyTorch, with all they contain",
  "threads": "threads of the program; 0: what torch.set_num_threads says at each call",
  "precision": "the precision of computation",
  "target": "what to compile for; empty: this machine",
  "cache": "look for the compiled program on disk first, and keep it there (docs/cache.md)",
}

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
  "threads": (lambda v: type(v) is int and v >= 0, "an integer, 0 for the caller's setting"),
  "precision": (lambda v: v in ("fp32", torch.float32), '"fp32" (others are not built yet)'),
  "target": (lambda v: isinstance(v, str), "a string"),
  "cache": (lambda v: isinstance(v, bool), "True or False"),
}

#: What layers above hand down, beside the user's options.
_INTERNAL: dict[str, tuple[Callable[[Any], bool], str]] = {
  "notes": (lambda v: isinstance(v, (list, tuple)), "a list of lines"),
}


def parse_options(given: dict[str, Any]) -> Options:
  """Options from keyword arguments. K1001 for an unknown name, K1002 for a value that is not one."""
  options = Options()
  for name, value in given.items():
    known = _ALIASES.get(name, name)
    check = _CHECKS.get(known) or _INTERNAL.get(known)
    if check is None:
      near = difflib.get_close_matches(name, [*_CHECKS, *_ALIASES], n=3)
      hint = f"did you mean {' or '.join(near)}?" if near else \
        f"known options: {', '.join([*_CHECKS, *_ALIASES])}"
      raise FrontendError("K1001", f"unknown option: {name}", hint=hint)
    valid, expected = check
    if not valid(value):
      raise FrontendError("K1002", f"option {name} takes {expected}: {value!r}")
    setattr(options, known, tuple(value) if isinstance(value, (set, frozenset, list)) else value)
  return options
