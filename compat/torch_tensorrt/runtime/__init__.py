"""torch_tensorrt.runtime: the modes of Torch-TensorRT's engines, as far as they mean something."""

from __future__ import annotations

from typing import Any

from .._programs import accepted_context
from .._refusal import module_getattr, refuse_kind, refuse_value

__all__ = [
  "enable_cudagraphs", "enable_output_allocator", "enable_pre_allocated_outputs",
  "get_cudagraphs_mode", "get_whole_cudagraphs_mode", "optimization_profile", "set_cudagraphs_mode",
]


class enable_cudagraphs(accepted_context("runtime.enable_cudagraphs")):
  """`with enable_cudagraphs(program) as program`: on the CPU a run is one call already."""

  def __init__(self, compiled_module: Any, *, cuda_graph_strategy: Any = None):
    super().__init__(compiled_module, True if cuda_graph_strategy is None else cuda_graph_strategy)


class enable_pre_allocated_outputs(accepted_context("runtime.enable_pre_allocated_outputs")):
  """A context; outputs are allocated in the call."""


class enable_output_allocator(accepted_context("runtime.enable_output_allocator")):
  """A context; outputs always have the size that they come to."""


class optimization_profile(accepted_context("runtime.optimization_profile")):
  """A context; one program serves all profiles."""

  def __init__(self, compiled_module: Any, profile: int | str | None = "auto"):
    if profile not in ("auto", None) and (type(profile) is not int or profile < 0):
      refuse_kind("runtime.optimization_profile", 'an index, "auto" or None', profile)
    super().__init__(compiled_module, profile)


def set_cudagraphs_mode(mode: bool) -> None:
  """False only: there are no CUDA graphs on the CPU."""
  if mode:
    refuse_value("runtime.set_cudagraphs_mode", mode)


def get_cudagraphs_mode() -> bool:
  return False


def get_whole_cudagraphs_mode() -> bool:
  return False


__getattr__ = module_getattr(__name__)
