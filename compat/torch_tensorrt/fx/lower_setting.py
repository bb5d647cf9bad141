"""torch_tensorrt.fx.lower_setting: its names raise and say what to use."""

from .._refusal import module_getattr

__getattr__ = module_getattr(__name__)
