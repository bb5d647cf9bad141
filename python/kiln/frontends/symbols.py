"""Sizes: from torch's sympy expressions to the text form of Kiln's dim expressions, and back.

The text grammar is a sum of monomials over symbols, with `floordiv(a, b)`, `mod(a, b)`, `min(a, b)`
and `max(a, b)` as atoms: "2*s0*s1 + floordiv(s0, 8) - 3". No parentheses elsewhere, no fractions.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Callable, Mapping

import sympy
import torch
from torch.utils._sympy import functions as torch_functions
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

NO_BOUND = 2**63 - 1


class Inexpressible(Exception):
  """The expression is not an integer polynomial with floordiv, mod, min and max as atoms."""


def expression_of(value: Any) -> sympy.Basic:
  """The sympy expression of an int, float, bool or SymInt, SymFloat, SymBool."""
  if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
    return value.node.expr
  return sympy.sympify(value)


def symbols_of(expr: sympy.Basic) -> list[sympy.Symbol]:
  return sorted(expr.free_symbols, key=str)


def is_unbacked(symbol: sympy.Symbol) -> bool:
  """Whether the symbol stands for a number that only running the program reveals."""
  return str(symbol).startswith(("u", "zuf"))


def print_expr(value: Any) -> str:
  """Canonical text of an integer expression. Raises Inexpressible."""
  return _print(expression_of(value))


def _print(expr: sympy.Basic) -> str:
  expr = sympy.expand(_lower(expr))
  terms = []
  for term in sympy.Add.make_args(expr):
    coefficient, rest = term.as_coeff_Mul()
    if not coefficient.is_Integer:
      raise Inexpressible(str(expr))
    factors = sorted(_factors(rest))
    terms.append((factors, int(coefficient)))
  # symbolic terms first, by text; the constant last
  terms.sort(key=lambda t: (not t[0], t[0]))
  text = ""
  for factors, coefficient in terms:
    if coefficient == 0 and len(terms) > 1:
      continue
    magnitude = abs(coefficient)
    body = "*".join(factors if magnitude == 1 and factors else [str(magnitude), *factors])
    if not text:
      text = body if coefficient >= 0 else f"-{body}"
    else:
      text += f" + {body}" if coefficient >= 0 else f" - {body}"
  return text


def _factors(rest: sympy.Basic) -> list[str]:
  """Factor texts of a monomial without its coefficient; powers are repeated."""
  if rest == 1:
    return []
  factors: list[str] = []
  for factor in sympy.Mul.make_args(rest):
    base, exponent = factor.as_base_exp()
    if not (exponent.is_Integer and 0 < exponent <= 8):
      raise Inexpressible(str(rest))
    factors += [_atom(base)] * int(exponent)
  return factors


def _atom(atom: sympy.Basic) -> str:
  if atom.is_Symbol:
    return str(atom)
  name = type(atom).__name__
  if name in ("FloorDiv", "CleanDiv"):
    return f"floordiv({_print(atom.args[0])}, {_print(atom.args[1])})"
  if name in ("Mod", "PythonMod"):
    return f"mod({_print(atom.args[0])}, {_print(atom.args[1])})"
  if name in ("Min", "Max"):
    parts = sorted(_print(a) for a in atom.args)
    text = parts[0]
    for part in parts[1:]:
      text = f"{name.lower()}({text}, {part})"
    return text
  raise Inexpressible(str(atom))


def _lower(expr: sympy.Basic) -> sympy.Basic:
  """Rewrites torch's other integer functions as floordiv, mod and products."""
  f = torch_functions

  def rewrite(e: sympy.Basic) -> sympy.Basic:
    if not e.args:
      return e
    args = [rewrite(a) for a in e.args]
    if isinstance(e, f.ModularIndexing):
      return f.Mod(f.FloorDiv(args[0], args[1]), args[2])
    if isinstance(e, f.CeilDiv) and args[1].is_Integer and args[1] > 0:
      return f.FloorDiv(args[0] + args[1] - 1, args[1])
    if isinstance(e, f.PowByNatural) and args[1].is_Integer and 0 <= args[1] <= 8:
      return sympy.Mul(*[args[0]] * int(args[1]))
    if isinstance(e, f.Identity):
      return args[0]
    if isinstance(e, (f.FloorToInt, f.TruncToInt, f.CeilToInt)):
      inner = args[0]
      if isinstance(inner, f.IntTrueDiv):
        a, b = inner.args
        if isinstance(e, f.FloorToInt):
          return f.FloorDiv(a, b)
        if isinstance(e, f.TruncToInt) and a.is_nonnegative and b.is_positive:
          return f.FloorDiv(a, b)
        if isinstance(e, f.CeilToInt) and b.is_Integer and b > 0:
          return f.FloorDiv(a + b - 1, b)
      raise Inexpressible(str(e))
    return e.func(*args) if tuple(args) != e.args else e

  try:
    return rewrite(expr)
  except (TypeError, ValueError, AttributeError) as error:
    raise Inexpressible(f"{expr}: {error}") from error


