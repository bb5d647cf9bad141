"""Where a captured program lives, and what it is compiled for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable

import torch

from .errors import FrontendError


@dataclass(frozen=True)
class Placement:
  """`home` is the device of the captured tensors; `target` and `index` are for the compiler."""

  home: torch.device
  target: str
  index: int = 0  # of the GPU

  @property
  def kind(self) -> str:
    """The kind of device that the program runs on."""
    return "cuda" if is_gpu(self.target) else "cpu"


def is_gpu(target: str) -> bool:
  """Does a target mean a GPU? "cuda", "cuda:sm_90", "sm_90", the file of one."""
  return target.startswith(("cuda", "sm_")) or target.endswith(".json")


def goes_anywhere(tensor: torch.Tensor) -> bool:
  """Numbers in tensors of the CPU take part in computations on all devices."""
  return tensor.dim() == 0 and tensor.device.type == "cpu"


def place(values: Iterable[Any], target: str) -> Placement:
  """The placement of a program with these arguments and weights.

  Tensors on a GPU make a program for that GPU, unless they are compiled for another one; from
  tensors on the CPU programs are made for all devices. K1118 for tensors on several GPUs, K1002 for
  a program on a GPU that is to be compiled for the CPU.
  """
  devices = {v.device for v in values if isinstance(v, torch.Tensor) and not goes_anywhere(v)}
  gpus = sorted((d for d in devices if d.type == "cuda"), key=str)
  if len(gpus) > 1:
    raise FrontendError("K1118", "the model is on several GPUs: "
                        f"{', '.join(str(d) for d in gpus)}",
                        hint="compile the parts of one GPU each for itself")
  if not gpus:
    index = torch.cuda.current_device() if is_gpu(target) and torch.cuda.is_available() else 0
    return Placement(torch.device("cpu"), target, index)
  if target and not is_gpu(target):
    raise FrontendError("K1002", f"option target is {target!r}, and the model is on {gpus[0]}",
                        hint='compile for "cuda", or move the model and its inputs to the CPU')
  return Placement(gpus[0], target or "cuda", gpus[0].index or 0)
