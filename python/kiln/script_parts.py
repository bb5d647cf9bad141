"""Which submodules of a scripted module become programs, and for which sizes.

The method in which the import stopped stays in TorchScript, and so do its callers up to the root;
the submodules that they call become programs of their own. What they are called with shows when the
model runs: on the example inputs, on other values, and where sizes vary at several sizes. What the
methods that stay do with them besides, also on branches that no run takes, their code says
(torch/torchscript/submodule_uses.h).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping

import torch
from torch.utils import _pytree as pytree

from . import _native
from .errors import NativeError
from .frontends.errors import FrontendError
from .frontends.symbols import NO_BOUND
from .frontends.torchscript_frontend import Sizes, Stopped
from .program import Program
from .report import Report

#: Makes a program, or its report alone, of a submodule that is called with these arguments.
Build = Callable[[torch.jit.ScriptModule, tuple, Sizes], "Program | Report | Stopped"]
#: Elements of the largest inputs that the model is run on for the ends of ranges.
_MAX_SAMPLE_ELEMENTS = 2**24


@dataclass
class Parts:
  """What was built by module path, the modules of these programs, and for each module that stays in
  TorchScript why."""

  built: dict[str, Program | Report]
  modules: dict[str, torch.jit.ScriptModule]
  kept: dict[str, str]


def compile_parts(model: torch.jit.ScriptModule, stopped: Stopped, build: Build) -> Parts:
  """K1145 where no part can be compiled."""
  if not isinstance(model, torch.jit.ScriptModule):
    raise stopped.error()
  modules = dict(model.named_modules(remove_duplicate=False))
  runs = _run_samples(model, stopped)
  parts = Parts({}, {}, {})
  walked: list[str] = []  # modules whose methods stay and may call others

  def keep(prefix: str, stop: Stopped) -> list[str]:
    """The modules from `prefix` to where the import stopped; only the last is the reason."""
    paths, path = [prefix], prefix
    for part in filter(None, stop.module_path.split(".")):
      path = f"{path}.{part}" if path else part
      paths.append(path)
    for path in paths[:-1]:
      parts.kept.setdefault(path, f"calls {paths[-1]!r}, which stays")
    place = f" at {stop.location}" if stop.location else ""
    parts.kept[paths[-1]] = f"method {stop.function}: {stop.reason}{place}"
    return paths

  def stays(path: str, call: tuple | None = None, made: torch.jit.ScriptModule | None = None
            ) -> tuple[str, str]:
    """Why no program can stand for a module, and why none can for it or those below it."""
    return _native.why_submodule_stays(model, walked, path, call, made)

  def visit(path: str) -> None:
    walked.append(path)
    whole = stays(path)[1]
    if whole:
      for inner in modules:
        if inner.startswith(f"{path}." if path else ""):
          parts.kept.setdefault(inner, f"is part of {path!r}, which {whole}" if path else whole)
      return
    for name, _ in modules[path].named_children():
      child = f"{path}.{name}" if path else name
      if child in parts.kept:
        continue
      if any(child in run.calls for run in runs):
        compile_child(child)
      else:  # a container, or a module that is not called
        visit(child)

  def compile_child(path: str) -> None:
    merged = _merge_calls([run for run in runs if path in run.calls], path, stopped.sizes.symbols)
    if isinstance(merged, str):
      parts.kept[path] = merged
      return visit(path)
    why, _ = stays(path, call=merged[0])
    if why:
      parts.kept[path] = why
      return visit(path)
    built = build(modules[path], *merged)
    if isinstance(built, Stopped):
      for inner in keep(path, built):
        visit(inner)
      return
    report = built if isinstance(built, Report) else built.report
    if not report.ops_native:
      parts.kept[path] = "holds no call that Kiln has a kernel for"
      return
    if isinstance(built, Program):
      try:
        module = built.script_module()
        why, _ = stays(path, made=module)
      except FrontendError as error:
        why = str(error)
      if why:
        parts.kept[path] = why
        return visit(path)
      parts.modules[path] = module
    parts.built[path] = built

  for path in keep("", stopped):
    visit(path)
  if not parts.built:
    raise stopped.error()
  return parts


# ---- runs of the model --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
  sizes: dict[str, int]  # of the symbols
  # Arguments of each call of a module's forward, by its path; None inside an autocast region.
  calls: dict[str, list[tuple | None]]


def _run_samples(model: torch.jit.ScriptModule, stopped: Stopped) -> list[_Run]:
  """Runs of the model, the one on the examples first. Others show how sizes depend on those of the
  inputs, and which depend on values; where they raise they show nothing."""
  leaves, spec = pytree.tree_flatten((stopped.args, stopped.kwargs))

  def run(sizes: dict[str, int], values: list) -> _Run:
    args, kwargs = pytree.tree_unflatten(values, spec)
    return _Run(sizes, _native.record_script_calls(model, args, kwargs))

  opt = {dim: leaf.shape[d] for leaf, dims in zip(leaves, stopped.sizes.dims) if dims
         for d, dim in enumerate(dims) if not dim.isdigit()}
  runs = [run(opt, leaves)]
  for sizes in [opt, *_sample_sizes(opt, stopped.sizes, leaves)]:
    values = [leaf if dims is None else
              _resized(leaf, [int(d) if d.isdigit() else sizes[d] for d in dims])
              for leaf, dims in zip(leaves, stopped.sizes.dims)]
    others = [values] if sizes is not opt else []
    for given in [*others, [_other_values(value) for value in values]]:
      try:
        runs.append(run(sizes, given))
      except NativeError:
        continue
  return runs


def _sample_sizes(opt: Mapping[str, int], sizes: Sizes, leaves: list) -> list[dict[str, int]]:
  """Sizes for the symbols: the ends of the ranges, and some inside that vary one by one."""
  ranges = {name: (low, high) for name, low, high in sizes.symbols}
  points = [{name: low for name, (low, _) in ranges.items()},
            {name: high for name, (_, high) in ranges.items()}]
  if not _reaches(sizes, leaves, points[1]):
    points.pop()
  for step in (1, 2, 3):
    points.append({name: min(low + 2 * step + i * (step + 1) + i * i, high)
                   for i, (name, (low, high)) in enumerate(ranges.items())})
  distinct: list[dict[str, int]] = []
  for point in points:
    if point != opt and point not in distinct:
      distinct.append(point)
  return distinct


def _reaches(sizes: Sizes, leaves: list, point: Mapping[str, int]) -> bool:
  """Whether the model can be run at these sizes at a reasonable cost."""
  total = 0
  for leaf, dims in zip(leaves, sizes.dims):
    if dims is not None:
      elements = 1
      for dim in dims:
        elements *= int(dim) if dim.isdigit() else point[dim]
      total += elements
  return total <= _MAX_SAMPLE_ELEMENTS


def _resized(tensor: torch.Tensor, shape: list[int]) -> torch.Tensor:
  """The tensor cut to a shape or repeated: values stay in the domain that they are from."""
  if 0 in tensor.shape:
    return tensor.new_zeros(shape)
  for d, size in enumerate(shape):
    if size != tensor.shape[d]:
      index = torch.arange(size, device=tensor.device) % tensor.shape[d]
      tensor = tensor.index_select(d, index)
  return tensor


def _other_values(value: Any) -> Any:
  """A tensor of the same shape that masks and the like find other elements in."""
  if (not isinstance(value, torch.Tensor) or value.is_nested
      or value.layout is not torch.strided):
    return value
  turned = value.flip(tuple(range(value.ndim)))
  return turned * -0.5 if value.is_floating_point() else turned


# ---- sizes of a part ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Size:
  """`factor` times the product of symbols plus `offset`."""

  symbols: tuple[str, ...]
  factor: int
  offset: int

  def text(self) -> str:
    product = "*".join(self.symbols if self.factor == 1 else (str(self.factor), *self.symbols))
    sign = "-" if self.offset < 0 else "+"
    return f"{product} {sign} {abs(self.offset)}" if self.offset else product

  def range(self, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    ends = []
    for end in (0, 1):
      product = 1
      for name in self.symbols:
        product *= ranges[name][end]
      ends.append(self.factor * product + self.offset)
    low, high = sorted(ends)
    return max(low, 0), min(high, NO_BOUND)


def _fit(values: list[int], sizes: list[dict[str, int]]) -> _Size | None:
  """How a size follows from the symbols; the simplest of what agrees with all runs."""
  names = list(sizes[0])
  products = [(name,) for name in names] + list(
    itertools.combinations_with_replacement(names, 2))
  fits = []
  for product in products:
    at = []
    for point in sizes:
      at.append(1)
      for name in product:
        at[-1] *= point[name]
    other = next((i for i, value in enumerate(at) if value != at[0]), None)
    if other is None:
      continue
    factor, rest = divmod(values[other] - values[0], at[other] - at[0])
    offset = values[0] - factor * at[0]
    if rest == 0 and all(factor * x + offset == v for x, v in zip(at, values)):
      fits.append(_Size(product, factor, offset))
  return min(fits, key=lambda f: (len(f.symbols), f.factor != 1, f.offset != 0), default=None)


def _merge_calls(runs: list[_Run], path: str, symbols: list[tuple[str, int, int]]
                 ) -> tuple[tuple, Sizes] | str:
  """The arguments of a module's calls and which of their sizes vary, or why there is no program."""
  if any(call is None for run in runs for call in run.calls[path]):
    return "is called inside an autocast region"
  if any(isinstance(v, torch.Tensor) and v.is_nested
         for run in runs for v in pytree.tree_leaves(run.calls[path])):
    return "is called with a nested tensor"
  calls: list[list] = []
  example = runs[0].calls[path][0]
  leaves, spec = pytree.tree_flatten(example)
  for run in runs:
    first, *others = run.calls[path]
    if any(_shapes(call) != _shapes(first) for call in others):
      return "is called with arguments of several shapes"
    values, structure = pytree.tree_flatten(first)
    if structure != spec:
      return "is called with arguments of several structures"
    calls.append(values)
  points = [run.sizes for run in runs]
  ranges = {name: (low, high) for name, low, high in symbols}
  found: list[list[int | _Size | tuple[int, int]] | None] = []
  for i, leaf in enumerate(leaves):
    given = [values[i] for values in calls]
    if not isinstance(leaf, torch.Tensor):
      if any(type(v) is not type(leaf) or v != leaf for v in given):
        return "is called with numbers that vary"
      found.append(None)
      continue
    kinds = {(v.dtype, v.ndim) if isinstance(v, torch.Tensor) else None for v in given}
    if len(kinds) > 1:
      return "is called with tensors of several dtypes or ranks"
    found.append([_size_over([v.shape[d] for v in given], points, ranges)
                  for d in range(leaf.ndim)])
  return example, _name_sizes(found, ranges)


