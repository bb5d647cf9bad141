#!/usr/bin/env python3
"""Checks what can be seen of a file without understanding it: length, width, names, white space.

    scripts/check_files.py   check the files that git knows; silent and 0 when all is well
"""

import pathlib
import re
import subprocess
import sys

# A file has one subject. 600 lines is where a file should be split; here is where it must be.
MAX_LINES = 900
MAX_COLUMNS = {".cpp": 100, ".h": 100, ".py": 110}
TEXT = {".cpp", ".h", ".py", ".cmake", ".md", ".txt", ".json", ".toml", ".ini", ".ir", ".sh"}
# Names that say nothing about the subject, so that everything ends up there.
RAW_OPEN = re.compile(r'R"\((?!.*\)")')
VAGUE = re.compile(r"(^|[_.-])(utils?|helpers?|misc|common)([_.-]|$)")


def check(path, text):
    errors = []
    suffix = path.suffix
    lines = text.split("\n")
    code = suffix in MAX_COLUMNS
    if code and VAGUE.search(path.stem):
        errors.append((1, "name the file after its subject"))
    if code and len(lines) - 1 > MAX_LINES:
        errors.append((1, f"{len(lines) - 1} lines, more than {MAX_LINES}; split it"))
    if suffix == ".h" and "#pragma once" not in text and not path.stem.endswith("-inl"):
        errors.append((1, "no #pragma once"))
    if text and not text.endswith("\n"):
        errors.append((len(lines), "no line feed at the end"))
    literal = False  # inside a raw string of C++, whose text is as wide as what it quotes
    for number, line in enumerate(lines, 1):
        if suffix == ".cpp":
            quoted, literal = literal, RAW_OPEN.search(line) is not None or (
                literal and ')"' not in line)
            if quoted and literal:
                continue
        if len(line) > MAX_COLUMNS.get(suffix, sys.maxsize) and "http" not in line:
            errors.append((number, f"{len(line)} columns, more than {MAX_COLUMNS[suffix]}"))
        if line != line.rstrip() and suffix not in (".md", ".ir"):
            errors.append((number, "white space at the end"))
        if code and "\t" in line:
            errors.append((number, "a tab"))
    return errors


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True).stdout
    failed = False
    for name in sorted(set(filter(None, listed.split("\0")))):
        path = root / name
        if path.suffix not in TEXT or not path.is_file():
            continue
        for line, text in check(path, path.read_text(encoding="utf-8")):
            print(f"{name}:{line}: {text}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
