"""torch_tensorrt.save and load."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from typing import Any, Iterator

import kiln
import torch
from kiln.frontends.errors import FrontendError
from torch.export import ExportedProgram

from ._refusal import note, refuse_kind, refuse_value

_FORMATS = ("exported_program", "torchscript", "aot_inductor", "executorch", "kiln")
#: What Kiln calls files of these formats.
_SUFFIXES = {"exported_program": ".pt2", "torchscript": ".ts", "kiln": ".kiln"}


def save(module: Any, file_path: str | os.PathLike = "", *,
         extra_files: dict[str, Any] | None = None, output_format: str = "exported_program",
         inputs: Any = None, arg_inputs: Any = None,
         kwarg_inputs: dict[str, Any] | None = None, retrace: bool = True,
         use_legacy_exporter: bool | None = None, pickle_protocol: int = 2,
         dynamic_shapes: Any = None, **kwargs: Any) -> None:
  """Writes a compiled program, an ExportedProgram or a ScriptModule.

  output_format: "exported_program" (a .pt2 archive), "kiln" (a .kiln file), "aot_inductor" (a
    package; inductor_configs= are AOTInductor's), "torchscript" (of a program or ScriptModule)
  Raises kiln.Error K1002, K1010, K1041, K30xx.
  """
  if output_format not in _FORMATS:
    refuse_kind("save(output_format)", " or ".join(map(repr, _FORMATS)), output_format)
  if output_format == "executorch":
    refuse_value("save(output_format)", output_format)
  unknown = [k for k in kwargs if k != "inductor_configs" or output_format != "aot_inductor"]
  if unknown:
    raise FrontendError("K1001", f"torch_tensorrt.save has no such argument: {', '.join(unknown)}",
                        hint="inductor_configs belongs to output_format=\"aot_inductor\"")
  path = os.fspath(file_path)
  if not path:
    refuse_kind("save(file_path)", "a path", path)
  if isinstance(module, torch.jit.ScriptModule):
    if output_format != "torchscript":
      refuse_kind("save(output_format)", '"torchscript" for a ScriptModule', output_format)
    torch.jit.save(module, path, _extra_files=extra_files)
  elif isinstance(module, ExportedProgram):
    _save_exported(module, path, output_format, extra_files, pickle_protocol, kwargs)
  elif isinstance(module, kiln.Program):
    if extra_files:
      refuse_value("save(extra_files)", sorted(extra_files))
    given = {"inputs": inputs, "arg_inputs": arg_inputs, "kwarg_inputs": kwarg_inputs,
             "dynamic_shapes": dynamic_shapes, "retrace": None if retrace else False,
             "use_legacy_exporter": use_legacy_exporter}
    _save_program(module, path, output_format, kwargs)
    add_notes(module, "save", given)
  else:
    refuse_value("save(module)", type(module).__name__)


def add_notes(program: kiln.Program, function: str, given: dict[str, Any]) -> None:
  """Notes in the report for what was given to `function` and has no effect."""
  notes = [note(f"{function}({name})", "..." if "input" in name else value)
           for name, value in given.items() if value is not None]
  program.report.update(notes=[*program.report.notes, *notes])


def _save_exported(exported: ExportedProgram, path: str, output_format: str, extra_files: Any,
                   pickle_protocol: int, kwargs: dict[str, Any]) -> None:
  if output_format == "aot_inductor":
    _package(exported, path, kwargs)
  elif output_format == "exported_program":
    torch.export.save(exported, path, extra_files=extra_files, pickle_protocol=pickle_protocol)
  else:
    refuse_kind("save(output_format)", '"exported_program" or "aot_inductor" for an '
                "ExportedProgram", output_format)


def _save_program(program: kiln.Program, path: str, output_format: str,
                  kwargs: dict[str, Any]) -> None:
  if output_format == "aot_inductor":
    _package(as_exported(program), path, kwargs)
    return
  # The suffix decides for Kiln, the format for Torch-TensorRT: written beside, then renamed.
  with _beside(path, _SUFFIXES[output_format]) as temporary:
    program.save(temporary)


@contextlib.contextmanager
def _beside(path: str, suffix: str) -> Iterator[str]:
  """A path in the folder of `path` with that suffix; what is written there replaces `path`."""
  folder = os.path.dirname(os.path.abspath(path))
  try:
    handle, temporary = tempfile.mkstemp(suffix=suffix, dir=folder)
    os.close(handle)
  except OSError as error:
    raise FrontendError("K3003", f"cannot write: {path}: {error.strerror}") from error
  try:
    yield temporary
    os.replace(temporary, path)
  except OSError as error:
    raise FrontendError("K3003", f"cannot write: {path}: {error.strerror}") from error
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(temporary)


def _package(exported: ExportedProgram, path: str, kwargs: dict[str, Any]) -> None:
  if not path.endswith(".pt2"):
    refuse_kind("save(file_path)", "a path that ends in .pt2, which AOTInductor asks for", path)
  torch._inductor.aoti_compile_and_package(exported, package_path=path,
                                           inductor_configs=kwargs.get("inductor_configs"))


def as_exported(program: kiln.Program) -> ExportedProgram:
  """A program as an ExportedProgram."""
  return program.exported_program()


def load(file_path: str | os.PathLike = "", extra_files: dict[str, Any] | None = None, *,
         format: str | None = None) -> Any:
  """Reads what save() wrote: an ExportedProgram, a ScriptModule or a kiln.Program, by content.

  `extra_files` is filled in as by torch.export.load and torch.jit.load. Raises kiln.Error K3001,
  K31xx.
  """
  if format is not None:
    refuse_value("load(format)", format)
  path = os.fspath(file_path)
  entries = _entries(path)
  if "kiln.json" in entries:
    if extra_files:
      refuse_kind("load(extra_files)", "nothing for a .kiln file, which holds none",
                  sorted(extra_files))
    return kiln.load(path)
  last = {name.rpartition("/")[2] for name in entries}
  if "archive_format" in last:
    if any("/data/aotinductor/" in name for name in entries):
      raise FrontendError("K3103", f"torch_tensorrt.load reads no packages of AOTInductor: {path}",
                          hint="torch._inductor.aoti_load_package(path) does")
    return torch.export.load(path, extra_files=extra_files)
  if "constants.pkl" in last:
    return torch.jit.load(path, _extra_files=extra_files)
  raise FrontendError("K3103", f"torch_tensorrt.load knows no file of this kind: {path}",
                      hint="it reads exported programs, TorchScript and .kiln files")


def _entries(path: str) -> set[str]:
  try:
    with zipfile.ZipFile(path) as archive:
      return set(archive.namelist())
  except OSError as error:
    raise FrontendError("K3001", f"cannot open: {path}: {error.strerror}") from error
  except zipfile.BadZipFile:
    return set()
