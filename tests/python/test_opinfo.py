"""PyTorch's table of operators, compiled and compared with eager: nothing wrong, nothing silent.

Every operator has its outcome for f32 (or the first dtype that it takes), i64 and bool: native, in
PyTorch for a reason listed in tests/models/opinfo_expected.py, or a refusal listed there. A case
that does better or worse than its entry fails. The long sweeps look at all samples, at f64 and at
the in-place forms, where only wrong results and crashes fail.
"""

from __future__ import annotations

import os

import pytest

from tests.models import opinfo_expected as expected
from tests.models import opinfo_sweep
from tests.models.opinfo_sweep import CaseResult

WORKERS = min(4, os.cpu_count() or 1)
# The figures below are floors: a change that takes operators away from Kiln must say so here.
MIN_NATIVE = {"f32": 385, "i64": 270, "bool": 210}


def must_be_right(results: list[CaseResult]) -> None:
  bad = [f"{r.outcome} {r.case}: {r.detail}" for r in results if r.outcome in ("WRONG", "CRASH")
         and r.case not in expected.WRONG]
  assert not bad, "\n".join(bad) + "\n" + opinfo_sweep.table(results)


@pytest.fixture(scope="module")
def short_sweep() -> list[CaseResult]:
  return opinfo_sweep.sweep(["f32", "i64", "bool"], max_samples=2, workers=WORKERS)


def test_sweep_covers_the_table(short_sweep):
  cases = {(opinfo_sweep.case_name(op), d)
           for op, d in opinfo_sweep.all_cases(["f32", "i64", "bool"])}
  assert cases == {(r.name, r.dtype) for r in short_sweep}
  assert len({name for name, _ in cases}) > 650
  unused = [r.case for r in short_sweep if r.outcome == "none" and r.name not in expected.NONE]
  assert not unused, unused


def test_nothing_is_wrong(short_sweep):
  must_be_right(short_sweep)


def test_outcomes_are_the_expected_ones(short_sweep):
  surprises = []
  for result in short_sweep:
    if result.outcome in ("none", "WRONG", "CRASH"):
      continue
    wanted, reason = expected.lookup(result.name, result.dtype)
    if result.outcome != wanted:
      surprises.append(f"{result.case}: {result.outcome} ({result.detail[:160]}), "
                       f"expected {wanted} ({reason})")
  assert not surprises, "\n".join(surprises) + "\n" + opinfo_sweep.table(short_sweep)


def test_refusals_have_the_expected_code(short_sweep):
  wrong = []
  for result in short_sweep:
    if result.outcome == "refusal":
      wanted, reason = expected.lookup(result.name, result.dtype)
      if wanted == "refusal" and f" {reason.split(':')[0]}: " not in f" {result.detail}":
        wrong.append(f"{result.case}: {result.detail[:160]}, expected {reason}")
  assert not wrong, "\n".join(wrong)


def test_most_of_the_table_is_native(short_sweep):
  for dtype, floor in MIN_NATIVE.items():
    count = sum(r.outcome == "native" for r in short_sweep if r.dtype == dtype)
    assert count >= floor, f"{dtype}: {count} native, at least {floor}\n" + \
      opinfo_sweep.table(short_sweep)


def test_expectations_name_cases(short_sweep):
  cases = {r.case for r in short_sweep}
  unknown = [entry for entry in expected.entries()
             if entry not in cases and not any(c.rsplit("/", 1)[0] == entry for c in cases)]
  assert not unknown, unknown
  assert len(set(expected.entries())) == len(list(expected.entries())), "an entry stands twice"


def test_expected_wrong_cases_are_wrong(short_sweep):
  """An entry that came right must go."""
  right = [r.case for r in short_sweep
           if r.case in expected.WRONG and r.outcome not in ("WRONG", "CRASH")]
  assert not right, right


# ---- the judge judges ---------------------------------------------------------------------------


def test_a_wrong_result_is_seen():
  import torch
  compare = opinfo_sweep.compare
  x = torch.linspace(-1, 1, 12).reshape(3, 4)
  assert compare(x.clone(), x, lambda: None, True) == ""
  assert compare((x.clone(), 3), (x, 3), lambda: None, True) == ""
  off = x.clone()
  off[1, 2] += 1e-3
  nan = x.clone()
  nan[0, 0] = float("nan")
  for wrong in (off, nan, x.double(), x[:2], x.t().contiguous().t(), (x,), 3):
    assert compare(wrong, x, lambda: None, True)
  assert compare(off, x, lambda: x.double(), True)
  whole = torch.arange(6)
  assert compare(whole + (whole == 3), whole, lambda: None, True)
  assert compare((x, 4), (x, 3), lambda: None, True)


def test_a_dying_worker_names_its_case(monkeypatch, tmp_path):
  script = tmp_path / "worker.py"
  script.write_text(
    "import argparse, json, os, sys\n"
    "skip = int(sys.argv[sys.argv.index('--skip') + 1])\n"
    "for i, name in list(enumerate(['a', 'b', 'c']))[skip:]:\n"
    "  print('@' + json.dumps({'start': [name, 'f32']}), flush=True)\n"
    "  if name == 'b': print('noise', file=sys.stderr, flush=True); os.abort()\n"
    "  print('@' + json.dumps({'name': name, 'dtype': 'f32', 'outcome': 'native'}), flush=True)\n"
    "print('@' + json.dumps({'finished': True}))\n")
  monkeypatch.setattr(opinfo_sweep, "__file__", str(script))
  results = opinfo_sweep.sweep(["f32"], workers=1)
  assert [(r.name, r.outcome) for r in results] == [
    ("a", "native"), ("b", "CRASH"), ("c", "native")]
  assert "noise" in results[1].detail


# ---- everything ---------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["f32", "i64", "bool", "f64"])
def test_all_samples(dtype):
  must_be_right(opinfo_sweep.sweep([dtype], max_samples=40, workers=WORKERS))


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["f32", "i64", "bool"])
def test_in_place_forms(dtype):
  must_be_right(opinfo_sweep.sweep([dtype], max_samples=10, in_place=True, workers=WORKERS))


@pytest.mark.long
def test_16_bit_and_small_integers():
  must_be_right(opinfo_sweep.sweep(["bf16", "f16", "u8", "i32"], max_samples=2, workers=WORKERS))
