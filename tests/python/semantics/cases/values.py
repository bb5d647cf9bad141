"""Cases about values: dtypes, shapes, promotion, control flow, shapes that depend on values."""

from __future__ import annotations

import torch
from torch import nn

from ..case import AsEager, Case, Differs, NotExpressible, Refuses

TITLE = "Values: dtypes, shapes, control flow"

COMPLEX_VIEWS = "views of complex tensors come back as copies"


class IntegerInputs(Case):
  title = "integer inputs: int64, int32, int16, int8, uint8, with overflow"

  class Model(nn.Module):
    def forward(self, a, b, c, d, e):
      return a * 2, b * b, c + c, d + 100, e + 200, e - 1, -d, a // 3, a % 3, b / 2

  def inputs(self, step, last):
    return (torch.tensor([-7, 0, 2**40]), torch.tensor([-5, 70000, 3], dtype=torch.int32),
            torch.tensor([30000, -30000], dtype=torch.int16),
            torch.tensor([100, -100], dtype=torch.int8),
            torch.tensor([0, 100, 255], dtype=torch.uint8))


class BoolInputs(Case):
  title = "bool inputs and outputs"

  class Model(nn.Module):
    def forward(self, a, b):
      return a & b, a | ~b, a ^ b, a.sum(), a.all(), a.any(), a * 2, a + b, a.float().mean()

  def inputs(self, step, last):
    return (torch.tensor([True, False, True, False]), torch.tensor([True, True, False, False]))


class ZeroDimensional(Case):
  title = "0-d tensors"

  class Model(nn.Module):
    def forward(self, x, n):
      return x * n, x.sum(), n + 1, x.mean() * n, n.reshape(1), n.expand(2, 2)

  def inputs(self, step, last):
    return (torch.randn(3), torch.tensor(2.0))



class Empty(Case):
  title = "empty tensors"

  class Model(nn.Module):
    def forward(self, x, y):
      return x + 1, x.sum(0), x.sum(), torch.cat([x, y]), x @ torch.ones(4, 3), x.t(), y[:0]

  def inputs(self, step, last):
    return (torch.randn(0, 4), torch.randn(2, 4))



class Float64(Case):
  title = "float64"

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(4, 3)

    def forward(self, x):
      return torch.softmax(self.linear(x), -1), x.exp().sum(1), x.mean()

  def model(self):
    return self.Model().double().eval()

  def inputs(self, step, last):
    return (torch.randn(5, 4, dtype=torch.float64),)


class HalfPrecision(Case):
  title = "bfloat16 and float16"

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(8, 4, dtype=torch.bfloat16)

    def forward(self, x, y):
      z = torch.relu(self.linear(x))
      return z, torch.softmax(x, -1), y * 2 + 1, y.sum(0), z.float() + y[:, :4], y + x.float()

  def inputs(self, step, last):
    return (torch.randn(3, 8).bfloat16(), torch.randn(3, 8).half())


class ComplexInside(Case):
  title = "complex numbers inside"
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      z = torch.view_as_complex(x) * torch.tensor(1j)
      return torch.view_as_real(z), z.abs(), torch.fft.rfft(x[:, 0]).real

  def inputs(self, step, last):
    return (torch.randn(4, 2),)

  doors = {
    "module": Differs(("strides",), COMPLEX_VIEWS),
    "torch.compile": Differs(("strides",), COMPLEX_VIEWS),
    "command": Refuses("kiln.Error K1140", "complex constants are not supported"),
  }


class ComplexInAndOut(Case):
  title = "complex inputs and outputs"
  in_torch = True

  class Model(nn.Module):
    def forward(self, z):
      return z * 2, z.conj(), z.real

  def inputs(self, step, last):
    return (torch.randn(3, dtype=torch.complex64),)

  doors = {
    "module": Differs(("strides", "aliasing"), COMPLEX_VIEWS),
    "command": Refuses("kiln.Error K1140", "complex inputs are not supported"),
  }


