"""Cases about memory: who shares it, who writes it, how it is laid out."""

from __future__ import annotations

import torch
from torch import nn

from ..case import AsEager, Case, Differs, Refuses

TITLE = "Memory: in-place operations, views, aliasing, strides"

VIEWS_WITHOUT_BASE = "views of a tensor that is not returned itself come back as copies"


class InPlaceOnInput(Case):
  title = "in-place operation on an input"
  writes = True
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      x.mul_(2)
      return x + 1

  def inputs(self, step, last):
    return (torch.randn(3, 4),)


class InPlaceOnViewOfInput(Case):
  title = "in-place operation on a view of an input"
  writes = True

  class Model(nn.Module):
    def forward(self, x):
      x[:, 1].mul_(3)
      x.view(-1)[2:4] = 7
      return x.sum(1)

  def inputs(self, step, last):
    return (torch.randn(3, 4),)


class InPlaceThroughTransposedInput(Case):
  title = "in-place operation on an input that is not contiguous"
  writes = True

  class Model(nn.Module):
    def forward(self, x):
      x.add_(1)
      x[0].zero_()
      return x * 2

  def inputs(self, step, last):
    return (torch.randn(4, 3).t(),)


class WrittenInputReturned(Case):
  title = "an input that was written is returned"
  writes = True

  class Model(nn.Module):
    def forward(self, x):
      return x.add_(1)

  def inputs(self, step, last):
    return (torch.randn(3, 4),)


class OutArgument(Case):
  title = "`out=` an input"
  writes = True

  class Model(nn.Module):
    def forward(self, x, y):
      torch.mul(x, 2, out=y)
      return x + y

  def inputs(self, step, last):
    return (torch.randn(3, 4), torch.zeros(3, 4))

  doors = {
    "command": Refuses("kiln.Error K1142", "the schema of `mul.out` is not known: `--op-schema`"),
  }


class InPlaceOnIntermediate(Case):
  title = "in-place operations on views of an intermediate"
  writes = True

  class Model(nn.Module):
    def forward(self, x):
      y = x * 2
      y[:, 1:3].mul_(3)
      y.view(-1)[0] = 7
      y[y > 1] = 1
      y.t()[0].fill_(-1)
      return y

  def inputs(self, step, last):
    return (torch.randn(3, 4),)


class InputReturned(Case):
  title = "an input returned as it is"

  class Model(nn.Module):
    def forward(self, x, y):
      return x, y + 1

  def inputs(self, step, last):
    return (torch.randn(3, 4), torch.randn(2))


class OperatorsThatGiveBackTheirInput(Case):
  title = "`.contiguous()`, `.to()` and dropout that have nothing to do"

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.dropout = nn.Dropout(0.5)

    def forward(self, x, y, z):
      return x.contiguous(), y.to(torch.float32), self.dropout(z)

  def inputs(self, step, last):
    return (torch.randn(3, 4), torch.randn(2), torch.randn(2))

  doors = {
    "torch.compile": Differs(("identity", "aliasing"), "torch decomposes dropout into a copy"),
    "pt2": Refuses("kiln.Error K3122", "torch cannot read back a call without results"),
  }


class ViewOfInputReturned(Case):
  title = "views of an input returned"

  class Model(nn.Module):
    def forward(self, x):
      return x.view(-1), x[1:], x[:, 1], x.t(), x.unsqueeze(0), x.detach()

  def inputs(self, step, last):
    return (torch.randn(3, 4),)

  doors = {
    "module": Differs(("identity",), "`detach` of an input is the input itself"),
    "pt2": Refuses("kiln.Error K3122", "torch cannot read back a call without results"),
  }


class ViewOfWrittenInputReturned(Case):
  title = "a view of an input that was written is returned"
  writes = True

  class Model(nn.Module):
    def forward(self, x):
      row = x[1]
      x.add_(1)
      return row

  def inputs(self, step, last):
    return (torch.randn(3, 4),)

  doors = {
    "functional": Differs(("aliasing",), "torch makes it a view of the new value: a copy"),
  }


