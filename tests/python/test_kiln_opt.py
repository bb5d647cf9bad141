"""kiln-opt: its text tests must be able to fail, and its command line must say what is wrong."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
KILN_OPT = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release")) / "bin/kiln-opt"

DEAD = """\
main(%x: f32[2]) {
  %0 = neg(%x) : f32[2]
  %1 = exp(%x) : f32[2]
  return %1
}
"""
ALIVE = """\
main(%x: f32[2]) {
  %0 = exp(%x) : f32[2]
  return %0
}
"""
CALL = """\
main(%x: f32[2]) {
  %0 = aten.call(%x) {call=my::op(%0), effect="random"} : f32[2]
  return %0
}
"""


def run(*arguments, stdin="", cwd=None, **environment):
  return subprocess.run(
    [str(KILN_OPT), *map(str, arguments)],
    input=stdin,
    capture_output=True,
    text=True,
    cwd=cwd,
    env={**os.environ, **environment},
    timeout=60,
  )


def check(tmp_path, text, *arguments):
  path = tmp_path / "case.ir"
  path.write_text(text)
  result = run("--test", path, cwd=tmp_path)
  assert result.returncode in (0, 1), result.stderr
  return result


def test_correct_case_passes_quietly(tmp_path):
  result = check(tmp_path, f"// RUN: passes=dce\n{DEAD}// ----\n{ALIVE}")
  assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
  "text, message",
  [
    (f"// RUN: passes=dce\n{DEAD}// ----\n{DEAD}", "first difference in line 2"),
    (f"// RUN: passes=dce\n{DEAD}// ----\n// UNCHANGED\n", "first difference"),
    (f"// RUN: passes=dce\n{DEAD}", "no '// ----' line"),
    (f"{DEAD}// ----\n{ALIVE}", "no '// RUN: passes=...' line"),
    ("", "no cases"),
    (f"// RUN: passes=dce fast\n{DEAD}// ----\n{ALIVE}", "unknown word of a RUN line: fast"),
    (f"// RUN: passes=nothing\n{DEAD}// ----\n{ALIVE}", "unknown pass: nothing"),
    (f"// RUN: passes=dce\n{DEAD}// ----\n// ERROR: K2205\n", "first difference"),
    (f"// RUN: passes=dce not-idempotent\n{DEAD}// ----\n{ALIVE}", "idempotent, but"),
    (f"// RUN: passes=dce order-dependent\n{DEAD}// ----\n{ALIVE}", "no order of nodes"),
    (f"// RUN: passes=dce not-executable\n{DEAD}// ----\n{ALIVE}", "executes, but"),
    (f"// RUN: passes=dce\n{CALL}// ----\n// UNCHANGED\n", "does not execute"),
    (
      "// RUN: passes=dce\nmain(%x: f32[2]) {\n  %0 = sub(%x, %x) : f32[2]\n"
      "  return %0\n}\n// ----\n// UNCHANGED\n",
      "proves nothing",
    ),
    (
      "// RUN: passes=dce\nmain(%x: f32[2]) {\n  %0 = neg(%x) : f32[3]\n"
      "  return %0\n}\n// ----\n// UNCHANGED\n",
      "input does not verify",
    ),
    (f"// RUN: passes=dce\n// DATA: x sorted\n{DEAD}// ----\n{ALIVE}", "unknown kind of data"),
  ],
)
def test_wrong_case_fails(tmp_path, text, message):
  result = check(tmp_path, text)
  assert result.returncode == 1
  assert message in result.stderr


def test_one_wrong_case_of_several_names_its_line(tmp_path):
  good = f"// RUN: passes=dce\n{DEAD}// ----\n{ALIVE}"
  bad = f"// RUN: passes=dce\n{DEAD}// ----\n{DEAD}"
  result = check(tmp_path, f"{good}// ====\n{bad}")
  assert result.returncode == 1
  line = good.count("\n") + 2
  assert f"case.ir:{line}:" in result.stderr
  assert "1 failures in 2 cases" in result.stderr


def test_bless_writes_what_then_passes(tmp_path):
  path = tmp_path / "case.ir"
  path.write_text(
    f"// RUN: passes=dce\n// why\n{DEAD}// ----\n{DEAD}\n// ====\n// RUN: passes=dce\n{ALIVE}"
  )
  assert run("--test", path).returncode == 1
  assert run("--bless", path).returncode == 0
  text = path.read_text()
  assert text == (
    f"// RUN: passes=dce\n// why\n{DEAD}// ----\n{ALIVE}"
    f"// ====\n// RUN: passes=dce\n{ALIVE}// ----\n// UNCHANGED\n"
  )
  assert run("--test", path).returncode == 0
  assert run("--bless", path).stdout == ""
  assert path.read_text() == text


def test_runs_passes_on_a_file_and_on_standard_input(tmp_path):
  path = tmp_path / "module.ir"
  path.write_text(DEAD)
  assert run(path, "--passes", "dce").stdout == ALIVE
  assert run("-", "--passes", "fix(cse,dce)", stdin=DEAD).stdout == ALIVE
  assert run(path).stdout == DEAD
  path.write_text("// RUN: passes=dce\n" + DEAD)
  assert run(path).stdout == ALIVE
  path.write_text("// RUN: passes=dce limit=0\n" + DEAD)
  assert run(path).stdout == DEAD
  path.write_text(DEAD)
  limited = run(path, "--passes", "dce", KILN_OPTIONS="pass_limit=dce:0")
  assert limited.stdout == DEAD
  timed = run(path, "--passes", "dce", "--time")
  assert "1 runs, 1 changed  dce" in timed.stderr
  run(path, "--passes", "cse,dce", "--dump", KILN_OPTIONS=f"dump_dir={tmp_path}/dumps")
  assert (tmp_path / "dumps/001-dce.ir").read_text() == ALIVE


def test_wrong_use_is_told(tmp_path):
  assert run().returncode == 2
  assert run("--nonsense").returncode == 2
  assert run("a", "b").returncode == 2
  assert run("a", "--passes").returncode == 2
  missing = run(tmp_path / "missing.ir")
  assert missing.returncode == 1 and "K3001" in missing.stderr
  broken = run("-", stdin="main(")
  assert broken.returncode == 1 and "K2310" in broken.stderr
  option = run("-", stdin=DEAD, KILN_OPTIONS="pass_limit=dce")
  assert option.returncode == 1 and "K1002" in option.stderr
  unknown = run("-", stdin=DEAD, KILN_OPTIONS="nonsense=1")
  assert unknown.returncode == 1 and "K1001" in unknown.stderr
  assert "cse: " in run("--list-passes").stdout
