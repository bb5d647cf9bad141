"""The cache of compiled programs: every door in fresh processes, the report, the command line."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release")) / "bin"

# Reads cases from its arguments and prints what each gave.
PROCESS = """
import json, os, sys
import torch, kiln
torch.set_num_threads(2)

class Model(torch.nn.Module):
  def __init__(self, seed):
    super().__init__()
    torch.manual_seed(seed)
    self.linear = torch.nn.Linear(640, 640)
    self.register_buffer("calls", torch.zeros(()))

  def forward(self, x, *, scale):
    self.calls += 1
    y = torch.softmax(self.linear(x * scale), -1)
    return {"scores": y, "calls": self.calls + 0, "erf": torch.special.erfcx(y[:, :2])}

def outcome(door="export", seed=0, saved="", folder=None, **options):
  if folder:
    os.environ["KILN_CACHE_DIR"] = folder
  torch._dynamo.reset()
  model, scale = Model(seed).eval(), torch.tensor(0.5)
  x = torch.randn(4, 640, generator=torch.Generator().manual_seed(1))
  if door == "torch.compile":
    run = torch.compile(model, backend="kiln", options=options)
  else:
    dim = torch.export.Dim("batch", min=2, max=32)
    exported = torch.export.export(model, (x,), {"scale": scale}, strict=False,
                                   dynamic_shapes={"x": {0: dim}, "scale": None})
    run = kiln.compile(exported, **options)
  with torch.no_grad():
    results = [run(x, scale=scale), run(torch.cat([x, x]), scale=scale)]
    reference = Model(seed).eval()
    torch.testing.assert_close(results[0], reference(x, scale=scale))
    torch.testing.assert_close(results[1], reference(torch.cat([x, x]), scale=scale))
  report = kiln.jit_reports()[-1] if door == "torch.compile" else run.report
  if saved:
    run.save(saved)
  return {"cache": report.cache, "text": str(report), "seconds": report.build_seconds,
          "ir": run.ir("simplified") + run.ir("lowered") if door == "export" else "",
          "sum": float(results[0]["scores"].double().square().sum()),
          "native": [report.ops_native, report.ops_total],
          "fallbacks": [f["op"] for f in report.fallbacks]}

json.dump([outcome(**case) for case in json.loads(sys.argv[1])], sys.stdout)
"""


def run(folder, *cases, switches=""):
  """The outcomes of the cases, compiled in a fresh process."""
  done = subprocess.run(
    [sys.executable, "-c", PROCESS, json.dumps(cases)], capture_output=True, text=True, timeout=300,
    env={**os.environ, "KILN_OPTIONS": switches, "KILN_CACHE_DIR": str(folder)})
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
  """A cache that one process has filled, what that process said and the file that it saved."""
  folder = tmp_path_factory.mktemp("cache")
  saved = folder / "cold.kiln"
  export, jit = run(folder / "kiln", {"saved": str(saved)}, {"door": "torch.compile"})
  return folder / "kiln", export, jit, saved.read_bytes()


def tool(folder, *arguments, code=0):
  done = subprocess.run([str(BIN / "kiln"), "cache", *arguments], capture_output=True, text=True,
                        timeout=60, env={**os.environ, "KILN_CACHE_DIR": str(folder)})
  assert done.returncode == code, done.stderr
  return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr


def test_another_process_finds_what_was_compiled(filled, tmp_path):
  folder, cold, cold_jit, cold_file = filled
  file = tmp_path / "file"
  file.write_text("")
  warm, tuned, other, warm_jit, off, unusable = run(
    folder, {"saved": str(tmp_path / "warm.kiln")}, {"seed": 1}, {"min_block_size": 2},
    {"door": "torch.compile"}, {"cache": False}, {"folder": str(file)})
  assert (cold["cache"]["program"], cold["cache"]["why"]) == ("miss", "no entry")
  assert warm["cache"]["program"] == "hit"
  assert "cache: hit" in warm["text"] and "cache: miss (no entry)" in cold["text"]
  for name in ("ir", "sum", "native", "fallbacks"):
    assert warm[name] == cold[name], name
  assert "aten::special_erfcx" in warm["fallbacks"]  # calls left to PyTorch are found as well
  assert "simplify" in cold["seconds"] and "simplify" not in warm["seconds"]
  assert (tmp_path / "warm.kiln").read_bytes() == cold_file
  # Other values of the weights: the same plan.
  assert tuned["cache"]["program"] == "hit" and tuned["sum"] != cold["sum"]
  # Another option: another program.
  assert other["cache"]["program"] == "miss"
  assert cold_jit["cache"]["program"] == "miss" and warm_jit["cache"]["program"] == "hit"
  assert warm_jit["sum"] == cold_jit["sum"]
  assert off["cache"]["program"] == "off" and "cache:" not in off["text"]
  assert unusable["cache"]["program"] == "unusable" and "K3401" in unusable["text"]


def test_a_switch_turns_it_off(filled):
  (off,) = run(filled[0], {}, switches="cache=0")
  assert off["cache"] == {"program": "off", "why": "KILN_OPTIONS=cache=0"}
  assert "cache: off (KILN_OPTIONS=cache=0)" in off["text"]


def test_the_command_line_lists_verifies_and_prunes(filled, tmp_path):
  folder = tmp_path / "copy"
  shutil.copytree(filled[0], folder)
  listed = tool(folder, "ls", "--json")
  assert {e["kind"] for e in listed["entries"]} == {"program"}
  assert listed["bytes"] == sum(e["bytes"] for e in listed["entries"])
  program = next(folder.glob("*.program"))
  assert program.stem in tool(folder, "ls")
  assert " 0 damaged" in tool(folder, "verify")
  data = bytearray(program.read_bytes())
  data[len(data) // 2] ^= 4
  program.write_bytes(data)
  found = tool(folder, "verify", "--json", code=1)
  assert [row["code"] for row in found["deleted"]] == ["K3403"] and not program.exists()
  assert tool(folder, "verify", "--json")["deleted"] == []
  # Weights that earlier versions kept are no damage, and go.
  (folder / f"{'0' * 32}.constants").write_bytes(b"kilncach" + bytes([1]) + bytes(119))
  found = tool(folder, "verify", "--json")
  assert [row["code"] for row in found["deleted"]] == ["K3404"]
  tool(folder, "prune", "--max-size", "0")
  assert tool(folder, "ls", "--json")["entries"] == []

  assert "K1009" in tool(folder, "prune", "--max-size", "many", code=2)
  assert "K1006" in tool(folder, "drop", code=2)
  assert "K1008" in tool(folder, code=2)
  assert "K1002" in tool(folder, "ls", "--max-size", "1G", code=2)
  assert "K3401" in tool(folder / "missing", "ls", code=1)
