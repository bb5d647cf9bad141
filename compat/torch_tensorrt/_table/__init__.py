"""Every name of Torch-TensorRT that this package answers for: one row each, and nothing but text.

The package takes its hints and its refusals from these rows, docs/coming_from_torch_tensorrt.md is
written from them (page.py) and a test walks them. So nothing here imports torch or the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WORKS, ACCEPTED, RAISES = "works", "accepted", "raises"


@dataclass(frozen=True)
class Row:
  """What becomes of one name, or of some values of it.

  name: the path below torch_tensorrt; "save(retrace)" is a parameter of save
  status: WORKS; ACCEPTED, which changes nothing that the user could see and stands in the report;
    RAISES
  text: works: what it maps to; accepted: why nothing changes; raises: what to use instead
  values: the values that the row speaks of, "" for all
  """

  name: str
  status: str
  text: str
  values: str = ""

  @property
  def id(self) -> str:
    return f"{self.name}={self.values}" if self.values else self.name


@dataclass(frozen=True)
class Section:
  title: str
  intro: str
  rows: tuple[Row, ...]


def sections() -> tuple[Section, ...]:
  from . import doors, fx, runtime, settings, torchtrtc, ts, types

  return (*doors.SECTIONS, *ts.SECTIONS, *fx.SECTIONS, *settings.SECTIONS, *types.SECTIONS,
          *runtime.SECTIONS, *torchtrtc.SECTIONS)


def rows() -> Iterator[Row]:
  for section in sections():
    yield from section.rows


_found: dict[str, list[Row]] = {}


def find(name: str, status: str | None = None, value: object = "") -> Row | None:
  """The row of a name; of several, the first with `status` that names `value`, or else the first."""
  if not _found:
    for row in rows():
      _found.setdefault(row.name, []).append(row)
  candidates = [row for row in _found.get(name, ()) if status in (None, row.status)]
  named = [row for row in candidates if str(value) in row.values.split(", ")]
  return next(iter(named or candidates), None)
