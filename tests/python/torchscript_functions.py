"""Functions in TorchScript whose control flow does not depend on the values of tensors.

`CASES` is a list of (function, arguments). test_torchscript.py compares what Kiln makes of each with
what TorchScript computes. A function whose call raises is compared by its error.
"""

from __future__ import annotations

import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor


class Pair(NamedTuple):
  first: Tensor
  second: Tensor


def branch_on_rank(x: Tensor) -> Tensor:
  if x.dim() == 2:
    return x.t()
  return x * 2


def branch_on_size(x: Tensor) -> Tensor:
  if x.size(0) > 3 and x.size(1) < 100:
    y = x[:3]
  else:
    y = x
  return y + 1


def branch_on_dtype(x: Tensor) -> Tensor:
  if x.dtype == torch.float32:
    return x.to(torch.float64)
  return x


def branch_on_flag(x: Tensor, flag: bool) -> Tensor:
  return x.sum() if flag else x.mean()


def counted_loop(x: Tensor, n: int) -> Tensor:
  for i in range(n):
    x = x + i
  return x


def loop_over_rows(x: Tensor) -> Tensor:
  total = torch.zeros_like(x[0])
  for i in range(x.size(0)):
    total = total + x[i] * i
  return total


def while_loop(x: Tensor) -> Tensor:
  n = 1
  while n < x.numel():
    n *= 2
    x = x * 0.5
  return x / n


def nested_loops(x: Tensor) -> Tensor:
  y = x.clone()
  for i in range(x.size(0)):
    for j in range(i, x.size(1)):
      if (i + j) % 3 == 0:
        continue
      y[i, j] = y[i, j] * 10
      if j > 2:
        break
  return y


def early_return(x: Tensor, n: int) -> Tensor:
  for i in range(10):
    if i == n:
      return x + i
    x = torch.relu(x - 0.1)
  return x


def early_return_nested(x: Tensor, mode: str) -> Tensor:
  if mode == "relu":
    return torch.relu(x)
  elif mode == "abs":
    if x.dim() > 1:
      return x.abs()
    return x.abs() + 1
  return x


def list_of_tensors(x: Tensor) -> Tensor:
  parts: List[Tensor] = []
  for i in range(3):
    parts.append(x * i)
  parts.reverse()
  parts.pop(0)
  parts.insert(1, x + 5)
  return torch.cat(parts, dim=0)


def list_aliases(x: Tensor) -> Tuple[Tensor, int]:
  a = [x, x + 1]
  b = a
  b.append(x + 2)
  b[0] = x * 3
  return torch.stack(a).sum(0), len(a)


def list_of_ints(x: Tensor) -> Tensor:
  sizes = [1, 2]
  sizes.extend([3])
  sizes += [x.size(0)]
  total = 0
  for s in sizes:
    total += s
  return x * total + max(sizes) - min(sizes) + sum(sizes)


def list_comprehension(x: Tensor) -> List[Tensor]:
  return [x * i for i in [1, 2, 3]]


def slice_lists(x: Tensor) -> Tensor:
  shape = list(x.shape)
  shape = shape[:-1] + [1, shape[-1]]
  return x.reshape(shape).squeeze(-2)[..., ::2]


def dict_of_tensors(x: Tensor) -> Dict[str, Tensor]:
  d: Dict[str, Tensor] = {"x": x}
  for key in ["a", "b"]:
    d[key] = d["x"] + len(d)
  if "a" in d:
    d.pop("x")
  return d


def dict_counts(x: Tensor) -> Tensor:
  counts: Dict[str, int] = {}
  for word in "the cat the dog".split(" "):
    counts[word] = counts.get(word, 0) + 1
  total = 0
  for key, value in counts.items():
    total += len(key) * value
  return x * total


def optional_given(x: Tensor, bias: Optional[Tensor]) -> Tensor:
  if bias is not None:
    x = x + bias
  return x


def optional_default(x: Tensor, scale: Optional[float] = None) -> Tensor:
  if scale is None:
    scale = 1.0 / math.sqrt(x.size(-1))
  return x * scale


def tuples(x: Tensor) -> Tuple[Tensor, Tuple[Tensor, int]]:
  a, b = x.min(dim=0)
  pair = (a, (b.to(torch.float32), 3))
  return pair[0] + pair[1][0], (pair[1][0], pair[1][1])


def named_tuple(x: Tensor) -> Pair:
  p = Pair(x, x + 1)
  return Pair(p.second, p.first * 2)


def strings(x: Tensor, name: str) -> Tuple[Tensor, str]:
  text = "{}-{}".format(name.upper(), x.dim())
  if text.startswith("REL") and "-" in text:
    x = torch.relu(x)
  return x * len(text.strip()), text + "!"


def integers(x: Tensor, n: int) -> Tensor:
  a = n // 3 + n % 3 - (n << 1)
  b = (n & 6) | 1
  c = n ** 2 // 5
  return x + float(a * b) + int(c) + abs(a) + round(2.5)


