"""Typed refusals of the front doors.

`code` is stable ("K1103"), the text starts with what is static and ends with the values, `location`
is the user's source line where it is known. Codes used here:

  K1101  what was passed to describe the inputs makes no sense
  K1102  torch.export, or torch.fx before it, could not capture the model
  K1103  a higher-order operator that has no meaning here
  K1104  an input, weight or constant of a type that Kiln cannot hold
  K1105  an argument, node or graph shape that the capture stream cannot express
  K1106  a nested type that cannot be described
  K1107  grad mode where only inference is possible
  K4101  a call whose arguments do not have the captured structure
"""

from __future__ import annotations


class FrontendError(RuntimeError):
  """An expected failure: the message is for the user, not for us."""

  def __init__(self, code: str, message: str, *, location: str = "", hint: str = ""):
    self.code = code
    self.message = message
    self.location = location
    self.hint = hint
    text = f"{code}: {message}"
    if location:
      text += f" at {location}"
    if hint:
      text += f"\n  hint: {hint}"
    super().__init__(text)


class StructureError(FrontendError, TypeError):
  """K4101: the arguments of a call do not have the structure seen at capture."""

  def __init__(self, message: str, *, hint: str = ""):
    super().__init__("K4101", message, hint=hint)
