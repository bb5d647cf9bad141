"""torch_tensorrt.Device."""

from __future__ import annotations

from typing import Any

import torch

from ._enums import DeviceType
from ._refusal import refuse_kind, refuse_value


class Device:
  """Where a program runs: Device("cpu"), the only device of this build.

  A GPU or DLA is refused where it is named (K1041), so that no program runs elsewhere than its
  source says.
  """

  device_type: DeviceType
  gpu_id: int = -1
  dla_core: int = -1
  allow_gpu_fallback: bool = False

  def __init__(self, spec: str | None = None, *, gpu_id: int | None = None,
               dla_core: int | None = None, allow_gpu_fallback: bool = False,
               device_type: DeviceType | None = None):
    if spec is None and gpu_id is None and dla_core is None and device_type is None:
      refuse_kind("Device", 'a device such as "cpu"', spec)
    if spec is not None:
      if not isinstance(spec, str):
        refuse_kind("Device", "a string", spec)
      kind = spec.split(":")[0]
      if kind in ("gpu", "cuda", "dla"):
        refuse_value("Device", spec)
      if spec not in ("cpu", "cpu:0"):
        refuse_kind("Device", '"cpu", "cuda:N", "gpu:N" or "dla:N"', spec)
    if gpu_id is not None:
      refuse_value("Device", f"gpu_id={gpu_id}")
    if dla_core is not None:
      refuse_value("Device", f"dla_core={dla_core}")
    if device_type not in (None, DeviceType.CPU):
      refuse_value("Device", device_type)
    self.device_type = DeviceType.CPU
    self.allow_gpu_fallback = bool(allow_gpu_fallback)

  @classmethod
  def _from(cls, value: Any) -> "Device":
    if isinstance(value, Device):
      return value
    if isinstance(value, (torch.device, str)):
      return cls(str(value))
    refuse_kind("Device", "a torch_tensorrt.Device, torch.device or string", value)

  @classmethod
  def _current_device(cls) -> "Device":
    return cls("cpu")

  def to(self, kind: Any) -> Any:
    if kind is torch.device:
      return torch.device("cpu")
    raise TypeError(f"torch_tensorrt.Device converts to torch.device: {kind!r}")

  def __eq__(self, other: Any) -> bool:
    return isinstance(other, Device) and self.device_type is other.device_type

  def __hash__(self) -> int:
    return hash(self.device_type)

  def __repr__(self) -> str:
    return 'Device("cpu")'