def _shapes(call: tuple) -> Any:
  return pytree.tree_map(
    lambda v: (v.dtype, tuple(v.shape)) if isinstance(v, torch.Tensor) else v, call)


def _size_over(values: list[int], points: list[dict[str, int]],
               ranges: Mapping[str, tuple[int, int]]) -> int | _Size | tuple[int, int]:
  """A constant, how it follows from the symbols, or a range of its own."""
  if len(set(values)) == 1:
    return values[0]
  by_point: dict[tuple, set[int]] = {}
  for value, point in zip(values, points):
    by_point.setdefault(tuple(point.items()), set()).add(value)
  if any(len(seen) > 1 for seen in by_point.values()):
    return 0, NO_BOUND  # it depends on values
  size = _fit(values, points)
  if size is not None:
    return size
  at_end = all(any(point[name] == high for point in points) for name, (_, high) in ranges.items())
  return min(values), max(values) if at_end else NO_BOUND


def _name_sizes(found: Iterable[list | None], ranges: Mapping[str, tuple[int, int]]) -> Sizes:
  """Texts for the dims. A symbol of the model's that is the size of some dim is one of the part's;
  what follows from others gets a symbol of its own, the same for the same size."""
  found = list(found)
  known = {dim.symbols[0] for dims in found for dim in dims or ()
           if isinstance(dim, _Size) and dim == _Size(dim.symbols[:1], 1, 0)}
  names: dict[Any, str] = {}
  symbols: dict[str, tuple[int, int]] = {}

  def text(dim: Any, place: tuple[int, int]) -> str:
    if isinstance(dim, int):
      return str(dim)
    own = isinstance(dim, tuple)
    if not own and known.issuperset(dim.symbols):
      symbols.update((name, ranges[name]) for name in dim.symbols)
      return dim.text()
    name = names.setdefault(place if own else dim, f"p{len(names)}")
    symbols[name] = dim if own else dim.range(ranges)
    return name

  dims: list[list[str] | None] = []
  for i, sizes in enumerate(found):
    fixed = sizes is None or all(isinstance(dim, int) for dim in sizes)
    dims.append(None if fixed else [text(dim, (i, d)) for d, dim in enumerate(sizes)])
  return Sizes(dims, [(name, *bounds) for name, bounds in symbols.items()])
