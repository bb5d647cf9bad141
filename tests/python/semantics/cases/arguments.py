"""Cases about what goes in and comes out: nesting, keywords, numbers, hooks, modules in modules."""

from __future__ import annotations

import collections
import dataclasses

import torch
from torch import nn

from ..case import Args, Case, Differs, NotExpressible, Refuses

TITLE = "Arguments and results: nesting, keywords, numbers, hooks"

Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Result:
  first: torch.Tensor
  second: dict


@dataclasses.dataclass
class Unregistered:
  first: torch.Tensor


torch.export.register_dataclass(Result, serialized_type_name="semantics.Result")


class NoneOutputs(Case):
  title = "`None` and plain Python values among the outputs"

  class Model(nn.Module):
    def forward(self, x):
      return None, x + 1, 3, "text", True, 0.5

  def inputs(self, step, last):
    return (torch.randn(3),)

  doors = {
    "pt2": Refuses("kiln.Error K1014", "torch cannot read back text among the results"),
  }


class NestedOutputs(Case):
  title = "dict, list, tuple and OrderedDict as outputs, nested"

  class Model(nn.Module):
    def forward(self, x):
      y = x * 2
      return {"z": [x + 1, (y, None)], "a": collections.OrderedDict(z=y + 1, a={1: y + 2}), 3: ()}

  def inputs(self, step, last):
    return (torch.randn(3),)

  doors = {
    "fx": Differs(("structure",), "torch.fx makes an OrderedDict a dict"),
    "torchscript": NotExpressible("a dict of values of several types"),
  }


class NamedTupleOutput(Case):
  title = "namedtuple as output"

  class Model(nn.Module):
    def forward(self, x):
      return Pair(x + 1, Pair(x * 2, x.max(0)))

  def inputs(self, step, last):
    return (torch.randn(3, 2),)

  doors = {
    "pt2": Refuses("kiln.Error K1014", "torch cannot write this namedtuple: save as `.kiln`"),
    "command": Refuses("NotImplementedError", "torch.export.save cannot write this namedtuple"),
  }


class DataclassOutput(Case):
  title = "dataclass known to torch.export as output"

  class Model(nn.Module):
    def forward(self, x):
      return Result(x + 1, {"y": x * 2})

  def inputs(self, step, last):
    return (torch.randn(3),)

  doors = {
    "command": Differs(("structure",), "dataclasses come back as dicts"),
    "torchscript": NotExpressible("a dataclass"),
  }


class UnregisteredDataclassOutput(Case):
  title = "dataclass that torch.export does not know as output"

  class Model(nn.Module):
    def forward(self, x):
      return Unregistered(x + 1)

  def inputs(self, step, last):
    return (torch.randn(3),)

  doors = {
    "module": Refuses("kiln.Error K1102", "make it known: `torch.export.register_dataclass`"),
    "export": Refuses("TypeError", "make it known: `torch.export.register_dataclass`"),
    "torchscript": NotExpressible("a dataclass"),
  }


class NestedInputs(Case):
  title = "lists, dicts, named tuples and dataclasses of tensors as inputs"
  calls = 2

  class Model(nn.Module):
    def forward(self, tensors, table, pair, result):
      return tensors[0] + table["a"][0] * pair.left + result.first - result.second["k"]

  def inputs(self, step, last):
    a, b, c, d, e, f, g = torch.randn(7, 3)
    return ([a, b], {"a": (c,), "unused": None}, Pair(d, e), Result(f, {"k": g}))

  doors = {
    "pt2": Refuses("kiln.Error K1014", "torch cannot write this namedtuple: save as `.kiln`"),
    "command": Refuses("NotImplementedError", "torch.export.save cannot write this namedtuple"),
    "torchscript": NotExpressible("a dict of values of several types"),
  }


class VariableArguments(Case):
  title = "`*args` and `**kwargs`"
  calls = 2

  class Model(nn.Module):
    def forward(self, *tensors, **named):
      return sum(tensors) * named["scale"] + named["shift"]

  def inputs(self, step, last):
    a, b, c, d = torch.randn(4, 3)
    return Args((a, b), {"scale": c, "shift": d})

  doors = {
    "fx": Refuses("kiln.Error K1102", "torch.fx does not know how many arguments there are",
                  "cannot be iterated"),
    "torchscript": NotExpressible("`*args` and keyword-only arguments"),
  }


class KeywordOnly(Case):
  title = "keyword-only arguments"
  calls = 2

  class Model(nn.Module):
    def forward(self, x, *, mask, scale=2.0):
      return x.masked_fill(mask, 0.0) * scale

  def inputs(self, step, last):
    return Args((torch.randn(4),), {"mask": torch.tensor([True, False, True, False])})

  doors = {
    "torchscript": NotExpressible("keyword-only arguments with defaults"),
  }


class Defaults(Case):
  title = "defaults not given"

  class Model(nn.Module):
    def forward(self, x, scale=3.0, bias=None, flag=True):
      y = x * scale
      return y if bias is None or not flag else y + bias

  def inputs(self, step, last):
    return (torch.randn(3),)


