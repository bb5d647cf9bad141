"""The five models end to end: every door, files, C++, shapes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import kiln
from tests.models import accuracy, zoo

ROOT = Path(__file__).resolve().parents[2]
CASES = {case[0]: case for case in zoo.ACCEPTANCE}
IMAGE_MODELS = ("resnet50", "mobilenet_v3_large", "vit_b_16")


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
  """(name, model, make_inputs); one model at a time is held."""
  _, builder, kw = CASES[request.param]
  model, make_inputs = zoo.build(builder, **kw)
  return request.param, model, make_inputs


@pytest.fixture(scope="module")
def one(case):
  """(inputs, oracle, program) of the model for one image or sentence: what one compilation shows."""
  _, model, make_inputs = case
  inputs = make_inputs(1, 128, 0)
  oracle = accuracy.Oracle(model, inputs, make_inputs(1, 128, 1))
  return inputs, oracle, kiln.compile(model, inputs=example(inputs))


def example(inputs):
  return list(inputs.args) or dict(inputs.kwargs)


def run(program, inputs):
  with torch.no_grad():
    return program(*inputs.args, **inputs.kwargs)


def assert_all_native(report):
  rows = [(r["op"], r["reason"], r["location"]) for r in report.fallbacks]
  assert report.ops_native == report.ops_total and not rows, rows
  assert report.segments == 1


def test_compile_is_right_and_native(one):
  inputs, oracle, program = one
  oracle.check(run(program, inputs))
  assert_all_native(program.report)


def test_a_batch_is_right_and_native(case):
  _, model, make_inputs = case
  inputs = make_inputs(4, 128, 0)
  oracle = accuracy.Oracle(model, inputs, make_inputs(4, 128, 1))
  program = kiln.compile(model, inputs=example(inputs))
  oracle.check(run(program, inputs))
  assert_all_native(program.report)


def test_exported_program_compiles(case, one):
  _, model, _ = case
  inputs, oracle, _ = one
  with torch.no_grad():
    exported = torch.export.export(model, tuple(inputs.args), dict(inputs.kwargs), strict=False)
  oracle.check(run(kiln.compile(exported), inputs))


def test_torch_compile_is_right_and_native(case, one):
  _, model, _ = case
  inputs, oracle, _ = one
  torch._dynamo.reset()
  before = len(kiln.jit_reports())
  fast = torch.compile(model, backend="kiln")
  oracle.check(run(fast, inputs))
  reports = kiln.jit_reports()[before:]
  assert len(reports) == 1, "graph breaks"
  assert_all_native(reports[0])


def test_no_aten_op_runs_inside(one):
  inputs, _, program = one
  run(program, inputs)
  with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
    run(program, inputs)
  # Rebuilding a cache object of transformers is the only thing that may look at its tensors.
  ops = {event.key for event in profile.key_averages() if event.key.startswith("aten::")}
  assert ops <= {"aten::empty_strided", "aten::empty", "aten::detach"}, ops


LOAD_AND_RUN = """
  import sys
  import torch
  sys.path.insert(0, sys.argv[3])
  import kiln
  torch.set_num_threads(2)
  args, kwargs = torch.load(sys.argv[2] + "/inputs.pt")
  program = kiln.load(sys.argv[1])
  with torch.no_grad():
    outputs = program(*args, **kwargs)
  leaves = torch.utils._pytree.tree_leaves(outputs)
  torch.save([t for t in leaves if isinstance(t, torch.Tensor)], sys.argv[2] + "/outputs.pt")
