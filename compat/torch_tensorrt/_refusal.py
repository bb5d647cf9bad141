"""What raises: names and values that have no counterpart, with the hint of their row."""

from __future__ import annotations

import contextlib
import difflib
from typing import Any, Callable, Iterator, NoReturn

from kiln.frontends.errors import FrontendError

from . import _table

_PACKAGE = "torch_tensorrt"


def public_name(name: str) -> str:
  """"torch_tensorrt.save(retrace)"; of a setting, the word alone: it is known by that."""
  if name.startswith("CompilationSettings."):
    return f"Torch-TensorRT's {name.removeprefix('CompilationSettings.')}"
  return name if name.startswith("torch.") else f"{_PACKAGE}.{name}"


def refuse_name(name: str) -> NoReturn:
  row = _table.find(name, _table.RAISES)
  raise FrontendError("K1040", f"kiln has no counterpart of {public_name(name)}", hint=row.text)


def refuse_value(name: str, value: Any) -> NoReturn:
  row = _table.find(name, _table.RAISES, value)
  raise FrontendError("K1041", f"kiln cannot do what is asked of {public_name(name)}: {value!r}",
                      hint=row.text)


def refuse_kind(name: str, expected: str, value: Any) -> NoReturn:
  raise FrontendError("K1002", f"{public_name(name)} takes {expected}: {value!r}")


#: What Kiln's own hints say, in the words that the user knows.
_HINTS = {
  "K1102": 'torch.compile(model, backend="torch_tensorrt") captures around what export cannot',
  "K2001": "require_full_compilation=False runs them in PyTorch, between native parts",
}


@contextlib.contextmanager
def known_words() -> Iterator[None]:
  """Errors of Kiln inside leave with hints that name Torch-TensorRT's options."""
  try:
    yield
  except FrontendError as error:
    if error.code not in _HINTS:
      raise
    raise FrontendError(error.code, error.message, location=error.location,
                        hint=_HINTS[error.code]) from error


def note(name: str, value: Any) -> str:
  """The line of the report about something accepted."""
  return f"{public_name(name)}={value!r} changes nothing: {_table.find(name, _table.ACCEPTED).text}"


class _Refused(type):
  """Classes that can be imported, named in isinstance() and nothing else."""

  _row = ""

  def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
    refuse_name(cls._row)

  def __getattr__(cls, name: str) -> NoReturn:
    if name.startswith("__"):
      raise AttributeError(name)
    refuse_name(cls._row)


def module_getattr(module: str) -> Callable[[str], Any]:
  """__getattr__ of a module: a refused name can be imported, and raises when it is used.

  A name that is in no row is an AttributeError with the nearest ones.
  """
  prefix = module.removeprefix(_PACKAGE).lstrip(".")
  prefix = prefix + "." if prefix else ""

  def get(name: str) -> Any:
    row = _table.find(prefix + name, _table.RAISES)
    if row is not None:
      return _Refused(name, (), {"_row": row.name, "__module__": module, "__doc__": row.text})
    known = [r.name.removeprefix(prefix) for r in _table.rows() if r.name.startswith(prefix)]
    near = [] if name.startswith("_") else difflib.get_close_matches(name, known, n=3)
    text = f"module {module!r} has no attribute {name!r}"
    if near:
      text += f"; did you mean {' or '.join(near)}?"
    raise AttributeError(text, name=name)

  return get
