"""Whether a program computes what a module does, on given inputs."""

from __future__ import annotations

from typing import Any

import kiln
import torch
from kiln.frontends.errors import FrontendError
from torch.utils import _pytree as pytree


def verify(door: str, program: kiln.Program, module: torch.nn.Module, args: list[Any],
           kwargs: dict[str, Any], *, rtol: float, atol: float, what: str, hint: str) -> None:
  """K1042 where an output of `program` is not that of `module`, which the message calls `what`."""
  with torch.no_grad():
    got = pytree.tree_leaves(program(*args, **kwargs))
    want = pytree.tree_leaves(module(*args, **kwargs))
  for index, (own, other) in enumerate(zip(got, want, strict=True)):
    if not isinstance(other, torch.Tensor):
      continue
    try:
      torch.testing.assert_close(own, other, rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError as error:
      raise FrontendError("K1042", f"torch_tensorrt.{door}: output {index} is not that of {what}: "
                          f"{' '.join(str(error).split())}", hint=hint) from error
