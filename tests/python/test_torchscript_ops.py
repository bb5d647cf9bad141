"""docs/ops.md says what becomes of each TorchScript operator: here the importer is asked."""

from __future__ import annotations

import pathlib
import sys
import warnings
from typing import Any

import pytest
import torch

import kiln
from kiln import _native

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from torchscript_ops_page import rows  # noqa: E402

ROWS = rows()
RULES = {schema.split("(")[0] for schema in _native.import_rule_schemas()}

NOT_IN_TORCH = "torch has no such overload any more"

# Constants by the types of schemas.
_CONSTANTS = {"int": "int = prim::Constant[value=3]()", "float": "float = prim::Constant[value=2.5]()",
              "bool": "bool = prim::Constant[value=1]()", "str": 'str = prim::Constant[value="a"]()',
              "number": "int = prim::Constant[value=2]()", "Scalar": "int = prim::Constant[value=2]()"}
_TWO = "%a : int = prim::Constant[value=1]()\n  %b : int = prim::Constant[value=2]()\n"
_LIST = _TWO + "  %l : int[] = prim::ListConstruct(%a, %b)\n"
# Operators of generic types, those that are no calls, and those that say what they need.
_GRAPHS = {
  "aten::append.t": _LIST + "%r : int[] = aten::append(%l, %a)",
  "aten::add_.t": _LIST + "%r : int[] = aten::add_(%l, %l)",
  "aten::extend.t": _LIST + "aten::extend(%l, %l)\n  %r : int[] = aten::list(%l)",
  "aten::list.t": _LIST + "%r : int[] = aten::list(%l)",
  "aten::len.t": _LIST + "%r : int = aten::len(%l)",
  "aten::slice.t": _LIST + "%r : int[] = aten::slice(%l, %a, %b, %a)",
  "aten::__getitem__.t": _LIST + "%r : int = aten::__getitem__(%l, %a)",
  "prim::min.self_int": _LIST + "%r : int = prim::min(%l)",
  "prim::max.self_int": _LIST + "%r : int = prim::max(%l)",
  "aten::__is__": _TWO + "%r : bool = aten::__is__(%a, %b)",
  "aten::__isnot__": _TWO + "%r : bool = aten::__isnot__(%a, %b)",
  "aten::format": '%s : str = prim::Constant[value="{} is {}"]()\n' + _TWO
                  + "%r : str = aten::format(%s, %a, %b)",
  "aten::tensor": _LIST + "%n : NoneType = prim::Constant()\n  %f : bool = prim::Constant[value=0]()\n"
                  "  %t : Tensor = aten::tensor(%l, %n, %n, %f)\n  %r : int = aten::dim(%t)",
  "prim::Constant": "%r : int = prim::Constant[value=3]()",
  "prim::ListConstruct": _TWO + "%r : int[] = prim::ListConstruct(%a, %b)",
  "prim::ListUnpack": _LIST + "%r : int, %q : int = prim::ListUnpack(%l)",
  "prim::TupleConstruct": _TWO + "%r : (int, int) = prim::TupleConstruct(%a, %b)",
  "prim::TupleIndex": _TWO + "%t : (int, int) = prim::TupleConstruct(%a, %b)\n"
                      "  %z : int = prim::Constant[value=0]()\n  %r : int = prim::TupleIndex(%t, %z)",
  "prim::TupleUnpack": _TWO + "%t : (int, int) = prim::TupleConstruct(%a, %b)\n"
                       "  %r : int, %q : int = prim::TupleUnpack(%t)",
  "prim::NumToTensor": _TWO + "%t : Tensor = prim::NumToTensor(%a)\n  %r : int = aten::Int(%t)",
  "prim::Uninitialized": "%u : int = prim::Uninitialized()\n  %r : int = prim::Constant[value=3]()",
  "prim::unchecked_cast": _TWO + "%r : int = prim::unchecked_cast(%a)",
}


def _schemas(operator: str) -> list:
  """Those of that overload; without an overload, also those without tensors."""
  base, _, overload = operator.partition(".")
  found = torch._C._jit_get_schemas_for_operator(base)
  return ([s for s in found if s.overload_name == overload]
          or [s for s in found if not overload
              and not any("Tensor" in str(a.type) for a in s.arguments)])


def _graph(operator: str) -> str:
  if operator in _GRAPHS:
    return _GRAPHS[operator]
  base = operator.partition(".")[0]
  schemas = _schemas(operator)
  assert schemas, f"torch has no {operator}"
  lines, names = [], []
  for i, argument in enumerate(schemas[0].arguments):
    kind = str(argument.type)
    if kind == "Tensor":
      names.append("%x")
      continue
    lines.append(f"%a{i} : {_CONSTANTS[kind]}")
    names.append(f"%a{i}")
  returns = ", ".join(f"%{name} : {_type_text(r.type)}"
                      for name, r in zip("rpq", schemas[0].returns))
  return "\n  ".join([*lines, f"{returns} = {base}({', '.join(names)})"])


