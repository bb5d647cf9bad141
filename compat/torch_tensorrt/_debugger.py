"""dynamo.Debugger: looking at what is compiled inside a `with` block."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

from . import _refusal, logging
from ._refusal import refuse_kind, refuse_value

_active: list["Debugger"] = []

_LEVELS = {
  "debug": logging.debug, "info": logging.info, "warning": logging.warnings,
  "error": logging.errors, "internal_errors": logging.internal_errors, "graphs": logging.graphs,
}


class Debugger:
  """`with torch_tensorrt.dynamo.Debugger(...):` around compiling.

  log_level: "debug", "info", "warning", "error", "internal_errors" or "graphs"
  save_layer_info: writes the report of each program, as JSON, into logging_dir, or into a new
    folder, which `logging_dir` then names
  """

  def __init__(self, log_level: str = "debug", capture_fx_graph_before: Any = None,
               capture_fx_graph_after: Any = None, save_engine_profile: bool = False,
               profile_format: str = "perfetto", engine_builder_monitor: bool = True,
               logging_dir: str | os.PathLike | None = None, save_layer_info: bool = False):
    if log_level not in _LEVELS:
      refuse_kind("dynamo.Debugger(log_level)", " or ".join(map(repr, _LEVELS)), log_level)
    if capture_fx_graph_before is not None:
      refuse_value("dynamo.Debugger(capture_fx_graph_before)", capture_fx_graph_before)
    if capture_fx_graph_after is not None:
      refuse_value("dynamo.Debugger(capture_fx_graph_after)", capture_fx_graph_after)
    if save_engine_profile:
      refuse_value("dynamo.Debugger(save_engine_profile)", save_engine_profile)
    if profile_format not in ("perfetto", "trex", "cudagraph"):
      refuse_kind("dynamo.Debugger(profile_format)", '"perfetto", "trex" or "cudagraph"',
                  profile_format)
    self.logging_dir = None if logging_dir is None else os.fspath(logging_dir)
    self.notes = []
    if profile_format != "perfetto":
      self.notes.append(_refusal.note("dynamo.Debugger(profile_format)", profile_format))
    if engine_builder_monitor is not True:
      self.notes.append(_refusal.note("dynamo.Debugger(engine_builder_monitor)",
                                      engine_builder_monitor))
    self._save_layer_info = save_layer_info
    self._level = _LEVELS[log_level]
    self._exits = contextlib.ExitStack()
    self._written = 0

  def __enter__(self) -> "Debugger":
    if self._save_layer_info and self.logging_dir is None:
      self.logging_dir = tempfile.mkdtemp(prefix="torch_tensorrt_debug_")
    elif self._save_layer_info:
      os.makedirs(self.logging_dir, exist_ok=True)
    self._exits.enter_context(self._level())
    _active.append(self)
    return self

  def __exit__(self, *error: Any) -> None:
    _active.remove(self)
    self._exits.close()

  def _compiled(self, report: Any, name: str) -> None:
    report.update(notes=[*report.notes, *self.notes])
    if not self._save_layer_info:
      return
    path = os.path.join(self.logging_dir, f"{name}_{self._written}_layer_information.json")
    self._written += 1
    with open(path, "w", encoding="utf-8") as file:
      file.write(report.to_json(indent=1) + "\n")


def compiled(report: Any, program: Any = None) -> None:
  """Every door calls this with what it built."""
  logging.compiled(report, program)
  name = "torch_compile" if program is None else "program"
  for debugger in list(_active):
    debugger._compiled(report, name)
