"""torch_tensorrt.dynamo.runtime."""

from __future__ import annotations

from typing import Any

from .._programs import accepted_context
from .._refusal import module_getattr

__all__ = ["ResourceAllocationStrategy"]


class ResourceAllocationStrategy(accepted_context("dynamo.runtime.ResourceAllocationStrategy")):
  """A context; when memory is allocated is not the caller's choice here."""

  def __init__(self, compiled_module: Any, dynamically_allocate_resources: bool = True):
    super().__init__(compiled_module, dynamically_allocate_resources)


__getattr__ = module_getattr(__name__)
