"""Cases about state: buffers, caches, weights, random numbers, grad mode."""

from __future__ import annotations

import torch
from torch import nn

from ..case import Case, Differs, NotExpressible, Refuses

TITLE = "State: buffers, caches, weights, random numbers, grad mode"


class BufferCounter(Case):
  title = "a buffer that counts"
  writes = True
  calls = 3

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("steps", torch.zeros(3))

    def forward(self, x):
      self.steps += x
      return self.steps * 2

  def inputs(self, step, last):
    return (torch.ones(3),)


class BufferReplaced(Case):
  title = "a buffer that is replaced: `self.steps = self.steps + 1`"
  writes = True
  calls = 3

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
      self.steps = self.steps + 1
      return x + self.steps

  def inputs(self, step, last):
    return (torch.randn(3),)


class BufferWrittenAndReturned(Case):
  title = "a buffer written through a view, and returned"
  writes = True
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("memory", torch.zeros(2, 3), persistent=False)

    def forward(self, x):
      self.memory[0].copy_(x)
      self.memory[:, 1] += 1
      return self.memory.clone(), self.memory.sum()

  def inputs(self, step, last):
    return (torch.randn(3),)


class LiveBufferReturned(Case):
  title = "a written buffer itself returned: it follows later calls"
  writes = True
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("memory", torch.zeros(3))

    def forward(self, x):
      self.memory.add_(x)
      return self.memory

  def inputs(self, step, last):
    return (torch.randn(3),)


class BatchNormInTraining(Case):
  title = "batch norm in training mode updates its statistics"
  writes = True
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
      return self.norm(x)

  def model(self):
    return self.Model().train()

  def inputs(self, step, last):
    return (torch.randn(8, 4),)


class BuffersThatShareMemory(Case):
  title = "two buffers over the same memory, one of them written"
  writes = True
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      memory = torch.zeros(4)
      self.register_buffer("whole", memory)
      self.register_buffer("part", memory[:2])

    def forward(self, x):
      self.part.add_(x)
      return self.whole * 2

  def inputs(self, step, last):
    return (torch.ones(2),)

  doors = {
    "module": Refuses("kiln.Error K1130", "write one buffer, take the other as a view in forward"),
    "functional": Refuses("AssertionError", "`run_decompositions` of torch cannot"),
  }


class ParameterWritten(Case):
  title = "a parameter written in forward"
  writes = True
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
      with torch.no_grad():
        self.weight.mul_(2)
      return x * self.weight

  def inputs(self, step, last):
    return (torch.ones(3),)


class TiedWeights(Case):
  title = "tied weights"

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.embedding = nn.Embedding(10, 4)
      self.head = nn.Linear(4, 10, bias=False)
      self.head.weight = self.embedding.weight

    def forward(self, ids):
      return self.head(self.embedding(ids))

  def inputs(self, step, last):
    return (torch.randint(0, 10, (2, 3)),)


class WeightChangedBetweenCalls(Case):
  title = "a weight written in place between calls"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(3, 3)

    def forward(self, x):
      return self.linear(x)

  def between(self, model, step):
    with torch.no_grad():
      model.linear.weight.add_(1)

  def inputs(self, step, last):
    return (torch.randn(2, 3),)

  doors = {
    "file": Differs(("values",), "a file has the weights of its time: `update_weights`"),
    "command": Differs(("values",), "a file has the weights of its time: `update_weights`"),
  }


class StaticCache(Case):
  title = "KV cache of static length, a buffer written at a position"
  writes = True
  calls = 3

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("keys", torch.zeros(1, 2, 8, 4))
      self.register_buffer("values", torch.zeros(1, 2, 8, 4))

    def forward(self, query, key, value, position):
      self.keys.index_copy_(2, position, key)
      self.values.index_copy_(2, position, value)
      mask = torch.arange(8) <= position
      return nn.functional.scaled_dot_product_attention(
        query, self.keys, self.values, attn_mask=mask[None, None, None])

  def inputs(self, step, last):
    return (*(torch.randn(1, 2, 1, 4) for _ in range(3)), torch.tensor([step]))


class StaticCacheGiven(Case):
  title = "KV cache of static length, an input written by slices"
  writes = True
  calls = 3

  class Model(nn.Module):
    def forward(self, cache, key, position):
      cache[:, position] = key
      return cache.sum(1), cache

  def inputs(self, step, last):
    cache = torch.zeros(2, 8, 3) if last is None else last[1]
    return (cache, torch.randn(2, 1, 3), torch.tensor([step]))


