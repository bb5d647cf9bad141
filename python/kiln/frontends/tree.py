"""Nested inputs and outputs: flattening, rebuilding, and a JSON description that a file can keep.

A description is a tree of JSON objects:
  {"kind": "tensor" | "scalar", "index": k}         the k-th runtime input or output; an input that
      only PyTorch can hold has "dtype" and "shape" (None for a size that varies) as well; a tensor
      where the model may be given None has "optional": true
  {"kind": "const", "value": ...}                   fixed at capture; checked on input
  {"kind": "expr", "text": "2*s0"}                  an integer that follows from the sizes
  {"kind": "list" | "tuple", "items": [...]}
  {"kind": "dict", "keys": [...], "items": [...], "type"?: "collections.OrderedDict"}
  {"kind": "named_tuple", "type": "module.Name", "fields": [...], "items": [...]}
  {"kind": "custom", "type": "module.Name", "context": JSON, "items": [...]}
"custom" is any type known to torch's pytree (transformers' ModelOutput and caches, dataclasses).

A description may come from a stranger's file, so rebuilding never imports a module outside
_IMPORTABLE and only makes instances of types that pytree knows or of named tuples. For a named tuple
that is not there one of the same name and fields is made, as torch.jit does for its own; anything
else comes back as a dict or tuple. A note says so.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any, Callable, Iterable, Mapping, Sequence

import torch
from torch.utils import _pytree as pytree

from .errors import FrontendError, StructureError
from .symbols import compile_expr

_IMPORTABLE = ("transformers", "torchvision", "collections")


def register_known_types() -> list[str]:
  """Registers the cache types of transformers with pytree if transformers is loaded.

  Returns the names of all types that are registered by this or an earlier call. ModelOutput
  registers itself.
  """
  if "transformers" not in sys.modules:
    return []
  registered = []
  cache_utils = importlib.import_module("transformers.cache_utils")
  dynamic = getattr(cache_utils, "DynamicCache", None)
  if dynamic is not None:
    if dynamic not in pytree.SUPPORTED_NODES:
      try:
        from transformers.integrations.executorch import register_dynamic_cache_export_support
      except ImportError:
        _register_dynamic_cache(dynamic)
      else:
        register_dynamic_cache_export_support()
    registered.append("transformers.cache_utils.DynamicCache")
  encoder_decoder = getattr(cache_utils, "EncoderDecoderCache", None)
  if encoder_decoder is not None:
    if encoder_decoder not in pytree.SUPPORTED_NODES:
      pytree.register_pytree_node(
        encoder_decoder,
        lambda c: ([c.self_attention_cache, c.cross_attention_cache], None),
        lambda values, _: encoder_decoder(*values),
        serialized_type_name="transformers.cache_utils.EncoderDecoderCache",
        flatten_with_keys_fn=lambda c: (
          [(pytree.GetAttrKey("self_attention_cache"), c.self_attention_cache),
           (pytree.GetAttrKey("cross_attention_cache"), c.cross_attention_cache)], None),
      )
    registered.append("transformers.cache_utils.EncoderDecoderCache")
  return registered


def _register_dynamic_cache(cls: type) -> None:
  """For transformers without its own export support: layers with `keys` and `values`."""

  def parts(cache):
    layers = [layer for layer in cache.layers if layer.keys is not None]
    return [[layer.keys for layer in layers], [layer.values for layer in layers]]

  names = ["key_cache", "value_cache"]
  pytree.register_pytree_node(
    cls,
    lambda cache: (parts(cache), names),
    lambda values, _: cls(zip(*values)),
    serialized_type_name="transformers.cache_utils.DynamicCache",
    flatten_with_keys_fn=lambda cache: (
      [(pytree.MappingKey(n), p) for n, p in zip(names, parts(cache))], names),
  )


def type_name(cls: type) -> str:
  return f"{cls.__module__}.{cls.__qualname__}"


# ---- description -------------------------------------------------------------------------------


def _json_value(value: Any, what: str) -> Any:
  """`value` if JSON keeps it unchanged (tuples become lists only in contexts), else K1106."""
  if value is None or isinstance(value, (bool, int, str)):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else {"float": repr(value)}
  raise FrontendError("K1106", f"{what} cannot be described: {value!r} of {type_name(type(value))}")


def _const_value(value: Any) -> Any:
  if isinstance(value, dict) and set(value) == {"float"}:
    return float(value["float"])
  return value


def describe(spec: pytree.TreeSpec, leaves: Sequence[dict]) -> dict:
  """The description of a TreeSpec whose leaves are, in order, described by `leaves`.

  Raises K1106 for dict keys and contexts that JSON cannot hold.
  """
  remaining = iter(leaves)
  description = _describe(spec, remaining)
  if next(remaining, None) is not None:
    raise ValueError("more leaves than the structure has")
  return description


def _describe(spec: pytree.TreeSpec, leaves: Iterable[dict]) -> dict:
  if spec.is_leaf():
    leaf = dict(next(leaves))
    if leaf["kind"] == "const":
      leaf["value"] = _json_value(leaf["value"], "a constant")
    return leaf
  items = [_describe(child, leaves) for child in spec.children()]
  cls, context = spec.type, spec.context
  if cls in (list, tuple):
    return {"kind": cls.__name__, "items": items}
  if cls in (dict, OrderedDict, defaultdict):
    keys = context[1] if cls is defaultdict else context
    described = {"kind": "dict", "keys": [_json_value(k, "a dict key") for k in keys],
                 "items": items}
    if cls is OrderedDict:
      described["type"] = "collections.OrderedDict"
    return described
  if cls is pytree.namedtuple:
    return {"kind": "named_tuple", "type": type_name(context), "fields": list(context._fields),
            "items": items}
  if cls is deque:
    return {"kind": "list", "items": items}
  try:
    text = json.dumps(context)
    plain = json.loads(text)
    if plain != context:
      raise TypeError("not kept by JSON")
  except (TypeError, ValueError) as error:
    raise FrontendError(
      "K1106", f"a nested type cannot be described: {type_name(cls)} ({error})",
      hint="return a dict, list or tuple") from error
  return {"kind": "custom", "type": type_name(cls), "context": plain, "items": items}


# ---- types by name -----------------------------------------------------------------------------


def _find_type(name: str) -> type | None:
  """The type called `name`, importing its module only from packages in _IMPORTABLE.

  TorchScript leaves the module `__main__` out of the names of types.
  """
  register_known_types()
  module_name, _, qualified = name.rpartition(".")
  module_name = module_name or "__main__"
  module = sys.modules.get(module_name)
  if module is None:
    if module_name.split(".")[0] not in _IMPORTABLE:
      return None
    try:
      module = importlib.import_module(module_name)
    except ImportError:
      return None
    register_known_types()
  found = module.__dict__.get(qualified)
  return found if isinstance(found, type) else None


def _cache_builder(cls: type, context: Any) -> Callable[[list, Any], Any] | None:
  """Makes a plain DynamicCache without the copy that filling it through `update` costs."""
  module = sys.modules.get("transformers.cache_utils")
  if module is None or cls is not getattr(module, "DynamicCache", None):
    return None
  layer_type = getattr(module, "DynamicLayer", None)
  windowed = isinstance(context, list) and len(context) == 2 and any(
    window is not None for window in context[1] if isinstance(context[1], list))
  if layer_type is None or windowed:
    return None

  def build(items: list, _: Any) -> Any:
    keys, values = items
    cache = cls()
    for key, value in zip(keys, values):
      layer = layer_type()
      layer.keys, layer.values = key, value
      layer.dtype, layer.device = key.dtype, key.device
      layer.is_initialized = True
      cache.layers.append(layer)
    return cache

  return build


def _context_keys(description: dict) -> list | None:
  """Names of a custom node's children where its context tells them."""
  context, count = description["context"], len(description["items"])
  for candidate in (context, context[0] if isinstance(context, list) and context else None):
    if (isinstance(candidate, list) and len(candidate) == count
        and all(isinstance(k, str) for k in candidate)):
      return candidate
  return None