def floats(x: Tensor) -> Tensor:
  a = math.floor(2.7) + math.ceil(0.2) + math.pi
  return x * a + math.exp(0.5) - math.log(3.0) + float("1.5")


def in_place(x: Tensor) -> Tensor:
  y = x.clone()
  y.add_(1).mul_(2)
  y[0].zero_()
  y[:, 1] = 7.0
  return y


def views_and_writes(x: Tensor) -> Tensor:
  y = x * 1
  z = y.view(-1)
  z[2:4] += 10
  y.t_()
  return y + 1


def writes_input(x: Tensor) -> Tensor:
  x.relu_()
  return x + 1


def unpack_chunks(x: Tensor) -> Tensor:
  a, b = x.chunk(2, dim=1)
  c = x.split(2, dim=0)[0]
  return (a * b).sum() + c.sum()


def known_tensor_condition(x: Tensor) -> Tensor:
  steps = torch.tensor(3)
  while bool(steps > 0):
    x = x + steps
    steps = steps - 1
  return x


def tensors_of_numbers(x: Tensor) -> Tensor:
  weights = torch.tensor([1.0, 2.0, 3.0])
  return x[:, :3] * weights + torch.arange(3).to(x.dtype) + torch.ones(3, dtype=x.dtype)


def calls_functions(x: Tensor, n: int) -> Tensor:
  return counted_loop(early_return(x, n), 2) + branch_on_rank(x).t()


def tensor_in_loop_condition(x: Tensor) -> Tensor:
  i = 0
  done = False
  while not done:
    x = x + i
    i += 1
    done = i >= x.size(1)
  return x


def is_instance(x: Tensor, value: Optional[int]) -> Tensor:
  if isinstance(value, int):
    return x + value
  return x


def raises_always(x: Tensor) -> Tensor:
  if x.size(0) == 4:
    raise ValueError("four rows are one too many: {}".format(x.size(0)))
  return x


def asserts(x: Tensor) -> Tensor:
  assert x.dim() == 3, "expected three dims"
  return x


def raises_never(x: Tensor) -> Tensor:
  if x.dim() != 2:
    raise RuntimeError("expected two dims")
  return x + 1


def index_error(x: Tensor) -> Tensor:
  sizes = [1, 2, 3]
  return x + sizes[x.size(0)]


def key_error(x: Tensor) -> Tensor:
  d = {"a": 1}
  return x + d["b"]


def division_by_zero(x: Tensor) -> Tensor:
  return x + 1 // (x.size(0) - 4)


def shape_error(x: Tensor) -> Tensor:
  return x @ x


def unpack_error(x: Tensor) -> Tensor:
  a, b = x.unbind(0)
  return a + b


def _x() -> Tensor:
  return torch.arange(20, dtype=torch.float32).reshape(4, 5) - 7.5


CASES = [
  (branch_on_rank, (_x(),)), (branch_on_size, (_x(),)), (branch_on_dtype, (_x(),)),
  (branch_on_flag, (_x(), True)), (branch_on_flag, (_x(), False)), (counted_loop, (_x(), 3)),
  (counted_loop, (_x(), 0)), (loop_over_rows, (_x(),)), (while_loop, (_x(),)),
  (nested_loops, (_x(),)), (early_return, (_x(), 2)), (early_return, (_x(), 50)),
  (early_return_nested, (_x(), "relu")), (early_return_nested, (_x(), "abs")),
  (early_return_nested, (_x(), "other")), (list_of_tensors, (_x(),)), (list_aliases, (_x(),)),
  (list_of_ints, (_x(),)), (list_comprehension, (_x(),)), (slice_lists, (_x(),)),
  (dict_of_tensors, (_x(),)), (dict_counts, (_x(),)), (optional_given, (_x(), None)),
  (optional_given, (_x(), torch.ones(5))), (optional_default, (_x(),)),
  (optional_default, (_x(), 0.5)), (tuples, (_x(),)), (named_tuple, (_x(),)),
  (strings, (_x(), "relu")), (integers, (_x(), 17)), (floats, (_x(),)), (in_place, (_x(),)),
  (views_and_writes, (_x(),)), (writes_input, (_x(),)), (unpack_chunks, (_x()[:, :4],)),
  (known_tensor_condition, (_x(),)), (tensors_of_numbers, (_x(),)), (calls_functions, (_x(), 1)),
  (tensor_in_loop_condition, (_x(),)), (is_instance, (_x(), 4)), (is_instance, (_x(), None)),
  (raises_never, (_x(),)), (raises_always, (_x(),)), (asserts, (_x(),)), (index_error, (_x(),)),
  (key_error, (_x(),)), (division_by_zero, (_x(),)), (shape_error, (_x(),)),
  (unpack_error, (_x(),)),
]
