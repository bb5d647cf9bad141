"""Functions of Python that TorchScript calls (`@torch.jit.ignore`): what they do with a module that
they are handed."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from typing import Any

#: Ways to a function's variables that do not name them.
_BEHIND_NAMES = {"dir", "eval", "exec", "locals", "super", "vars"}


def attributes_used(function: Any, position: int) -> list[str] | None:
  """Names of the attributes that a function's code uses of the argument at `position`. None where
  that cannot be told: it does something else with the argument, or its source is not there."""
  # torch.jit binds a method to its module when it is called.
  function = getattr(function, "original_fn", function)
  if not isinstance(function, types.FunctionType):
    return None
  try:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
  except (OSError, SyntaxError, TypeError):
    return None
  code = tree.body[0]
  if not isinstance(code, ast.FunctionDef):
    return None
  parameters = [*code.args.posonlyargs, *code.args.args]
  if position >= len(parameters):
    return None
  argument = parameters[position].arg
  uses = [node for body in code.body for node in ast.walk(body) if isinstance(node, ast.Name)]
  if any(node.id in _BEHIND_NAMES for node in uses):
    return None
  attributes = {id(node.value): node.attr for body in code.body for node in ast.walk(body)
                if isinstance(node, ast.Attribute)}
  given = [node for node in uses if node.id == argument]
  if any(id(node) not in attributes for node in given):
    return None
  return sorted({attributes[id(node)] for node in given})
