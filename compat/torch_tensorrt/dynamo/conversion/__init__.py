"""Converters to TensorRT have no counterpart; their names raise and say what to use."""

from ..._refusal import module_getattr
from . import plugins

__all__ = ["plugins"]

__getattr__ = module_getattr(__name__)
