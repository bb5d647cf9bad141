"""The operators of PyTorch's fast path for attention, against PyTorch's own results."""

from __future__ import annotations

import warnings
from typing import Any, Callable

import pytest
import torch
from torch import Tensor, nn

import kiln
from kiln import Input
from test_torchscript import scripted, traced

BATCH, LENGTH, WIDTH, HEADS, INNER = 2, 5, 16, 4, 24
ATTENTION = "aten::_native_multi_head_attention"
LAYER = "aten::_transformer_encoder_layer_fwd"

pytestmark = pytest.mark.filterwarnings(
  "ignore:.*torch.jit.*:DeprecationWarning", "ignore:Converting mask")


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
  generator = torch.Generator().manual_seed(seed)
  return torch.randn(shape, generator=generator).to(dtype)


def hidden(*shape: int, seed: int = 0) -> Tensor:
  """A mask that hides some positions, and for some queries all of them."""
  mask = randn(*shape, seed=seed) > 0.3
  mask[..., 0, :] = True
  return mask


class Attention(nn.Module):
  """The operator, with `options` from need_weights on."""

  def __init__(self, *options: Any, mask_type: int | None = None, out: int = WIDTH,
               dtype: torch.dtype = torch.float32) -> None:
    super().__init__()
    self.weights = nn.ParameterList(
      nn.Parameter(randn(*shape, seed=i + 1, dtype=dtype) * 0.4, requires_grad=False)
      for i, shape in enumerate([(3 * WIDTH, WIDTH), (3 * WIDTH,), (out, WIDTH), (out,)]))
    self.options = options or (True, True)
    self.mask_type = mask_type

  def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None):
    projections = [self.weights[i] for i in range(4)]
    output, weights = torch._native_multi_head_attention(
      query, key, value, WIDTH, HEADS, *projections, mask, *self.options, self.mask_type)
    return (output, weights) if self.options[0] else output


class Self(Attention):
  def forward(self, x: Tensor, mask: Tensor | None = None):
    return super().forward(x, x, x, mask)


class Layer(nn.Module):
  def __init__(self, gelu: bool = False, norm_first: bool = False,
               mask_type: int | None = None) -> None:
    super().__init__()
    shapes = [(3 * WIDTH, WIDTH), (3 * WIDTH,), (WIDTH, WIDTH), (WIDTH,),
              (WIDTH,), (WIDTH,), (WIDTH,), (WIDTH,),
              (INNER, WIDTH), (INNER,), (WIDTH, INNER), (WIDTH,)]
    self.weights = nn.ParameterList(
      nn.Parameter(randn(*shape, seed=i + 1) * 0.4, requires_grad=False)
      for i, shape in enumerate(shapes))
    self.gelu, self.norm_first, self.mask_type = gelu, norm_first, mask_type

  def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
    weights = [self.weights[i] for i in range(12)]
    return torch._transformer_encoder_layer_fwd(
      x, WIDTH, HEADS, *weights[:4], self.gelu, self.norm_first, 1e-3, *weights[4:], mask,
      self.mask_type)


def export_door(model: nn.Module, args: tuple) -> Callable:
  return kiln.compile(model, inputs=list(args), strict=True)


def torchscript_door(model: nn.Module, args: tuple) -> Callable:
  module = traced(model, *args)
  assert any(op in str(module.inlined_graph) for op in (ATTENTION, LAYER))
  return kiln.compile(module, inputs=list(args), strict=True)


def torch_compile_door(model: nn.Module, args: tuple) -> Callable:
  torch._dynamo.reset()
  return torch.compile(model, backend="kiln", fullgraph=True, options={"strict": True})


DOORS = [export_door, torchscript_door, torch_compile_door]


def check(model: nn.Module, *args: Tensor, door: Callable = torchscript_door,
          **tolerance: float) -> None:
  with torch.no_grad():
    expected = model.eval()(*args)
    got = door(model, args)(*args)
  torch.testing.assert_close(got, expected, equal_nan=True, **tolerance)
  for a, b in zip(got, expected):
    assert a.stride() == b.stride()


X = randn(BATCH, LENGTH, WIDTH)
MASKS = {
  "none": (None, None),
  "queries x keys": (hidden(LENGTH, LENGTH), 0),
  "padding": (hidden(BATCH, LENGTH), 1),
  "whole": (hidden(BATCH, HEADS, LENGTH, LENGTH), 2),
  "whole, no type": (hidden(BATCH, HEADS, LENGTH, LENGTH), None),
  "whole, another type": (hidden(BATCH, HEADS, LENGTH, LENGTH), 0),
  "numbers": (randn(LENGTH, LENGTH).round() * 0.5, 0),
  "minus infinity": (torch.zeros(BATCH, LENGTH).masked_fill(hidden(BATCH, LENGTH),
                                                            -torch.inf), 1),
  "integers": (hidden(BATCH, LENGTH).long() * 3, 1),
}


@pytest.mark.parametrize("mask, kind", MASKS.values(), ids=MASKS.keys())
def test_masks(mask, kind):
  args = (X,) if mask is None else (X, mask)
  check(Self(True, False, mask_type=kind), *args)
  check(Layer(mask_type=kind), *args)


@pytest.mark.parametrize("door", DOORS)
def test_doors(door):
  mask = hidden(BATCH, LENGTH)
  check(Self(mask_type=1), X, mask, door=door)
  check(Self(False, False), X, door=door)
  for gelu in (False, True):
    for norm_first in (False, True):
      check(Layer(gelu, norm_first), X, door=door)


