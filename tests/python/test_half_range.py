"""Operators of several steps compute in f32 for 16-bit floats, as torch's kernels do on a GPU: what
lies in between may be beyond f16."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import kiln

CASES = {
  "std": lambda x: x.std(),
  "std_mean along an axis": lambda x: torch.std_mean(x.view(4, 5), 1)[0],
  "norm": lambda x: x.norm(),
  "norm of order 3": lambda x: torch.linalg.vector_norm(x, 3),
  "norm of order 12": lambda x: torch.linalg.vector_norm(x / 100, 12),
  "norm of order -3": lambda x: torch.linalg.vector_norm(x / 100, -3),
  "normalize": lambda x: F.normalize(x, dim=0),
  "cosine_similarity": lambda x: F.cosine_similarity(x[None], x[None] * 2),
  "addcmul": lambda x: torch.addcmul(x, x, x, value=1e-3),
  "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() * 1e-4 + 0.01, value=1e-3),
  "add with a factor": lambda x: torch.add(-60 * x, x, alpha=80),
  "sub with a factor": lambda x: torch.sub(60 * x, x, alpha=80),
  "lerp": lambda x: torch.lerp(-40 * x, 40 * x, 0.3),
}


class _Case(torch.nn.Module):
  def __init__(self, name: str):
    super().__init__()
    self.function = CASES[name]

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.function(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_no_overflow_in_between(name: str, dtype: torch.dtype) -> None:
  x = (torch.linspace(-900, 820, 20)).to(dtype)
  model = _Case(name).eval()
  expected = model(x.float()).to(dtype)  # eager's own on the CPU overflows in places, too
  assert torch.isfinite(expected).all()
  result = kiln.compile(model, inputs=[x])(x)
  ulp = 1e-3 if dtype == torch.float16 else 8e-3
  torch.testing.assert_close(result, expected, rtol=ulp, atol=ulp * float(expected.abs().max()))
