"""Turns an FX graph of ATen calls into calls on a capture builder. Shared by both dialects.

The walker decides nothing about operators: it fills in defaults, prints sizes, looks through
tuples and no-op regions, and hands each call over. What it cannot hand over is a FrontendError.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Sequence

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule, Node

from . import branches
from . import symbols as sizes
from .errors import FrontendError
from .origins import origin_of
from .placement import Placement, goes_anywhere
from .protocol import Capture, Meta

aten = torch.ops.aten

DTYPE_NAMES = {
  torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16",
  torch.int8: "i8", torch.uint8: "u8", torch.int16: "i16", torch.int32: "i32",
  torch.int64: "i64", torch.bool: "bool",
}
# numbers of c10::ScalarType and c10::MemoryFormat, met only as schema defaults
_SCALAR_TYPES = {0: "u8", 1: "i8", 2: "i16", 3: "i32", 4: "i64", 5: "f16", 6: "f32", 7: "f64",
                 11: "bool", 15: "bf16"}
_MEMORY_FORMATS = {0: "contiguous", 1: "preserve", 2: "channels_last", 3: "channels_last_3d"}
_MEMORY_FORMAT_NAMES = {
  torch.contiguous_format: "contiguous", torch.preserve_format: "preserve",
  torch.channels_last: "channels_last", torch.channels_last_3d: "channels_last_3d",
}
_SIZE_QUERIES = {aten.sym_size.int, aten.sym_stride.int, aten.sym_numel.default,
                 aten.sym_storage_offset.default}
# statements about sizes that compute nothing; the ranges of the symbols carry what they say
_CONSTRAINTS = {aten.sym_constrain_range.default, aten.sym_constrain_range_for_size.default}
_SCALAR_KINDS = ((bool, torch.SymBool, "bool"), (int, torch.SymInt, "i64"),
                 (float, torch.SymFloat, "f64"))


def dtype_name(dtype: torch.dtype) -> str:
  """Kiln's name, or torch's where Kiln has none ("complex64")."""
  return DTYPE_NAMES.get(dtype, str(dtype).removeprefix("torch."))


def scalar_kind(value: Any) -> str | None:
  for plain, symbolic, kind in _SCALAR_KINDS:
    if isinstance(value, (plain, symbolic)):
      return kind
  return None


def dim_of(value: Any) -> int | str:
  """An int, or the text of a symbolic size. Raises Inexpressible, also for unbacked symbols."""
  expr = sizes.expression_of(value)
  if expr.is_Integer:
    return int(expr)
  if any(sizes.is_unbacked(s) for s in expr.free_symbols):
    raise sizes.Inexpressible(f"size known only at run time: {expr}")
  return sizes.print_expr(expr)


def tensor_meta(tensor: torch.Tensor) -> Meta:
  """The meta of a (fake) tensor, see protocol.py."""
  if tensor.dtype not in DTYPE_NAMES:
    return ("opaque", f"dtype {dtype_name(tensor.dtype)}")
  if tensor.layout is not torch.strided:
    return ("opaque", f"layout {str(tensor.layout).removeprefix('torch.')}")
  if tensor.is_conj() or tensor.is_neg():
    return ("opaque", "lazy conjugation or negation")
  shape = tensor.shape
  if all(type(size) is int for size in shape):  # the usual case, without sympy
    dims, strides = list(shape), tensor.stride()
    if all(type(stride) is int for stride in strides):
      return (DTYPE_NAMES[tensor.dtype], dims,
              None if _is_row_major(dims, strides) else list(strides))
  try:
    dims = [dim_of(s) for s in shape]
    strides = None if _is_contiguous(tensor) else [dim_of(s) for s in tensor.stride()]
  except sizes.Inexpressible as error:
    return ("opaque", str(error))
  return (DTYPE_NAMES[tensor.dtype], dims, strides)


def known_sizes(tensor: torch.Tensor) -> list:
  """The sizes of a tensor of another kind than native code holds; [] where they are not known."""
  if tensor.layout is not torch.strided or tensor.is_nested:
    return []
  try:
    return [dim_of(s) for s in tensor.shape]
  except sizes.Inexpressible:
    return []


def _is_row_major(dims: list[int], strides: tuple[int, ...]) -> bool:
  if 0 in dims:
    return True
  expected = 1
  for size, stride in zip(reversed(dims), reversed(strides)):
    if size != 1 and stride != expected:
      return False
    expected *= size
  return True


def _is_contiguous(tensor: torch.Tensor) -> bool:
  """Row-major by the text of the strides; asks no question that would add a guard."""
  expected: sympy.Basic = sympy.Integer(1)
  shape = [sizes.expression_of(s) for s in tensor.shape]
  strides = [sizes.expression_of(s) for s in tensor.stride()]
  if any(s == 0 for s in shape):
    return True
  for size, stride in zip(reversed(shape), reversed(strides)):
    if size != 1 and sympy.expand(stride - expected) != 0:
      return False
    expected = expected * size
  return True


@dataclass
class Lazy:
  """A host number that is only handed over when something real uses it."""

  node: Node
  handle: tuple | None = None


@dataclass
class GraphWalker:
  """Walks one graph (and the regions inside) into `cap`. `ranges` bounds the size symbols."""

  cap: Capture
  ranges: Mapping[sympy.Symbol, Any] = field(default_factory=dict)
  notes: list[str] = field(default_factory=list)
  weights: dict[tuple, int] = field(default_factory=dict)  # by storage: tied weights share
  declared: set[str] = field(default_factory=set)
  host_numbers: set[int] = field(default_factory=set)  # handles that are numbers, not tensors
  placement: Placement = Placement(torch.device("cpu"), "")

  def __post_init__(self) -> None:
    if self.placement.kind != "cpu":
      self.cap.device(self.placement.kind)

  def _meta(self, tensor: torch.Tensor) -> Meta:
    """tensor_meta(), but of a tensor that lies elsewhere than the program."""
    home = self.placement.home
    if tensor.device != home and tensor.device.type in ("cpu", "cuda") and not goes_anywhere(tensor):
      return ("opaque", f"on another device than the program: {tensor.device}")
    return tensor_meta(tensor)

  def _device(self, device: torch.device) -> tuple:
    """The program's own device goes by its kind, whichever one of it that is."""
    home = self.placement.home
    own = device.type == home.type and device.index in (None, home.index)
    return ("device", self.placement.kind if own else str(device))

  # ---- declarations ----

  def declare_symbols(self, value: Any) -> None:
    """Declares the symbols of a placeholder's sizes, once each, with their ranges."""
    parts = [value]
    if isinstance(value, torch.Tensor):
      parts = [*value.shape, *(value.stride() if value.layout is torch.strided else ())]
    for part in parts:
      for symbol in sizes.symbols_of(sizes.expression_of(part)):
        name = str(symbol)
        if name in self.declared or sizes.is_unbacked(symbol):
          continue
        self.declared.add(name)
        self.cap.symbol(name, *sizes.bounds(self.ranges.get(symbol)))

  def add_input(self, name: str, value: Any) -> tuple:
    """Declares the next runtime argument from its fake value; returns its encoding."""
    self.declare_symbols(value)
    if isinstance(value, torch.Tensor):
      meta = self._meta(value)
      if meta[0] == "opaque":
        return ("v", self.cap.object_input(name, meta[1], known_sizes(value)))
      return ("v", self.cap.input(name, *meta))
    kind = scalar_kind(value)
    if kind is None:
      raise FrontendError(
        "K1104", f"an input is neither tensor nor number: {name}, {type(value).__name__}")
    expr = None
    if kind == "i64":
      expr = str(dim_of(value))
    handle = self.cap.scalar_input(name, kind, expr)
    self.host_numbers.add(handle)
    return ("e", expr) if expr is not None else ("v", handle)

  def add_weight(self, name: str, tensor: torch.Tensor, kind: str) -> tuple:
    """Declares a parameter, buffer or constant; the same bytes seen again share one handle."""
    if isinstance(tensor, FakeTensor):  # _real() found none behind it
      raise FrontendError("K1104", "torch.export did not keep the value of a tensor, as of one that "
                          f"is read through .data: {name}", hint="use .detach() instead of .data")
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
      raise FrontendError("K1104", "a weight is a tensor subclass, which is not supported: "
                          f"{name}, {type(tensor).__name__}",
                          hint="flatten it first: exported_program.run_decompositions()")
    complex_parts = tensor.dtype.is_complex and tensor.layout is torch.strided
    if not complex_parts and (tensor.dtype not in DTYPE_NAMES
                              or tensor.layout is not torch.strided):
      raise FrontendError("K1104", "a weight has a type that is not supported: "
                          f"{name}, {dtype_name(tensor.dtype)}, {tensor.layout}")
    if self._meta(tensor)[0] == "opaque" and not complex_parts:
      raise FrontendError("K1104", "a weight lies on another device than the program: "
                          f"{name}, {tensor.device}, the program is on {self.placement.home}")
    key: tuple | None = None
    if tensor.numel() > 0:
      key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride(),
             str(tensor.device))
      if key in self.weights:
        return ("v", self.weights[key])
    if complex_parts:
      handle = self._add_complex_weight(name, tensor.detach(), kind)
    else:
      handle = self.cap.weight(name, tensor.detach(), kind)
    if key is not None:
      self.weights[key] = handle
    return ("v", handle)

  def _add_complex_weight(self, name: str, tensor: torch.Tensor, kind: str) -> int:
    """A complex weight is held as pairs of real numbers and joined by PyTorch at each run."""
    pairs = torch.view_as_real(tensor.resolve_conj()).contiguous()
    handle = self.cap.weight(name, pairs, kind)
    (joined,) = self.cap.call("aten::view_as_complex", "", [("v", handle)], [tensor_meta(tensor)],
                              ("", ""), str(aten.view_as_complex.default._schema))
    return joined

  def add_conditions(self, conditions: Sequence[sympy.Basic], text: str) -> bool:
    """Hands over conditions on sizes. False, and nothing is handed over, where the stream does not
    take one: no relation, or of a size that only running the program reveals."""
    relations = []
    for part in conditions:
      name = sizes.relation_name(part)
      if name is None or any(sizes.is_unbacked(s) for s in part.free_symbols):
        return False
      try:
        relations.append((name, *(sizes.print_expr(side) for side in part.args)))
      except sizes.Inexpressible:
        return False
    for name, left, right in relations:
      self.cap.condition(name, left, right, text)
    return True

  # ---- the walk ----

  def walk(self, module: GraphModule, env: dict[Node, Any], prefix: str = "") -> Any:
    """Hands over all nodes; `env` holds the encodings of the placeholders. Returns the encoding
    of the graph's output (a nested list)."""
    for node in module.graph.nodes:
      if node.op == "placeholder":
        if node not in env:
          raise FrontendError("K1105", f"a placeholder has no value: {node.name}")
      elif node.op == "get_attr":
        env[node] = self._attribute(module, node, prefix)
      elif node.op == "call_function":
        env[node] = self._function(node, env)
      elif node.op == "output":
        return self._encode(node.args[0], env, "", node)
      else:
        raise self._refuse("K1105", f"a node that is no ATen call: {node.op} {node.target}", node)
    raise FrontendError("K1105", "the graph has no output")

  def _refuse(self, code: str, message: str, node: Node, hint: str = "") -> FrontendError:
    path, location = origin_of(node)
    where = ", ".join(part for part in (path, location) if part)
    return FrontendError(code, message, location=where, hint=hint)

  def _attribute(self, module: GraphModule, node: Node, prefix: str) -> Any:
    value: Any = module
    for part in str(node.target).split("."):
      value = getattr(value, part)
    if isinstance(value, torch.Tensor):
      return self.add_weight(prefix + str(node.target), _real(value), "constant")
    return value  # a region's module, or an object that only a refused node can use

  def _function(self, node: Node, env: dict[Node, Any]) -> Any:
    target = node.target
    if target is operator.getitem:
      container, index = env[node.args[0]], node.args[1]
      if isinstance(container, list) and isinstance(index, int):
        return container[index]
    if isinstance(target, torch._ops.HigherOrderOperator):
      return self._higher_order(node, env)
    if target in _CONSTRAINTS:
      return None
    if target is aten._assert_tensor_metadata.default and self._metadata_holds(node):
      return None
    if target is aten._assert_scalar.default:
      condition = node.args[0]
      value = condition.meta.get("val") if isinstance(condition, Node) else condition
      if isinstance(value, (bool, torch.SymBool)):
        if sizes.always_true(value, self.ranges):
          return None
        expr = sizes.expression_of(value)
        text = node.args[1] if len(node.args) > 1 else node.kwargs.get("assert_msg", str(expr))
        if self.add_conditions(sympy.And.make_args(expr), text):
          return None
    if target in _SIZE_QUERIES or not isinstance(target, torch._ops.OpOverload):
      known = self._known_number(node)
      if known is not None:
        return known
      if target not in _SIZE_QUERIES:
        if scalar_kind(node.meta.get("val")) is None:
          raise self._refuse(
            "K1105", f"a function that is no ATen operator: {_function_name(target)}", node)
        return Lazy(node)
    return self._call(node, target, env)

  def _known_number(self, node: Node) -> Any:
    """The encoding of a number that follows from the sizes of the inputs, else None."""
    value = node.meta.get("val")
    if isinstance(value, (bool, int, float)):
      return value
    if isinstance(value, torch.SymBool):
      return self._known_predicate(node)
    if isinstance(value, torch.SymInt):
      try:
        dim = dim_of(value)
      except sizes.Inexpressible:
        return None
      return dim if isinstance(dim, int) else ("e", dim)
    if isinstance(value, torch.SymFloat) and value.node.expr.is_number:
      return float(value.node.expr)
    return None

  def _metadata_holds(self, node: Node) -> bool:
    """Whether an _assert_tensor_metadata says no more than what capture knows of its tensor."""
    value = node.args[0].meta.get("val")
    if not isinstance(value, torch.Tensor) or len(node.args) > 1:
      return False
    known = {"dtype": value.dtype, "device": value.device, "layout": value.layout}
    return all(wanted is None or known.get(key) == wanted for key, wanted in node.kwargs.items())

  def _call(self, node: Node, target: torch._ops.OpOverload, env: dict[Node, Any],
            arguments: tuple[tuple, dict] | None = None) -> Any:
    """Hands over one operator call; returns encodings in the structure of its result."""
    args, kwargs = arguments or (node.args, node.kwargs)
    schema = target._schema
    encoded = []
    for position, argument in enumerate(schema.arguments):
      kind = str(argument.real_type)
      if position < len(args) and not argument.kwarg_only:
        encoded.append(self._encode(args[position], env, kind, node))
      elif argument.name in kwargs:
        encoded.append(self._encode(kwargs[argument.name], env, kind, node))
      elif argument.has_default_value():
        encoded.append(_encode_default(argument.default_value, kind))
      else:
        raise self._refuse("K1105", f"a call lacks an argument: {target}, {argument.name}", node)
    return self._emit(node, schema.name, target._overloadname, encoded, node.meta.get("val"),
                      str(schema), single=len(schema.returns) == 1, has_result=bool(schema.returns))

  def _emit(self, node: Node, name: str, overload: str, args: list, value: Any, schema: str, *,
            single: bool, has_result: bool = True) -> Any:
    metas: list[Meta] = []

    def structure(v: Any) -> Any:
      if isinstance(v, (list, tuple)):
        return [structure(item) for item in v]
      kind = scalar_kind(v)
      if isinstance(v, torch.Tensor):
        metas.append(self._meta(v))
      elif kind is not None:
        metas.append(("scalar", kind))
      else:
        metas.append(("opaque", "no tensor" if v is None else f"a {type(v).__name__}"))
      return len(metas) - 1

    shape = structure(value) if has_result else []
    if has_result and single and value is None:
      raise self._refuse("K1105", f"a call of unknown result: {name}", node)
    overload = "" if overload == "default" else overload
    handles = self.cap.call(name, overload, args, metas, origin_of(node), schema)
    if len(handles) != len(metas):
      raise AssertionError(f"{name}: builder made {len(handles)} handles for {len(metas)} results")

    self.host_numbers.update(h for h, m in zip(handles, metas) if m[0] == "scalar")

    def encodings(s: Any) -> Any:
      return [encodings(item) for item in s] if isinstance(s, list) else ("v", handles[s])

    return encodings(shape)

  # ---- arguments ----

  def _encode(self, value: Any, env: dict[Node, Any], kind: str, node: Node) -> Any:
    if isinstance(value, Node):
      encoded = env[value]
      return self._force(encoded, env) if isinstance(encoded, Lazy) else encoded
    if value is None or isinstance(value, (bool, str)):
      return value
    if isinstance(value, int):
      if kind in ("float", "Optional[float]"):
        return float(value)
      return [value] if kind.startswith(("List[int]", "Optional[List[int]]")) else value
    if isinstance(value, float):
      return value
    if isinstance(value, complex):  # by name, as dtypes that Kiln has not: the call stays in torch
      return f"torch.complex({value.real!r}, {value.imag!r})"
    if isinstance(value, (list, tuple)):
      element = kind.removeprefix("Optional[").removeprefix("List[").rstrip("]")
      return [self._encode(item, env, element, node) for item in value]
    if isinstance(value, torch.dtype):
      return ("dtype", DTYPE_NAMES[value]) if value in DTYPE_NAMES else str(value)
    if isinstance(value, torch.device):
      return self._device(value)
    if isinstance(value, torch.layout):
      return ("layout", str(value).removeprefix("torch."))
    if isinstance(value, torch.memory_format):
      return ("memory_format", _MEMORY_FORMAT_NAMES[value])
    if isinstance(value, (torch.SymInt, torch.SymBool, torch.SymFloat)):
      try:
        if isinstance(value, torch.SymInt):
          dim = dim_of(value)
          return dim if isinstance(dim, int) else ("e", dim)
      except sizes.Inexpressible:
        pass
      raise self._refuse("K1105", f"a size that cannot be expressed: {value}", node)
    raise self._refuse(
      "K1105", f"an argument that cannot be expressed: {type(value).__name__} of {node.target}",
      node)

  def _force(self, lazy: Lazy, env: dict[Node, Any]) -> Any:
    """Hands over the computation of a host number: `_operator::truediv` and the like."""
    if lazy.handle is None:
      node = lazy.node
      args = [self._encode(a, env, "", node) for a in node.args]
      if node.kwargs:
        raise self._refuse(
          "K1105", f"a scalar function with keywords: {_function_name(node.target)}", node)
      lazy.handle = self._emit(node, _function_name(node.target), "", args, node.meta["val"], "",
                               single=True)
    return lazy.handle

  # ---- regions ----

  def _higher_order(self, node: Node, env: dict[Node, Any]) -> Any:
    name = node.target.name()
    if name == "wrap_with_set_grad_enabled":
      # a change of grad mode changes no value of a forward pass
      return self._inline(node, node.args[1], node.args[2:], env)
    if name == "wrap_with_autocast":
      device, _, enabled = node.args[:3]
      if not enabled or device not in ("cpu", "cuda"):
        return self._inline(node, node.args[4], node.args[5:], env)
      raise self._refuse(
        "K1103", "an autocast region changes dtypes and is not inlined", node,
        hint="exported_program.run_decompositions({}) writes the casts out")
    if name == "cond":
      return self._cond(node, env)
    if name in ("auto_functionalized", "auto_functionalized_v2"):
      return self._auto_functionalized(node, env, name.endswith("v2"))
    raise self._refuse("K1103", f"a higher-order operator that is not supported: {name}", node)

  def _inline(self, node: Node, region: Node, args: tuple, env: dict[Node, Any]) -> Any:
    body = env[region]
    if not isinstance(body, GraphModule):
      raise self._refuse("K1105", f"a region without a graph: {node.target}", node)
    inner: dict[Node, Any] = {}
    placeholders = [n for n in body.graph.nodes if n.op == "placeholder"]
    if len(placeholders) != len(args):
      raise self._refuse("K1105", f"a region with {len(placeholders)} inputs got {len(args)}", node)
    for placeholder, argument in zip(placeholders, args):
      inner[placeholder] = env[argument] if isinstance(argument, Node) else argument
    return self.walk(body, inner, prefix=f"{region.target}.")

  def _cond(self, node: Node, env: dict[Node, Any]) -> Any:
    """torch.cond: one branch where the sizes decide, else both and a choice (branches.py)."""
    predicate, *regions, operands = node.args
    known = self._known_predicate(predicate)
    if known is not None:
      return self._inline(node, regions[0 if known else 1], operands, env)
    condition = predicate.meta.get("val")
    if not isinstance(condition, torch.Tensor):
      raise self._refuse("K1103", "torch.cond on a size that decides at run time", node,
                         hint="torch.where chooses between results")
    for region in regions:
      reason = branches.reason_against(env[region])
      if reason:
        raise self._refuse(
          "K1103", "torch.cond with a branch that cannot be computed in vain, as it "
          f"{reason}", node, hint="torch.where chooses between results")
    chosen = env[predicate]
    if condition.ndim > 0:  # one element, in as many dims as it likes
      chosen = self._emit(node, "aten::reshape", "", [chosen, []], condition.new_empty(()),
                          str(aten.reshape.default._schema), single=True)
    results = []
    for taken, other, value in zip(*(self._inline(node, region, operands, env)
                                     for region in regions), node.meta["val"], strict=True):
      if taken == other:
        results.append(taken)
      elif isinstance(value, torch.Tensor):
        results.append(self._emit(node, "aten::where", "self", [chosen, taken, other], value,
                                  str(aten.where.self._schema), single=True))
      else:
        raise self._refuse("K1103", "torch.cond that returns different numbers", node)
    note = "both branches of torch.cond are computed, and torch.where chooses"
    if note not in self.notes:
      self.notes.append(note)
    return results

  def _known_predicate(self, predicate: Any) -> bool | None:
    """What the sizes of the inputs make of a condition; None where they do not decide."""
    value = predicate.meta.get("val") if isinstance(predicate, Node) else predicate
    if isinstance(value, torch.SymBool):
      return True if sizes.always_true(value, self.ranges) else \
        False if sizes.always_true(torch.sym_not(value), self.ranges) else None
    return value if isinstance(value, bool) else None

  def _auto_functionalized(self, node: Node, env: dict[Node, Any], second: bool) -> Any:
    """A mutating custom operator made pure: copy what it writes, call it, return the copies.

    The second version names whole bases; views of bases are refused (the caller turns it off).
    """
    operation = node.args[0]
    kwargs = dict(node.kwargs)
    schema = operation._schema
    written = [a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write]
    if second:
      bases = kwargs.pop("_all_bases")
      actual = {k: v for k, v in kwargs.items() if not k.startswith("_")}
      for argument in written:
        index = kwargs.pop(f"_{argument}_base_index")
        extra = [k for k in kwargs if k.startswith(f"_{argument}_") and k != f"_{argument}_alias"]
        if extra:
          raise self._refuse("K1103", f"a custom operator writes to a view: {operation}", node)
        actual[argument] = None if index is None else bases[index]
      kwargs = actual
      originals = list(bases)
    else:
      originals = [kwargs[argument] for argument in written]
    copies: dict[Node, Any] = {}
    local = dict(env)
    for original in originals:
      for tensor in original if isinstance(original, (list, tuple)) else [original]:
        if isinstance(tensor, Node) and tensor not in copies:
          copy = self._emit(node, "aten::clone", "", [env[tensor], None], tensor.meta["val"],
                            str(aten.clone.default._schema), single=True)
          copies[tensor] = local[tensor] = copy

    def written_of(original: Any) -> Any:
      if isinstance(original, (list, tuple)):
        return [written_of(item) for item in original]
      return copies.get(original) if isinstance(original, Node) else None

    outputs = node.meta["val"]
    results = len(outputs) - len(originals)
    value = None if results == 0 else outputs[0] if len(schema.returns) == 1 else outputs[:results]
    args = [self._encode(kwargs[a.name], local, str(a.real_type), node) if a.name in kwargs
            else _encode_default(a.default_value, str(a.real_type)) for a in schema.arguments]
    if not schema.returns:
      value = None
    returned = self._emit(node, schema.name, operation._overloadname, args, value, str(schema),
                          single=len(schema.returns) == 1, has_result=bool(schema.returns))
    if not schema.returns:
      head: list = [None] * results  # a result of None stands first when nothing is returned
    else:
      head = [returned] if len(schema.returns) == 1 else list(returned)
    return head + [written_of(original) for original in originals]


def _real(tensor: torch.Tensor) -> torch.Tensor:
  """The constant behind a fake tensor (tracing keeps it), or the tensor itself."""
  constant = getattr(tensor, "constant", None)
  return constant if isinstance(constant, torch.Tensor) else tensor


def _function_name(target: Callable) -> str:
  module = getattr(target, "__module__", "") or ""
  return f"{module}::{getattr(target, '__name__', target)}"


def _encode_default(value: Any, kind: str) -> Any:
  """A schema default; enumerations come as bare numbers there."""
  base = kind.removeprefix("Optional[").rstrip("]") if kind.startswith("Optional[") else kind
  if isinstance(value, int) and not isinstance(value, bool):
    if base == "MemoryFormat":
      return ("memory_format", _MEMORY_FORMATS[value])
    if base == "ScalarType":
      return ("dtype", _SCALAR_TYPES[value])
    if base == "Layout":
      return ("layout", "strided")
    if base == "float":
      return float(value)
  if isinstance(value, torch.device):
    return ("device", str(value))
  if isinstance(value, (list, tuple)):
    return list(value)
  return value