# ---- rebuilding --------------------------------------------------------------------------------

Rebuild = Callable[[Sequence[Any], Mapping[str, int]], Any]


def make_unflatten(description: dict, notes: list[str] | None = None) -> Rebuild:
  """A function (values by index, symbol values) -> nested value.

  A type that cannot be found or must not be imported becomes a dict or tuple, with a line in
  `notes`. Raises K1106 for a description that is not one.
  """
  notes = notes if notes is not None else []
  try:
    return _unflatten(description, notes)
  except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
    raise FrontendError("K1106", f"not a description of a nested value: {error}") from error


def _unflatten(node: dict, notes: list[str]) -> Rebuild:
  kind = node["kind"]
  if kind in ("tensor", "scalar"):
    index = int(node["index"])
    return lambda values, sizes: values[index]
  if kind == "const":
    constant = _const_value(node["value"])
    return lambda values, sizes: constant
  if kind == "expr":
    evaluate = compile_expr(node["text"])
    return lambda values, sizes: evaluate(sizes)
  items = [_unflatten(item, notes) for item in node["items"]]
  if kind == "list":
    return lambda values, sizes: [item(values, sizes) for item in items]
  if kind == "tuple":
    return lambda values, sizes: tuple([item(values, sizes) for item in items])
  if kind == "dict":
    pairs = list(zip(node["keys"], items, strict=True))
    make = OrderedDict if node.get("type") == "collections.OrderedDict" else dict
    return lambda values, sizes: make([(key, item(values, sizes)) for key, item in pairs])
  if kind == "named_tuple":
    cls = _find_type(node["type"])
    fields = list(node["fields"])
    if len(fields) != len(items):
      raise ValueError("as many fields as items")
    if (cls is None or not issubclass(cls, tuple)
        or getattr(cls, "_fields", None) != tuple(fields)):
      notes.append("output type is not available, a named tuple of the same fields stands for it: "
                   f"{node['type']}")
      cls = namedtuple(node["type"].rpartition(".")[2], fields, rename=True)
    return lambda values, sizes: cls(*[item(values, sizes) for item in items])
  if kind == "custom":
    cls = _find_type(node["type"])
    definition = pytree.SUPPORTED_NODES.get(cls) if cls is not None else None
    context = node["context"]
    if definition is not None:
      build = _cache_builder(cls, context) or definition.unflatten_fn
      return lambda values, sizes: build([item(values, sizes) for item in items], context)
    keys = _context_keys(node)
    stand_in = "dict" if keys else "tuple"
    notes.append(f"output type is not available, a {stand_in} stands for it: {node['type']}")
    if keys:
      named = list(zip(keys, items, strict=True))
      return lambda values, sizes: {key: item(values, sizes) for key, item in named}
    return lambda values, sizes: tuple([item(values, sizes) for item in items])
  raise ValueError(f"unknown kind {kind!r}")


