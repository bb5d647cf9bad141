"""A module as an FX graph: torch.fx.symbolic_trace, without what that gets wrong in silence.

symbolic_trace runs forward with stand-ins (proxies) for the arguments and writes down what is done
to them. Here stand-ins take the place of buffers as well, so that writes to buffers and assignments
to elements become nodes, and plain values of the call are fixed. What would be lost is refused:
random numbers, which would be drawn once and for all, and regions of autocast.
"""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node, Proxy
from torch.utils._python_dispatch import TorchDispatchMode

from .errors import FrontendError

_HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
          "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


class _Untraceable(RuntimeError):
  """What torch.fx would take for granted while it traces."""


class _Proxy(Proxy):
  def __setitem__(self, index: Any, value: Any) -> None:
    self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


class _Tracer(torch.fx.Tracer):
  proxy_buffer_attributes = True
  record_stack_traces = True

  def __init__(self) -> None:
    super().__init__()
    self._autocast = _autocast_state()

  def proxy(self, node: Node) -> Proxy:
    return _Proxy(node, self)

  def create_node(self, *args: Any, **kwargs: Any) -> Node:
    if _autocast_state() != self._autocast:
      raise _Untraceable("a region of autocast, which an FX graph cannot hold")
    return super().create_node(*args, **kwargs)


def _autocast_state() -> tuple:
  return tuple((torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
               for device in ("cpu", "cuda"))


class _NoRandomNumbers(TorchDispatchMode):
  """What runs while torch.fx traces runs once, and its result is a constant."""

  def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
    if torch.Tag.nondeterministic_seeded in func.tags:
      raise _Untraceable(f"random numbers made of no argument, which would be a constant: {func}")
    return func(*args, **(kwargs or {}))


def trace(module: torch.nn.Module, args: tuple = (), kwargs: dict[str, Any] | None = None
          ) -> GraphModule:
  """The graph of a call with these arguments, of which only plain Python values matter: they are
  fixed, as are defaults that are not given. The module stays as it is. K1102."""
  tracer = _Tracer()
  before = _Attributes(module)
  try:
    constants = _constants(module, args, kwargs or {})
    with _NoRandomNumbers():
      graph = tracer.trace(module, constants or None)
    # torch.fx numbers the names of parameters that it fixes, and puts *args and **kwargs last
    for node, name in zip(graph.find_nodes(op="placeholder"), _named_parameters(module)):
      node.target = name
      node._rename(name)  # a value must not take the name of another parameter
    before.write_back(graph)
    before.restore()  # the graph's module takes what it reads from this one
    traced = GraphModule(tracer.root, graph, type(module).__name__)
  except Exception as error:  # noqa: BLE001: tracing raises whatever the model raises
    text = " ".join(str(error).split())[:400] or "no message"
    kind = "" if isinstance(error, _Untraceable) else f"{type(error).__name__}: "
    raise FrontendError("K1102", f"torch.fx could not trace the model: {kind}{text}",
                        hint='ir="dynamo" captures it with torch.export') from error
  finally:
    before.restore()
  for name in _HOOKS:  # tracing begins inside the module
    setattr(traced, name, getattr(module, name))
  return traced


def _named_parameters(module: torch.nn.Module) -> list[str]:
  several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
  return [p.name for p in inspect.signature(module.forward).parameters.values()
          if p.kind not in several]


def _constants(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
  """The named parameters of forward that hold a plain value in this call."""
  bound = inspect.signature(module.forward).bind(*args, **kwargs)
  bound.apply_defaults()
  return {name: value for name, value in bound.arguments.items()
          if value is None or isinstance(value, (bool, int, float, str))}


class _Attributes:
  """What a module and those in it hold, to find and undo what tracing leaves behind."""

  def __init__(self, module: torch.nn.Module):
    self._held = [(path, values, dict(values)) for path, child in module.named_modules()
                  for values in (child._buffers, vars(child))]

  def write_back(self, graph: torch.fx.Graph) -> None:
    """A buffer that forward replaced gets its value at the end of the graph."""
    with graph.inserting_before(graph.output_node()):
      for path, values, before in self._held:
        for name, value in values.items():
          if isinstance(value, Proxy) and isinstance(before.get(name), torch.Tensor):
            buffer = graph.get_attr(f"{path}.{name}" if path else name)
            graph.call_method("copy_", (buffer, value.node))

  def restore(self) -> None:
    for _, values, before in self._held:
      for name in [name for name, value in values.items() if isinstance(value, Proxy)]:
        if name in before:
          values[name] = before[name]
        else:
          del values[name]
