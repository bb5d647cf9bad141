"""torch_tensorrt.ts: TorchScript comes with a later version; its names raise and say so."""

from .. import logging
from .._refusal import module_getattr

__all__ = ["logging"]

__getattr__ = module_getattr(__name__)
