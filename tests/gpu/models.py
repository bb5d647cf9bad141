"""The models of the GPU tests and benchmarks: the five of the acceptance table and ten more, with
random weights, by name."""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import nn

from tests.models import zoo

Built = tuple[nn.Module, tuple, dict]  # model, args, kwargs, on the CPU


def _zoo(label: str, batch: int, seq: int, seed: int) -> Built:
  _, builder, kw = next(case for case in zoo.ACCEPTANCE if case[0] == label)
  model, make_inputs = zoo.build(builder, **kw)
  inputs = make_inputs(batch, seq, seed)
  return model, inputs.args, inputs.kwargs


def _vision(name: str, size: int = 224) -> Callable[[int, int, int], Built]:
  def build(batch: int, _seq: int, seed: int) -> Built:
    import torchvision

    with torch.random.fork_rng(devices=[]):
      torch.manual_seed(7)
      model = getattr(torchvision.models, name)(weights=None).eval()
    # Statistics of the data keep deep networks with random weights in range.
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
      norm.train()
      norm.momentum = 1.0
    with torch.no_grad():
      if norms:
        model(images)
      # The last layer's scale, so that outputs are neither tiny nor huge.
      output = model.eval()(images)
      last = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
      last.weight.div_(output.std().clamp_min(1e-6))
    x = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return model, (x,), {}
  return build


def _encoder(hidden: int, heads: int, activation: str) -> Callable[[int, int, int], Built]:
  def build(batch: int, seq: int, seed: int) -> Built:
    with torch.random.fork_rng(devices=[]):
      torch.manual_seed(3)
      layer = nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, activation=activation,
                                         batch_first=True, norm_first=True)
      model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval()
    x = torch.randn(batch, seq, hidden, generator=torch.Generator().manual_seed(seed))
    return model, (x,), {}
  return build


class _Recurrent(nn.Module):
  def __init__(self):
    super().__init__()
    self.gate = nn.Linear(64, 128)
    self.out = nn.Linear(64, 64)

  def forward(self, x):
    h = torch.zeros_like(x[:, 0])
    steps = []
    for t in range(8):
      a, b = self.gate(x[:, t] + h).chunk(2, dim=-1)
      h = torch.sigmoid(a) * torch.tanh(b) + h
      steps.append(self.out(h))
    return torch.stack(steps, 1).cumsum(1)


class _UNet(nn.Module):
  def __init__(self):
    super().__init__()
    self.down = nn.Conv2d(3, 32, 3, stride=2, padding=1)
    self.mid = nn.Sequential(nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 32, 3, padding=1))
    self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
    self.head = nn.Conv2d(19, 3, 1)

  def forward(self, x):
    y = self.down(x)
    y = y + self.mid(y)
    y = self.up(y)
    y = self.head(torch.cat([y, x], 1))
    return torch.nn.functional.interpolate(y, scale_factor=2.0, mode="bilinear")


def _module(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Callable[[int, int, int], Built]:
  def build(batch: int, _seq: int, seed: int) -> Built:
    with torch.random.fork_rng(devices=[]):
      torch.manual_seed(5)
      model = make().eval()
    x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed))
    return model, (x,), {}
  return build


FIVE = ("resnet50", "mobilenet_v3_large", "vit_b_16", "bert", "gpt2")
TEN: dict[str, Callable[[int, int, int], Built]] = {
  "resnet18": _vision("resnet18"),
  "efficientnet_b0": _vision("efficientnet_b0"),
  "convnext_tiny": _vision("convnext_tiny"),
  "swin_t": _vision("swin_t"),
  "densenet121": _vision("densenet121"),
  "regnet_y_400mf": _vision("regnet_y_400mf"),
  "shufflenet_v2_x1_0": _vision("shufflenet_v2_x1_0"),
  "encoder_gelu": _encoder(256, 8, "gelu"),
  "unet": _module(_UNet, (3, 64, 64)),
  "recurrent": _module(_Recurrent, (8, 64)),
}
ALL = (*FIVE, *TEN)


def build(name: str, batch: int = 1, seq: int = 128, seed: int = 0) -> Built:
  if name in FIVE:
    return _zoo(name, batch, seq, seed)
  return TEN[name](batch, seq, seed)


def to_device(value: Any, dtype: torch.dtype | None, device: str = "cuda") -> Any:
  """Tensors on the device; floating-point ones in `dtype` when it is given."""
  if isinstance(value, torch.Tensor):
    keep = dtype is None or not value.is_floating_point()
    return value.to(device) if keep else value.to(device, dtype)
  if isinstance(value, (tuple, list)):
    return type(value)(to_device(v, dtype, device) for v in value)
  if isinstance(value, dict):
    return {k: to_device(v, dtype, device) for k, v in value.items()}
  return value