def bounds(value_range: ValueRanges | None) -> tuple[int, int]:
  """A closed range of integers; NO_BOUND is "no upper bound", -NO_BOUND "no lower bound".

  Sizes have a lower bound; a number that is an input may be negative.
  """
  if value_range is None:
    return 0, NO_BOUND
  lower, upper = value_range.lower, value_range.upper
  low = -NO_BOUND if lower in (-int_oo, -sympy.oo) or lower <= -NO_BOUND else int(lower)
  high = NO_BOUND if upper in (int_oo, sympy.oo) or upper >= NO_BOUND else int(upper)
  return low, high


def always_true(condition: Any, ranges: Mapping[sympy.Symbol, ValueRanges]) -> bool:
  """Whether a condition on sizes holds for every value in the ranges (sound, not complete)."""
  if isinstance(condition, bool):
    return condition
  expr = expression_of(condition)
  if expr in (sympy.true, sympy.false):
    return expr == sympy.true
  if any(s not in ranges for s in expr.free_symbols):
    return False
  try:
    bound = bound_sympy(expr, dict(ranges))
  except (TypeError, KeyError, NotImplementedError, AssertionError):
    return False
  return bound.lower == sympy.true


_RELATIONS = ((sympy.Eq, "eq"), (sympy.Ne, "ne"), (sympy.Lt, "lt"), (sympy.Le, "le"),
              (sympy.Gt, "gt"), (sympy.Ge, "ge"))


def relation_name(condition: sympy.Basic) -> str | None:
  """"eq", "ne", "lt", "le", "gt" or "ge" of a relation between two sizes."""
  return next((name for kind, name in _RELATIONS if isinstance(condition, kind)), None)


def linear_in_one_symbol(text: str) -> tuple[str, int, int] | None:
  """(s, a, b) of the text of a*s + b with a > 0, else None."""
  names = names_of(text)
  if len(names) != 1 or "(" in text:  # parentheses belong to functions
    return None
  (symbol,) = names
  evaluate = compile_expr(text)
  bias, one, two = (evaluate({symbol: n}) for n in (0, 1, 2))
  scale = one - bias
  return (symbol, scale, bias) if scale > 0 and two - one == scale else None


_FUNCTIONS: dict[str, Callable[..., int]] = {
  "floordiv": lambda a, b: a // b,
  "mod": lambda a, b: a % b,
  "min": torch.sym_min,
  "max": torch.sym_max,
}
_ALLOWED_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.USub, ast.Add, ast.Sub, ast.Mult,
                  ast.Constant, ast.Name, ast.Load, ast.Call)


def names_of(text: str) -> set[str]:
  """The size symbols of an expression's text."""
  return set(re.findall(r"[A-Za-z_]\w*", text)) - _FUNCTIONS.keys()


def compile_expr(text: str) -> Callable[[Mapping[str, Any]], Any]:
  """A function from symbol values to the value of `text`. ValueError if it is no size.

  The values are integers, or torch's symbolic ones while it traces.
  """
  try:
    tree = ast.parse(text, mode="eval")
  except SyntaxError as error:
    raise ValueError(f"not a size expression: {text!r}") from error
  for node in ast.walk(tree):
    allowed = isinstance(node, _ALLOWED_NODES)
    if isinstance(node, ast.Constant):
      allowed = type(node.value) is int
    if isinstance(node, ast.Call):
      allowed = (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
                 and len(node.args) == 2 and not node.keywords)
    if not allowed:
      raise ValueError(f"not a size expression: {text!r}")
  code = compile(tree, "<size>", "eval")

  def evaluate(values: Mapping[str, int]) -> int:
    return eval(code, {"__builtins__": {}, **_FUNCTIONS}, dict(values))  # noqa: S307

  return evaluate
