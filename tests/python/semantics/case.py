"""What a semantic case is, and what a door may do instead of what eager does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, ClassVar

from torch import nn


@dataclass
class Args:
  """The arguments of one call."""

  args: tuple = ()
  kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuses:
  """Compiling, or the first call, raises: `error` is "kiln.Error K1103" or a type's name."""

  error: str
  why: str
  message: str = ""  # a regular expression

  def cell(self) -> str:
    return f"refuses, {self.error.removeprefix('kiln.Error ')}: {self.why}"


@dataclass(frozen=True)
class Differs:
  """Runs, and exactly the named aspects (observe.ASPECTS) are not eager's."""

  aspects: tuple[str, ...]
  why: str

  def cell(self) -> str:
    return f"differs in {' and '.join(self.aspects)}: {self.why}"


@dataclass(frozen=True)
class AsEager:
  """As eager, with something that the user should know."""

  note: str = ""

  def cell(self) -> str:
    return f"as eager; {self.note}" if self.note else "as eager"


@dataclass(frozen=True)
class NotExpressible:
  """The model cannot be given to this door at all."""

  why: str

  def cell(self) -> str:
    return f"not expressible: {self.why}"


Outcome = Refuses | Differs | AsEager | NotExpressible

CASES: dict[str, Case] = {}


class Case:
  """One row of docs/semantics.md. Subclasses are registered by their names.

  `doors` says what differs, by the names of doors.DOORS; a door that is not named does what the
  door does that it follows, or else what eager does.
  """

  title: ClassVar[str]
  calls: ClassVar[int] = 1
  grad: ClassVar[bool] = False
  dynamic_shapes: ClassVar[Any] = None
  writes: ClassVar[bool] = False  # inputs or buffers, so that the functional form differs
  in_torch: ClassVar[bool] = False  # some of it has no kernel in Kiln: the report must say so
  doors: ClassVar[dict[str, Outcome]] = {}

  Model: ClassVar[type[nn.Module]]

  def __init_subclass__(cls, **kwargs: Any) -> None:
    super().__init_subclass__(**kwargs)
    CASES[cls.__name__] = cls()

  def model(self) -> nn.Module:
    return self.Model().eval()

  def around(self, function: Callable) -> Callable:
    """What the user puts around what was compiled."""
    return function

  def between(self, model: nn.Module, step: int) -> None:
    """What the user does to the module before call number `step`, from the second on."""

  def inputs(self, step: int, last: Any) -> tuple | Args:
    """Arguments of call number `step`; `last` is what the call before returned."""
    raise NotImplementedError