# ---- flattening --------------------------------------------------------------------------------

Flatten = Callable[[Any, list], None]


def _checked(put: Flatten, description: dict, what: str) -> Flatten:
  """Checks what native code does not: dtype and shape of a tensor that only PyTorch can hold."""
  dtype, shape = f"torch.{description['dtype']}", description["shape"]

  def check_and_put(value, out):
    put(value, out)
    fits = str(value.dtype) == dtype and len(shape) == value.dim() and all(
      wanted in (None, size) for wanted, size in zip(shape, value.shape))
    if not fits:
      raise StructureError(f"{what} must be {dtype} of shape {shape}, "
                           f"got {value.dtype} of shape {list(value.shape)}")

  return check_and_put


def make_flatten(description: dict, what: str = "input") -> Flatten:
  """A function (nested value, list) that puts the runtime leaves into the list by index.

  Raises StructureError where the value's structure or a constant differs from the description.
  """
  kind = description["kind"]
  if kind in ("tensor", "scalar"):
    index = int(description["index"])
    is_tensor = kind == "tensor"

    def put(value, out):
      if is_tensor != isinstance(value, torch.Tensor):
        raise StructureError(f"{what} must be a {kind}, got {type(value).__name__}")
      out[index] = value

    return _checked(put, description, what) if "dtype" in description else put
  if kind == "const":
    constant = _const_value(description["value"])

    def check(value, out):
      if type(value) is not type(constant) or value != constant:
        raise StructureError(f"{what} was fixed at capture to {constant!r}, got {value!r}",
                             hint="compile again with this value")

    return check
  if kind == "expr":
    raise ValueError("an expression cannot be an input")
  if kind in ("list", "tuple"):
    items = [make_flatten(d, f"{what}[{i}]") for i, d in enumerate(description["items"])]
    expected = list if kind == "list" else tuple

    def put_items(value, out):
      if not isinstance(value, expected) or len(value) != len(items):
        got = f"{type(value).__name__} of {len(value)}" if isinstance(value, (list, tuple)) \
          else type(value).__name__
        raise StructureError(f"{what} must be a {kind} of {len(items)}, got {got}")
      for item, part in zip(items, value):
        item(part, out)

    return put_items
  if kind == "dict":
    keyed = [(k, make_flatten(d, f"{what}[{k!r}]"))
             for k, d in zip(description["keys"], description["items"], strict=True)]

    def put_dict(value, out):
      if not isinstance(value, dict) or set(value) != {k for k, _ in keyed}:
        got = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise StructureError(
          f"{what} must be a dict with keys {[k for k, _ in keyed]}, got {got}")
      for key, item in keyed:
        item(value[key], out)

    return put_dict
  if kind == "named_tuple":
    named = [(f, make_flatten(d, f"{what}.{f}"))
             for f, d in zip(description["fields"], description["items"], strict=True)]

    def put_named(value, out):
      if getattr(value, "_fields", None) != tuple(f for f, _ in named):
        raise StructureError(
          f"{what} must be a {description['type']}, got {type(value).__name__}")
      for name, item in named:
        item(getattr(value, name), out)

    return put_named
  if kind == "custom":
    name, context = description["type"], description["context"]
    items = [make_flatten(d, f"{what}.{i}") for i, d in enumerate(description["items"])]

    def put_custom(value, out):
      definition = pytree.SUPPORTED_NODES.get(type(value))
      if definition is None or type_name(type(value)) != name:
        raise StructureError(f"{what} must be a {name}, got {type_name(type(value))}")
      children, got_context = definition.flatten_fn(value)
      if len(children) != len(items) or got_context != context:
        raise StructureError(f"{what} must be a {name} like the captured one ({context}), "
                             f"got {got_context}")
      for item, part in zip(items, children):
        item(part, out)

    return put_custom
  raise ValueError(f"unknown kind {kind!r}")