class GrowingCache(Case):
  title = "KV cache that grows by concatenation"
  calls = 4
  dynamic_shapes = (None, {1: torch.export.Dim("past", min=2, max=64)})

  class Model(nn.Module):
    def forward(self, key, cache):
      cache = torch.cat([cache, key], 1)
      return nn.functional.scaled_dot_product_attention(key, cache, cache), cache

  def inputs(self, step, last):
    return (torch.randn(2, 1, 4), torch.randn(2, 3, 4) if last is None else last[1])

  doors = {
    "torchscript": NotExpressible("ranges are given by kiln.Input, not by dynamic_shapes"),
  }


class PythonState(Case):
  title = "a Python number of the module that forward changes"
  calls = 3

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.times = 0

    def forward(self, x):
      self.times += 1
      return x * self.times

  def inputs(self, step, last):
    return (torch.ones(3),)

  doors = {
    "module": Differs(("values",), "the number is fixed at capture: use a buffer"),
    "torchscript": Refuses("kiln.Error K1145", "an attribute that is no tensor would change: use a buffer"),
  }


class DropoutInTraining(Case):
  title = "dropout in training mode: random, and as the seed says"
  calls = 2
  in_torch = True

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.dropout = nn.Dropout(0.5)

    def forward(self, x):
      return self.dropout(x)

  def model(self):
    return self.Model().train()

  def inputs(self, step, last):
    return (torch.ones(64),)


class RandomNumbers(Case):
  title = "random numbers made inside, as the seed says"
  calls = 2
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      noise = torch.randn_like(x) + torch.rand(4)
      return x + noise, torch.randint(0, 100, (5,)), torch.bernoulli(torch.full((8,), 0.5))

  def inputs(self, step, last):
    return (torch.zeros(3, 4),)

  doors = {
    "command": Refuses("kiln.Error K1142", "the schema of `bernoulli` is not known: `--op-schema`"),
    "fx": Refuses("kiln.Error K1102", "torch.fx would draw them once: use torch.export", "random numbers"),
  }


class UnusedRandomNumbers(Case):
  title = "random numbers that nothing uses still move the generator on"
  in_torch = True

  class Model(nn.Module):
    def forward(self, x):
      torch.rand(3)
      return x + torch.rand(3)

  def inputs(self, step, last):
    return (torch.zeros(3),)

  doors = {
    "torch.compile": Differs(("values",), "torch removes random numbers that nothing uses"),
    "fx": Refuses("kiln.Error K1102", "torch.fx would draw them once: use torch.export", "random numbers"),
    "torchscript": Differs(('values',), "TorchScript removes random numbers that nothing uses"),
  }


class OwnGenerator(Case):
  title = "random numbers of a generator of the user's own"
  calls = 2

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.generator = torch.Generator().manual_seed(3)

    def forward(self, x):
      return x + torch.rand(3, generator=self.generator)

  def inputs(self, step, last):
    return (torch.zeros(3),)

  doors = {
    "module": Refuses("kiln.Error K1102", "own generators are not captured by torch.export"),
    "export": Refuses("NotImplementedError", "own generators are not captured by torch.export"),
    "fx": Refuses("kiln.Error K1102", "torch.fx would draw them once: use torch.export", "random numbers"),
    "torchscript": Refuses("kiln.Error K1145", "own generators cannot be expressed"),
  }


class GradModeInside(Case):
  title = "`no_grad` and `enable_grad` inside"

  class Model(nn.Module):
    def forward(self, x):
      with torch.no_grad():
        y = x * 2
      with torch.enable_grad():
        z = y + 1
      return z * y

  def inputs(self, step, last):
    return (torch.randn(3),)


class InferenceModeInside(Case):
  title = "`inference_mode` inside"

  class Model(nn.Module):
    def forward(self, x):
      with torch.inference_mode():
        y = x * 2
      return y + 1

  def inputs(self, step, last):
    return (torch.randn(3),)


class AutocastInside(Case):
  title = "`autocast` inside"

  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.linear = nn.Linear(4, 4)

    def forward(self, x):
      with torch.autocast("cpu", torch.bfloat16):
        return self.linear(x)

  def inputs(self, step, last):
    return (torch.randn(2, 4),)

  doors = {
    "command": Refuses("kiln.Error K1140", "autocast is a region: use `run_decompositions({})`"),
    "fx": Refuses("kiln.Error K1102", "an FX graph holds no such region: use torch.export", "autocast"),
    "torchscript": Refuses("kiln.Error K1145", "autocast regions are not imported"),
  }
