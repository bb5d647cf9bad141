"""torch.fx.GraphModule for the export door: a form that torch.export runs as Python does, and the
FX nodes as origins of the captured calls.

torch.export runs a GraphModule that it is given by torch.fx.Interpreter, which takes keyword
arguments in the order of the call, not by their names, knows no `**kwargs` and runs no hooks. So
export is given a plain module over the same attributes, whose forward is the graph's own generated
code.
"""

from __future__ import annotations

import re
import traceback
from typing import Any, Iterator

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from .origins import clean_module_path, location_of_trace, set_origin


def as_plain_module(module: GraphModule) -> torch.nn.Module:
  """An nn.Module that is `module` in all but its class: attributes are shared, not copied."""
  force = getattr(type(module), "force_recompile", None)
  if force is not None:
    force(module)  # a _LazyGraphModule, whose forward is not written yet
  plain = type(type(module).__name__, (torch.nn.Module,), {
    "forward": type(module).forward, "__module__": type(module).__module__})
  result = plain.__new__(plain)
  result.__dict__ = module.__dict__
  return result


class NodeLines:
  """The FX nodes behind lines of generated code, of all GraphModules in a module."""

  _FRAME = re.compile(r'^\s*File "(?P<file><eval_with_key>[^"]*)", line (?P<line>\d+)', re.MULTILINE)

  def __init__(self, module: torch.nn.Module):
    self._modules: dict[str, tuple[str, GraphModule | torch.nn.Module]] = {}
    for path, child in module.named_modules():
      code = getattr(type(child).forward, "__code__", None)
      if code is not None and hasattr(child, "_lineno_map"):
        self._modules[code.co_filename] = (path, child)

  def __bool__(self) -> bool:
    return bool(self._modules)

  def of_trace(self, stack_trace: str) -> tuple[str, Node] | None:
    """The path of the innermost GraphModule in the trace and its node; None where there is none."""
    frames = [(m["file"], int(m["line"])) for m in self._FRAME.finditer(stack_trace)]
    return next(self._found(reversed(frames)), None)

  def of_error(self, error: BaseException) -> tuple[str, Node] | None:
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    return next(self._found(reversed(frames)), None)

  def _found(self, frames: Any) -> Iterator[tuple[str, Node]]:
    for file, line in frames:
      if file not in self._modules:
        continue
      path, module = self._modules[file]
      index = module._lineno_map.get(line - module._prologue_start)
      nodes = list(module._graph.nodes)
      if index is not None and index < len(nodes):  # a graph may be edited and not recompiled
        yield path, nodes[index]


def describe_node(path: str, node: Node) -> str:
  """"%add_1", or "block.%add_1" of a GraphModule that is a submodule."""
  return f"{path}.%{node.name}" if path else f"%{node.name}"


def name_origins(program: ExportedProgram, lines: NodeLines) -> None:
  """Gives calls from generated code the module path and place of their FX node.

  A path is the innermost module that ran the call; where that is the graph itself, the module that
  torch.fx inlined there. A place is the user's line where the node kept it, else the node's name.
  """
  for graph in program.graph_module.modules():
    if not isinstance(graph, GraphModule):
      continue
    for node in graph.graph.nodes:
      text = node.meta.get("stack_trace")
      found = lines.of_trace(text) if node.op == "call_function" and text else None
      if found is None:
        continue
      home, source = found
      path = _innermost(node)
      if not path.startswith(f"{home}." if home else "") or path == home:
        path = ".".join(part for part in (home, _innermost(source)) if part)
      set_origin(node, path, location_of_trace(text)
                 or location_of_trace(source.meta.get("stack_trace") or "")
                 or describe_node(home, source))


def _innermost(node: Node) -> str:
  stack = node.meta.get("nn_module_stack")
  return clean_module_path(str(list(stack.values())[-1][0])) if stack else ""
