"""Running many checks within a time limit: each has a name, its outcome is kept in a file, and a
second run goes on where the first one stopped."""

from __future__ import annotations

import json
import re
import time
import traceback
from pathlib import Path
from typing import Callable

Check = Callable[[], str]  # returns what to print; raises when something is wrong


class Stages:
  """`state`: a file of JSON lines. Checks that are ok there are not run again, and none whose name
  `only`, a regular expression, does not find."""

  def __init__(self, state: Path, seconds: float, only: str = ""):
    self.state = state
    self.only = re.compile(only)
    self.end = time.monotonic() + seconds
    self.outcomes: dict[str, dict] = {}
    if state.exists():
      for line in state.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        self.outcomes[row["check"]] = row
    self.left_over: list[str] = []

  def run(self, name: str, check: Check, needs: float = 20) -> None:
    """Runs a check that takes about `needs` seconds, unless it was ok before or time is short."""
    if self.outcomes.get(name, {}).get("ok") or not self.only.search(name):
      return
    if time.monotonic() + needs > self.end:
      self.left_over.append(name)
      return
    start = time.monotonic()
    try:
      row = {"check": name, "ok": True, "detail": check()}
    except Exception as error:  # noqa: BLE001: every failure is a row
      where = traceback.extract_tb(error.__traceback__)[-1]
      row = {"check": name, "ok": False,
             "detail": f"{type(error).__name__}: {str(error)[:1500]} ({where.name}:{where.lineno})"}
    row["seconds"] = round(time.monotonic() - start, 1)
    self.outcomes[name] = row
    with self.state.open("a", encoding="utf-8") as file:
      file.write(json.dumps(row) + "\n")
    print(f"{'ok  ' if row['ok'] else 'FAIL'} {name} ({row['seconds']} s) {row['detail']}", flush=True)

  def close(self) -> int:
    """Says what came of it; the exit status: 1 when something failed or was left over."""
    failed = [name for name, row in self.outcomes.items() if not row["ok"]]
    print(f"{len(self.outcomes) - len(failed)} ok, {len(failed)} failed, "
          f"{len(self.left_over)} left for the next run")
    for name in failed:
      print(f"failed: {name}: {self.outcomes[name]['detail'][:300]}")
    for name in self.left_over:
      print(f"left over: {name}")
    return 1 if failed or self.left_over else 0