def make_binder(description: dict, count: int,
                parameters: Sequence[str] = ()) -> Callable[[tuple, dict], list]:
  """A function (args, kwargs) -> runtime leaves, for the description of `(args, kwargs)`.

  `parameters` are the positional parameter names of the module's forward, so that an argument
  captured by position may be given by name and the other way round. Raises StructureError.
  """
  args_node, kwargs_node = description["items"]
  arity = len(args_node["items"])
  positional = [make_flatten(d, parameters[i] if i < len(parameters) else f"argument {i}")
                for i, d in enumerate(args_node["items"])]
  keyword = {k: make_flatten(d, k)
             for k, d in zip(kwargs_node["keys"], kwargs_node["items"], strict=True)}
  positions = {name: i for i, name in enumerate(parameters)}

  def place(args: tuple, kwargs: dict) -> tuple[list, dict]:
    """Moves arguments between positions and names until they stand as captured."""
    placed = dict(enumerate(args[:arity]))
    named = dict(kwargs)
    for i, value in enumerate(args[arity:], start=arity):
      if i >= len(parameters) or parameters[i] not in keyword:
        raise StructureError(f"too many positional arguments: expected {arity}, got {len(args)}")
      if parameters[i] in named:
        raise StructureError(f"argument given twice: {parameters[i]}")
      named[parameters[i]] = value
    for name in list(named):
      i = positions.get(name, arity)
      if name not in keyword and i < arity:
        if i in placed:
          raise StructureError(f"argument given twice: {name}")
        placed[i] = named.pop(name)
    missing = [parameters[i] if i < len(parameters) else f"argument {i}"
               for i in range(arity) if i not in placed]
    missing += [k for k in keyword if k not in named]
    unknown = [k for k in named if k not in keyword]
    if missing:
      raise StructureError(f"missing arguments: {', '.join(missing)}")
    if unknown:
      raise StructureError(
        f"arguments that the captured program does not have: {', '.join(unknown)}",
        hint="capture again with example inputs for them")
    return [placed[i] for i in range(arity)], named

  def bind(args: tuple, kwargs: dict) -> list:
    if len(args) != arity or kwargs.keys() != keyword.keys():
      args, kwargs = place(args, kwargs)
    out: list = [None] * count
    for put, value in zip(positional, args):
      put(value, out)
    for name, put in keyword.items():
      put(kwargs[name], out)
    return out

  return bind


def leaf_names(spec: pytree.TreeSpec) -> list[str]:
  """A readable path for each leaf: "last_hidden_state", "past_key_values.key_cache.0"."""
  names: list[str] = []

  def visit(node: pytree.TreeSpec, path: tuple[str, ...]) -> None:
    if node.is_leaf():
      names.append(".".join(path))
      return
    context, count = node.context, node.num_children
    keys: Sequence[Any] = range(count)
    if node.type is pytree.namedtuple:
      keys = context._fields
    elif node.type is defaultdict:
      keys = context[1]
    elif node.type not in (list, tuple, deque):
      for candidate in (context, context[0] if isinstance(context, (list, tuple)) and context
                        else None):
        if (isinstance(candidate, (list, tuple)) and len(candidate) == count
            and all(isinstance(k, (str, int)) for k in candidate)):
          keys = candidate
          break
    for key, child in zip(keys, node.children()):
      visit(child, (*path, str(key)))

  visit(spec, ())
  return names
