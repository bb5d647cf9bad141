"""Programs for a GPU that is not here: they can be looked at and saved, and not run."""

from __future__ import annotations

from typing import Any, Mapping

import torch

from .frontends.errors import FrontendError

#: No driver, no device, a driver that is too old.
NO_GPU = ("K5301", "K5302", "K5303")


class AbsentProgram:
  """In the place of a native program; whoever wants to run it gets the error that says why not."""

  def __init__(self, compiled: Any, error: FrontendError):
    self._compiled = compiled
    self._error = error
    self.inputs = compiled.inputs
    self.outputs = compiled.outputs
    self.states = compiled.states
    self.weights = compiled.weights
    self.signature = compiled.signature
    self.report_json = compiled.report_json

  def device(self) -> str:
    return "cpu"  # its tensors stay where they are

  def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
    self._compiled.update_weights(dict(weights))

  def __getattr__(self, name: str) -> Any:
    if name.startswith("__"):
      raise AttributeError(name)
    return self.run

  def run(self, *_: Any, **__: Any) -> Any:
    raise self._error
