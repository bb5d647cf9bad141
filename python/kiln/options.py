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
  precision: Any = "fp32"
  enabled_precisions: Sequence[Any] = field(default_factory=tuple)
  target: str = ""
  cuda_graphs: bool = True
  allow_tf32: bool = False
  tune: str = "off"
  cache: bool = True

  def precisions(self) -> list[str]:
    """The 16-bit dtypes that may take the place of float32, as the compiler names them. K1002."""
    allowed = {_precision(p) for p in self.enabled_precisions}
    own = _precision(self.precision)
    if allowed and own != "f32" and own not in allowed:
      raise FrontendError("K1002", f"options precision and enabled_precisions contradict each other: "
                          f"{self.precision!r} is not in {set(self.enabled_precisions)!r}")
    if own != "f32":
      return [own]
    # Where a machine computes in both equally well, the one that does not overflow.
    return [p for p in ("bf16", "f16") if p in allowed]

  def op_names(self) -> list[str]:
    return [_op_name(op) for op in self.torch_executed_ops]

  def module_paths(self, source: Any) -> list[str]:
    """Paths of the modules kept in PyTorch; a class stands for all its instances.

    `source` tells of the instances: a module, or an FX graph whose calls say where they stand;
    a GraphModule is both, as torch.fx inlines modules that are no longer there.
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
      instances: dict[str, type] = {}
      if not isinstance(source, torch.fx.Graph):
        instances.update((path, type(module)) for path, module in source.named_modules())
      if isinstance(source, (torch.fx.Graph, torch.fx.GraphModule)):
        instances.update(_modules_of_graph(getattr(source, "graph", source)))
      paths += [path for path, cls in instances.items() if issubclass(cls, tuple(classes))]
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
  "precision": "what float32 values are stored and multiplied in; sums are float32 always, and "
               "what is already half stays so (docs/precision.md)",
  "enabled_precisions": "the same as a permission: of the dtypes in the set, the one that this "
                        "machine has most kernels for; float32 is always allowed",
  "target": 'what to compile for: `"cpu"`, `"cuda"`, a GPU that need not be here (`"cuda:sm_90"`, the '
            "path of a JSON file that describes one); empty: what the model is on",
  "cuda_graphs": "on a GPU: record what a run starts there and replay it, where that can be done",
  "allow_tf32": "float32 products of matrices and convolutions on a GPU may round their operands "
                "to TF32, as torch.backends.cuda.matmul.allow_tf32 lets PyTorch do",
  "tune": "on a GPU, what is timed when a shape is first run, to pick among the kernels of cuBLASLt "
          "and cuDNN; what was measured is kept in the cache's folder",
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


_PRECISIONS = {
  "fp32": "f32", "f32": "f32", "float32": "f32", torch.float32: "f32",
  "fp16": "f16", "f16": "f16", "float16": "f16", "half": "f16", torch.float16: "f16",
  "bf16": "bf16", "bfloat16": "bf16", torch.bfloat16: "bf16",
}


def _precision(value: Any) -> str | None:
  """"f32", "f16" or "bf16"; None for what is no precision."""
  return _PRECISIONS.get(value) if isinstance(value, (str, torch.dtype)) else None


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
  "strict": (lambda v: isinstance(v, bool), "True or False"),
  "min_block_size": (lambda v: type(v) is int and v >= 1, "an integer of at least 1"),
  "torch_executed_ops": (lambda v: isinstance(v, (list, tuple, set, frozenset)), "a list"),
  "torch_executed_modules": (lambda v: isinstance(v, (list, tuple, set, frozenset)), "a list"),
  "threads": (lambda v: type(v) is int and v >= 0, "an integer, 0 for the caller's setting"),
  "precision": (lambda v: _precision(v) is not None, '"fp32", "fp16", "bf16" or torch\'s dtypes'),
  "enabled_precisions": (lambda v: isinstance(v, (list, tuple, set, frozenset))
                         and all(_precision(p) is not None for p in v),
                         "a set of these"),
  "target": (lambda v: isinstance(v, str), "a string"),
  "cuda_graphs": (lambda v: isinstance(v, bool), "True or False"),
  "allow_tf32": (lambda v: isinstance(v, bool), "True or False"),
  "tune": (lambda v: v in ("off", "default"), '"off" or "default"'),
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
  options.precisions()  # the two agree
  return options
