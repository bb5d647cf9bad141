"""Writes opinfo_expected.py from a sweep: python tests/models/opinfo_collect.py, then read the diff.

WRONG entries are kept as they are: a person adds and removes those.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "python")]

from tests.models import opinfo_expected, opinfo_sweep  # noqa: E402
from tests.models.opinfo_sweep import CaseResult  # noqa: E402

HEADER = '''"""What is not native in the short OpInfo sweep, and why; opinfo_collect.py writes this file.

An entry is an operator, for every dtype that it takes, or operator/dtype. Whatever has no entry
must be native.
"""

# No samples that eager runs on a CPU.
NONE = {none}

# Some calls run in PyTorch, by the reason of the first such call.
FALLBACK = {fallback}

# kiln.compile raises kiln.Error, by its code and message.
REFUSAL = {refusal}

# Known defects: case -> what is at fault.
WRONG = {wrong}


def entries() -> list[str]:
  """All entries, WRONG's cases apart."""
  return [entry for table in (FALLBACK, REFUSAL) for names in table.values()
          for entry in names.split()]


_OUTCOMES = {{entry: (outcome, reason)
             for outcome, table in (("fallback", FALLBACK), ("refusal", REFUSAL))
             for reason, names in table.items() for entry in names.split()}}


def lookup(name: str, dtype: str) -> tuple[str, str]:
  """(outcome, reason) of a case."""
  return _OUTCOMES.get(f"{{name}}/{{dtype}}") or _OUTCOMES.get(name) or ("native", "")
'''


def reason_of(result: CaseResult) -> str:
  """Without the values at its end, so that like reasons meet."""
  text = re.sub(r"^sample \d+: ", "", result.detail).split("; ")[0]
  if result.outcome == "fallback":
    text = re.sub(r"^\S+ (?=K\d{4} )", "", text)
    code, _, message = text.partition(" ")
    parts = 2 if code == "K2203" else 1  # K2203 starts with the op's name
    return f"{code}: {': '.join(message.split(': ')[:parts])}"
  code, _, message = text.partition(": ")
  if code == "K1102":
    kind = re.search(r"non-strict: (\w+)", message)
    return f"{code}: torch.export: {kind[1] if kind else message[:60]}"
  return f"{code}: {re.split(': | at aten::', message)[0]}"  # where it stood is no reason


def grouped(results: list[CaseResult], outcome: str) -> dict[str, list[str]]:
  by_name: dict[str, list[CaseResult]] = defaultdict(list)
  for result in results:
    by_name[result.name].append(result)
  groups: dict[str, list[str]] = defaultdict(list)
  for name, rows in sorted(by_name.items()):
    reasons = {reason_of(r) for r in rows}
    if {r.outcome for r in rows} == {outcome}:
      # One entry even where dtypes differ in the reason, but codes are checked for refusals.
      if len(reasons) == 1 or outcome == "fallback":
        groups[reason_of(rows[0])].append(name)
        continue
    for row in rows:
      if row.outcome == outcome:
        groups[reason_of(row)].append(row.case)
  return groups


def as_text(groups: dict[str, list[str]]) -> str:
  lines = ["{"]
  for reason in sorted(groups):
    names = textwrap.fill(" ".join(groups[reason]), 96, break_long_words=False,
                          break_on_hyphens=False).splitlines()
    lines += [f"  {reason!r}: \"\"\"", *(f"    {line}" for line in names), "  \"\"\","]
  return "\n".join([*lines, "}"])


def render(results: list[CaseResult], wrong: dict[str, str]) -> str:
  none = sorted({r.name for r in results if r.outcome == "none"})
  none_text = "{" + ",".join(f"\n  {name!r}" for name in none) + ",\n}" if none else "set()"
  wrong_text = "{" + "".join(f"\n  {k!r}: {v!r}," for k, v in wrong.items()) + "\n}"
  return HEADER.format(none=none_text, fallback=as_text(grouped(results, "fallback")),
                       refusal=as_text(grouped(results, "refusal")),
                       wrong=wrong_text if wrong else "{}")


def main() -> None:
  results = opinfo_sweep.sweep(["f32", "i64", "bool"], max_samples=2)
  Path(opinfo_expected.__file__).write_text(
    render(results, getattr(opinfo_expected, "WRONG", {})), encoding="utf-8")
  print(opinfo_sweep.table(results))
  print("\n".join(f"{r.outcome} {r.case}: {r.detail}" for r in results
                  if r.outcome in ("WRONG", "CRASH")))


if __name__ == "__main__":
  main()
