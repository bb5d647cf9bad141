#!/usr/bin/env python3
"""Writes docs/semantics.md from the table of cases in tests/python/semantics. Needs a build.

    scripts/semantics_page.py           write
    scripts/semantics_page.py --check   say whether it is out of date, and fail
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "python")]


def main():
  from semantics.page import page

  path = ROOT / "docs" / "semantics.md"
  text = page()
  if "--check" not in sys.argv[1:]:
    path.write_text(text)
  elif not path.exists() or path.read_text() != text:
    print("docs/semantics.md is out of date: run scripts/semantics_page.py", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