class ComplexOutput(Case):
  title = "complex output of real input"
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      return torch.fft.rfft(x), x + 1

  def inputs(self, step, last):
    return (torch.randn(8),)


class Promotion(Case):
  title = "dtype promotion: tensors, 0-d tensors and Python numbers"

  class Model(nn.Module):
    def forward(self, i, f, d, b):
      zero = torch.tensor(1.5, dtype=torch.float64)
      return (i + f, i + 1.5, i * 2, f + zero, f + d, b + 1, b * 1.5, i / 2, i > 0.5,
              torch.where(b, i, 2.5), i + torch.tensor(1, dtype=torch.int64), f ** 2, 2 ** i)

  def inputs(self, step, last):
    return (torch.tensor([1, 2, 3], dtype=torch.int32), torch.randn(3),
            torch.randn(3, dtype=torch.float64), torch.tensor([True, False, True]))


class ChangeOfDtype(Case):
  title = "`.to(dtype)`, `.int()`, `.bool()`, `.type_as()`"

  class Model(nn.Module):
    def forward(self, x, i):
      return (x.to(torch.float64), x.int(), x.bool(), i.type_as(x), x.to(torch.float16), i.float(),
              x.to(torch.int8), i.to(torch.uint8))

  def inputs(self, step, last):
    return (torch.tensor([-1.7, 0.0, 0.4, 2.5]), torch.tensor([-1, 0, 3, 300]))


class ReductionDtypes(Case):
  title = "dtypes of reductions and comparisons"

  class Model(nn.Module):
    def forward(self, i, b, x):
      return (i.sum(), b.sum(0), i.cumsum(0), i.prod(), x.argmax(), x.max(0), i.amax(), x == x,
              x.sum(dtype=torch.float64), x.sort(), x.topk(2), x.argsort(descending=True))

  def inputs(self, step, last):
    return (torch.tensor([1, 2, 3], dtype=torch.int32), torch.tensor([True, False, True]),
            torch.tensor([0.5, 2.5, 1.5]))

  doors = {
    "pt2": Refuses("kiln.Error K1014", "torch cannot write `return_types`: save as `.kiln`"),
    "command": Refuses("NotImplementedError", "torch.export.save cannot write `return_types`"),
    "torchscript": Differs(('structure',), "TorchScript returns plain tuples"),
  }


class NotNumbers(Case):
  title = "NaN, infinities, signed zeros"

  class Model(nn.Module):
    def forward(self, x):
      return (x.max(), x.clamp(-1, 1), torch.relu(x), x.isnan(), x == x, torch.maximum(x, -x),
              x.nan_to_num(), x.argmax(), 1 / x, torch.softmax(x[:2], 0), x.sign(), x.round())

  def inputs(self, step, last):
    return (torch.tensor([0.0, 2.5, -0.0, float("nan"), float("inf"), -float("inf")]),)


class IntegerDivision(Case):
  title = "division by zero of integers raises"

  class Model(nn.Module):
    def forward(self, x, y):
      return x // y

  def inputs(self, step, last):
    return (torch.tensor([1, 2]), torch.tensor([1, 0]))

  doors = {
    "module": Refuses("kiln.Error K4411", "eager raises too: RuntimeError"),
    "torch.compile": Refuses("kiln.Error K4411", "eager raises too: RuntimeError"),
  }


class IndexOutOfRange(Case):
  title = "an index out of range raises"

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.embedding = nn.Embedding(4, 3)

    def forward(self, ids):
      return self.embedding(ids)

  def inputs(self, step, last):
    return (torch.tensor([1, 4]),)

  doors = {
    "module": Refuses("kiln.Error K4312", "eager raises too: IndexError"),
    "torch.compile": Refuses("kiln.Error K4312", "eager raises too: IndexError"),
  }


