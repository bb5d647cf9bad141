"""Errors that rise from the C++ side."""

from __future__ import annotations

from .frontends.errors import FrontendError


class NativeError(FrontendError):
  """A status of the compiler or runtime; `code` is stable ("K4105")."""

  def __init__(self, code: str, message: str, hint: str = "", place: str = ""):
    super().__init__(code, message, location=place, hint=hint)
