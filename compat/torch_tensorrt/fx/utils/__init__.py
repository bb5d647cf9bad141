"""torch_tensorrt.fx.utils: the precisions of the FX front end."""

from ..._enums import LowerPrecision
from ..._refusal import module_getattr

__all__ = ["LowerPrecision"]

__getattr__ = module_getattr(__name__)
