"""Programs as torch.export's ExportedPrograms and `.pt2` files; docs/files.md.

An ExportedProgram of Kiln is an ordinary one: it holds one call of `kiln::run` (`kiln::run_` for a
program that writes its inputs or buffers) and the program as a constant of class
`__torch__.torch.classes.kiln.Program`. torch makes it, by tracing a module that calls the operator,
so its signature, sizes and nesting are what torch.export gives to any module.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import tempfile
import warnings
import zipfile
from typing import Any, Callable, Iterator, Mapping

import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import SymBoolArgument

from . import _native
from .errors import error_inside
from .frontends import symbols as sizes
from .frontends import tree
from .frontends.captured import DTYPES, CapturedProgram
from .frontends.errors import FrontendError
from .frontends.opaque_types import make_tensors, torch_dtype
from .frontends.tree import make_binder, make_unflatten


# ---- the module that torch.export traces -------------------------------------------------------


class ProgramModule(torch.nn.Module):
  """Calls a program through its operator; buffers that the program writes are its own."""

  def __init__(self, native: Any, program: torch.ScriptObject, captured: CapturedProgram,
               state: dict[str, torch.Tensor]):
    super().__init__()
    self.program = program
    self._captured = captured
    self._signature = native.signature()
    self._infos = native.outputs()
    self._device = native.device()
    self._count = len(captured.inputs)
    self._bind = make_binder(captured.input_tree, self._count, captured.parameters)
    self._rebuild = make_unflatten(captured.output_tree)
    self._state_names = list(state)
    for name, tensor in state.items():
      register_buffer(self, name, tensor)
    self.forward = with_signature(self._call, captured)

  def _call(self, *args: Any, **kwargs: Any) -> Any:
    given = self._bind(args, kwargs)
    values = [*given, *(self.get_buffer(name) for name in self._state_names)]
    inputs = self._signature["inputs"]
    written = [v for v, row in zip(values, inputs, strict=True) if row["written"]]
    read = [v for v, row in zip(values, inputs)
            if not row["written"] and not row["is_number"]]
    numbers = [v for v, row in zip(values, inputs) if row["is_number"]]
    known = symbolic_values(self._captured, given)
    if written:
      outs = self._empty_results(known)
      torch.ops.kiln.run_(written + outs, read, numbers, self.program)
    else:
      outs = torch.ops.kiln.run(read, numbers, self.program)
    rows = self._signature["outputs"]
    fresh = iter(outs)
    made = [next(fresh) if row["kind"] == "result" else None for row in rows]
    made = [m if m is None or row["number"] is None else m.item() for row, m in zip(rows, made)]
    results = []
    for row, result in zip(rows, made):
      if row["kind"] == "write_input":
        continue
      if row["kind"] != "result":
        base = values if row["kind"] == "view_of_input" else made
        result = _view(base[row["target"]], row["view"], known)
      results.append(result)
    return self._rebuild(results, known)

  def _empty_results(self, known: Mapping[str, Any]) -> list[torch.Tensor]:
    outs = []
    opaque = iter(self._captured.opaque_results[i] for i in opaque_indices(self._signature))
    for row, info in zip(self._signature["outputs"], self._infos, strict=True):
      if row["kind"] != "result":
        continue
      if _is_opaque(row):
        outs += make_tensors([next(opaque)], known, {}, _no_new_size, self._device)
        continue
      if row["number"] is not None:
        outs.append(torch.empty_strided((), (), dtype=DTYPES[row["number"]]))
        continue
      shape = [sizes.compile_expr(text)(known) for text, _, _ in info["dims"]]
      strides: list[Any] = [1] * len(shape)
      stride: Any = 1
      for d in reversed(row["order"] or range(len(shape))):
        strides[d] = stride
        stride = stride * torch.sym_max(shape[d], 1)
      outs.append(torch.empty_strided(shape, strides, dtype=DTYPES[info["dtype"]]))
    return outs


def _is_opaque(row: dict) -> bool:
  return row["kind"] == "result" and row["is_object"] and row["number"] is None


def opaque_indices(signature: dict) -> list[int]:
  """Which results only PyTorch understands, by their places in CapturedProgram.output_names."""
  returned = [row for row in signature["outputs"] if row["kind"] != "write_input"]
  return [i for i, row in enumerate(returned) if _is_opaque(row)]


def _no_new_size(low: int, high: int) -> Any:
  raise FrontendError("K1014", "a .pt2 file cannot hold a program that writes its arguments or "
                      "buffers and has a result whose shape only running reveals: torch.export has "
                      "no operator that writes and returns a list",
                      hint="save it with embed_fallback=False, or as a .kiln file")


def _view(tensor: torch.Tensor, operations: list[tuple[str, list[str]]],
          known: Mapping[str, Any]) -> torch.Tensor:
  """A result that is a view of an argument or of another result."""
  for name, texts in operations:
    numbers = [sizes.compile_expr(text)(known) for text in texts]
    if name == "reshape":
      tensor = tensor.reshape(numbers)
    elif name == "permute":
      tensor = tensor.permute(numbers)
    elif name == "expand":
      tensor = tensor.expand(numbers)
    else:
      axis, start, end, step = numbers
      tensor = torch.ops.aten.slice.Tensor(tensor, axis, start, end, step)
  return tensor


def symbolic_values(captured: CapturedProgram, values: list[Any]) -> dict[str, Any]:
  """The sizes of one call, which may be symbolic integers while torch traces."""
  return {name: source.read(values) for name, source in captured.symbol_sources().items()}


def register_buffer(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
  *path, leaf = name.split(".")
  for part in path:
    if not isinstance(getattr(module, part, None), torch.nn.Module):
      module.add_module(part, torch.nn.Module())
    module = getattr(module, part)
  module.register_buffer(leaf, tensor)


def with_signature(call: Callable, captured: CapturedProgram) -> Callable:
  """A forward whose parameters are those of the captured module, which torch.export reads."""
  args, kwargs = captured.input_tree["items"]
  count = len(args["items"])
  names = [name if name.isidentifier() else f"arg_{i}"
           for i, name in enumerate(captured.parameters[:count])]
  names += [f"arg_{i}" for i in range(len(names), count)]
  kind = inspect.Parameter
  parameters = [kind(name, kind.POSITIONAL_OR_KEYWORD) for name in names]
  parameters += [kind(name, kind.KEYWORD_ONLY) for name in kwargs["keys"] if name not in names]

  def forward(*given: Any, **named: Any) -> Any:
    return call(*given, **named)

  forward.__signature__ = inspect.Signature(parameters)
  return forward


def script_object(native: Any, compiled: Any, weights: Mapping[str, torch.Tensor]
                  ) -> torch.ScriptObject:
  """A program that was built here as a value of class kiln.Program, saved without a second copy of
  its weights: they are the given tensors."""
  program = torch.frombuffer(bytearray(compiled.serialize(external_weights=True)),
                             dtype=torch.uint8)
  names = [name for name, _, _ in native.weights()]
  return native.script_object(program, names,
                              [weights[name].detach().cpu().contiguous() for name in names])


def load_again(program: torch.ScriptObject, threads: int = 0) -> tuple[Any, torch.ScriptObject]:
  """Another instance of a program in this process, and its object; the weights are shared."""
  (description, data, weights), _ = program.__getstate__()
  names = [row["name"] for row in json.loads(description)["weights"]]
  # A clone, because objects whose states lie in the same memory are one program.
  data = data.clone()
  # What is here has been opened, so its operators were allowed.
  native = _native.load_bytes(data.numpy().tobytes(), threads=threads, trust=True,
                              weights=dict(zip(names, weights, strict=True)))
  return native, native.script_object(data, names, list(weights))


def trusting(allow_ops: list[str] | tuple[str, ...] | None = None) -> Any:
  """A context in which torch.export.load may open programs that call operators beyond the harmless
  ones: all, or those of `allow_ops` ("mylib::op"). For this thread."""
  return _native.LoadScope(trust=allow_ops is None, allow_ops=list(allow_ops or ()))


# ---- example arguments and dynamic sizes --------------------------------------------------------


def _example_sizes(captured: CapturedProgram) -> dict[str, int]:
  """A size for each symbol: in its range, at least 2 and distinct where there is room, since torch
  takes 0 and 1 as constants and may take equal sizes for one."""
  chosen: dict[str, int] = {}
  for name, (low, high) in captured.symbols.items():
    size = max(low, 2)
    while size in chosen.values() and size < high:
      size += 1
    chosen[name] = min(size, high)
  return chosen


def _dims(captured: CapturedProgram) -> dict[str, Any]:
  return {name: Dim(name, min=low, max=None if high >= sizes.NO_BOUND else high)
          for name, (low, high) in captured.symbols.items() if high > max(low, 1)}


def _hint(hint: Any, low: int, high: int) -> Any:
  """Dim.AUTO or Dim.DYNAMIC with a range; torch keeps none for what may be negative."""
  return hint if low < 0 else hint(min=low, max=None if high >= sizes.NO_BOUND else high)


def example_arguments(captured: CapturedProgram, module: torch.nn.Module
                      ) -> tuple[tuple, dict, Any]:
  """(args, kwargs, dynamic_shapes) with which torch.export sees the sizes of `module`.

  K1014 for arguments that torch.export takes as constants, or not at all.
  """
  chosen, dims = _example_sizes(captured), _dims(captured)
  # torch names no integers: what an integer and a size share is found by tracing.
  shared = {name for item in captured.inputs if item.expr is not None
            for name in sizes.names_of(item.expr)}
  shapes = torch.export.ShapesCollection()
  values: list[Any] = []
  stand_ins: list[Any] = []  # with a tensor for each integer: ShapesCollection takes no int
  for item in captured.inputs:
    if item.kind == "i64" and item.expr in captured.symbols:
      values.append(chosen[item.expr])
      stand_ins.append(torch.zeros(()))
      in_tensors = any(item.expr in sizes.names_of(d) for other in captured.inputs
                       for d in other.dims or () if isinstance(d, str))
      shapes[stand_ins[-1]] = _hint(Dim.AUTO if in_tensors else Dim.DYNAMIC,
                                    *captured.symbols[item.expr])
      continue
    if item.kind != "tensor" or item.dims is None:
      why = "; torch.export takes it as a constant" if item.kind in ("f64", "bool") else ""
      raise FrontendError("K1014", "a .pt2 file cannot hold a program with an argument of this "
                          f"kind: {item.name}, {item.dtype or item.kind}{why}",
                          hint="save it as a .kiln file")
    shape, dynamic = [], {}
    for d, size in enumerate(item.dims):
      if isinstance(size, int):
        shape.append(size)
        continue
      shape.append(sizes.compile_expr(size)(chosen))
      linear = sizes.linear_in_one_symbol(size)
      if linear is None or sizes.names_of(size) & shared:
        bounded = linear is not None and linear[1:] == (1, 0)
        dynamic[d] = _hint(Dim.AUTO, *captured.symbols[linear[0]]) if bounded else Dim.AUTO
      elif linear[0] in dims:
        symbol, scale, bias = linear
        dim = dims[symbol] if scale == 1 else scale * dims[symbol]
        dynamic[d] = dim if bias == 0 else dim + bias
    values.append(torch.zeros(shape, dtype=DTYPES.get(item.dtype) or torch_dtype(item.dtype)))
    stand_ins.append(values[-1])
    if dynamic:
      shapes[values[-1]] = dynamic
  rebuild = make_unflatten(captured.input_tree)
  args, kwargs = rebuild(values, {})
  dynamic_shapes = shapes.dynamic_shapes(module, *rebuild(stand_ins, {})) if len(shapes) else None
  return args, kwargs, dynamic_shapes


# ---- ExportedPrograms ---------------------------------------------------------------------------


def export_closed(native: Any, captured: CapturedProgram, program: torch.ScriptObject,
                  state: dict[str, torch.Tensor]) -> ExportedProgram:
  """The ExportedProgram with one call of kiln::run or kiln::run_. K1014 for what it cannot hold."""
  signature = native.signature()
  returned = [row for row in signature["outputs"] if row["kind"] != "write_input"]
  for index in opaque_indices(signature):
    if index not in captured.opaque_results:
      raise FrontendError(
        "K1014", "a .pt2 file cannot hold a program with a result whose type was not captured: "
        f"{returned[index]['name']}", hint="save it with embed_fallback=False, or as a .kiln file")
  module = ProgramModule(native, program, captured, state)
  args, kwargs, dynamic_shapes = example_arguments(captured, module)
  return trace(module, args, kwargs, dynamic_shapes)


def trace(module: torch.nn.Module, args: tuple, kwargs: dict, dynamic_shapes: Any
          ) -> ExportedProgram:
  try:
    with torch.no_grad(), warnings.catch_warnings():
      warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|copyreg).*")
      return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)
  except FrontendError:
    raise
  except Exception as error:  # noqa: BLE001: torch.export raises anything
    raise FrontendError("K1015", "torch.export could not make an exported program of the compiled "
                        f"one: {type(error).__name__}: {str(error)[:400]}") from error


# ---- files --------------------------------------------------------------------------------------


def write_atomically(path: str, write: Callable[[str], None], suffix: str) -> None:
  """Calls `write` with a temporary name beside `path`, then syncs and renames.

  On failure what was at `path` stays. K3003 where the system refuses.
  """
  folder = os.path.dirname(os.path.abspath(path))
  temporary = ""
  try:
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".kiln-", suffix=suffix)
    os.close(handle)
    write(temporary)
    with open(temporary, "rb") as file:
      os.fsync(file.fileno())
    os.chmod(temporary, 0o666 & ~_umask())
    os.replace(temporary, path)
    temporary = ""
  except OSError as error:
    raise FrontendError("K3003", f"cannot write: {path}: {error.strerror}") from error
  finally:
    if temporary and os.path.exists(temporary):
      os.unlink(temporary)


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask


def save_exported(exported: ExportedProgram, path: str) -> None:
  """K1014 for what torch cannot write, or cannot read again."""
  for spec in exported.graph_signature.output_specs:
    what = ("a boolean that only running reveals" if isinstance(spec.arg, SymBoolArgument) else
            "text" if isinstance(getattr(spec.arg, "value", None), str) else None)
    if what is not None:
      raise FrontendError("K1014", f"torch.export.save has no form for this result: {what}",
                          hint="save it as a .kiln file")
  try:
    write_atomically(path, lambda name: torch.export.save(exported, name), ".pt2")
  except NotImplementedError as error:
    raise FrontendError("K1014", "a .pt2 file cannot hold a program with an argument or result of "
                        f"this type: {error}", hint="save it as a .kiln file") from error


def read_exported(path: str, *, threads: int = 0, trust: bool = False,
                  allow_ops: tuple[str, ...] = ()) -> ExportedProgram:
  """torch.export.load, with the archive checked first and typed errors.

  torch's reader checks no checksums; K3104 for an archive that is damaged.
  """
  check_archive(path)
  try:
    with _native.LoadScope(threads=threads, trust=trust, allow_ops=list(allow_ops)):
      return _load(path)
  except Exception as error:  # noqa: BLE001: a damaged file makes torch's reader raise anything
    raise typed_error(error, path) from error


def _load(path: str) -> ExportedProgram:
  """torch.export.load would hide the reason of a failure in its log.

  torch reads a nested type only if its module is imported; those of the libraries that
  frontends/tree.py names are imported here.
  """
  from torch.export.pt2_archive._package import load_pt2
  missing: set[str] = set()
  while True:
    try:
      programs = load_pt2(path).exported_programs
      return programs["model"] if "model" in programs else next(iter(programs.values()))
    except NotImplementedError as error:
      found = re.search(r"Deserializing (\S+) in pytree", str(error))
      if found is None or found[1] in missing or tree._find_type(found[1]) is None:
        raise
      missing.add(found[1])


def check_archive(path: str) -> None:
  try:
    with zipfile.ZipFile(path) as archive:
      damaged = archive.testzip()
  except FileNotFoundError as error:
    raise FrontendError("K3001", f"cannot open: {path}: {error.strerror}") from error
  except IsADirectoryError as error:
    raise FrontendError("K3004", f"not a regular file: {path}") from error
  except OSError as error:
    raise FrontendError("K3002", f"cannot read: {path}: {error.strerror}") from error
  except Exception as error:  # noqa: BLE001: zipfile raises many types on damaged archives
    raise FrontendError("K3104", f"file is damaged: {path}: {error}") from error
  if damaged is not None:
    raise FrontendError("K3104", f"file is damaged: {path}: checksum of {damaged}")


def typed_error(error: Exception, path: str, what: str = "exported program") -> Exception:
  """Kiln's error inside one of torch's, else K3122."""
  return error_inside(error, path) or FrontendError(
    "K3122", f"torch cannot read the {what}: {path}: {type(error).__name__}: {str(error)[:300]}")


# ---- back to a program --------------------------------------------------------------------------

_RUN, _RUN_MUTATING = "kiln.run.default", "kiln.run_.default"
_ITEM = "aten.item.default"  # of a result that is a number
# What torch adds to allocate results, and to check sizes that only running reveals.
_SIZES = ("aten.empty_strided.", "aten.sym_", "aten._assert_scalar.")
# What _view() traces to.
_VIEWS = {"reshape": ("aten.reshape.default", "aten.view.default"),
          "permute": ("aten.permute.default",), "expand": ("aten.expand.default",),
          "slice": ("aten.slice.Tensor",)}
_VIEW_NAMES = tuple(name for names in _VIEWS.values() for name in names)


def find_program(exported: ExportedProgram) -> tuple[Any, CapturedProgram, torch.ScriptObject]:
  """The native program that `exported` consists of, its description, and its object.

  K3123 when it holds none, or does more than calling it with its own arguments.
  """
  objects = [value for value in exported.constants.values()
             if isinstance(value, torch.ScriptObject)
             and value._type().qualified_name() == "__torch__.torch.classes.kiln.Program"]
  if not objects:
    raise FrontendError("K3123", "an exported program that calls no program of kiln",
                        hint="kiln.compile takes exported programs")
  if len(objects) == 1:
    native = _native.program_of(objects[0])
    captured = CapturedProgram.from_json(native.metadata())
    if _is_plain_call(exported, native, captured):
      return native, captured, objects[0]
  raise FrontendError("K3123", "an exported program that does more than calling one program of "
                      "kiln", hint="torch.export.load(path).module() runs it")


def _is_plain_call(exported: ExportedProgram, native: Any, captured: CapturedProgram) -> bool:
  """Whether the graph hands its arguments to one program, in order, and returns its results."""
  calls = [n for n in exported.graph.nodes if n.op == "call_function"
           and isinstance(n.target, (torch._ops.OpOverload, torch._ops.HigherOrderOperator))
           and not str(n.target).startswith((*_SIZES, *_VIEW_NAMES, _ITEM))]
  if len(calls) != 1 or str(calls[0].target) not in (_RUN, _RUN_MUTATING):
    return False
  call, signature = calls[0], native.signature()
  rows = signature["inputs"]
  written = sum(row["written"] for row in rows)
  if len(call.args) < 3:
    return False
  numbers = list(call.args[1 if str(call.target) == _RUN else 2])
  if len(numbers) != sum(row["is_number"] for row in rows):
    return False
  if str(call.target) == _RUN:
    state: list[Any] = []
    read = list(call.args[0])
    items = {n.args[1]: n for n in call.users}
    fresh = [items.get(i) for i in range(len(signature["outputs"]))]
  else:
    state, fresh = list(call.args[0][:written]), list(call.args[0][written:])
    read = list(call.args[1])
  if len(state) != written or len(read) != len(rows) - written - len(numbers):
    return False
  states, reads, integers, freshes = iter(state), iter(read), iter(numbers), iter(fresh)
  positions = [next(states if row["written"] else integers if row["is_number"] else reads)
               for row in rows]
  if not all(isinstance(node, torch.fx.Node) for node in positions):
    return False
  made = [next(freshes, None) if row["kind"] == "result" else None for row in signature["outputs"]]
  # Of each output what is returned or, for a view, what it is a view of.
  bases = [node if row["kind"] == "result" else
           (made if row["kind"] == "view_of_output" else positions)[row["target"]]
           for row, node in zip(signature["outputs"], made) if row["kind"] != "write_input"]
  views = [row["view"] for row in signature["outputs"] if row["kind"] != "write_input"]
  graph = exported.graph_signature
  buffers = graph.inputs_to_buffers
  arguments = [n for n in graph.user_inputs if isinstance(n, str)]
  count = len(captured.inputs)
  if [n.name for n in positions[:count]] != arguments[:count]:
    return False
  names = [row["name"] for row in signature["inputs"][count:]]
  if [buffers.get(n.name) for n in positions[count:]] != names:
    return False
  returned = exported.graph.output_node().args[0][-len(graph.user_outputs):]
  leaves = list(leaf_descriptions(captured.output_tree))
  known = symbolic_values(captured, [n.meta["val"] for n in positions[:count]])
  return len(leaves) == len(returned) and all(
    _is_view(node, bases[leaf["index"]], views[leaf["index"]], known)
    if leaf["kind"] == "tensor" else _is_item(node, bases[leaf["index"]])
    for node, leaf in zip(returned, leaves) if leaf["kind"] in ("tensor", "scalar"))


def _is_item(node: Any, base: Any) -> bool:
  """Whether `node` is the number in `base`."""
  return (isinstance(node, torch.fx.Node) and str(node.target) == _ITEM and base is not None
          and node.args[0] is base)


def _is_view(node: Any, base: Any, operations: list[tuple[str, list[str]]],
             known: Mapping[str, Any]) -> bool:
  """Whether `node` is these operations, and no others, on `base`."""
  if not isinstance(node, torch.fx.Node) or base is None:
    return False
  at = node
  for name, texts in reversed(operations):
    # torch drops a slice that takes everything and the like
    if at is base or str(at.target) not in _VIEWS[name]:
      continue
    if name == "slice":
      # Where it begins shows in no size, and torch.export.load forgets offsets.
      numbers = [sizes.compile_expr(text)(known) for text in texts]
      given = [a.meta["val"] if isinstance(a, torch.fx.Node) else a for a in at.args[1:]]
      if list(map(str, numbers)) != list(map(str, [*given, 1][:4])):
        return False
    at = at.args[0]
  if at is not base:
    return False
  with torch.no_grad(), node.meta["val"].fake_mode:
    expected = _view(base.meta["val"], operations, known)
  value = node.meta["val"]
  return (str(expected.shape), str(expected.stride())) == (str(value.shape), str(value.stride()))


def leaf_descriptions(description: dict) -> Iterator[dict]:
  if "items" not in description:
    yield description
  for item in description.get("items", ()):
    yield from leaf_descriptions(item)
