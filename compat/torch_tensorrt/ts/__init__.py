"""torch_tensorrt.ts: scripted and traced modules."""

from .. import logging
from .._refusal import module_getattr
from ._compile import (check_method_op_support, compile, convert_method_to_trt_engine,
                       embed_engine_in_new_module)

__all__ = ["check_method_op_support", "compile", "convert_method_to_trt_engine",
           "embed_engine_in_new_module", "logging"]

__getattr__ = module_getattr(__name__)
