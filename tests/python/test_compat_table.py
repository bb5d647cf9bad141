"""Every row of the table of Torch-TensorRT's names: what works is run, what is accepted changes
nothing and stands in the report, what raises raises with its hint."""

from __future__ import annotations

import inspect

import pytest
import torch

import compat_doors as doors
import compat_fx  # noqa: F401: registers its checks
import compat_refusals as refusals
import compat_torchtrtc
import compat_ts
import compat_types  # noqa: F401: registers its checks
import kiln
import torch_tensorrt
from compat_model import WORKS, X, exported, program
from torch_tensorrt import _table
from torch_tensorrt._settings import SETTINGS

ROWS = list(_table.rows())
PREFIX = "CompilationSettings."
ACCEPTED = {**refusals.ACCEPTED, **compat_ts.ACCEPTED}
RAISES = {**refusals.RAISES, **compat_ts.RAISES, **compat_torchtrtc.RAISES}


def of(status: str) -> list:
  found = []
  for row in ROWS:
    marks = [pytest.mark.long] if row.id in doors.LONG else []
    if row.status == status:
      found.append(pytest.param(row, id=row.id, marks=marks))
  return found


def resolve(name: str):
  found = torch_tensorrt
  for part in name.split("."):
    found = getattr(found, part)
  return found


def is_setting(row) -> bool:
  return row.name.startswith(PREFIX)


@pytest.mark.parametrize("row", of(_table.WORKS))
def test_what_works(row, tmp_path):
  check = WORKS[row.id]
  if inspect.signature(check).parameters:
    check(tmp_path)
  else:
    check()


@pytest.mark.parametrize("row", of(_table.ACCEPTED))
def test_what_is_accepted(row, tmp_path):
  if is_setting(row):
    name = row.name.removeprefix(PREFIX)
    value = refusals.ACCEPTED_SETTINGS[name]
    compiled = torch_tensorrt.dynamo.compile(exported(), **{name: value})
    assert torch.equal(compiled(X), program()(X))
    notes = compiled.report.notes
    if SETTINGS[name].is_default(value):
      assert not any(name in line for line in notes), "a default needs no note"
      return
  else:
    name = row.name.partition("(")[2].rstrip(")") or row.name
    notes = ACCEPTED[row.id](tmp_path)
  line = next((line for line in notes if name in line), None)
  assert line is not None and row.text in line, notes


@pytest.mark.parametrize("row", of(_table.RAISES))
def test_what_raises(row, tmp_path):
  if row.id in RAISES:
    call, codes = RAISES[row.id], ("K1040", "K1041")
  elif is_setting(row):
    name = row.name.removeprefix(PREFIX)
    call, codes = lambda _: torch_tensorrt.dynamo.compile(
      exported(), **{name: refusals.REFUSED_SETTINGS[name]}), ("K1041",)
  else:
    call, codes = lambda _: resolve(row.name)(), ("K1040",)
  with pytest.raises(kiln.Error) as caught:
    call(tmp_path)
  error = caught.value
  assert error.code in codes
  assert error.hint == row.text
  name = row.name.removeprefix(PREFIX).partition("(")[0]
  assert name in str(error) or name == "device", "the name that the user wrote"


def test_every_row_is_told_apart():
  ids = [row.id for row in ROWS]
  assert len(ids) == len(set(ids))
  assert all(row.text or row.id == "runtime.set_cudagraphs_mode=False" for row in ROWS)


def test_no_check_without_a_row():
  ids = {row.id for row in ROWS}
  assert set(WORKS) | set(ACCEPTED) | set(RAISES) <= ids
  names = {row.name.removeprefix(PREFIX) for row in ROWS if is_setting(row)}
  assert names == set(SETTINGS)
  assert set(refusals.ACCEPTED_SETTINGS) | set(refusals.REFUSED_SETTINGS) <= names


def test_settings_are_the_known_ones():
  fields = [name for name, setting in SETTINGS.items() if setting.is_field]
  assert len(fields) == 51
  assert list(vars(torch_tensorrt.dynamo.CompilationSettings())) == fields


