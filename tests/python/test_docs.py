"""The documentation agrees with the code: generated pages, error codes, paths that it names."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
# What the documentation invents for its examples, and what a build or a user makes.
NOT_FILES = re.compile(r"NAME|FAMILY|FOLDER|NNN|TARGET|\*|\.\.\.|^build/|^plans/|=")


def run(*command):
  return subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True,
                        timeout=120)


def test_generated_pages_are_up_to_date():
  done = run("scripts/generate_docs.sh", "--check")
  assert done.returncode == 0, done.stdout + done.stderr


def test_every_error_code_has_one_meaning():
  done = run(sys.executable, "scripts/error_codes.py")
  assert done.returncode == 0, done.stderr


def error_codes():
  spec = importlib.util.spec_from_file_location("error_codes", ROOT / "scripts" / "error_codes.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("page, problem", [
  ("| K1001 | a | base |\n", "K1002 is used in ops and has no row"),
  ("| K1001 | a | base |\n| K1002 | b | ir |\n", "K1002 is used in ops, which its row does not name"),
  ("| K1001 | a | base |\n| K1002 | b | ops |\n| K1003 | c | ir |\n", "K1003 has a row and is not"),
  ("| K1002 | b | ops |\n| K1001 | a | base |\n", "K1001 stands after K1002"),
  ("| K1001 | a | base |\n| K1001 | a | base |\n| K1002 | b | ops |\n", "K1001 has two rows"),
  ("| K1001 | a | base, ir |\n| K1002 | b | ops |\n", "K1001 is not used in ir"),
])
def test_the_check_of_error_codes_can_fail(page, problem):
  used = {"K1001": {"base": ""}, "K1002": {"ops": ""}}
  assert any(problem in found for found in error_codes().problems(page, used))


def test_the_check_of_error_codes_can_pass():
  used = {"K1001": {"base": ""}, "K1002": {"ops": ""}}
  assert error_codes().problems("| K1001 | a | base |\n| K1002 | b | ops |\n", used) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_paths_exist(page):
  text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
  missing = [link for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
             if not (page.parent / link).exists()]
  for word in re.findall(r"`([^`\s]+)`", text):
    if NOT_FILES.search(word) or not re.match(r"(src|docs|tests|tools|torch|python|include|scripts|"
                                              r"examples|benchmarks|cmake)/", word):
      continue
    braces = re.match(r"(.*)\.\{(\w+),(\w+)\}$", word)
    names = [f"{braces[1]}.{braces[2]}", f"{braces[1]}.{braces[3]}"] if braces else [word]
    for name in names:
      path = ROOT / name
      if not path.exists() and not list(path.parent.glob(path.name + ".*")):
        missing.append(name)
  assert not missing
