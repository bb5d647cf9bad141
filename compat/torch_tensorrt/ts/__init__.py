"""torch_tensorrt.ts: scripted and traced modules."""

from __future__ import annotations

from typing import Any

import torch

from .. import _compile, logging
from .._refusal import module_getattr, refuse_kind

__all__ = ["compile", "convert_method_to_trt_engine", "logging"]


def compile(module: Any, inputs: Any = None, input_signature: Any = None,
            **settings: Any) -> torch.nn.Module:
  """Compiles a scripted or traced module; another module is scripted.

  inputs, input_signature: the arguments by position, nested as forward takes them
  settings: as for torch_tensorrt.compile()
  Raises kiln.Error K1001, K1002, K1041 and what kiln.compile raises.
  """
  return _compile.compile_torchscript("ts.compile", module, _arguments(inputs, input_signature), None,
                                      settings)


def convert_method_to_trt_engine(module: Any, method_name: str = "forward", inputs: Any = None,
                                 **settings: Any) -> bytes:
  """The bytes of a `.kiln` file. Arguments as for compile()."""
  return _compile.convert_method_to_trt_engine(module, method_name, inputs, ir="torchscript",
                                               **settings)


def _arguments(inputs: Any, input_signature: Any) -> Any:
  if inputs is not None and input_signature is not None:
    refuse_kind("ts.compile", "inputs or input_signature, not both", "both")
  return _compile.one_of("ts.compile", inputs if inputs is not None else input_signature, None)


__getattr__ = module_getattr(__name__)