MODULES = ("", "dynamo", "dynamo.runtime", "runtime", "logging", "ts", "fx", "fx.lower", "fx.utils",
           "kernels")


@pytest.mark.parametrize("module", MODULES)
def test_no_public_name_without_a_row(module):
  names = {row.name for row in ROWS}
  found = resolve(module) if module else torch_tensorrt
  for name in getattr(found, "__all__", ()):
    path = f"{module}.{name}".lstrip(".")
    if inspect.ismodule(getattr(found, name)):
      assert any(n == path or n.startswith(path + ".") for n in names)
    else:
      assert path in names


#: Arguments that mean the same wherever they stand.
_EVERYWHERE = {"module", "inputs", "arg_inputs", "kwarg_inputs", "enabled_precisions", "file_path",
               "compiled_module", "exported_program", "gm", "args", "pytorch_model", "kwargs",
               "mod", "settings", "ir", "serialized_engine"}


@pytest.mark.parametrize("name", [
  "compile", "convert_method_to_trt_engine", "save", "load", "Input", "dynamo.compile",
  "dynamo.trace", "dynamo.convert_exported_program_to_serialized_trt_engine", "dynamo.export",
  "dynamo.refit_module_weights", "dynamo.Debugger", "MutableTorchTensorRTModule", "fx.compile",
  "ts.compile", "ts.convert_method_to_trt_engine", "ts.embed_engine_in_new_module",
  "ts.check_method_op_support"])
def test_no_parameter_without_a_row(name):
  names = {row.name for row in ROWS}
  parameters = set(inspect.signature(resolve(name)).parameters) - _EVERYWHERE
  assert {p for p in parameters if f"{name}({p})" not in names} == set()


def test_unknown_names_say_which_are_near():
  with pytest.raises(AttributeError, match="did you mean.*convert_method_to_trt_engine"):
    torch_tensorrt.convert_method_to_trt_engin
  with pytest.raises(AttributeError, match="did you mean.*refit_module_weights"):
    torch_tensorrt.dynamo.refit_module_weight
  assert not hasattr(torch_tensorrt, "nothing_like_it")
  with pytest.raises(kiln.Error, match="did you mean workspace_size") as error:
    torch_tensorrt.dynamo.compile(exported(), workspace_sze=1)
  assert error.value.code == "K1001"


def test_wrong_values_name_the_setting():
  wrong = {"workspace_size": -1, "optimization_level": 6, "min_block_size": 0, "disable_tf32": 1,
           "engine_capability": "STANDARD", "tiling_optimization_level": "some",
           "enabled_precisions": set(), "num_avg_timing_iters": "many", "dryrun": 3}
  for name, value in wrong.items():
    with pytest.raises(kiln.Error, match=name) as error:
      torch_tensorrt.dynamo.compile(exported(), **{name: value})
    assert error.value.code == "K1002"
    if SETTINGS[name].is_field:
      with pytest.raises(kiln.Error, match=name):
        torch_tensorrt.dynamo.CompilationSettings(**{name: value})


def test_refused_classes_can_be_imported_and_asked_for():
  from torch_tensorrt.dynamo.runtime import TorchTensorRTModule
  from torch_tensorrt.ts import TensorRTCompileSpec

  assert not isinstance(program(), TorchTensorRTModule)
  with pytest.raises(kiln.Error, match="torch_tensorrt.ts.TensorRTCompileSpec"):
    TensorRTCompileSpec(inputs=[])
  with pytest.raises(kiln.Error, match="DYNAMO_CONVERTERS"):
    torch_tensorrt.dynamo.conversion.DYNAMO_CONVERTERS.display_all_available_converters()


def test_the_operators_that_stay_are_printed(capsys):
  torch_tensorrt.ts.check_method_op_support(torch.jit.script(compat_ts.Odd()))
  assert capsys.readouterr().out.split()[-1] == "aten::logcumsumexp"