class ReshapeOfInput(Case):
  title = "`reshape` of inputs: a view of one, a copy of the other"

  class Model(nn.Module):
    def forward(self, x, y):
      return x.reshape(-1), y.reshape(-1)

  def inputs(self, step, last):
    return (torch.randn(3, 4), torch.randn(4, 3).t())



class SameOutputTwice(Case):
  title = "one tensor returned twice"

  class Model(nn.Module):
    def forward(self, x):
      y = x + 1
      return y, y

  def inputs(self, step, last):
    return (torch.randn(3, 4),)



class OutputAndItsViews(Case):
  title = "a tensor and views of it returned"

  class Model(nn.Module):
    def forward(self, x):
      y = x + 1
      return y, y[1], y.t()

  def inputs(self, step, last):
    return (torch.randn(3, 4),)



class PartsOfOneTensor(Case):
  title = "`split`, `chunk` and `unbind` of an intermediate"

  class Model(nn.Module):
    def forward(self, x):
      y = x * 2
      return y.split(1, 1), y.chunk(2, 0), y.unbind(1)

  def inputs(self, step, last):
    return (torch.randn(4, 3),)

  doors = {
    "module": Differs(("strides", "aliasing"), VIEWS_WITHOUT_BASE),
    "torch.compile": Differs(("strides", "aliasing"), VIEWS_WITHOUT_BASE),
    "torchscript": Differs(("structure",), "TorchScript returns lists of parts"),
  }


class DuplicateInputs(Case):
  title = "one tensor given for two inputs, read only"

  class Model(nn.Module):
    def forward(self, x, y):
      return x * y + x

  def inputs(self, step, last):
    x = torch.randn(3, 4)
    return (x, x)

  doors = {
    "export": Refuses("kiln.Error K1101", "export with a tensor of its own for each argument"),
    "command": AsEager(),
  }


class DuplicateInputsWritten(Case):
  title = "one tensor given for two inputs, one of them written"
  writes = True

  class Model(nn.Module):
    def forward(self, x, y):
      x.add_(1)
      return x * y

  def inputs(self, step, last):
    x = torch.randn(3, 4)
    return (x, x)

  doors = {
    "module": Refuses("kiln.Error K4118", "give one of them as a copy"),
    "export": Refuses("kiln.Error K1101", "export with a tensor of its own for each argument"),
    "functional": Refuses("AssertionError", "`run_decompositions` of torch cannot"),
    "command": Refuses("kiln.Error K4118", "give one of them as a copy"),
  }


class OverlappingInputsWritten(Case):
  title = "inputs that share memory, one of them written"
  writes = True

  class Model(nn.Module):
    def forward(self, x, y):
      x.add_(1)
      return x.sum(0) * y

  def inputs(self, step, last):
    x = torch.randn(3, 4)
    return (x, x[1])

  doors = {
    "module": Refuses("kiln.Error K4118", "give one of them as a copy"),
    "functional": Refuses("AssertionError", "`run_decompositions` of torch cannot"),
  }


class InputsThatShareAtTheSecondCall(Case):
  title = "inputs that begin to share memory after compiling, one of them written"
  calls = 3

  class Model(nn.Module):
    def forward(self, x, y):
      x.add_(1)
      return x * y

  def inputs(self, step, last):
    x = torch.randn(3, 4)
    return (x, torch.randn(4)) if step != 1 else (x, x[2])

  doors = {
    "module": Refuses("kiln.Error K4118", "give one of them as a copy"),
    "torch.compile": Refuses("kiln.Error K4118", "give one of them as a copy"),
  }


class ExpandedInput(Case):
  title = "an expanded input"

  class Model(nn.Module):
    def forward(self, x):
      return x * 2, x.sum(0)

  def inputs(self, step, last):
    return (torch.randn(4).expand(3, 4),)


