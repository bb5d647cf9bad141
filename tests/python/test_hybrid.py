"""Hybrid programs: what Kiln has not runs in PyTorch, in the same program, and the report says why."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import kiln
from kiln.frontends.fake_corrections import results_as_run
from tests.models import accuracy, zoo


@torch.library.custom_op("kiln_test::swirl", mutates_args=())
def swirl(x: torch.Tensor, strength: float) -> torch.Tensor:
  return torch.roll(x, 1, -1) * strength + x.flip(-1)


@swirl.register_fake
def _(x, strength):
  return torch.empty_like(x)


class Chain(nn.Module):
  """Linear layers with an operator between them that Kiln has not, each time another."""

  def __init__(self, foreign: int):
    super().__init__()
    self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(foreign + 1))
    self.foreign = foreign

  def forward(self, x):
    x = torch.relu(self.layers[0](x))
    for i in range(self.foreign):
      kind = i % 3
      if kind == 0:
        x = torch.ops.kiln_test.swirl(x, 0.5)
      elif kind == 1:
        x = torch.special.i0(x.clamp(-2, 2))
      else:
        x = torch.cummax(x, -1).values - x
      x = torch.tanh(self.layers[i + 1](x))
    return x


@pytest.mark.parametrize("foreign", [1, 2, 3, 6])
def test_chain_has_few_segments_and_reasons(foreign):
  torch.manual_seed(0)
  model = Chain(foreign).eval()
  x = torch.randn(24, 16)
  program = kiln.compile(model, inputs=[x])
  with torch.no_grad():
    torch.testing.assert_close(program(x), model(x), rtol=1e-4, atol=1e-5)
  report = program.report
  assert 1 <= report.segments <= foreign + 1
  assert sum(row["count"] for row in report.fallbacks) == report.ops_total - report.ops_native
  names = {row["op"] for row in report.fallbacks}
  assert "kiln_test::swirl" in names
  for row in report.fallbacks:
    assert row["code"].startswith("K") and row["reason"] and row["location"]
  assert "kiln_test::swirl" in str(report)


def test_strict_names_what_is_missing():
  model = Chain(2).eval()
  with pytest.raises(kiln.Error) as error:
    kiln.compile(model, inputs=[torch.randn(24, 16)], strict=True)
  assert error.value.code == "K2001"
  assert "kiln_test::swirl" in str(error.value) and "i0" in str(error.value)
  kiln.compile(Chain(0).eval(), inputs=[torch.randn(24, 16)], strict=True)


def test_torch_executed_ops_and_modules():
  torch.manual_seed(0)
  model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid()).eval()
  x = torch.randn(4, 8)
  by_op = kiln.compile(model, inputs=[x], torch_executed_ops=["aten::tanh"])
  assert [row["op"] for row in by_op.report.fallbacks] == ["aten::tanh"]
  assert by_op.report.fallbacks[0]["code"] == "K1310"
  by_overload = kiln.compile(model, inputs=[x], torch_executed_ops=[torch.ops.aten.tanh.default])
  assert [row["op"] for row in by_overload.report.fallbacks] == ["aten::tanh"]
  by_path = kiln.compile(model, inputs=[x], torch_executed_modules=["2"])
  assert [row["module_path"] for row in by_path.report.fallbacks] == ["2"]
  by_class = kiln.compile(model, inputs=[x], torch_executed_modules=[nn.Linear])
  assert sum(row["count"] for row in by_class.report.fallbacks) == 2
  with torch.no_grad():
    for program in (by_op, by_overload, by_path, by_class):
      torch.testing.assert_close(program(x), model(x))


def test_min_block_size_sends_small_runs_back():
  torch.manual_seed(0)
  model = Chain(1).eval()
  x = torch.randn(24, 16)
  program = kiln.compile(model, inputs=[x], min_block_size=50)
  assert program.report.ops_native == 0
  assert str(program.report).startswith("nothing was accelerated")
  with torch.no_grad():
    torch.testing.assert_close(program(x), model(x), rtol=1e-4, atol=1e-5)


def test_data_dependent_shapes_stay_in_torch():
  class Model(nn.Module):
    def forward(self, x):
      y = torch.relu(x) * 2
      return torch.nonzero(y > 0.5), y.sum()

  x = torch.randn(7, 5)
  program = kiln.compile(Model().eval(), inputs=[x])
  expected = Model()(x)
  for got, want in zip(program(x), expected):
    torch.testing.assert_close(got, want)
  assert any(row["op"].startswith("aten::nonzero") for row in program.report.fallbacks)


def test_what_only_torch_knows_is_returned_twice(tmp_path):
  class Numbers(nn.Module):
    def forward(self, x):
      count = (x > 0).sum().item()
      return count, x + 1, count

  class Found(Numbers):
    def forward(self, x):
      found = torch.nonzero(x > 0)
      return (*super().forward(x), found, found)

  for model, suffixes in ((Numbers(), ("kiln", "ts", "pt2")), (Found(), ("kiln", "ts"))):
    program = kiln.compile(model, inputs=[torch.randn(7)])
    runs = [program]
    for suffix in suffixes:
      path = tmp_path / f"{type(model).__name__}.{suffix}"
      program.save(path)
      runs.append(kiln.load(path))
      if suffix != "kiln":
        runs.append(torch.jit.load(path) if suffix == "ts" else torch.export.load(path).module())
    for x in (torch.randn(7), torch.zeros(7), torch.ones(7)):
      for run in runs:
        for got, want in zip(run(x), model(x), strict=True):
          torch.testing.assert_close(got, want)
  found = program(x)
  assert found[3] is found[4]


def test_dynamic_shapes_cross_the_border():
  torch.manual_seed(0)
  model = Chain(1).eval()
  batch = torch.export.Dim("batch", min=2, max=64)
  program = kiln.compile(model, inputs=[torch.randn(24, 16)], dynamic_shapes=({0: batch},))
  for rows in (2, 5, 24, 64):
    x = torch.randn(rows, 16)
    with torch.no_grad():
      torch.testing.assert_close(program(x), model(x), rtol=1e-4, atol=1e-5)


def test_file_with_foreign_calls_needs_leave(tmp_path):
  model = Chain(1).eval()
  x = torch.randn(24, 16)
  program = kiln.compile(model, inputs=[x])
  path = tmp_path / "m.kiln"
  program.save(path)
  with pytest.raises(kiln.Error) as error:
    kiln.load(path)
  assert error.value.code == "K3301" and "kiln_test::swirl" in str(error.value)
  for loaded in (kiln.load(path, allow_ops=["kiln_test::swirl"]), kiln.load(path, trust=True)):
    with torch.no_grad():
      torch.testing.assert_close(loaded(x), program(x))


def test_bert_with_a_foreign_op_in_each_layer():
  model, make_inputs = zoo.build("bert")

  class Foreign(nn.Module):
    def forward(self, x):
      return torch.ops.kiln_test.swirl(x, 0.1) + x

  for layer in model.encoder.layer:
    layer.output.dropout = Foreign()
  inputs, other = make_inputs(1, 64, 0), make_inputs(1, 64, 1)
  program = kiln.compile(model, inputs=dict(inputs.kwargs))
  layers = len(model.encoder.layer)
  assert sum(row["count"] for row in program.report.fallbacks) == layers
  assert program.report.segments <= layers + 1
  oracle = accuracy.Oracle(model, inputs, other)
  with torch.no_grad():
    oracle.check(program(**inputs.kwargs))


# ---- memory at the border

class Calls(nn.Module):
  """A function as a module."""

  def __init__(self, function):
    super().__init__()
    self.function = function

  def forward(self, *args):
    return self.function(*args)


def agree(program, function, inputs):
  """Results, and inputs after the call."""
  ours, theirs = ([t.detach().clone() for t in inputs] for _ in range(2))
  got, expected = program(*ours), function(*theirs)
  torch.testing.assert_close(got, expected)
  torch.testing.assert_close(ours, theirs)


def compiled(function, *inputs):
  return kiln.compile(Calls(function), inputs=[t.clone() for t in inputs], cache=False)


def relu_then_flatten(x):
  h = torch.nn.functional.relu(x.transpose(1, 2), inplace=True)
  z = h.flatten(1)
  z.add_(1)
  return h.sum(2), z


def relu_then_contiguous(x):
  h = (x * 1.5).transpose(1, 2)
  h.relu_()
  z = h.contiguous()
  z.mul_(2)
  return h + z


def contiguous_of_a_factor(x):
  q = torch.linalg.qr(x[0])[0]
  z = q.contiguous()
  z.zero_()
  return q * 1


def written_transpose_reshaped(x):
  y = x * 1
  z = y.transpose(0, 1).mul_(2).reshape(-1)
  z.add_(1)
  return y, z


@pytest.mark.parametrize("function", [
  relu_then_flatten, relu_then_contiguous, contiguous_of_a_factor, written_transpose_reshaped])
def test_strides_of_written_and_foreign_tensors(function):
  torch.manual_seed(0)
  x = torch.randn(2, 3, 4)
  agree(compiled(function, x), function, [x])


def test_contiguous_copy_of_a_written_channels_last_input():
  def function(x):
    x.relu_()
    y = x.contiguous()
    y.add_(1)
    x.relu_()
    return x.contiguous()

  x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
  program = compiled(function, x)
  agree(program, function, [x])
  mine = x.clone()
  assert program(mine).is_contiguous() and not mine.is_contiguous()


@torch.library.custom_op("kiln_test::shift_all", mutates_args=("xs",))
def shift_all(xs: list[torch.Tensor], by: float) -> None:
  for x in xs:
    x.add_(by)


def test_lists_of_tensors_that_are_written():
  def function(x, y):
    a = x.clone()
    torch._foreach_mul_([a], 2.)
    torch._foreach_add_([x, y], 1.)
    shift_all([y, a], 0.5)
    torch._foreach_copy_([a[0]], [y[1]])
    return x * 2, a

  x, y = torch.randn(2, 3), torch.randn(2, 3)
  agree(compiled(function, x, y), function, [x, y])


def test_a_list_of_views_that_is_written_by_torch_compile():
  def function(x):
    y = x * 2
    shift_all([y[0], y[1]], 0.5)
    return y

  x = torch.randn(2, 3)
  with torch.no_grad():
    agree(torch.compile(Calls(function), backend="kiln"), function, [x])
    agree(compiled(function, x), function, [x])


def test_a_list_that_is_written_with_shared_memory_is_refused():
  def function(x):
    torch._foreach_add_([x, x[0]], 1.)
    return x * 2

  with pytest.raises(kiln.Error) as error:
    compiled(function, torch.randn(2, 3))
  assert error.value.code == "K1304"


@pytest.mark.parametrize("name", ["transpose_", "swapaxes_", "swapdims_"])
@pytest.mark.parametrize("columns", [2, 3])
def test_transpose_in_place(name, columns):
  def function(x):
    a = x * 1
    row = a[0]
    getattr(a, name)(0, 1)
    a[0] += 10
    return a, row

  x = torch.randn(2, columns)
  agree(compiled(function, x), function, [x])


def test_an_input_is_not_transposed_in_place():
  with pytest.raises(kiln.Error) as error:
    compiled(lambda x: x.t_() + 1, torch.randn(2, 3))
  assert error.value.code == "K1304"


def merge_and_write(x):
  x.reshape(-1)[2:5] = 1
  return x * 2


def merge_and_write_a_result(x):
  h = x * 2
  h.reshape(-1)[2:5] = 1
  return h


@pytest.mark.parametrize("function", [merge_and_write, merge_and_write_a_result])
def test_strides_that_decide_what_is_written(function, tmp_path):
  examples = [torch.randn(3, 4), torch.randn(4, 3).t()]
  for mine, other in (examples, examples[::-1]):
    program = compiled(function, mine)
    agree(program, function, [mine])
    program.save(tmp_path / "m.kiln")
    for each in (program, kiln.load(tmp_path / "m.kiln")):
      kept = other.clone()
      with pytest.raises(kiln.Error) as error:
        each(kept)
      assert error.value.code == "K4115"
      torch.testing.assert_close(kept, other)


def compare(function, *inputs, program=None):
  """The program against the function, both on copies; also what they write into their inputs."""
  if program is None:
    program = kiln.compile(Calls(function).eval(), inputs=[x.clone() for x in inputs])
  ours, theirs = [x.clone() for x in inputs], [x.clone() for x in inputs]
  with torch.no_grad():
    torch.testing.assert_close(program(*ours), function(*theirs), equal_nan=True)
  torch.testing.assert_close(ours, theirs)
  return program


_FOREIGN_TYPES = {
  "zeros": lambda x: torch.zeros(2, 3, dtype=torch.cfloat) + x,
  "to": lambda x: x.to(torch.complex64) * x,
  "number": lambda x: ((x * (2 - 0.5j)).add(1j).sub(torch.fft.fft(x), alpha=3j), x + 1 == 1j),
  "complex128": lambda x: (x * 2).to(torch.complex128).abs(),
  "full": lambda x: torch.full((3,), 2, dtype=torch.complex64).real + x,
  "sum": lambda x: x.sum(1, dtype=torch.complex64).imag + x.sum(1),
  "fp8": lambda x: (x * 3).to(torch.float8_e4m3fn).to(torch.float32) + 1,
  "uint16": lambda x: (x.abs() * 9).to(torch.uint16).to(torch.int64) + 1,
}


@pytest.mark.parametrize("name", _FOREIGN_TYPES)
def test_types_that_kiln_has_not_as_arguments(name, tmp_path):
  x = torch.randn(2, 3)
  program = compare(_FOREIGN_TYPES[name], x)
  path = str(tmp_path / "types.kiln")
  program.save(path)
  compare(_FOREIGN_TYPES[name], x, program=kiln.load(path))


def slice_of_spectrum(x):
  z = torch.fft.rfft(x)
  z[..., 3:] = 0
  return torch.fft.irfft(z), z


def row_of_spectrum(x):
  z = torch.fft.rfft(x)
  row = z.transpose(0, 1)[2]
  z[:, 1:3].mul_(2)
  row.add_(1)
  return z, row * 1


def reshaped_spectrum(x):
  z = torch.fft.fft(x)
  z.view(2, 2, 4)[:, 1].zero_()
  z.permute(1, 0)[1].mul_(1j)
  z.unsqueeze(0).diagonal(0, 1, 2).fill_(3)
  return z


def pairs_of_spectrum(x):
  z = torch.fft.fft(x)
  torch.view_as_real(z)[..., 1] *= -1
  pairs = x.reshape(2, 4, 2) * 1
  torch.view_as_complex(pairs)[:, 1:].mul_(1j)
  return z, pairs


@pytest.mark.parametrize("function", [slice_of_spectrum, row_of_spectrum, reshaped_spectrum,
                                      pairs_of_spectrum], ids=lambda f: f.__name__)
def test_writes_through_views_that_only_torch_knows(function, tmp_path):
  x = torch.randn(2, 8)
  program = compare(function, x)
  path = str(tmp_path / "spectrum.kiln")
  program.save(path)
  compare(function, x, program=kiln.load(path, trust=True))


class Norm(nn.Module):
  def __init__(self, cls: type, **options):
    super().__init__()
    self.norm = cls(4, track_running_stats=True, **options)

  def forward(self, x):
    return self.norm(x) + self.norm.running_mean.sum()


@pytest.mark.parametrize("cls", [nn.BatchNorm1d, nn.InstanceNorm1d])
@pytest.mark.parametrize("from_file", [False, True])
def test_norms_that_train_update_their_statistics(cls, from_file, tmp_path):
  torch.manual_seed(0)
  model = Norm(cls, affine=True).train()
  eager = Norm(cls, affine=True).train()
  eager.load_state_dict(model.state_dict())
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="the model is in training mode")
    program = kiln.compile(model, inputs=[torch.randn(3, 4, 5)])
  if from_file:
    path = str(tmp_path / "norm.kiln")
    program.save(path)
    program = kiln.load(path)
  for _ in range(2):
    x = torch.randn(3, 4, 5)
    with torch.no_grad():
      torch.testing.assert_close(program(x), eager(x))
  state = program.state_dict()
  for name in ("norm.running_mean", "norm.running_var"):
    torch.testing.assert_close(state[name], eager.state_dict()[name])


def numbers(x, n, m):
  a, b = n.item(), m.item()
  torch._check(b > 0)
  torch._check(a > 0)
  size = max(a * b - 1, 2) // b + a % b
  return x * size + (a & 3 if isinstance(a, bool) else 0), torch.sym_min(a, b) + 0.5 * a


ORDINARY = {
  "numbers": (numbers, [torch.randn(3), torch.tensor(7), torch.tensor(3)]),
  "dropout": (lambda x: F.dropout(x, 0.0, True) + x, [torch.randn(3)]),
  "mT": (lambda x: torch.fft.fft(x).mT.real, [torch.randn(3, 4)]),
  "lstm": (torch.nn.LSTM(4, 3), [torch.randn(2, 3, 4)]),
  "gru": (torch.nn.GRU(4, 3), [torch.randn(2, 3, 4)]),
  "rnn": (torch.nn.RNN(4, 3, nonlinearity="relu"), [torch.randn(2, 3, 4)]),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_files_of_ordinary_programs_need_no_trust(name, tmp_path):
  function, inputs = ORDINARY[name]
  model = function.eval() if isinstance(function, nn.Module) else Calls(function).eval()
  path = str(tmp_path / "ordinary.kiln")
  kiln.compile(model, inputs=[x.clone() for x in inputs]).save(path)
  compare(function, *inputs, program=kiln.load(path))


def test_what_torch_does_not_check():
  """Operators that would read or write beyond their operands, or end the process."""
  def refused(program, *inputs):
    with pytest.raises(kiln.Error) as error:
      program(*inputs)
    assert error.value.code == "K4304"

  x, states = torch.randn(3, 2, 6), [torch.randn(1, 2, 5), torch.randn(1, 2, 5)]
  with results_as_run():
    exported = torch.export.export(nn.LSTM(6, 5), (x, states))
  call = next(n for n in exported.graph.nodes if n.target is torch.ops.aten.lstm.input)
  weights = list(call.args[2])
  call.update_arg(2, [weights[2], *weights[1:]])  # a bias in place of a matrix
  refused(kiln.compile(exported), x, states)

  exported = torch.export.export(nn.BatchNorm1d(4).train(), (torch.randn(3, 4, 5),))
  call = next(n for n in exported.graph.nodes if n.target is torch.ops.aten.batch_norm.default)
  x = next(n for n in exported.graph.nodes if n.name == "input" or n.name == "x")
  with exported.graph.inserting_before(call):
    tiled = exported.graph.call_function(torch.ops.aten.repeat.default, (x, [1, 99, 1]))
    tiled.meta["val"] = torch.empty(3, 396, 5, device="meta")
  call.update_arg(0, tiled)
  program = kiln.compile(exported)
  refused(program, torch.randn(3, 4, 5))

  divide = kiln.compile(Calls(lambda x, n: x * (7 % n.item())).eval(),
                        inputs=[torch.randn(3), torch.tensor(2)])
  compare(lambda x, n: x * (7 % n.item()), torch.randn(3), torch.tensor(4), program=divide)
  refused(divide, torch.randn(3), torch.tensor(0))


def test_data_of_a_buffer_is_named():
  class Data(nn.Module):
    def __init__(self):
      super().__init__()
      self.register_buffer("b", torch.zeros(3))

    def forward(self, x):
      self.b.data.add_(1)
      return x + self.b

  with pytest.raises(kiln.Error) as error:
    kiln.compile(Data().eval(), inputs=[torch.zeros(3)])
  assert error.value.code == "K1104" and ".data" in str(error.value)


class Unique(nn.Module):
  def __init__(self, dim):
    super().__init__()
    self.dim = dim

  def forward(self, x):
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True, dim=self.dim)
    return values, inverse + 1, counts * 2, x.sum() * inverse


@pytest.mark.parametrize("dim", [None, 0])
@pytest.mark.parametrize("door", ["module", "exported", "exported by torch alone"])
def test_indices_of_unique_are_integers(dim, door):
  x = torch.randint(0, 4, (5, 3)).float()
  model = Unique(dim).eval()
  compiled = model
  if door == "exported":
    with results_as_run():
      compiled = torch.export.export(model, (x,))
  elif door == "exported by torch alone":
    compiled = torch.export.export(model, (x,))
  program = kiln.compile(compiled, inputs=[x] if compiled is model else None)
  for result, expected in zip(program(x), model(x), strict=True):
    assert result.dtype == expected.dtype
    torch.testing.assert_close(result, expected)