class KeywordForPosition(Case):
  title = "arguments given by name that were captured by position"
  calls = 3

  class Model(nn.Module):
    def forward(self, x, y):
      return x - y

  def inputs(self, step, last):
    x, y = torch.randn(2, 3)
    return ((x, y), Args((x,), {"y": y}), Args((), {"y": y, "x": x}))[step]


class OptionalTensor(Case):
  title = "an optional tensor that is `None`"
  calls = 2

  class Model(nn.Module):
    def forward(self, x, mask):
      return x if mask is None else x * mask

  def inputs(self, step, last):
    return (torch.randn(3), None)

  doors = {
    "pt2": Refuses("kiln.Error K3122", "torch cannot read back a call without results"),
  }


class OptionalTensorLater(Case):
  title = "an optional tensor that is `None` at first and given later"
  calls = 2

  class Model(nn.Module):
    def forward(self, x, mask):
      return x + 1 if mask is None else x * mask

  def inputs(self, step, last):
    return (torch.randn(3), None if step == 0 else torch.ones(3))

  doors = {
    "module": Refuses("kiln.Error K4101", "`None` is fixed at capture: compile for a tensor as well"),
  }


class PythonNumbers(Case):
  title = "Python numbers, flags and strings as inputs"
  calls = 2

  class Model(nn.Module):
    def forward(self, x, times, scale, negate, mode):
      y = x.repeat(times) * scale
      y = torch.relu(y) if mode == "relu" else y
      return -y if negate else y

  def inputs(self, step, last):
    return (torch.randn(3), 2, 0.5, True, "relu")

  doors = {
    "torchscript": NotExpressible("numbers without annotations"),
  }


class OtherPythonNumbers(Case):
  title = "Python numbers that change between calls"
  calls = 3

  class Model(nn.Module):
    def forward(self, x, times, scale):
      return x * times * scale

  def inputs(self, step, last):
    return (torch.ones(3), 2 + step, 0.5 + step)

  doors = {
    "module": Refuses("kiln.Error K4101", "numbers are fixed at capture: give tensors"),
    "torchscript": Refuses("kiln.Error K1101", "numbers need annotations in TorchScript"),
  }


class SizesReturned(Case):
  title = "sizes and numbers made of sizes returned"
  calls = 2
  dynamic_shapes = ({0: torch.export.Dim("n", min=2, max=16)},)

  class Model(nn.Module):
    def forward(self, x):
      return x.shape[0], x.numel() // 2, x.shape, x + x.shape[0]

  def inputs(self, step, last):
    return (torch.randn(4 + step, 3),)

  doors = {
    "module": Differs(("structure",), "torch.export makes a `torch.Size` a tuple"),
    "torchscript": NotExpressible("ranges are given by kiln.Input, not by dynamic_shapes"),
  }


class NoOutputs(Case):
  title = "nothing returned"
  writes = True
  calls = 2

  class Model(nn.Module):
    def forward(self, x):
      x.add_(1)

  def inputs(self, step, last):
    return (torch.randn(3),)


class Hooks(Case):
  title = "hooks of a submodule: forward_pre_hook, forward_hook"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(3, 3)
      self.linear.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
      self.linear.register_forward_hook(lambda module, args, output: output + args[0])

    def forward(self, x):
      return self.linear(x)

  def inputs(self, step, last):
    return (torch.randn(2, 3),)


class HooksOfTheModel(Case):
  title = "hooks of the compiled module itself"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
      self.register_forward_hook(lambda module, args, output: output + args[0])

    def forward(self, x):
      return x + 1

  def inputs(self, step, last):
    return (torch.randn(2, 3),)


class Inside(Case):
  title = "the compiled module as a submodule of another"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(3, 3)

    def forward(self, x):
      return torch.relu(self.linear(x))

  def around(self, function):
    """The outer module stays eager: it holds what the door made."""
    class Outer(nn.Module):
      def __init__(self):
        super().__init__()
        self.inner = function
        self.scale = nn.Parameter(torch.full((3,), 2.0))

      def forward(self, x):
        return self.inner(x) * self.scale + self.inner(x + 1)

    outer = Outer().eval()
    assert outer.train().eval() is outer
    return outer

  def inputs(self, step, last):
    return (torch.randn(2, 3),)


class ClosureConstants(Case):
  title = "tensors that are no buffers: attributes, made in forward, literals"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.plain = torch.arange(3.0)

    def forward(self, x):
      return x * self.plain + torch.tensor([1.0, 2.0, 3.0]) + torch.tensor(2)

  def inputs(self, step, last):
    return (torch.randn(3),)


class WrongShape(Case):
  title = "a call with a shape that the model does not take"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(3, 3)

    def forward(self, x):
      return self.linear(x)

  def inputs(self, step, last):
    return (torch.randn(2, 3 + step),)

  doors = {
    "module": Refuses("kiln.Error K4105", "eager raises too: RuntimeError"),
    "torch.compile": Refuses("TorchRuntimeError", "eager raises too: RuntimeError"),
  }


class ParameterAsInput(Case):
  title = "an nn.Parameter given as input"

  class Model(nn.Module):
    def forward(self, x):
      return x * 2

  def inputs(self, step, last):
    return (nn.Parameter(torch.randn(3), requires_grad=False),)
