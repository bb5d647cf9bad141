"""Size expressions: sympy to text, text to numbers, ranges."""

from __future__ import annotations

import itertools

import pytest
import sympy
from kiln.frontends.origins import clean_module_path, location_of_trace, shorten_file
from kiln.frontends.symbols import (NO_BOUND, Inexpressible, always_true, bounds, compile_expr,
                                    linear_in_one_symbol, print_expr)
from torch.utils._sympy import functions as f
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

S0 = sympy.Symbol("s0", integer=True, positive=True)
S1 = sympy.Symbol("s1", integer=True, positive=True)

CASES = [
  (sympy.Integer(7), "7"),
  (sympy.Integer(0), "0"),
  (S0, "s0"),
  (-S0, "-s0"),
  (S0 * S1, "s0*s1"),
  (4 + 2 * S0 * S1 - S0, "-s0 + 2*s0*s1 + 4"),
  ((S0 + 1) * (S1 - 2), "-2*s0 + s0*s1 + s1 - 2"),
  (S0**3, "s0*s0*s0"),
  (f.FloorDiv(S0, 8), "floordiv(s0, 8)"),
  (f.FloorDiv(S0 + 1, 2) * 3, "3*floordiv(s0 + 1, 2)"),
  (f.Mod(S0, 2), "mod(s0, 2)"),
  (f.PythonMod(S0, 3), "mod(s0, 3)"),
  (f.ModularIndexing(S0, 4, 6), "mod(floordiv(s0, 4), 6)"),
  (f.CeilDiv(S0, 4), "floordiv(s0 + 3, 4)"),
  (f.Max(S0, 5, S1 + 3), "max(max(5, s0), s1 + 3)"),
  (f.Min(S0, 2 * S1), "min(2*s1, s0)"),
  (f.CleanDiv(S0 * S1, 4), "floordiv(s0*s1, 4)"),
]


@pytest.mark.parametrize("expr, text", CASES, ids=[t for _, t in CASES])
def test_print(expr, text):
  assert print_expr(expr) == text


@pytest.mark.parametrize("expr, text", CASES, ids=[t for _, t in CASES])
def test_text_has_the_value_of_the_expression(expr, text):
  evaluate = compile_expr(text)
  for a, b in itertools.product((1, 2, 7, 16, 31), repeat=2):
    # PythonMod and friends fold once numbers are in
    assert evaluate({"s0": a, "s1": b}) == int(expr.subs({S0: a, S1: b})), (a, b)


@pytest.mark.parametrize("expr", [
  S0 / 2, sympy.sqrt(S0), f.IntTrueDiv(S0, 2), 1 / S0, f.ToFloat(S0), S0**S1,
  f.TruncToInt(f.IntTrueDiv(S0 - 5, 2)), f.RoundToInt(f.IntTrueDiv(S0, 3))])
def test_inexpressible(expr):
  with pytest.raises(Inexpressible):
    print_expr(expr)


@pytest.mark.parametrize("text", ["", "s0 +", "s0 / 2", "f(s0)", "min(s0)", "s0.real", "'a'", "1.5",
                                  "s0 if s0 else 1", "(lambda: 1)()", "s0[0]", "True"])
def test_only_size_expressions_are_evaluated(text):
  with pytest.raises(ValueError):
    compile_expr(text)


def test_bounds():
  assert bounds(ValueRanges(2, 8)) == (2, 8)
  assert bounds(ValueRanges(2, int_oo)) == (2, NO_BOUND)
  assert bounds(ValueRanges(-int_oo, int_oo)) == (-NO_BOUND, NO_BOUND)
  assert bounds(None) == (0, NO_BOUND)


@pytest.mark.parametrize("text, expected", [
  ("s0", ("s0", 1, 0)), ("8*s0", ("s0", 8, 0)), ("2*s0 - 3", ("s0", 2, -3)), ("s0*s0", None),
  ("s0 + s1", None), ("floordiv(s0, 2)", None), ("7", None), ("-s0 + 9", None)])
def test_sizes_that_determine_a_symbol(text, expected):
  assert linear_in_one_symbol(text) == expected


def test_always_true():
  ranges = {S0: ValueRanges(2, 8)}
  assert always_true(True, ranges) and not always_true(False, ranges)
  assert always_true(S0 >= 2, ranges) and always_true(S0 <= 8, ranges)
  assert not always_true(S0 >= 3, ranges) and not always_true(S0 <= 7, ranges)
  assert not always_true(S1 >= 5, ranges)


def test_module_paths():
  assert clean_module_path("") == ""
  assert clean_module_path("layer1.0.conv1") == "layer1.0.conv1"
  assert clean_module_path("L['self'].layer1[0].conv1") == "layer1.0.conv1"
  assert clean_module_path(
    "L['self']._modules['layer1']._modules['0']._parameters['weight']") == "layer1.0.weight"
  assert clean_module_path("G['model']._modules['a']._buffers['mean']") == "a.mean"
  assert clean_module_path("_empty_nn_module_stack_from_metadata_hook") == ""


def test_location_skips_frames_of_torch():
  import torch

  trace = (f'  File "/home/me/site-packages/models/net.py", line 12, in forward\n    y = f(x)\n'
           f'  File "{torch.__path__[0]}/nn/modules/linear.py", line 134, in forward\n    return\n')
  assert location_of_trace(trace) == "models/net.py:12"
  assert location_of_trace('File "torch/fx/passes/runtime_assert.py", line 24, in x') == ""
  assert location_of_trace("") == ""


def test_paths_say_nothing_about_the_machine(tmp_path):
  assert shorten_file("/home/me/.venv/lib/python3/site-packages/a/b.py") == "a/b.py"
  assert shorten_file(str(tmp_path / "mine.py")) == "mine.py"
