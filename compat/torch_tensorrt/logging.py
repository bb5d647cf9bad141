"""torch_tensorrt.logging: how much is said while compiling.

Kiln's Python side logs to the logger "kiln": the report of each program at info, its kernels at
debug. What the C++ side logs is set by the environment variable KILN_LOGS.
"""

from __future__ import annotations

import contextlib
import logging as _logging
from typing import Any, Iterator

from ._refusal import module_getattr, refuse_kind

_LOGGER = _logging.getLogger("kiln")
_GRAPHS = 5  # below debug

__all__ = ["debug", "errors", "graphs", "info", "internal_errors", "set_level", "warnings"]


def _show() -> None:
  """Lines go to standard error unless the program has set up logging itself."""
  if not _LOGGER.hasHandlers():
    handler = _logging.StreamHandler()
    handler.setFormatter(_logging.Formatter("%(levelname)s [%(name)s] %(message)s"))
    _LOGGER.addHandler(handler)


def set_level(level: int | str) -> None:
  """A level of Python's logging: logging.DEBUG, "INFO", ..."""
  try:
    _LOGGER.setLevel(level)
  except (TypeError, ValueError):
    refuse_kind("logging.set_level", "a level of Python's logging", level)
  _show()


@contextlib.contextmanager
def _at(level: int) -> Iterator[None]:
  before = _LOGGER.level
  set_level(level)
  try:
    yield
  finally:
    _LOGGER.setLevel(before)


def internal_errors() -> contextlib.AbstractContextManager:
  return _at(_logging.CRITICAL)


def errors() -> contextlib.AbstractContextManager:
  return _at(_logging.ERROR)


def warnings() -> contextlib.AbstractContextManager:
  return _at(_logging.WARNING)


def info() -> contextlib.AbstractContextManager:
  return _at(_logging.INFO)


def debug() -> contextlib.AbstractContextManager:
  return _at(_logging.DEBUG)


def graphs() -> contextlib.AbstractContextManager:
  return _at(_GRAPHS)


def compiled(report: Any, program: Any = None) -> None:
  """Says what was compiled."""
  log = _logging.getLogger("kiln.torch_tensorrt")
  log.info("compiled: %s", report)
  if log.isEnabledFor(_logging.DEBUG):
    log.debug("kernels:\n%s", report.kernel_table(refusals=True))
  if program is not None and log.isEnabledFor(_GRAPHS):
    log.log(_GRAPHS, "graph:\n%s", program.ir("simplified"))


__getattr__ = module_getattr(__name__)
