"""torch_tensorrt.fx: the FX front end comes with a later version; its names raise and say so."""

from .._refusal import module_getattr

__getattr__ = module_getattr(__name__)
