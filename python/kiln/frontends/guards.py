"""Conditions on input sizes that an exported program was specialised to.

torch.export keeps them as text over input sources ("L['x'].size()[0] % 2 == 0"). Most follow from
the symbols and their ranges; what remains must be checked at run time, or the program would be
silently wrong for other sizes.
"""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass
from typing import Mapping, Sequence

import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree
from torch.utils._sympy import functions as torch_functions

from . import symbols as sizes
from .errors import FrontendError

_RELATIONS = {ast.Eq: sympy.Eq, ast.NotEq: sympy.Ne, ast.LtE: sympy.Le, ast.Lt: sympy.Lt,
              ast.GtE: sympy.Ge, ast.Gt: sympy.Gt}
_ARITHMETIC = {
  ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
  ast.FloorDiv: torch_functions.FloorDiv, ast.Mod: torch_functions.PythonMod,
}
_EXTREMES = {"max": torch_functions.Max, "Max": torch_functions.Max,
             "min": torch_functions.Min, "Min": torch_functions.Min}


@dataclass
class Guard:
  relations: list[sympy.Basic]  # between sizes; all of them hold
  text: str


def parse_guards(program: ExportedProgram, parameters: Sequence[str]) -> list[Guard]:
  """The conditions that a program states beside its graph.

  Raises FrontendError K1105 for one that is not a relation between sizes.
  """
  texts = list(getattr(program, "_guards_code", None) or [])
  if not texts:
    return []
  sources = _sources(program, parameters)
  return [_parse(text, sources) for text in texts]


def _sources(program: ExportedProgram, parameters: Sequence[str]
             ) -> dict[str, torch.Tensor | torch.SymInt]:
  """"L['x']" -> fake tensor or integer, for all arguments, nested ones by their key path.

  Strict export names them by position: "L['flat_args'][0]".
  """
  nodes = [n for n, spec in zip((n for n in program.graph.nodes if n.op == "placeholder"),
                                program.graph_signature.input_specs)
           if spec.kind is InputKind.USER_INPUT]
  skeleton = pytree.tree_unflatten(list(range(len(nodes))), program.call_spec.in_spec)
  sources: dict[str, torch.Tensor | torch.SymInt] = {}
  for path, index in pytree.tree_flatten_with_path(skeleton)[0]:
    value = nodes[index].meta.get("val")
    if not isinstance(value, (torch.Tensor, torch.SymInt)):
      continue
    group, first, rest = path[0].idx, path[1], path[2:]
    if group == 1:
      name = first.key
    elif first.idx < len(parameters):
      name = parameters[first.idx]
    else:
      name = nodes[index].name
    sources[f"L['{name}']{pytree.keystr(rest)}"] = value
    sources[f"L['flat_args'][{index}]"] = value
  return sources


#: An argument or a part of it, with a dim where its size is meant.
_SOURCE = re.compile(r"(?P<source>L(?:\[(?:'[^']*'|\d+)\]|\.(?!size\(\))\w+)+)"
                     r"(?:\.size\(\)\[(?P<dim>\d+)\])?")


def _parse(text: str, sources: Mapping[str, torch.Tensor | torch.SymInt]) -> Guard:
  symbols: dict[str, sympy.Basic] = {}

  def size(match: re.Match) -> str:
    value = sources.get(match["source"])
    if isinstance(value, torch.Tensor) and match["dim"] is not None:
      value = value.shape[int(match["dim"])]
    if not isinstance(value, (int, torch.SymInt)):
      raise _inexpressible(text)
    name = f"size_{len(symbols)}"
    symbols[name] = sizes.expression_of(value)
    return name

  try:
    tree = ast.parse(_SOURCE.sub(size, text), mode="eval").body
  except SyntaxError:
    raise _inexpressible(text) from None

  def build(node: ast.AST) -> sympy.Basic:
    if isinstance(node, ast.Constant) and type(node.value) is int:
      return sympy.Integer(node.value)
    if isinstance(node, ast.Name) and node.id in symbols:
      return symbols[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
      return -build(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
      return _ARITHMETIC[type(node.op)](build(node.left), build(node.right))
    if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        and node.func.id in _EXTREMES):
      return _EXTREMES[node.func.id](*[build(a) for a in node.args])
    raise _inexpressible(text)

  def relation(node: ast.AST) -> sympy.Basic:
    if (not isinstance(node, ast.Compare) or len(node.ops) != 1
        or type(node.ops[0]) not in _RELATIONS):
      raise _inexpressible(text)
    return _RELATIONS[type(node.ops[0])](build(node.left), build(node.comparators[0]))

  together = isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)
  return Guard([relation(part) for part in (tree.values if together else [tree])], text)


def _inexpressible(text: str) -> FrontendError:
  return FrontendError("K1105", f"a condition on the inputs that cannot be checked: {text}",
                       hint="give the dims ranges with torch.export.Dim or kiln.Input")