class Indexing(Case):
  title = "indexing with tensors: gather, index_select, negative indices, assignment"

  class Model(nn.Module):
    def forward(self, x, i):
      y = x.clone()
      y[i] = 0
      y[0, i] += 1
      return (x[i], x[:, i], x[i, i], x.index_select(0, i + 1), y, x.gather(1, i[:, None] + 1),
              torch.zeros(4).scatter(0, i + 1, x[0, :2]), x[..., None, 0])

  def inputs(self, step, last):
    return (torch.randn(4, 5), torch.tensor([-1, 1]))



class LargeValues(Case):
  title = "index values beyond 32 bits"

  class Model(nn.Module):
    def forward(self, ids):
      return ids * 3 + 2**40, ids // 2**20, (ids - 2**41).clamp(min=0), ids.float(), ids == 2**41

  def inputs(self, step, last):
    return (torch.tensor([2**41, 2**41 + 1, -2**53, 5]),)

  doors = {
    "torchscript": Differs(('dtype', 'values'), "TorchScript's own result differs"),
  }


class WhereWithNumbers(Case):
  title = "`torch.where` and `masked_fill` with Python numbers"

  class Model(nn.Module):
    def forward(self, x):
      return (torch.where(x > 0, 1.0, -1.0), torch.where(x > 0, x, 0), torch.where(x > 0, 1, 0),
              x.masked_fill(x < 0, -torch.inf))

  def inputs(self, step, last):
    return (torch.randn(5),)


class BranchOnShape(Case):
  title = "`if` on a shape"
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      if x.shape[0] > 2:
        return x[:2].sum(0)
      return x.mean(0)

  def inputs(self, step, last):
    return (torch.randn(4, 3),)

  doors = {
    "fx": Refuses("kiln.Error K1102", "torch.fx knows no sizes: use torch.export", "control flow"),
  }


class BranchOnOtherShape(Case):
  title = "`if` on a shape that another call answers otherwise"
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      if x.shape[0] > 2:
        return x[:2].sum(0)
      return x.mean(0)

  def inputs(self, step, last):
    return (torch.randn(4 if step == 0 else 2, 3),)

  doors = {
    "module": Refuses("kiln.Error K4105", "the branch and the shape are fixed at capture"),
    "fx": Refuses("kiln.Error K1102", "torch.fx knows no sizes: use torch.export", "control flow"),
  }


class BranchOnValue(Case):
  title = "`if` on a value"
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      y = x * 2
      if y.sum() > 0:
        return y + 1
      return y - 1

  def inputs(self, step, last):
    return (torch.ones(3) if step == 0 else -torch.ones(3),)

  doors = {
    "module": Refuses("kiln.Error K1102", "torch.export captures one path: use torch.compile"),
    "export": Refuses("GuardOnDataDependentSymNode", "torch.export captures one path: use torch.compile"),
    "fx": Refuses("kiln.Error K1102", "torch.fx knows no values: use torch.compile", "control flow"),
    "torch.compile": AsEager("a graph break: the branch runs in Python"),
    "torchscript": Refuses("kiln.Error K1145", "a branch on a value: the method would stay in TorchScript"),
  }


class TorchCond(Case):
  title = "`torch.cond`"
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      return torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (x,))

  def inputs(self, step, last):
    return (torch.ones(3) if step == 0 else -torch.ones(3),)

  doors = {
    "module": AsEager("both branches are computed"),
    "torch.compile": AsEager("both branches are computed"),
    "command": Refuses("kiln.Error K1140", "torch.cond is not supported: use `torch.where`"),
    "fx": Refuses("kiln.Error K1102", "torch.fx does not trace torch.cond", "Expected pred"),
    "torchscript": NotExpressible("`torch.cond`"),
  }


class LoopOverShape(Case):
  title = "a loop over a static size"

  class Model(nn.Module):
    def forward(self, x):
      state = torch.zeros(x.shape[1])
      outputs = []
      for row in x:
        state = torch.tanh(state + row)
        outputs.append(state)
      return torch.stack(outputs), state

  def inputs(self, step, last):
    return (torch.randn(4, 3),)

  doors = {
    "fx": Refuses("kiln.Error K1102", "torch.fx knows no sizes: use torch.export", "cannot be iterated"),
  }