"""


def cpp_runner() -> Path:
  for folder in sorted((ROOT / "build").glob("*/bin"), key=os.path.getmtime, reverse=True):
    if (folder / "cpp_runner").exists() and folder.parent.name == "release":
      return folder / "cpp_runner"
  pytest.fail("cpp_runner is not built")


def test_file_in_fresh_process_and_in_cpp(one, tmp_path):
  """The same bits from Python, from the file in another process, and from C++."""
  inputs, _, program = one
  torch.set_num_threads(2)
  path = tmp_path / "model.kiln"
  program.save(path)
  expected = [t for t in accuracy.leaves(run(program, inputs)) if isinstance(t, torch.Tensor)]

  torch.save((tuple(inputs.args), dict(inputs.kwargs)), tmp_path / "inputs.pt")
  subprocess.run([sys.executable, "-c", textwrap.dedent(LOAD_AND_RUN), str(path), str(tmp_path),
                  str(ROOT / "python")], check=True, timeout=300)
  loaded = torch.load(tmp_path / "outputs.pt")
  assert len(loaded) == len(expected)
  for got, want in zip(loaded, expected):
    assert torch.equal(got, want)

  values = program._bind(inputs.args, inputs.kwargs)
  files = []
  for i, value in enumerate(values):
    np.save(tmp_path / f"in{i}.npy", value.numpy())
    files.append(str(tmp_path / f"in{i}.npy"))
  subprocess.run([str(cpp_runner()), str(path), *files, "--out", str(tmp_path / "out"),
                  "--threads", "2"], check=True, timeout=300, stdout=subprocess.DEVNULL)
  with torch.no_grad():
    raw = program._run(values)
  for i, want in enumerate(raw):
    got = np.load(tmp_path / f"out{i}.npy")
    assert got.tobytes() == want.contiguous().numpy().tobytes(), f"output {i}"


def test_file_has_no_reorders_where_none_are_needed(case, one):
  """Layouts: at most two activation copies in ResNet-50, none in BERT."""
  name, _, _ = case
  if name not in ("resnet50", "bert"):
    pytest.skip("only stated for these two")
  _, _, program = one
  copies = program.report.steps.get("copy", 0)
  assert copies <= (2 if name == "resnet50" else 0)


def test_dynamic_batch_and_sequence(case):
  """One program for batch 1..8 and 16..256 tokens: right at 20 random shapes, no rebuild."""
  name, model, make_inputs = case
  if name in IMAGE_MODELS:
    pytest.skip("only stated for text")
  low, opt, high = make_inputs(1, 16, 0), make_inputs(2, 128, 0), make_inputs(8, 256, 0)
  dims = ("batch", "seq")
  given = {key: kiln.Input(min_shape=low.kwargs[key].shape, opt_shape=opt.kwargs[key].shape,
                           max_shape=high.kwargs[key].shape, dtype=value.dtype, dim_names=dims,
                           value_range=(0, 100) if value.dtype == torch.int64 else None)
           for key, value in opt.kwargs.items()}
  program = kiln.compile(model, inputs=given)
  assert_all_native(program.report)
  chooser = random.Random(5)
  shapes = [(chooser.randint(1, 8), chooser.randint(16, 256)) for _ in range(20)]
  for i, (batch, seq) in enumerate(shapes):
    inputs = make_inputs(batch, seq, i)
    outputs = run(program, inputs)
    with torch.no_grad():
      eager = model(*inputs.args, **inputs.kwargs)
    for got, want in zip(accuracy.leaves(outputs), accuracy.leaves(eager), strict=True):
      if isinstance(want, torch.Tensor):
        assert got.shape == want.shape
        assert accuracy.relative_error(got, want.double()) < 1e-4
  made = program.bindings_made
  assert made <= 20
  for batch, seq in sorted(shapes, key=lambda shape: shape[0] * shape[1])[:5]:
    run(program, make_inputs(batch, seq, 0))
  assert program.bindings_made == made  # shapes seen before are ready
  too_long = make_inputs(1, 300, 0)
  with pytest.raises(kiln.Error) as error:
    run(program, too_long)
  text = str(error.value)
  assert error.value.code == "K4105"
  assert "input_ids" in text and "dim 1" in text and "300" in text and "256" in text


def test_report_is_json(case):
  _, model, make_inputs = case
  report = kiln.explain(model, inputs=example(make_inputs(1, 128, 0)))
  data = json.loads(report.to_json())
  assert data["ops_total"] == data["ops_native"] > 10
  assert f"{data['ops_native']} of {data['ops_total']} calls in Kiln" in str(report)
