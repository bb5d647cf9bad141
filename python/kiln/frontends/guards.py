"""Conditions on input sizes that an exported program was specialised to.

torch.export keeps them as text over input sources ("L['x'].size()[0] % 2 == 0"). Most follow from
the symbols and their ranges; what remains must be checked at run time, or the program would be
silently wrong for other sizes.
"""

from __future__ import annotations

import ast
import operator
import re
from typing import Any, Mapping, Sequence

import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree
from torch.utils._sympy import functions as torch_functions

from . import symbols as sizes
from .errors import FrontendError

_RELATIONS = {
  ast.Eq: ("eq", sympy.Eq), ast.NotEq: ("ne", sympy.Ne), ast.LtE: ("le", sympy.Le),
  ast.Lt: ("lt", sympy.Lt), ast.GtE: ("ge", sympy.Ge), ast.Gt: ("gt", sympy.Gt),
}
_ARITHMETIC = {
  ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
  ast.FloorDiv: torch_functions.FloorDiv, ast.Mod: torch_functions.PythonMod,
}
_EXTREMES = {"max": torch_functions.Max, "Max": torch_functions.Max,
             "min": torch_functions.Min, "Min": torch_functions.Min}


class Guard:
  """`left relation right` over sizes; relation is the name of a function in `operator`."""

  def __init__(self, relation: str, left: sympy.Basic, right: sympy.Basic, text: str):
    self.relation = relation
    self.left = left
    self.right = right
    self.text = text

  def __str__(self) -> str:
    return self.text


def unproved_guards(program: ExportedProgram, parameters: Sequence[str]) -> list[Guard]:
  """The guards that the ranges of the symbols do not imply.

  Raises FrontendError K1105 for a guard that is not a relation between sizes.
  """
  texts = list(getattr(program, "_guards_code", None) or [])
  if not texts:
    return []
  sources = _sources(program, parameters)
  guards = []
  for text in texts:
    guard = _parse(text, sources)
    condition = _RELATIONS_BY_NAME[guard.relation](guard.left, guard.right)
    if not sizes.always_true(condition, program.range_constraints):
      guards.append(guard)
  return guards


_RELATIONS_BY_NAME = dict(_RELATIONS.values())


def _sources(program: ExportedProgram, parameters: Sequence[str]) -> dict[str, torch.Tensor]:
  """"L['x']" -> fake tensor, for all arguments, nested ones by their key path.

  Strict export names them by position: "L['flat_args'][0]".
  """
  nodes = [n for n, spec in zip((n for n in program.graph.nodes if n.op == "placeholder"),
                                program.graph_signature.input_specs)
           if spec.kind is InputKind.USER_INPUT]
  skeleton = pytree.tree_unflatten(list(range(len(nodes))), program.call_spec.in_spec)
  sources: dict[str, torch.Tensor] = {}
  for path, index in pytree.tree_flatten_with_path(skeleton)[0]:
    value = nodes[index].meta.get("val")
    if not isinstance(value, torch.Tensor):
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


def _parse(text: str, sources: Mapping[str, torch.Tensor]) -> Guard:
  symbols: dict[str, sympy.Basic] = {}

  def size(match: re.Match) -> str:
    tensor = sources.get(match["source"])
    if tensor is None:
      raise _inexpressible(text)
    name = f"size_{len(symbols)}"
    symbols[name] = sizes.expression_of(tensor.shape[int(match["dim"])])
    return name

  plain = re.sub(r"(?P<source>L\[.*?)\.size\(\)\[(?P<dim>\d+)\]", size, text)
  try:
    tree = ast.parse(plain, mode="eval").body
  except SyntaxError:
    raise _inexpressible(text) from None
  if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in _RELATIONS:
    raise _inexpressible(text)
  relation = _RELATIONS[type(tree.ops[0])][0]

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

  return Guard(relation, build(tree.left), build(tree.comparators[0]), text)


def _inexpressible(text: str) -> FrontendError:
  return FrontendError("K1105", f"a condition on the inputs that cannot be checked: {text}",
                       hint="give the dims ranges with torch.export.Dim or kiln.Input")


def encode(expression: Any) -> Any:
  """An int or ("e", text). Raises Inexpressible."""
  expr = sizes.expression_of(expression)
  return int(expr) if expr.is_Integer else ("e", sizes.print_expr(expr))