def _type_text(kind: Any) -> str:
  text = str(kind)
  return "int[]" if text == "List[int]" else "Scalar" if text == "number" else text


def _function(body: str) -> torch.jit.ScriptFunction:
  lines = "\n  ".join(line.strip() for line in body.splitlines())
  graph = torch._C.parse_ir(f"graph(%x : Tensor):\n  {lines}\n  return (%r)\n")
  return torch._C._create_function_from_graph("f", graph)


@pytest.mark.parametrize("operator", [o for _, o, how, remark in ROWS if how == "evaluated"
                                      and remark != NOT_IN_TORCH
                                      and o not in ("prim::RaiseException", "aten::warn")])
def test_evaluated(operator):
  function, x = _function(_graph(operator)), torch.ones(3, 4, 5, 6)
  program = kiln.compile(function, inputs=[x])
  assert program.report.ops_total == 0
  got, expected = program(x), function(x)
  assert type(got) is type(expected) and got == expected


@pytest.mark.parametrize("operator", [o for _, o, _, remark in ROWS if remark == NOT_IN_TORCH])
def test_not_in_torch(operator):
  assert operator not in _GRAPHS and not _schemas(operator)


def test_exceptions_are_evaluated():
  body = '%m : str = prim::Constant[value="no"]()\n  %n : NoneType = prim::Constant()\n' \
         "  prim::RaiseException(%m, %n)\n  %r : int = prim::Constant[value=3]()"
  with pytest.raises(kiln.Error, match="K1146.*no"):
    kiln.compile(_function(body), inputs=[torch.ones(2)])


def test_warnings_are_left_out():
  def warns(x: torch.Tensor) -> int:
    warnings.warn("odd")
    return x.dim()

  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    function = torch.jit.script(warns)
  program = kiln.compile(function, inputs=[torch.ones(2)])
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert program(torch.ones(2)) == 1


@pytest.mark.parametrize("operator, how", [(o, how) for _, o, how, _ in ROWS
                                           if how in ("native", "PyTorch")])
def test_rules(operator, how):
  assert (operator in RULES) == (how == "native")


@pytest.mark.parametrize("operator, remark", [(o, remark) for _, o, how, remark in ROWS
                                              if how == "composed"])
def test_composed(operator, remark):
  base, _, overload = operator.partition(".")
  if remark.endswith("and a write"):
    twin = remark.split("`")[1]
    assert twin == base.removesuffix("_") + (f".{overload}" if overload else "")
    assert any(rule.split(".")[0] == twin.split(".")[0] for rule in RULES)
    return
  x = torch.randn(2, 3, 6, 6)
  bodies = {
    "aten::split": "%i : int = prim::Constant[value=2]()\n  %s : int[] = prim::ListConstruct(%i, %i, %i)\n"
                   "  %l : Tensor[] = aten::split(%x, %s, %i)\n"
                   "  %r : Tensor, %p : Tensor, %q : Tensor = prim::ListUnpack(%l)",
    "aten::to.prim_Device": '%d : Device = prim::Constant[value="cpu"]()\n'
                            "  %t : int = prim::Constant[value=7]()\n"
                            "  %f : bool = prim::Constant[value=0]()\n"
                            "  %r : Tensor = aten::to(%x, %d, %t, %f, %f)",
    "aten::narrow.Tensor": "%z : int = prim::Constant[value=1]()\n  %s : Tensor = prim::NumToTensor(%z)\n"
                           "  %r : Tensor = aten::narrow(%x, %z, %s, %z)",
    "aten::_convolution.deprecated":
      "%w : Tensor = aten::flip(%x, %e)\n  %r : Tensor = aten::_convolution(%x, %w, %n, %o, %z, %o, %f, %z,"
      " %i, %f, %f, %f)",
  }
  lists = ("%e : int[] = prim::ListConstruct()\n  %n : NoneType = prim::Constant()\n"
           "  %i : int = prim::Constant[value=1]()\n  %j : int = prim::Constant[value=0]()\n"
           "  %o : int[] = prim::ListConstruct(%i, %i)\n  %z : int[] = prim::ListConstruct(%j, %j)\n"
           "  %f : bool = prim::Constant[value=0]()\n  ")
  body = bodies[operator]
  if operator == "aten::_convolution.deprecated":
    body, x = lists + body, torch.randn(3, 3, 3, 3)
  function = _function(body)
  program = kiln.compile(function, inputs=[x])
  assert not program.report.fallbacks
  torch.testing.assert_close(program(x), function(x))


def test_almost_all_have_a_place():
  left = [o for _, o, how, _ in ROWS if how == "PyTorch"]
  assert {how for _, _, how, _ in ROWS} == {"native", "composed", "evaluated", "PyTorch"}
  assert len(ROWS) == 310 and len(left) <= 0.05 * len(ROWS)
  assert all(remark for _, _, how, remark in ROWS if how in ("PyTorch", "composed"))