def test_query_key_and_value_may_differ():
  a, b, c = X, randn(BATCH, LENGTH, WIDTH, seed=8), randn(BATCH, LENGTH, WIDTH, seed=9)
  mask = hidden(LENGTH, LENGTH)
  for args in ((a, b, c), (a, b, b), (a, a, b), (a, b, c, mask)):
    check(Attention(mask_type=0), *args)


@pytest.mark.parametrize("dtype, tolerance", [
  (torch.float64, 1e-7), (torch.bfloat16, 4e-2), (torch.float16, 4e-3)], ids=str)
def test_dtypes(dtype, tolerance):
  check(Self(dtype=dtype), X.to(dtype), rtol=tolerance, atol=tolerance)


def test_the_projection_may_have_another_width():
  check(Self(out=7), X)


def test_no_elements():
  for shape in ((0, LENGTH, WIDTH), (BATCH, 0, WIDTH)):
    x = torch.zeros(shape)
    check(Self(False, False), x)
    check(Layer(), x)
    with torch.no_grad():
      assert kiln.compile(Self(), inputs=[x])(x)[0].shape == shape


def test_sizes_may_vary():
  given = [Input(min_shape=(1, 1, WIDTH), opt_shape=(2, 5, WIDTH), max_shape=(4, 9, WIDTH))]
  for model in (Self(True, False), Layer(gelu=True)):
    program = kiln.compile(traced(model.eval(), X), inputs=given, strict=True)
    for sizes in ((1, 1), (3, 9), (4, 2)):
      x = randn(*sizes, WIDTH)
      torch.testing.assert_close(program(x), model(x))


# ---- layers that call them


def encoder(**options: Any) -> nn.TransformerEncoder:
  torch.manual_seed(0)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, batch_first=True)
    return nn.TransformerEncoder(layer, 2, **options).eval()


class Padded(nn.Module):
  def __init__(self, **options: Any) -> None:
    super().__init__()
    self.first = nn.Linear(WIDTH, WIDTH)
    self.encoder = encoder(**options)

  def forward(self, x: Tensor, mask: Tensor) -> Tensor:
    return self.encoder(self.first(x), src_key_padding_mask=mask)


PADDING = torch.tensor([[False, False, True, True, True], [False] * 5])


def test_encoder_with_padding():
  check(Padded(enable_nested_tensor=False), X, PADDING)


def test_encoder_with_a_causal_mask():
  class Causal(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.encoder = encoder(enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
      mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
      return self.encoder(x, mask=mask, is_causal=True)

  check(Causal(), X)


def test_nested_tensors_stay():
  """By default the encoder packs what is not padding into a nested tensor."""
  model = Padded()
  program = kiln.compile(traced(model.eval(), X, PADDING), inputs=[X, PADDING])
  assert "a nested tensor" in program.kept["encoder"]
  assert program.kept["encoder.layers.0"] == "is called with a nested tensor"
  assert program.report.ops_native == 1  # the linear
  with torch.no_grad():
    torch.testing.assert_close(program(X, PADDING), model(X, PADDING))


class Masked(nn.Module):
  def __init__(self, kind: int | None) -> None:
    super().__init__()
    self.kind = kind
    self.weight, self.bias = randn(3 * WIDTH, WIDTH), randn(3 * WIDTH)
    self.out, self.out_bias = randn(WIDTH, WIDTH), randn(WIDTH)

  def forward(self, x: Tensor, mask: Tensor) -> Tensor:
    return torch._native_multi_head_attention(
      x, x, x, 16, 4, self.weight, self.bias, self.out, self.out_bias, mask, True, True,
      self.kind)[0]


@pytest.mark.parametrize("mask, kind, why, error", [
  (hidden(LENGTH, LENGTH), None, "mask without a mask_type", "Mask Type should be defined"),
  (hidden(3, LENGTH), 0, "mask is not [length, length]", "mask shape should be (L, L)"),
  (hidden(3, LENGTH), 1, "mask is not [batch, length]", "mask shape should be (B, L)"),
  (hidden(LENGTH, LENGTH), 2, "mask_type does not fit", "should match input shape"),
  (hidden(1, 1, LENGTH, LENGTH), 2, "mask is not of the shape of the scores",
   "should match input shape"),
])
def test_masks_that_do_not_fit_stay(mask, kind, why, error):
  """torch's function for tensors without data takes them, so they are refused at the call."""
  program = kiln.compile(scripted(Masked(kind)), inputs=[X, mask])
  (fallback,) = program.report.fallbacks
  assert fallback["op"] == ATTENTION and why in fallback["reason"]
  with pytest.raises(RuntimeError) as refused:
    program(X, mask)
  assert error in str(refused.value)


def test_a_mask_whose_sizes_vary_on_their_own_stays():
  module = scripted(Masked(0))
  program = kiln.compile(module, inputs=[
    Input(min_shape=(1, 2, WIDTH), opt_shape=(2, 5, WIDTH), max_shape=(4, 9, WIDTH)),
    Input(min_shape=(2, 2), opt_shape=(5, 5), max_shape=(9, 9), dtype=torch.bool)])
  (fallback,) = program.report.fallbacks
  assert "mask is not [length, length]" in fallback["reason"]
  x, mask = randn(3, 4, WIDTH), hidden(4, 4)
  torch.testing.assert_close(program(x, mask), module(x, mask), equal_nan=True)
