"""Programs that change buffers and inputs, and outputs that share memory with something."""

from __future__ import annotations

import copy
import json
import subprocess
import threading

import pytest
import torch
from torch import nn

import kiln


def compiled(model, *inputs, **options):
  return kiln.compile(model, inputs=list(inputs), **options)


class StaticCache(nn.Module):
  """As in transformers: rows of a cache of fixed length are replaced by position."""

  def __init__(self, length: int, slices: bool = False):
    super().__init__()
    self.register_buffer("keys", torch.zeros(1, 2, length, 8))
    self.register_buffer("values", torch.zeros(1, 2, length, 8))
    self.slices = slices

  def forward(self, k, v, position):
    if self.slices:
      self.keys[:, :, 3:4] = k
      self.values[:, :, 3:4] = v
    else:
      self.keys.index_copy_(2, position, k)
      self.values[:, :, position] = v
    return self.keys[:, :, :4].sum() + self.values.sum()


class Counter(nn.Module):
  def __init__(self):
    super().__init__()
    self.inner = nn.Module()
    self.inner.register_buffer("steps", torch.tensor(5, dtype=torch.int64))
    self.register_buffer("total", torch.arange(3, dtype=torch.float32))

  def forward(self, x):
    self.inner.steps += 1
    self.total = self.total * 0.5 + x
    return self.total + self.inner.steps


@pytest.mark.parametrize("slices", [False, True])
def test_static_kv_cache(slices):
  model, twin = StaticCache(16, slices), StaticCache(16, slices)
  k, v, position = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8), torch.tensor([3])
  program = compiled(model, k, v, position)
  assert not model.keys.any(), "compiling must not run the model on its buffers"
  for step in range(4):
    k, v = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)
    position = torch.tensor([3 if slices else step])
    torch.testing.assert_close(program(k, v, position), twin(k, v, position))
    torch.testing.assert_close(model.keys, twin.keys)
    torch.testing.assert_close(model.values, twin.values)
  assert {name for name, _ in program.named_buffers()} == {"keys", "values"}
  assert program.keys is model.keys
  # Rows are written where they are: no step copies a cache.
  rows = program.profile(k, v, position)
  copies = [row for row in rows if row["kind"] == "copy" and row["label"] != "concat"]
  assert not copies, rows


def test_growing_kv_cache():
  class Growing(nn.Module):
    def forward(self, cache, k):
      cache = torch.cat([cache, k], dim=1)
      return cache, cache.sum(1)

  seq = torch.export.Dim("seq", min=2, max=64)
  cache, k = torch.randn(1, 3, 8), torch.randn(1, 1, 8)
  program = kiln.compile(Growing(), inputs=[cache, k], dynamic_shapes={"cache": {1: seq}, "k": None})
  for _ in range(5):
    expected = Growing()(cache, k)
    cache, total = program(cache, k)
    torch.testing.assert_close((cache, total), expected)
    k = torch.randn(1, 1, 8)


def test_counter_and_assigned_buffer():
  model, twin = Counter(), Counter()
  x = torch.randn(3)
  program = compiled(model, x)
  for _ in range(3):
    torch.testing.assert_close(program(x), twin(x))
  assert int(program.inner.steps) == 8 and model.inner.steps is program.inner.steps
  torch.testing.assert_close(program.state_dict(), twin.state_dict())


def test_loaded_programs_have_their_own_state(tmp_path):
  model, twin = Counter(), Counter()
  x = torch.randn(3)
  path = tmp_path / "counter.kiln"
  compiled(model, x).save(path)
  one, two = kiln.load(path), kiln.load(path)
  assert sorted(one.state_dict()) == ["inner.steps", "total"]
  torch.testing.assert_close(one.state_dict(), twin.state_dict())
  initial = copy.deepcopy(twin.state_dict())
  for _ in range(2):
    torch.testing.assert_close(one(x), twin(x))
  torch.testing.assert_close(one.state_dict(), twin.state_dict())
  torch.testing.assert_close(two.state_dict(), initial)
  torch.testing.assert_close(model.state_dict(), initial)
  one.load_state_dict(initial)
  torch.testing.assert_close(one(x), Counter()(x))
  third = copy.deepcopy(one)
  third(x)
  assert int(third.inner.steps) == int(one.inner.steps) + 1


def test_program_as_submodule_shows_its_state():
  outer = nn.Sequential(compiled(Counter(), torch.randn(3)))
  assert sorted(outer.state_dict()) == ["0.inner.steps", "0.total"]