class NonContiguousInput(Case):
  title = "inputs that are not contiguous: transposed, sliced, with an offset"

  class Model(nn.Module):
    def forward(self, x, y, z):
      return x + 1, y @ x, z.exp()

  def inputs(self, step, last):
    return (torch.randn(4, 3).t(), torch.randn(5, 6)[:, ::2], torch.randn(9)[3:])


class StridesOtherThanAtCapture(Case):
  title = "strides other than those of the example"
  calls = 3

  class Model(nn.Module):
    def forward(self, x):
      return torch.relu(x) + 1, x.sum(1)

  def inputs(self, step, last):
    if step == 0:
      return (torch.randn(3, 4),)
    return (torch.randn(4, 3).t(),) if step == 1 else (torch.randn(3, 8)[:, ::2],)

  doors = {
    "module": Differs(("strides",), "results have the strides that they have for the example"),
  }


class ChannelsLast(Case):
  title = "channels_last in and out"

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv = nn.Conv2d(4, 8, 3, padding=1)

    def forward(self, x):
      y = self.conv(x)
      return y, torch.relu(x), y.mean((2, 3)), x.flatten(1)

  def inputs(self, step, last):
    return (torch.randn(2, 4, 5, 5).to(memory_format=torch.channels_last),)


class ToChannelsLast(Case):
  title = "changes of memory format inside"

  class Model(nn.Module):
    def forward(self, x):
      y = x.contiguous(memory_format=torch.channels_last)
      return y, y + 1, y.contiguous(), (x * 2).to(memory_format=torch.channels_last)

  def inputs(self, step, last):
    return (torch.randn(2, 4, 3, 3),)


class OutputsWithStrides(Case):
  title = "outputs that are not contiguous: permuted, expanded, sliced"

  class Model(nn.Module):
    def forward(self, x):
      y = torch.tanh(x)
      return y.permute(2, 0, 1), y[:, :, :1].expand(-1, -1, 4), y[:, ::2], y.transpose(0, 1) + 1

  def inputs(self, step, last):
    return (torch.randn(2, 3, 4),)

  doors = {
    "module": Differs(("strides", "aliasing"), VIEWS_WITHOUT_BASE),
    "torch.compile": Differs(("strides", "aliasing"), VIEWS_WITHOUT_BASE),
  }


class ReverseOrder(Case):
  title = "`flip`, `roll` and indices from the end"

  class Model(nn.Module):
    def forward(self, x):
      return x.flip(0, 1), x.roll(1, 1), x[-1], x[:-1, -2:], x[..., -1]

  def inputs(self, step, last):
    return (torch.randn(3, 4),)



class FreeStrides(Case):
  title = "`as_strided` and `unfold`"

  class Model(nn.Module):
    def forward(self, x):
      y = x * 2
      return y.as_strided((2, 3), (3, 1), 1) + 1, y.unfold(0, 4, 2).sum(1)

  def inputs(self, step, last):
    return (torch.randn(12),)


class UnusedInputs(Case):
  title = "inputs that are not used"
  calls = 2

  class Model(nn.Module):
    def forward(self, x, unused, y, nothing=None):
      return x + y

  def inputs(self, step, last):
    return (torch.randn(3), torch.randn(2, 2), torch.randn(3))


class ConstantOutputs(Case):
  title = "outputs that do not depend on the inputs"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("table", torch.arange(6.0).view(2, 3))

    def forward(self, x):
      return self.table + 1, torch.ones(2, dtype=torch.int64), torch.arange(3), x

  def inputs(self, step, last):
    return (torch.randn(3),)


class WeightReturned(Case):
  title = "a parameter and a view of a buffer returned"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.weight = nn.Parameter(torch.randn(2, 3))
      self.register_buffer("table", torch.arange(6.0).view(2, 3))

    def forward(self, x):
      return self.weight, self.table[1], x + 1

  def inputs(self, step, last):
    return (torch.randn(3),)
