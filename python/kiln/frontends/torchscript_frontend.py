"""TorchScript's door: a scripted or traced module or function as a stream of calls.

The importer is C++ (torch/torchscript/import.h); here stands what it needs of Python: example
arguments from kiln.Input, size symbols, the device and the names of the weights.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Iterator

import torch
from torch.utils import _pytree as pytree

from ..weights import name_state
from .captured import CapturedProgram
from .errors import FrontendError
from .export_driver import DimTable, collect_arguments, is_input, separate_examples
from .placement import place
from .symbols import NO_BOUND


@dataclass(frozen=True)
class Sizes:
  """Which sizes of tensors vary. `dims`: for each leaf of the arguments None or one text for each
  dim, "64", a symbol or an expression of symbols; `symbols` with their closed ranges."""

  dims: list[list[str] | None]
  symbols: list[tuple[str, int, int]]

  def of_tensors(self, leaves: list) -> list[tuple[torch.Tensor, list[str]]]:
    """The tensors among the leaves some of whose sizes vary, with their texts."""
    return [(leaf, dims) for leaf, dims in zip(leaves, self.dims) if dims is not None]


@dataclass(frozen=True)
class Stopped:
  """Where an import stopped and why, and the example arguments."""

  module_path: str
  function: str
  location: str
  reason: str
  hint: str
  args: tuple
  kwargs: dict[str, Any]
  sizes: Sizes

  def error(self) -> FrontendError:
    place = ", ".join(part for part in (self.location, self.module_path) if part)
    return FrontendError("K1145", self.reason, location=place, hint=self.hint)


def is_script(model: Any) -> bool:
  return isinstance(model, (torch.jit.ScriptModule, torch.jit.ScriptFunction, torch._C.ScriptMethod))


def module_and_method(model: Any) -> tuple[Any, str]:
  """The module and the name of its method that `model` is: itself and "forward" of a module, itself
  and "" of a function."""
  if isinstance(model, torch._C.ScriptMethod):
    with warnings.catch_warnings():
      warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\..*")
      return torch.jit._recursive.wrap_cpp_module(model.owner), model.name
  return model, "forward" if isinstance(model, torch.jit.ScriptModule) else ""


def has_hooks(model: torch.jit.ScriptModule) -> bool:
  """Whether a call of the module does more than its forward."""
  return bool(model._c._get_forward_pre_hooks() or model._c._get_forward_hooks())


def script_name(model: Any, method: str) -> str:
  """The class of the module that was scripted or traced, with another method than forward behind a
  dot, or the function's name."""
  name = getattr(model, "original_name", None) or getattr(model, "name", "") or "script"
  return f"{name}.{method}" if method not in ("", "forward") else name


def script_module_paths(model: Any, entries: Any) -> list[str]:
  """Paths of submodules: given as such, or all that were made from instances of a class."""
  paths = [entry for entry in entries if isinstance(entry, str)]
  classes = [entry for entry in entries if not isinstance(entry, str)]
  if not all(isinstance(cls, type) for cls in classes):
    raise FrontendError("K1002", "option torch_executed_modules takes paths and classes of "
                        f"modules: {entries!r}")
  names = {f"{cls.__module__}.{cls.__qualname__}" for cls in classes}
  if names and isinstance(model, torch.jit.ScriptModule):
    for path, module in model.named_modules():
      parts = module._c._type().qualified_name().split(".")
      cls = ".".join(p for p in parts if p != "__torch__" and not p.startswith("___torch_mangle_"))
      if cls in names:
        paths.append(path)
  return paths


def capture_script(model: Any, method: str, cap: Any, inputs: Any,
                   kwargs: dict[str, Any] | None, dynamic_shapes: Any, target: str,
                   partial: bool = False, sizes: Sizes | None = None, hooks: bool = False
                   ) -> CapturedProgram | Stopped:
  """Hands a method of a ScriptModule, or a ScriptFunction (`method` is empty), to `cap`.

  Arguments as for kiln.compile; shapes, dtypes and strides of tensors matter, all other values are
  fixed. Raises FrontendError K1101 (arguments), K1104, K1145 (something that cannot be compiled, and
  where), K1146 (the program raises an exception for these arguments). With `partial`, where the
  import stopped comes back instead of K1145. `sizes` of examples vary as kiln.Input says, or as given.
  With `hooks`, the module's forward hooks run around the method, as when the module is called.
  """
  if dynamic_shapes is not None:
    raise FrontendError("K1101", "dynamic_shapes is torch.export's",
                        hint="give a scripted module its ranges with kiln.Input")
  if kwargs is None:
    args, named = collect_arguments(model, None, None, inputs)
  else:
    args, named = collect_arguments(model, inputs, kwargs, None)
  args, named = separate_examples(args, named)
  args, named, own = _resolve_inputs(args, named)
  sizes = sizes or own
  placement = place(_tensors_of(model, args, named), target)
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\..*")
    imported = cap.script(model, method, hooks, args, named,
                          sizes.of_tensors(pytree.tree_leaves((args, named))), sizes.symbols,
                          str(placement.home), placement.kind, partial)
  if "stopped" in imported:
    return Stopped(*imported["stopped"], args, named, sizes)
  captured = CapturedProgram.from_json(imported["metadata"])
  captured.placement = placement
  captured.weights = dict(imported["weights"])
  captured.conditions = [tuple(condition) for condition in imported["conditions"]]
  captured.notes += imported["notes"]
  for note in captured.notes:
    if "training mode" in note:
      warnings.warn(note, stacklevel=4)
  state = model.state_dict() if isinstance(model, torch.jit.ScriptModule) else {}
  captured.state_names = name_state(captured, state)
  return captured


def _tensors_of(model: Any, args: tuple, kwargs: dict) -> Iterator[Any]:
  yield from pytree.tree_leaves((args, kwargs))
  if isinstance(model, torch.jit.ScriptModule):
    yield from model.parameters()
    yield from model.buffers()


def _resolve_inputs(args: tuple, kwargs: dict) -> tuple[tuple, dict, Sizes]:
  """Examples in place of each kiln.Input, and which of their sizes vary."""
  table = DimTable()
  dims: list[list[str] | None] = []
  names: dict[str, str] = {}

  def example(leaf: Any) -> Any:
    dims.append(None)
    if not is_input(leaf):
      return leaf
    table.add(leaf)
    dynamic = leaf.dynamic_dims()
    if dynamic:
      dims[-1] = [
        names.setdefault(leaf.dim_name(d), f"s{len(names)}") if d in dynamic else str(size)
        for d, size in enumerate(leaf.opt_shape)]
    return leaf.example()

  args, kwargs = pytree.tree_map(example, (args, kwargs), is_leaf=is_input)
  symbols = [(symbol, low, min(high, NO_BOUND)) for name, symbol in names.items()
             for low, high in [table.range_of(name)]]
  return args, kwargs, Sizes(dims, symbols)