def test_buffer_with_the_name_of_an_attribute():
  class Odd(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("report", torch.zeros(2))

    def forward(self, x):
      self.report.add_(x)
      return self.report * 2

  program = compiled(Odd(), torch.ones(2))
  program(torch.ones(2))
  assert program.state_dict()["report"].tolist() == [1, 1]
  assert isinstance(program.report, kiln.Report)


def test_kiln_run_and_cpp_state(tmp_path, request):
  path = tmp_path / "counter.kiln"
  compiled(Counter(), torch.ones(3)).save(path)
  tool = request.config.rootpath / "build/release/bin/kiln"
  if not tool.exists():
    pytest.skip("the command line tool was not built")
  done = subprocess.run([tool, "run", path, "--random", "--json"], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert len(json.loads(done.stdout)["outputs"]) >= 1


def test_threads_share_one_state():
  program = compiled(Counter(), torch.zeros(3))
  before = int(program.inner.steps)

  def work():
    for _ in range(50):
      program(torch.zeros(3))

  threads = [threading.Thread(target=work) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert int(program.inner.steps) == before + 200


# ---- inputs


def run_both(function, *inputs, make=None):
  """Results and inputs after one call, in eager and compiled, the inputs being the same."""

  class Model(nn.Module):
    def forward(self, *args):
      return function(*args)

  make = make or (lambda: [i.clone() for i in inputs])
  program = compiled(Model(), *make())
  eager_inputs, inputs = make(), make()
  expected = function(*eager_inputs)
  results = program(*inputs)
  torch.testing.assert_close(results, expected)
  torch.testing.assert_close(inputs, eager_inputs)
  return results, inputs, expected, eager_inputs


def same_window(a, b):
  return (a.stride(), a.storage_offset()) == (b.stride(), b.storage_offset())


def test_written_input_comes_back_as_itself():
  result, (x,), _, _ = run_both(lambda x: x.add_(1), torch.randn(3, 4))
  assert result is x


@pytest.mark.parametrize("function", [
  lambda x: x[1:].mul_(2).sum(),
  lambda x: x.t()[0].fill_(7).sum(),
  lambda x: x.view(-1)[3:5].zero_().sum(),
  lambda x: x[1, 2:4].add_(x[0, 0:2]).sum(),
  lambda x: x.add_(x.t().clone()).sum(),
  lambda x: x.copy_(x.flip(0)).sum(),
  lambda x: x.masked_fill_(x > 0, 0).sum(),
  lambda x: x.add_(1).mul_(2)[::2].sub_(3).sum(),
  lambda x: (x + x.add_(1)).sum(),
  lambda x: x.index_put_((torch.tensor([1]),), torch.ones(4)).sum(),
  lambda x: x.scatter_(0, torch.tensor([[1, 2, 0, 3]]), 9.0).sum(),
])
def test_writes_through_views_and_chains(function):
  run_both(function, torch.randn(4, 4))


@pytest.mark.parametrize("make", [
  lambda: [torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).t()],
  lambda: [torch.randn(4, 8, generator=torch.Generator().manual_seed(1))[:, ::2]],
  lambda: [torch.randn(8, 4, generator=torch.Generator().manual_seed(1))[2:6]],
])
def test_written_inputs_of_other_strides(make):
  run_both(lambda x: x[1:3].mul_(2).sum() + x.add_(1).sum(), make=make)

  class Model(nn.Module):
    def forward(self, x):
      return x[1:3].mul_(2).sum()

  program = compiled(Model(), torch.randn(4, 4))  # captured contiguous
  x, = make()
  expected, = make()
  torch.testing.assert_close(program(x), expected[1:3].mul_(2).sum())
  torch.testing.assert_close(x, expected)


def test_written_inputs_without_elements_and_of_rank_0():
  run_both(lambda x: x.add_(1).sum(), torch.empty(0, 3))
  run_both(lambda x: x.add_(1) * 2, torch.tensor(1.5))


def test_written_inputs_that_share_memory_are_refused():
  class Model(nn.Module):
    def forward(self, x, y):
      x.add_(1)
      return x + y

  program = compiled(Model(), torch.randn(3), torch.randn(3))
  x = torch.randn(3)
  kept = x.clone()
  for pair in ([x, x], [torch.randn(1).expand(3), x], [(z := torch.randn(4))[1:], z[:3]]):
    with pytest.raises(kiln.Error) as error:
      program(*pair)
    assert error.value.code == "K4118"
  torch.testing.assert_close(x, kept)
  memory = torch.zeros(3, 2)
  program(memory[:, 0], memory[:, 1])  # neighbours share nothing
  assert memory.tolist() == [[1, 0]] * 3


# ---- outputs that share memory


@pytest.mark.parametrize("function", [
  lambda x: x,
  lambda x: x[1:],
  lambda x: x.t(),
  lambda x: x.view(-1),
  lambda x: x.unsqueeze(0).expand(3, 4, 4),
  lambda x: x[1, ::2],
  lambda x: x.reshape(2, 8),
  lambda x: x.t()[1:].unsqueeze(1),
])
@pytest.mark.parametrize("written", [False, True])
def test_views_of_inputs_are_aliases(function, written):
  def forward(x):
    if written:
      x.add_(1)
    return function(x)

  result, (x,), expected, _ = run_both(forward, torch.randn(4, 4))
  assert same_window(result, expected)
  assert result.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
  x.fill_(3)
  assert (result == 3).all()


def test_views_of_inputs_of_other_strides():
  class Model(nn.Module):
    def forward(self, x):
      return x.t()[1:], x.reshape(-1)

  program = compiled(Model(), torch.randn(4, 6))
  x = torch.randn(6, 4).t()
  for got, expected in zip(program(x), Model()(x)):
    torch.testing.assert_close(got, expected)
    assert same_window(got, expected)


def test_outputs_that_are_one_tensor():
  def forward(x):
    y = x * 2
    return y[1:], y, y.t(), y, y.clone()

  (part, y, t, again, clone), _, expected, _ = run_both(forward, torch.randn(4, 4))
  assert again is y and clone is not y
  y.fill_(5)
  assert (part == 5).all() and (t == 5).all() and not (clone == 5).all()
  assert same_window(part, expected[0]) and same_window(t, expected[2])


def test_changed_buffer_comes_back_as_the_buffer():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("total", torch.zeros(4))

    def forward(self, x):
      self.total += x
      return self.total, self.total[2:]

  model = Model()
  program = compiled(model, torch.ones(4))
  total, part = program(torch.ones(4))
  assert total is model.total
  program(torch.ones(4))
  assert part.tolist() == [2, 2]


def test_written_tensors_are_newer():
  x = torch.randn(3)

  class Model(nn.Module):
    def forward(self, x):
      return x.add_(1).sum()

  program = compiled(Model(), torch.randn(3))
  before = x._version
  program(x)
  assert x._version > before
