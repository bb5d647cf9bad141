"""kiln.compile(exported): every kind of input and output, both forms, strict and not, all dims."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

import kiln

FORMS = [(strict, decomposed) for strict in (False, True) for decomposed in (False, True)]
IDS = ["non-strict", "non-strict-decomposed", "strict", "strict-decomposed"]


def export(form: tuple[bool, bool], model: nn.Module, args: tuple,
           dynamic_shapes=None) -> ExportedProgram:
  strict, decomposed = form
  with torch.no_grad():
    program = torch.export.export(model, args, dynamic_shapes=dynamic_shapes, strict=strict)
    return program.run_decompositions() if decomposed else program


class AllKinds(nn.Module):
  """A parameter, buffers read and written (one not persistent), constants, an input written."""

  def __init__(self):
    super().__init__()
    self.weight = nn.Parameter(torch.randn(4, 4))
    self.register_buffer("scale", torch.full((4,), 2.0))
    self.register_buffer("shift", torch.arange(4.0), persistent=False)
    self.register_buffer("count", torch.zeros((), dtype=torch.int64))
    self.register_buffer("memory", torch.zeros(4), persistent=False)
    self.register_buffer("unused", torch.zeros(3))
    self.plain = torch.tensor([1.0, -1.0, 1.0, -1.0])

  def forward(self, x, cache, times, nothing, text):
    self.count += 1
    self.memory.mul_(0.5).add_(x.sum(0))
    cache[1:].add_(x[:1])
    y = (x @ self.weight) * self.scale + self.shift * self.plain + torch.tensor(0.25)
    return {"y": y * times, "memory": self.memory * self.count, "nothing": nothing}, cache, times + 1


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_kinds_of_inputs_and_outputs(form):
  torch.manual_seed(0)
  model = AllKinds().eval()
  eager = copy.deepcopy(model)
  example = (torch.randn(3, 4), torch.zeros(2, 4), 3, None, "text")
  exported = export(form, model, example, (None, None, Dim.DYNAMIC, None, None))
  kinds = {spec.kind.name for spec in exported.graph_signature.input_specs}
  assert {"USER_INPUT", "PARAMETER", "BUFFER", "CONSTANT_TENSOR"} <= kinds
  program = kiln.compile(exported)
  for times in (3, 7, 0):
    x, cache = torch.randn(3, 4), torch.randn(2, 4)
    theirs = cache.clone()
    with torch.no_grad():
      want, want_cache, want_next = eager(x, theirs, times, None, "text")
    got, got_cache, got_next = program(x, cache, times, None, "text")
    torch.testing.assert_close(got, want)
    assert got_cache is cache and want_cache is theirs and got_next == want_next
    torch.testing.assert_close(cache, theirs)
    torch.testing.assert_close(dict(model.named_buffers()), dict(eager.named_buffers()))
  for wrong, code in ((-2, "K4105"), (2.0, "K4111"), (2**64, "K4111"), ("2", "K4111")):
    with pytest.raises(kiln.Error) as error:
      program(torch.randn(3, 4), torch.randn(2, 4), wrong, None, "text")
    assert error.value.code == code, error.value


class Sizes(nn.Module):
  """Outputs and intermediate sizes that are expressions over the sizes of the inputs."""

  def forward(self, x, y):
    eighth = x.shape[0] // 8
    rows = x.reshape(eighth, 8, -1).sum(1)
    return rows, y[: x.shape[0]] + x.sum(1), torch.cat([y, y[:eighth]]), x.shape[0] // 8, rows.t()


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_derived_dims(form):
  s = Dim("s", min=2, max=8)
  model = Sizes()
  exported = export(form, model, (torch.randn(24, 2), torch.randn(49)),
                    ({0: 8 * s}, {0: 16 * s + 1}))
  program = kiln.compile(exported)
  for size in (2, 3, 8):
    x, y = torch.randn(8 * size, 2), torch.randn(16 * size + 1)
    got, want = program(x, y), model(x, y)
    assert [type(part) for part in got] == [type(part) for part in want]
    torch.testing.assert_close(got, want)
    assert [part.stride() for part in got[:3]] == [part.stride() for part in want[:3]]
  for shapes in ((16, 32), (12, 25), (72, 145)):
    with pytest.raises(kiln.Error) as error:
      program(torch.randn(shapes[0], 2), torch.randn(shapes[1]))
    assert error.value.code in ("K4105", "K4106"), error.value


class Rows(nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(4, 3)

  def forward(self, x, lengths):
    mask = torch.arange(x.shape[1])[None] < lengths[:, None]
    return (self.linear(x) * mask[..., None]).sum(1), mask.sum()


@pytest.mark.parametrize("form", FORMS, ids=IDS)
@pytest.mark.parametrize("dims", ["named", "auto"])
def test_ranges(form, dims):
  batch, length = Dim("batch", min=2, max=6), Dim("length", min=2, max=32)
  shapes = ({0: batch, 1: length}, {0: batch}) if dims == "named" else \
    ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO})
  model = Rows().eval()
  exported = export(form, model, (torch.randn(3, 5, 4), torch.tensor([1, 5, 2])), shapes)
  program = kiln.compile(exported)
  for b, n in ((2, 2), (6, 32), (4, 7)):
    x, lengths = torch.randn(b, n, 4), torch.randint(0, n + 1, (b,))
    with torch.no_grad():
      torch.testing.assert_close(program(x, lengths), model(x, lengths))
  with pytest.raises(kiln.Error) as error:
    program(torch.randn(3, 5, 4), torch.tensor([1, 2]))
  assert error.value.code == "K4106"
  if dims == "named":
    with pytest.raises(kiln.Error) as error:
      program(torch.randn(7, 5, 4), torch.ones(7, dtype=torch.int64))
    assert error.value.code == "K4105" and "[2, 6]" in str(error.value)


def test_parameters_that_are_written():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.weight = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x):
      self.weight.mul_(2)
      return x * self.weight

  model = Model()
  program = kiln.compile(export((False, False), model, (torch.ones(3),)))
  for step in (1, 2):
    torch.testing.assert_close(program(torch.ones(3)), torch.full((3,), 2.0**step))
    torch.testing.assert_close(model.weight.data, torch.full((3,), 2.0**step))


def test_what_a_program_cannot_have_is_refused_with_its_name():
  class Model(nn.Module):
    def forward(self, x):
      return torch.cond(x.sum() > 0, lambda a: a + torch.rand_like(a), lambda a: a - 1, (x,))

  with pytest.raises(kiln.Error) as error:
    kiln.compile(export((False, False), Model(), (torch.ones(3),)))
  assert error.value.code == "K1103" and "cond" in str(error.value)
