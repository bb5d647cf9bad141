"""Errors that rise from the C++ side."""

from __future__ import annotations

import re

from .frontends.errors import FrontendError


class NativeError(FrontendError):
  """A status of the compiler or runtime; `code` is stable ("K4105")."""

  def __init__(self, code: str, message: str, hint: str = "", place: str = ""):
    super().__init__(code, message, location=place, hint=hint)


def error_inside(error: Exception, place: str = "") -> FrontendError | None:
  """Kiln's error inside one of torch's, in whose text it stands."""
  if isinstance(error, FrontendError):
    return error
  found = re.search(r"\b(K\d{4}): (.*?)(?:; hint: (.*))?(?:\n|$)", str(error))
  return NativeError(found[1], found[2], found[3] or "", place) if found else None
