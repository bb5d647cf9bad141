"""Small modules that run each family of Kiln's CUDA kernels, with and without NVIDIA's libraries, and
compare with eager: what compute-sanitizer looks at.

  kernel_table.py     the last line says how many were right; exit status 1 when one was not
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[2]
for _folder in (ROOT, ROOT / "python"):
  sys.path.insert(0, str(_folder))

# Two processes' worth: the libraries' products, convolutions and attention, or Kiln's own.
OWN = "--own" in sys.argv
if OWN:
  os.environ["KILN_OPTIONS"] = "disable_providers=cublaslt+cudnn.conv+cudnn.sdpa"

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

import kiln  # noqa: E402


class _Function(nn.Module):
  def __init__(self, function: Callable):
    super().__init__()
    self.function = function

  def forward(self, *args):
    return self.function(*args)


def _x(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
  return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to("cuda", dtype)


def _index(high: int, *shape: int) -> torch.Tensor:
  return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(high)).cuda()


def _attention(causal: bool) -> Callable:
  return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _packed(heads: int, kv_heads: int, causal: bool = False) -> Callable:
  """q, k and v as parts of one projection [batch, length, heads, size]; the result lies alike."""
  def attend(x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    q, k, v = x.transpose(1, 2).split([heads, kv_heads, kv_heads], 1)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal,
                                       enable_gqa=heads != kv_heads)
    return y.transpose(1, 2).flatten(2)
  return attend


def _hidden(rows: int, columns: int) -> torch.Tensor:
  """A mask of bool; row 1 sees nothing."""
  mask = _x(2, 1, rows, columns) < 0.7
  mask[:, :, 1] = False
  return mask


def _attention_cases(dtype: torch.dtype) -> dict[str, tuple[Any, list[torch.Tensor]]]:
  table: dict[str, tuple[Any, list[torch.Tensor]]] = {}
  for size, length in ((40, 77), (64, 197), (80, 128), (128, 197)):
    name = f"attention of {length} by {size}"
    x = _x(2, length, 12, size, dtype=dtype)
    table[name] = (_packed(4, 4), [x])
    table[f"causal {name}"] = (_packed(4, 4, True), [x])
    table[f"grouped {name}"] = (_packed(8, 2, True), [x])
    bias = _x(2, 4, length, length, dtype=dtype)
    bias[:, :, 1] = -torch.inf
    table[f"{name}, added mask"] = (_packed(4, 4), [x, bias])
    table[f"{name}, one added mask"] = (_packed(8, 2), [x, bias[:1, :1].contiguous()])
    table[f"{name}, bool mask"] = (_packed(4, 4), [x, _hidden(length, length)])
    keys = _hidden(4, length)[:, :, :1].contiguous()
    table[f"{name}, keys masked"] = (_packed(4, 4), [x, keys])
  for rows, columns in ((1, 512), (5, 128), (512, 77), (130, 1)):
    table[f"attention of {rows} to {columns}"] = (
        _attention(False), [_x(2, 4, rows, 64, dtype=dtype), _x(2, 4, columns, 64, dtype=dtype),
                            _x(2, 4, columns, 64, dtype=dtype)])
    table[f"causal attention of {rows} to {columns}"] = (
        _attention(True), [_x(2, 4, rows, 64, dtype=dtype), _x(2, 4, columns, 64, dtype=dtype),
                           _x(2, 4, columns, 64, dtype=dtype)])
  return table


def cases(dtype: torch.dtype) -> dict[str, tuple[Any, list[torch.Tensor]]]:
  """Module or function, and its inputs; sizes are odd on purpose."""
  image = _x(2, 16, 19, 23, dtype=dtype)
  return {
    "pointwise": (lambda a, b: (a * b + 1).sigmoid() * a.tanh(), [_x(7, 33, dtype=dtype)] * 2),
    "transpose": (lambda a: (a.transpose(1, 2) + 1).contiguous(), [_x(3, 45, 67, dtype=dtype)]),
    "softmax": (lambda a: a.softmax(-1), [_x(5, 301, dtype=dtype)]),
    "long row": (lambda a: a.float().sum(-1), [_x(2, 70001, dtype=dtype)]),
    "columns": (lambda a: a.mean(1), [_x(3, 77, 41, dtype=dtype)]),
    "columns of images": (
      lambda a: (F.hardswish(a), F.hardswish(a).mean((1, 2))), [_x(2, 28, 28, 72, dtype=dtype)]),
    "columns in passes": (lambda a: a.softmax(1), [_x(2, 300, 40, dtype=dtype)]),
    "layer norm": (nn.LayerNorm(129).cuda().to(dtype), [_x(9, 129, dtype=dtype)]),
    "group norm": (nn.GroupNorm(4, 16).cuda().to(dtype), [image]),
    "argmax": (lambda a: a.argmax(-1), [_x(11, 257, dtype=dtype)]),
    "linear": (nn.Linear(65, 33).cuda().to(dtype), [_x(17, 65, dtype=dtype)]),
    "linear of one row": (nn.Linear(64, 96).cuda().to(dtype), [_x(1, 64, dtype=dtype)]),
    "linear of few tiles": (nn.Sequential(nn.Linear(768, 328), nn.GELU()).cuda().to(dtype),
                            [_x(197, 768, dtype=dtype)]),
    "linear of a long depth": (lambda a, w, z: F.linear(a, w) + z,
                               [_x(50, 3072, dtype=dtype), _x(72, 3072, dtype=dtype),
                                _x(50, 72, dtype=dtype)]),
    "matmul": (torch.matmul, [_x(3, 37, 51, dtype=dtype), _x(3, 51, 29, dtype=dtype)]),
    "conv": (nn.Conv2d(16, 24, 3, padding=1, stride=2).cuda().to(dtype), [image]),
    "conv of 3 channels": (nn.Conv2d(3, 8, 7, padding=3).cuda().to(dtype),
                           [_x(1, 3, 33, 31, dtype=dtype)]),
    "conv of patches": (nn.Conv2d(3, 24, 4, stride=4).cuda().to(dtype),
                        [_x(2, 3, 18, 24, dtype=dtype)]),
    "conv of channels-last patches": (
      nn.Conv2d(3, 24, 4, stride=4).cuda().to(dtype),
      [_x(2, 3, 16, 24, dtype=dtype).to(memory_format=torch.channels_last)]),
    "depthwise": (nn.Conv2d(16, 16, 3, padding=1, groups=16).cuda().to(dtype), [image]),
    "depthwise in strips": (
      nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Hardswish()).cuda().to(dtype),
      [_x(17, 64, 57, 55, dtype=dtype).to(memory_format=torch.channels_last)]),
    "depthwise of steps": (
      nn.Sequential(nn.Conv2d(72, 72, 5, 2, 2, groups=72), nn.ReLU()).cuda().to(dtype),
      [_x(19, 72, 113, 111, dtype=dtype).to(memory_format=torch.channels_last)]),
    "first layer": (
      nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish()).cuda().to(dtype),
      [_x(20, 3, 225, 223, dtype=dtype)]),
    "pad of channels": (lambda a: F.pad(a, (0, 0, 0, 0, 0, 5)),
                        [_x(2, 3, 19, 23, dtype=dtype).to(memory_format=torch.channels_last)]),
    "groups": (nn.Conv2d(16, 32, 3, groups=4).cuda().to(dtype), [image]),
    "transposed": (nn.ConvTranspose2d(16, 8, 3, stride=2).cuda().to(dtype), [image]),
    "max pool": (nn.MaxPool2d(3, 2, 1), [image]),
    "avg pool": (nn.AvgPool2d(3, 2, 1), [image]),
    "adaptive pool": (nn.AdaptiveAvgPool2d((5, 7)), [image]),
    "resize": (lambda a: F.interpolate(a, size=(31, 17), mode="bilinear"), [image]),
    "pad": (lambda a: F.pad(a, (3, 2, 1, 0), mode="reflect"), [image]),
    "roll": (lambda a: a.roll((2, -3), (1, 2)), [image]),
    "cat": (lambda a, b: torch.cat([a, b], 1), [image, image]),
    "cumsum": (lambda a: a.float().cumsum(1), [_x(5, 1300, dtype=dtype)]),
    "sort": (lambda a: torch.sort(a, stable=True), [_x(3, 1500, dtype=dtype)]),
    "topk": (lambda a: a.topk(5).values, [_x(3, 700, dtype=dtype)]),
    "gather": (lambda a, i: a.gather(1, i), [_x(6, 50, dtype=dtype), _index(50, 6, 13)]),
    "scatter": (lambda a, i, s: a.scatter(1, i, s),
                [_x(1, 50, dtype=dtype), torch.arange(13, device="cuda")[None],
                 _x(1, 13, dtype=dtype)]),
    "index": (lambda a, i: a[:, i], [_x(4, 20, 9, dtype=dtype), _index(20, 7)]),
    "index_put": (lambda a, i, v: a.index_put((i,), v),
                  [_x(20, 9, dtype=dtype), torch.arange(0, 14, 2, device="cuda"),
                   _x(7, 9, dtype=dtype)]),
    "embedding": (nn.Embedding(40, 17).cuda().to(dtype), [_index(40, 3, 5)]),
    "attention": (_attention(False), [_x(2, 3, 77, 64, dtype=dtype)] * 3),
    "causal attention": (_attention(True), [_x(2, 3, 130, 40, dtype=dtype)] * 3),
    **_attention_cases(dtype),
  }


def main() -> int:
  right, wrong = 0, []
  table = [(torch.float32, 1e-4, cases), (torch.float16, 2e-2, cases),
           (torch.bfloat16, 4e-2, _attention_cases)]
  for dtype, tolerance, make in table:
    for name, (function, inputs) in make(dtype).items():
      module = function if isinstance(function, nn.Module) else _Function(function)
      with torch.no_grad():
        # Of a query that meets no key the fused kernels make something, the plain form zeros, as
        # Kiln and PyTorch on a CPU do.
        with sdpa_kernel(SDPBackend.MATH):
          expected = module.eval()(*inputs)
        try:
          program = kiln.compile(module, inputs=inputs, cache=False, strict=True)
          actual = program(*inputs)
          torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
          right += 1
        except Exception as error:  # noqa: BLE001: all are told at the end
          wrong.append(f"{name} {dtype}: {type(error).__name__}: {str(error)[:300]}")
  torch.cuda.synchronize()
  for line in wrong:
    print("wrong:", line)
  print(f"{right} right, {len(wrong)} wrong, {'own kernels' if OWN else 'with libraries'}")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