class ItemReturned(Case):
  title = "`.item()` returned"
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      return x.sum().item(), (x > 1).sum().item(), x + 1

  def inputs(self, step, last):
    return (torch.arange(3.0) + step,)


class BooleanItemReturned(Case):
  title = "`.item()` of a boolean returned"
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      return (x.sum() > 4).item(), x + 1

  def inputs(self, step, last):
    return (torch.arange(3.0) + step,)

  doors = {
    "pt2": Refuses("kiln.Error K1014", "torch cannot write such a boolean: save as `.kiln`"),
    "command": Refuses("AssertionError", "torch.export.save cannot write such a boolean"),
  }


class ItemUsed(Case):
  title = "`.item()` used as a number"
  calls = 2

  class Model(nn.Module):
    def forward(self, x, n):
      return x * n.item() + 1

  def inputs(self, step, last):
    return (torch.randn(3), torch.tensor(2 + step))


class MaskedSelect(Case):
  title = "shapes that depend on values: `masked_select`, `x[mask]`, `nonzero`, `unique`"
  calls = 2
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      y = x * 2
      return y.masked_select(y > 0), y[y < 0], torch.nonzero(y > 0), torch.unique(y > 0)

  def inputs(self, step, last):
    return (torch.randn(6),)


class NonzeroGoesOn(Case):
  title = "a shape that depends on values, computed with"
  calls = 2
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      y = x[x > 0]
      return torch.relu(y - 0.1).sum() + 1, y * 2

  def inputs(self, step, last):
    return (torch.randn(6),)


class NumbersFromValues(Case):
  title = "arithmetic on sizes and numbers that depend on values"
  calls = 2
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      n = x[x > 0].size(0)
      mean = x.sum().item() / (n + 2)
      return torch.zeros(2 * n) + 1, x.new_ones(n // 2 + 1), x * mean - n, n - 3

  def inputs(self, step, last):
    return (torch.randn(6),)

  doors = {
    "torchscript": Refuses("kiln.Error K1145", "such a number: the method would stay in TorchScript"),
  }


class AssignByMask(Case):
  title = "assignment by mask"

  class Model(nn.Module):
    def forward(self, x):
      y = x.clone()
      y[y > 0] = 0
      y[:, 0][y[:, 1] < 0] = 5.0
      return y

  def inputs(self, step, last):
    return (torch.randn(4, 3),)


class DynamicShapes(Case):
  title = "a dynamic batch: sizes 2, 5 and 9"
  calls = 3
  dynamic_shapes = ({0: torch.export.Dim("batch", min=2, max=16)},)

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(6, 4)

    def forward(self, x):
      y = self.linear(x.reshape(x.shape[0], -1))
      return y, y.view(-1), torch.cat([y, y]), x.transpose(1, 2), torch.arange(x.shape[0])

  def inputs(self, step, last):
    return (torch.randn((2, 5, 9)[step], 2, 3),)

  doors = {
    "torchscript": NotExpressible("ranges are given by kiln.Input, not by dynamic_shapes"),
  }


class Assertions(Case):
  title = "`torch._assert` and `torch._check` on shapes"

  class Model(nn.Module):
    def forward(self, x):
      torch._assert(x.shape[0] == 3, "three rows")
      torch._check(x.shape[1] > 1)
      return x + 1

  def inputs(self, step, last):
    return (torch.randn(3, 2),)

  doors = {
    "fx": Refuses("kiln.Error K1102", "torch.fx knows no sizes: use torch.export", "cond must be a bool"),
  }


class Sparse(Case):
  title = "sparse tensors inside"
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      return torch.sparse.mm(x.to_sparse(), torch.ones(4, 2))

  def inputs(self, step, last):
    return (torch.relu(torch.randn(3, 4)),)

  doors = {
    "command": Refuses("kiln.Error K1142", "the schema of `to_sparse` is not known: `--op-schema`"),
    "torchscript": Refuses("kiln.Error K1145", "the shape of sparse tensors is not known without data"),
  }
