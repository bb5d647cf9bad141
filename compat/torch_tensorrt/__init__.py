"""Kiln under the names that users of Torch-TensorRT know. It is not Torch-TensorRT.

  torch.compile(model, backend="torch_tensorrt")
  torch_tensorrt.compile(model, ir="dynamo", inputs=[x])      -> a kiln.Program
  torch_tensorrt.dynamo.compile(torch.export.export(model, (x,)))
  torch_tensorrt.save(program, "model.pt2"); torch_tensorrt.load("model.pt2").module()

Every public name works, or is accepted where it changes nothing and stands in the report, or raises
and says what to use instead: docs/coming_from_torch_tensorrt.md.
"""

from . import _conflict

_conflict.check()

from . import _backend, distributed, dynamo, executorch, fx  # noqa: E402
from . import kernels, logging, runtime, ts  # noqa: E402
from ._compile import compile, convert_method_to_trt_engine  # noqa: E402
from ._device import Device  # noqa: E402
from ._enums import DeviceType, EngineCapability, Platform, dtype, memory_format  # noqa: E402
from ._features import ENABLED_FEATURES  # noqa: E402
from ._files import load, save  # noqa: E402
from ._input import Input  # noqa: E402
from ._mutable import MutableTorchTensorRTModule  # noqa: E402
from ._refusal import module_getattr  # noqa: E402
from kiln import __version__  # noqa: E402

_backend.register()

__all__ = [
  "ENABLED_FEATURES", "Device", "DeviceType", "EngineCapability", "Input",
  "MutableTorchTensorRTModule", "Platform", "__version__", "compile",
  "convert_method_to_trt_engine", "distributed", "dtype", "dynamo", "executorch", "fx", "kernels",
  "load", "logging", "memory_format", "runtime", "save", "ts",
]

__getattr__ = module_getattr(__name__)
