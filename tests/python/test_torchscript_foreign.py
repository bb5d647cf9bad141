"""TorchScript with what programs do not hold: complex and sparse tensors, generators, autocast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import kiln

from test_torchscript import assert_same, scripted

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

X = torch.randn(2, 2, generator=torch.Generator().manual_seed(1))


def _complex_item(x: Tensor):
  return torch.complex(x, x).sum().item()


def _sparse(x: Tensor):
  return x.to_sparse_csr().to_dense()


def _sparse_parts(x: Tensor):
  return torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), x[0], [2, 2]).to_dense()


def _generator(x: Tensor):
  own = torch.Generator()
  own.manual_seed(3)
  return x + torch.rand([2, 2], generator=own)


def _autocast(x: Tensor):
  with torch.autocast("cpu", torch.bfloat16):
    return torch.mm(x, x)


@pytest.mark.parametrize("function, met, advice", [
  (_complex_item, "a complex number is computed from a tensor", "torch.view_as_real"),
  (_sparse, "a sparse tensor", "dense tensors"),
  (_sparse_parts, "a sparse tensor", "dense tensors"),
  (_generator, "random numbers of a generator of the program's own", "default generator"),
  (_autocast, "an autocast region", "write the casts out")])
@pytest.mark.parametrize("strict", [False, True])
def test_says_what_it_met_and_what_to_do(function, met, advice, strict):
  with pytest.raises(kiln.Error, match="K1145") as refused:
    kiln.compile(scripted(function), inputs=[X], strict=strict)
  text = str(refused.value)
  assert met in text and advice in refused.value.hint, text
  assert "test_torchscript_foreign.py:" in text
  assert "registered at" not in text and len(text) < 500


def test_sparse_inputs():
  def dense(x: Tensor):
    return x.to_dense()

  with pytest.raises(kiln.Error, match="K1104.*type that is not supported: x, SparseCPU") as refused:
    kiln.compile(scripted(dense), inputs=[X.to_sparse()])
  assert "to_dense()" in refused.value.hint


def _zeros(x: Tensor):
  return torch.zeros(2, 2, dtype=torch.cfloat) + x


def _to(x: Tensor):
  return x.to(torch.complex64) * x, (x * 2).to(torch.complex128).abs()


def _number(x: Tensor):
  return (x * (2 - 0.5j)).add(1j).sub(torch.fft.fft(x), alpha=3j), x + 1 == 1j


def _full(x: Tensor):
  return torch.full([2], 2, dtype=torch.complex64).real + x


def _sum(x: Tensor):
  return x.sum(1, dtype=torch.complex64).imag + x.sum(1)


def _spectrum(x: Tensor):
  z = torch.fft.rfft(x).to(torch.cdouble)
  return torch.fft.irfft(z[:, :1] * 1e-3j, n=4), z


def _uint16(x: Tensor):
  return (x.abs() * 9).to(torch.uint16).to(torch.int64) + 1


@pytest.mark.parametrize("function", [_zeros, _to, _number, _full, _sum, _spectrum, _uint16],
                         ids=lambda f: f.__name__)
def test_calls_with_foreign_types_stay_in_torch(function, tmp_path):
  script = scripted(function)
  rows = kiln.Input(min_shape=(1, 2), opt_shape=(2, 2), max_shape=(6, 2))
  for inputs, sizes in (([X], [2]), ([rows], [1, 3, 6])):
    if function is _zeros and inputs[0] is rows:
      continue  # adds two rows
    program = kiln.compile(script, inputs=inputs)
    assert 0 < len(program.report.fallbacks)
    program.save(tmp_path / "model.kiln")
    program.save(tmp_path / "model.ts")
    loaded = kiln.load(tmp_path / "model.kiln"), torch.jit.load(tmp_path / "model.ts")
    for size in sizes:
      x = torch.randn(size, 2)
      for call in (program, *loaded):
        assert_same(call(x), script(x))


def test_quantised_types():
  def quantised(x: Tensor):
    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize()

  with pytest.raises(kiln.Error, match="K1145.*a quantised tensor of dtype QInt8"):
    kiln.compile(scripted(quantised), inputs=[X])


class Turned(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.register_buffer("turns", torch.tensor([1j, -1 + 0.5j]))

  def forward(self, x: Tensor):
    z = torch.complex(x, x + 1) * torch.tensor(0.5j)
    return z, (z * self.turns).real + 1, torch.fft.rfft(x)


def test_complex_constants(tmp_path):
  model = scripted(Turned().eval())
  frozen = torch.jit.freeze(model)  # weights become constants
  program = kiln.compile(frozen, inputs=[X])
  assert_same(program(-X), model(-X))
  program.save(tmp_path / "model.kiln")
  assert_same(kiln.load(tmp_path / "model.kiln")(-X), model(-X))


def test_complex_weights():
  with pytest.raises(kiln.Error, match="K1145.*a complex weight: turns") as refused:
    kiln.compile(scripted(Turned()), inputs=[X])
  assert "torch.view_as_real" in refused.value.hint


def test_autocast_that_is_off():
  def off(x: Tensor):
    with torch.autocast("cpu", enabled=False):
      return torch.mm(x, x)

  program = kiln.compile(scripted(off), inputs=[X])
  assert_same(program(X), torch.mm(X, X))
  assert program.report.ops_native == program.report.ops_total == 1


class Mixed(nn.Module):
  """A region between layers: what is called inside it stays, what comes after sees its dtypes."""

  def __init__(self) -> None:
    super().__init__()
    self.before, self.inside, self.after = nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()

  def forward(self, x: Tensor):
    y = self.before(x)
    with torch.autocast("cpu", torch.bfloat16):
      y = self.inside(y)
    return self.after(y)


def test_a_model_with_an_autocast_region():
  torch.manual_seed(0)
  script = scripted(Mixed().eval())
  program = kiln.compile(script, inputs=[X])
  assert set(program.programs) == {"before", "after"}
  assert program.kept["inside"] == "is called inside an autocast region"
  assert "an autocast region" in program.kept[""]
  want = script(X)
  assert want.dtype is torch.bfloat16
  assert_same(program(X), want)
  assert not torch.is_autocast_enabled("cpu")
