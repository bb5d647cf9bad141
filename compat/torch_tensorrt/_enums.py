"""dtype, memory_format and the small enumerations."""

from __future__ import annotations

import enum
import platform as _platform
from typing import Any

import numpy as np
import torch

_TORCH = {
  "u8": torch.uint8, "i8": torch.int8, "i32": torch.int32, "i64": torch.int64,
  "f16": torch.float16, "f32": torch.float32, "f64": torch.float64, "b": torch.bool,
  "bf16": torch.bfloat16, "f8": torch.float8_e4m3fn, "f4": torch.float4_e2m1fn_x2,
}
_NUMPY = {
  "u8": np.uint8, "i8": np.int8, "i32": np.int32, "i64": np.int64, "f16": np.float16,
  "f32": np.float32, "f64": np.float64, "b": np.bool_,
}


class dtype(enum.Enum):
  """Element types, convertible from and to torch's and numpy's."""

  unknown = enum.auto()
  u8 = enum.auto()
  i8 = enum.auto()
  i32 = enum.auto()
  i64 = enum.auto()
  f16 = enum.auto()
  f32 = enum.auto()
  f64 = enum.auto()
  b = enum.auto()
  bf16 = enum.auto()
  f8 = enum.auto()
  f4 = enum.auto()

  uint8 = u8
  int8 = i8
  int32 = i32
  int = i32
  int64 = i64
  long = i64
  float16 = f16
  half = f16
  fp16 = f16
  float32 = f32
  float = f32
  fp32 = f32
  float64 = f64
  double = f64
  fp64 = f64
  bool = b
  bfloat16 = bf16
  float8 = f8
  fp8 = f8
  float4 = f4
  fp4 = f4

  @classmethod
  def try_from(cls, value: Any, use_default: "bool" = False) -> "dtype | None":
    """The member of a torch dtype, numpy dtype or member; else None, or f32 with `use_default`."""
    if isinstance(value, cls):
      return value
    if isinstance(value, torch.dtype):
      names = [name for name, own in _TORCH.items() if own == value]
    elif isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
      names = [name for name, own in _NUMPY.items() if np.dtype(own) == np.dtype(value)]
    else:
      names = []
    if names:
      return cls[names[0]]
    return cls.f32 if use_default else None

  @classmethod
  def _from(cls, value: Any, use_default: "bool" = False) -> "dtype":
    result = cls.try_from(value, use_default)
    if result is None:
      raise TypeError(f"torch_tensorrt.dtype has no counterpart of {value!r}")
    return result

  def try_to(self, kind: Any, use_default: "bool" = False) -> Any:
    """This as a `torch.dtype`, `np.dtype` or `dtype`; None where that kind has no such type."""
    if kind is dtype:
      return self
    tables = {torch.dtype: (_TORCH, torch.float32), np.dtype: (_NUMPY, np.float32)}
    if kind not in tables:
      raise TypeError(f"torch_tensorrt.dtype converts to torch.dtype and numpy.dtype: {kind!r}")
    table, default = tables[kind]
    result = table.get(self.name, default if use_default else None)
    return np.dtype(result) if kind is np.dtype and result is not None else result

  def to(self, kind: Any, use_default: "bool" = False) -> Any:
    result = self.try_to(kind, use_default)
    if result is None:
      raise TypeError(f"{kind!r} has no counterpart of torch_tensorrt.dtype.{self.name}")
    return result

  def __eq__(self, other: Any) -> "bool":
    return self is dtype.try_from(other)

  def __hash__(self) -> "int":
    return hash(self.name)


class memory_format(enum.Enum):
  """Memory formats; those of PyTorch can be used, the others only named."""

  linear = enum.auto()
  chw2 = enum.auto()
  hwc8 = enum.auto()
  chw4 = enum.auto()
  chw16 = enum.auto()
  chw32 = enum.auto()
  dhwc8 = enum.auto()
  cdhw32 = enum.auto()
  hwc = enum.auto()
  dla_linear = enum.auto()
  dla_hwc4 = enum.auto()
  hwc16 = enum.auto()
  dhwc = enum.auto()

  contiguous = linear
  channels_last = hwc
  channels_last_3d = dhwc

  @classmethod
  def try_from(cls, value: Any) -> "memory_format | None":
    if isinstance(value, cls):
      return value
    names = [name for name, own in _FORMATS.items() if own == value]
    return cls[names[0]] if names else None

  @classmethod
  def _from(cls, value: Any) -> "memory_format":
    result = cls.try_from(value)
    if result is None:
      raise TypeError(f"torch_tensorrt.memory_format has no counterpart of {value!r}")
    return result

  def try_to(self, kind: Any) -> Any:
    if kind is memory_format:
      return self
    if kind is not torch.memory_format:
      raise TypeError(f"torch_tensorrt.memory_format converts to torch.memory_format: {kind!r}")
    return _FORMATS.get(self.name)

  def to(self, kind: Any) -> Any:
    result = self.try_to(kind)
    if result is None:
      raise TypeError(f"{kind!r} has no counterpart of torch_tensorrt.memory_format.{self.name}")
    return result

  def __eq__(self, other: Any) -> bool:
    return self is memory_format.try_from(other)

  def __hash__(self) -> int:
    return hash(self.name)


_FORMATS = {
  "linear": torch.contiguous_format, "hwc": torch.channels_last, "dhwc": torch.channels_last_3d,
}


class DeviceType(enum.Enum):
  UNKNOWN = enum.auto()
  GPU = enum.auto()
  DLA = enum.auto()
  CPU = enum.auto()  # not in Torch-TensorRT


class EngineCapability(enum.Enum):
  STANDARD = enum.auto()
  SAFETY = enum.auto()
  DLA_STANDALONE = enum.auto()


class Platform(enum.Enum):
  LINUX_X86_64 = "linux_x86_64"
  LINUX_AARCH64 = "linux_aarch64"
  WIN_X86_64 = "windows_x86_64"
  WIN_ARM64 = "windows_arm64"
  UNKNOWN = "unknown"

  @classmethod
  def current_platform(cls) -> "Platform":
    known = {
      ("linux", "x86_64"): cls.LINUX_X86_64, ("linux", "aarch64"): cls.LINUX_AARCH64,
      ("windows", "amd64"): cls.WIN_X86_64, ("windows", "arm64"): cls.WIN_ARM64,
    }
    return known.get((_platform.system().lower(), _platform.machine().lower()), cls.UNKNOWN)


class LowerPrecision(enum.Enum):
  """What the FX front end calls a precision."""

  FP32 = "fp32"
  FP16 = "fp16"
  INT8 = "int8"
  BF16 = "bf16"

  @staticmethod
  def from_str(label: str) -> "LowerPrecision | None":
    """"fp16", "half", "torch.float16", ...; None for what is none of them."""
    element = dtype.__members__.get(label.removeprefix("torch."))
    return _PRECISIONS.get(element)


_PRECISIONS = {dtype.f32: LowerPrecision.FP32, dtype.f16: LowerPrecision.FP16,
               dtype.i8: LowerPrecision.INT8, dtype.bf16: LowerPrecision.BF16}
