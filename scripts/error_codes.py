#!/usr/bin/env python3
"""Checks docs/errors.md against the source.

    scripts/error_codes.py         check; silent and 0 when all is well
    scripts/error_codes.py --list  every code with the folders and the first message that use it

The table of docs/errors.md has one row per code: the code, its meaning, and the folders that may
use it. A code that is used and has no row, a row whose code nobody uses, a folder that uses a code
without standing in its row (which is how one code comes to have two meanings), two rows of one
code and rows out of order are errors.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "errors.md"
SOURCES = ("src", "include", "torch", "python", "compat", "tools", "examples")
SUFFIXES = {".cpp", ".h", ".py"}
CODE = re.compile(r'"(K\d{4})"')
# The example programs compare codes; they make none of their own.
SKIPPED = {"demo.py", "demo_models.py"}
ROW = re.compile(r"^\| (K\d{4}) \| (.+) \| (.+) \|$")


def folder_of(path: pathlib.PurePath) -> str:
  """What the third column calls a file's folder: "ops", "backends/cpu/runtime", "torch"."""
  parts = path.parts[:-1]
  return "/".join(parts[1:] if parts[0] == "src" else parts[:2] if parts[0] == "tools" else parts[:1])


def uses(root: pathlib.Path) -> dict[str, dict[str, str]]:
  """code -> folder -> the text after the code's first use there."""
  found: dict[str, dict[str, str]] = {}
  for top in SOURCES:
    for path in sorted((root / top).rglob("*")):
      if path.suffix not in SUFFIXES or path.name in SKIPPED:
        continue
      text = path.read_text(encoding="utf-8")
      # Comments and docstrings may quote a code as an example.
      for comment in (r"//.*",) if path.suffix != ".py" else (r"#.*", r'"""[\s\S]*?"""'):
        text = re.sub(comment, "", text)
      for match in CODE.finditer(text):
        folders = found.setdefault(match[1], {})
        rest = " ".join(text[match.end():match.end() + 200].split())
        folders.setdefault(folder_of(path.relative_to(root)), rest.lstrip("\\, ")[:90])
  return found


def problems(page: str, used: dict[str, dict[str, str]]) -> list[str]:
  rows: dict[str, set[str]] = {}
  found = []
  last = ""
  for line in page.splitlines():
    match = ROW.match(line)
    if match is None:
      if re.match(r"^\| K\d", line):
        found.append(f"not a row of three columns: {line}")
      continue
    code = match[1]
    if code in rows:
      found.append(f"{code} has two rows")
    elif code < last:
      found.append(f"{code} stands after {last}")
    last = code
    rows[code] = {folder.strip() for folder in match[3].split(",")}
  for code, folders in sorted(used.items()):
    if code not in rows:
      found.append(f"{code} is used in {', '.join(sorted(folders))} and has no row")
      continue
    for folder in sorted(set(folders) - rows[code]):
      found.append(f"{code} is used in {folder}, which its row does not name: give the new meaning "
                   f"a code of its own, or add the folder if the meaning is the same")
    for folder in sorted(rows[code] - set(folders)):
      found.append(f"{code} is not used in {folder}, which its row names")
  found += [f"{code} has a row and is not used" for code in sorted(set(rows) - set(used))]
  return found


def main() -> int:
  used = uses(ROOT)
  if sys.argv[1:] == ["--list"]:
    for code, folders in sorted(used.items()):
      for folder, text in folders.items():
        print(f"{code}  {folder:24s} {text}")
    return 0
  if sys.argv[1:]:
    print(__doc__, file=sys.stderr)
    return 2
  found = problems(PAGE.read_text(encoding="utf-8"), used)
  for problem in found:
    print(f"docs/errors.md: {problem}", file=sys.stderr)
  return 1 if found else 0


if __name__ == "__main__":
  sys.exit(main())
