"""What TorchScript keeps between calls, changes in place or runs around a module's forward."""

from __future__ import annotations

import warnings
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from torch import Tensor, nn

import kiln
from kiln.partial import PartialProgram

from test_torchscript import assert_same, scripted, traced

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def results(model: Any, *args: Any, calls: int = 3) -> list:
  """Of several calls, read when all are made."""
  with torch.no_grad():
    return [model(*args) for _ in range(calls)]


def check_calls(make: Callable[[], nn.Module], *args: Any) -> Any:
  program = kiln.compile(scripted(make()), inputs=list(args))
  assert_same(results(program, *args), results(scripted(make()), *args))
  return program


def refusal(model: Any, *args: Any) -> str:
  with pytest.raises(kiln.Error) as refused:
    kiln.compile(scripted(model), inputs=list(args))
  assert refused.value.code == "K1145"
  return str(refused.value)


# ---- buffers that are replaced


class State(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.register_buffer("a", torch.zeros(2))
    self.register_buffer("b", torch.ones(2))


class Recurrent(State):
  def forward(self, x: Tensor) -> Tensor:
    self.a = torch.tanh(self.a + x)
    return self.a


class ReturnsOld(State):
  def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
    old = self.a
    self.a = self.a + x
    return old, old[1:]


class Swap(State):
  def forward(self, x: Tensor) -> Tensor:
    a, b = self.a, self.b
    self.a = b
    self.b = a
    return self.a + x


class Shift(State):
  def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
    self.b = self.a
    self.a = self.a + x
    return self.a, self.b


class Cached(State):
  def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
    self.a = x * 2
    self.b = self.a
    return self.a * 1, self.b


class WrittenAndReplaced(State):
  def forward(self, x: Tensor) -> Tensor:
    self.a.add_(x)
    self.a = self.a * 2
    return self.a + 1


class Rotate(State):
  def __init__(self) -> None:
    super().__init__()
    self.register_buffer("c", torch.full((2,), 2.0))

  def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    a, b, c = self.a, self.b, self.c
    self.a = b
    self.b = c
    self.c = a
    return self.a, self.b + x, self.c


class WrittenThenExchanged(State):
  def forward(self, x: Tensor) -> Tensor:
    self.a.add_(x)
    a = self.a
    self.a = self.b
    self.b = a
    return self.a - self.b


@pytest.mark.parametrize("model", [Recurrent, ReturnsOld, Swap, Shift, Cached, WrittenAndReplaced,
                                   Rotate, WrittenThenExchanged])
def test_replaced_buffers(model):
  check_calls(model, torch.tensor([0.5, 2.0]))


def test_a_written_buffer_is_still_returned_itself():
  class Counts(State):
    def forward(self, x: Tensor) -> Tensor:
      self.a.add_(x)
      return self.a

  check_calls(Counts, torch.ones(2))


class SharedWithResult(State):
  def forward(self, x: Tensor) -> Tensor:
    self.a.add_(x)
    self.a = self.a * 2
    return self.a


class SharedWithBuffer(State):
  def forward(self, x: Tensor) -> Tensor:
    self.a.add_(x)
    y = self.b + 0
    self.b = self.a
    return y


class SharedWithInput(State):
  def forward(self, x: Tensor) -> Tensor:
    self.a.add_(x)
    self.a = x
    return x + 1


class SharedWithWrittenInput(State):
  def forward(self, x: Tensor) -> Tensor:
    x.add_(1)
    y = self.a * 2
    self.a = x
    return y


@pytest.mark.parametrize("model", [SharedWithResult, SharedWithBuffer, SharedWithInput,
                                   SharedWithWrittenInput])
def test_a_shared_tensor_that_is_written_stays_in_torchscript(model):
  assert "something else shares" in refusal(model(), torch.ones(2))


def test_one_of_two_names_of_a_buffer_is_not_replaced():
  class Tied(State):
    def __init__(self) -> None:
      super().__init__()
      self.b = self.a

    def forward(self, x: Tensor) -> Tensor:
      self.a = self.a + x
      return self.a + self.b

  assert "another attribute has too: a" in refusal(Tied(), torch.ones(2))


# ---- other state


class Caches(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.caches: List[Tensor] = [torch.zeros(3)]

  def forward(self, x: Tensor) -> Tensor:
    self.caches[0].add_(x)
    return self.caches[0] * 1


@pytest.mark.parametrize("suffix", ["kiln", "ts", "pt2"])
def test_written_tensors_in_lists_are_saved_as_they_are(suffix, tmp_path):
  x = torch.ones(3)
  program = check_calls(Caches, x)
  path = tmp_path / f"m.{suffix}"
  program.save(path)
  loaded = kiln.load(path)
  reference = scripted(Caches())
  results(reference, x)
  assert_same(results(loaded, x), results(reference, x))


class Cells(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.cells: List[Tensor] = [torch.zeros(2), torch.ones(2)]
    self.named: Dict[str, Tensor] = {"a": torch.zeros(2), "b": torch.tensor(1.0)}
    self.pair = (torch.zeros(2), torch.ones(2))

  def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    for i in range(2):
      x = torch.tanh(x + self.cells[i])
      self.cells[i] = x
    self.named["a"] = self.cells[1]
    self.named["b"] = self.named["b"] * 2
    self.pair = (self.pair[1], self.pair[0] + x)
    return x, self.named["a"] * self.named["b"], self.pair[0], self.cells[0]


@pytest.mark.parametrize("suffix", ["kiln", "ts", "pt2"])
def test_tensors_that_lists_exchange(suffix, tmp_path):
  x = torch.tensor([0.5, -1.0])
  program = check_calls(Cells, x)
  program.save(tmp_path / f"m.{suffix}")
  reference = scripted(Cells())
  results(reference, x)
  assert_same(results(kiln.load(tmp_path / f"m.{suffix}"), x), results(reference, x))


def test_lists_that_grow_stay_in_torchscript():
  class Grows(Cells):
    def forward(self, x: Tensor) -> Tensor:
      self.cells.append(x)
      return x + 1

  assert "an attribute that is no tensor: cells" in refusal(Grows(), torch.ones(2))


class Sums(nn.Module):
  """Traced, neither is a buffer."""

  def __init__(self) -> None:
    super().__init__()
    self.number = torch.tensor(0.0)
    self.vector = torch.zeros(1)

  def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    self.number.add_(1)
    seen = self.number * 2
    self.number.add_(x.sum())
    self.vector.add_(x.sum())
    return self.number * 1, self.vector * 1, seen


@pytest.mark.parametrize("sizes", ["fixed", "range"])
def test_constants_of_a_trace_that_it_writes(sizes, tmp_path):
  torch.jit.save(traced(Sums(), torch.zeros(2), check_trace=False), tmp_path / "sums.pt")
  reference, module = (torch.jit.load(tmp_path / "sums.pt") for _ in range(2))
  given = torch.ones(2) if sizes == "fixed" else kiln.Input(
    min_shape=(1,), opt_shape=(2,), max_shape=(4,))
  program = kiln.compile(module, inputs=[given])
  assert_same(results(program, torch.ones(2)), results(reference, torch.ones(2)))
  program.save(tmp_path / "m.ts")
  assert_same(results(kiln.load(tmp_path / "m.ts"), torch.ones(2)),
              results(reference, torch.ones(2)))


# ---- literal tensors


class Literal(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.linear = nn.Linear(4, 4)

  def forward(self, x: Tensor) -> Tensor:
    return self.linear(x) * torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("suffix", ["kiln", "ts", "pt2"])
def test_tensors_in_the_code_are_saved(suffix, tmp_path):
  model, x = scripted(Literal()), torch.randn(2, 4)
  path = str(tmp_path / f"m.{suffix}")
  kiln.compile(model, inputs=[x]).save(path)
  with torch.no_grad():
    torch.testing.assert_close(kiln.load(path)(x), model(x))


def test_literal_tensors_have_names_of_their_own():
  class Named(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.register_buffer("constant_0", torch.full((4,), 5.0))

    def forward(self, x: Tensor) -> Tensor:
      return x * torch.tensor([1.0, 2.0, 3.0, 4.0]) + self.constant_0

  x = torch.randn(4)
  program = kiln.compile(scripted(Named()), inputs=[x])
  assert_same(program.script_module()(x), Named()(x))


# ---- hooks


def shift(self, input: Tuple[Tensor]) -> Tuple[Tensor]:
  return (input[0] + 1,)


def look(self, input: Tuple[Tensor]) -> None:
  pass


def double(self, input: Tuple[Tensor], output: Tensor) -> Tensor:
  return output * 2 + input[0].sum()


def hooked(model: nn.Module) -> torch.jit.ScriptModule:
  for hook in (look, shift, shift):
    model.register_forward_pre_hook(hook)
  model.register_forward_hook(double)
  return scripted(model)


def test_hooks_run_as_in_torchscript(tmp_path):
  script, x = hooked(nn.Linear(3, 3)), torch.randn(3)
  program = kiln.compile(script, inputs=[x])
  assert_same(program(x), script(x).detach())
  # A method is called without them.
  assert_same(kiln.compile(script.forward, inputs=[x])(x), script.forward(x).detach())
  script.save(tmp_path / "hooked.pt")
  assert_same(kiln.compile(torch.jit.load(tmp_path / "hooked.pt"), inputs=[x])(x),
              script(x).detach())


def test_hooks_of_a_module_in_parts(tmp_path):
  torch.manual_seed(0)

  class Root(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
      y = self.linear(x)
      if bool(y.sum() > 0):
        y = y * 2
      return y

  script, x = hooked(Root()), torch.randn(3)
  program = kiln.compile(script, inputs=[x])
  assert isinstance(program, PartialProgram)
  for value in (x, -x):
    assert_same(program(value), script(value).detach())
  program.save(tmp_path / "parts.ts")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert_same(torch.jit.load(tmp_path / "parts.ts")(x).detach(), script(x).detach())


# ---- numbers in tensors, and shapes, that change in place


def check_sizes(function: Callable, shape: tuple, sizes: tuple = (2, 3, 5, 9)) -> None:
  """The program of a range of first sizes does what TorchScript does."""
  script = scripted(function)
  program = kiln.compile(script, inputs=[kiln.Input(
    min_shape=(2, *shape), opt_shape=(4, *shape), max_shape=(9, *shape))])
  for n in sizes:
    x = torch.arange(1.0, 1.0 + n * shape[0]).reshape(n, *shape) if shape else torch.ones(n)
    assert_same(program(x), script(x))


def test_numbers_are_changed_in_place():
  def added(x: Tensor):
    n = torch.tensor(x.size(0))
    n += 1
    m = n * 2
    n.mul_(3).sub_(2)
    return x * n, int(n), int(m), x.new_zeros([int(n)])

  def from_a_constant(x: Tensor):
    n = torch.tensor(0)
    n += torch.tensor(x.size(0))
    n += torch.tensor(x.size(0))
    return x * n, int(n)

  def used_before(x: Tensor):
    n = torch.tensor(x.size(0))
    for i in range(2):
      x = x + n
      n += 1
    return x, n

  def given_another(x: Tensor):
    n = torch.tensor(x.size(0))
    n.fill_(3)
    m = torch.tensor(0)
    m.copy_(torch.tensor(x.size(0)))
    return x * n + m, x.new_zeros([int(n), int(m)])

  def seen_by_another(x: Tensor):
    n = torch.tensor(x.size(0))
    view = n.detach()
    n += 1
    return x * view, int(view)

  for function in (added, from_a_constant, used_before, given_another, seen_by_another):
    check_sizes(function, ())


def test_a_number_that_is_no_expression_is_not_known():
  def filled(x: Tensor):
    n = torch.tensor(x.size(0))
    n.bitwise_and_(3)
    return x * n

  script = scripted(filled)
  with pytest.raises(kiln.Error) as refused:
    kiln.compile(script, inputs=[kiln.Input(min_shape=(1,), opt_shape=(4,), max_shape=(9,))])
  assert refused.value.code == "K1145"


def strides(values: Any) -> list:
  return [[step for step, size in zip(v.stride(), v.shape) if size != 1]
          for v in values if isinstance(v, Tensor)]


def unsqueezed(x: Tensor):
  y = x * 2
  before = y[0]
  y.unsqueeze_(0)
  return y.size(0), y.size(1), y + 1, before


def squeezed(x: Tensor):
  y = (x * 2).unsqueeze(0)
  y.squeeze_(0)
  return y + 1, y.unsqueeze_(-1).size(0)


def transposed(x: Tensor):
  y = x * 2
  view = y.view(-1)
  y.transpose_(0, 1)
  y.add_(1)
  return y, y.t_().contiguous(), view, y.size(0), y.is_contiguous()


@pytest.mark.parametrize("function", [unsqueezed, squeezed, transposed])
def test_shapes_change_in_place(function):
  check_sizes(function, (4,))
  x = torch.randn(3, 4)
  got, expected = kiln.compile(scripted(function), inputs=[x])(x), scripted(function)(x)
  assert_same(got, expected)
  assert strides(got) == strides(expected)


def test_chains_of_shapes_in_place():
  def chain(x: Tensor):
    y = (x * 2).view(1, 3, 1, 4)
    y.squeeze_()
    y.unsqueeze_(1)
    y.transpose_(0, 2)
    return y, x.exp().t_(), torch.tensor([1.0, 2.0]).unsqueeze_(1) * 2

  x = torch.randn(3, 4)
  got, expected = kiln.compile(scripted(chain), inputs=[x])(x), scripted(chain)(x)
  assert_same(got, expected)
  assert strides(got) == strides(expected)


def test_shapes_of_arguments_and_other_resizing_are_refused():
  def argument(x: Tensor):
    x.unsqueeze_(0)
    return x + 1

  def resized(x: Tensor):
    y = x * 2
    y.resize_([2, 2])
    return y

  assert "changes the shape of an argument in place" in refusal(argument, torch.ones(3, 4))
  assert "gets another shape in place" in refusal(resized, torch.ones(3, 4))


# ---- programs inside


def test_a_program_is_not_compiled_again():
  x = torch.randn(2, 4)
  module = kiln.compile(scripted(Literal()), inputs=[x]).script_module()
  assert "it is a program of Kiln already" in refusal(module, x)
