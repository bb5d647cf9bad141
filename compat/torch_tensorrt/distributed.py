"""Engines with collectives have no counterpart; their names raise and say what to use."""

from ._refusal import module_getattr

__getattr__ = module_getattr(__name__)
