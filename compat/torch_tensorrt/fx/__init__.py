"""torch_tensorrt.fx: FX graphs, under the names of Torch-TensorRT's oldest front end."""

from .._input_tensor_spec import InputTensorSpec
from .._refusal import module_getattr
from . import lower, lower_setting, utils
from .lower import compile

__all__ = ["InputTensorSpec", "compile", "lower", "lower_setting", "utils"]

__getattr__ = module_getattr(__name__)
