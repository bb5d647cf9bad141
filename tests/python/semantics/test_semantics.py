"""Every case through every door: what a user sees is what eager shows, or what the table says."""

from __future__ import annotations

import copy
import re

import pytest
import torch

from . import cases  # noqa: F401: registers the cases
from .case import CASES, AsEager, Differs, Refuses
from .doors import DOORS, ROOT, make_model
from .observe import differences, run
from .page import differing_doors, page

PAIRS = [pytest.param(case, door, id=f"{case}-{door}") for door in DOORS for case in CASES
         if DOORS[door].takes(CASES[case])]


@pytest.fixture(scope="session", autouse=True)
def fresh_process(request):
  """The cases that go through a new process share one: all are saved before it starts."""
  names = [item.callspec.params["name"] for item in request.session.items
           if hasattr(item, "callspec") and item.callspec.params.get("door") == "fresh"]
  if names:
    DOORS["fresh"].prepare(names)
  yield
  torch._dynamo.reset()


@pytest.mark.parametrize("name, door", PAIRS)
def test_case(name, door):
  case, door = CASES[name], DOORS[door]
  expected = run(case, *[copy.deepcopy(make_model(case))] * 2)
  seen, text, report = door.observe(case)
  outcome = door.outcome(case)
  if isinstance(outcome, Refuses):
    _check_refusal(outcome, seen, text)
    return
  found = {"raises": f"{seen} {text}"} if isinstance(seen, str) else differences(seen, expected)
  wanted = set(outcome.aspects) if isinstance(outcome, Differs) else set()
  assert set(found) == wanted, found
  if case.in_torch and report is not None:
    assert report.fallbacks, "nothing was left to PyTorch, though the table says so"


def _check_refusal(outcome, seen, text):
  if not isinstance(seen, str):
    assert seen[-1].raised, f"nothing was raised, though the table says so: {outcome}"
    seen, text = seen[-1].raised, seen[-1].message
  assert seen == outcome.error, text
  assert re.search(outcome.message, text), text


def test_page_is_up_to_date():
  path = ROOT / "docs" / "semantics.md"
  assert path.read_text() == page(), "run scripts/semantics_page.py"
  assert differing_doors() == []
