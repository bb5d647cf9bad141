"""The models that tests and benchmarks share: real architectures, random weights, no downloads.

`build(name)` is deterministic in its seed and returns `(model, make_inputs)`. A test that compares
outputs is only worth something when the outputs carry information, so the builder sees to it that
 * batch-norm statistics are random but fit the activations (calibrated on noise, then perturbed),
 * no layer is zero (torchvision zero-initialises the ViT head and class token),
 * attention looks at something (query and key weights are enlarged, so that rows of the softmax
   are not all nearly uniform and an image's class token depends on the image).
`tests/models/accuracy.py` checks the result of these measures on every run (MISTRUSTED otherwise).
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn

VOCABULARY = 30522
IMAGE_SIZE = 224


@dataclass
class Inputs:
  """Arguments of one call: `model(*args, **kwargs)`."""

  args: tuple
  kwargs: dict[str, Any]

  def __iter__(self):
    """Allows `args, kwargs = make_inputs(...)`."""
    return iter((self.args, self.kwargs))


MakeInputs = Callable[..., Inputs]


def _generator(seed: int) -> torch.Generator:
  return torch.Generator().manual_seed(seed)


def _images(batch: int, seed: int, size: int = IMAGE_SIZE) -> torch.Tensor:
  """Photograph-like noise: strong low frequencies that differ per image, plus fine grain."""
  g = _generator(1000 + seed)
  coarse = torch.randn(batch, 3, 7, 7, generator=g)
  coarse = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
  tint = torch.randn(batch, 3, 1, 1, generator=g)
  return (coarse + tint + 0.5 * torch.randn(batch, 3, size, size, generator=g)).contiguous()


def _randomise_batch_norms(model: nn.Module, sample: torch.Tensor, seed: int) -> None:
  """Affine parameters at random; statistics as measured on `sample`, then perturbed.

  Purely random statistics make activations of a 50-layer network overflow or vanish.
  """
  g = _generator(seed)
  norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
  dropouts = [m for m in model.modules() if isinstance(m, nn.Dropout)]
  with torch.no_grad():
    for norm in norms:
      norm.weight.copy_(1 + 0.2 * torch.randn(norm.weight.shape, generator=g))
      norm.bias.copy_(0.1 * torch.randn(norm.bias.shape, generator=g))
    momenta = [norm.momentum for norm in norms]
    model.train()
    for dropout in dropouts:
      dropout.eval()
    for norm in norms:
      norm.momentum = 1.0
    model(sample)
    for norm, momentum in zip(norms, momenta):
      norm.momentum = momentum
      deviation = norm.running_var.sqrt()
      norm.running_mean += 0.1 * deviation * torch.randn(deviation.shape, generator=g)
      norm.running_var *= 0.8 + 0.5 * torch.rand(deviation.shape, generator=g)
      norm.num_batches_tracked.zero_()
  model.eval()


def _resnet50(seed: int) -> nn.Module:
  import torchvision

  model = torchvision.models.resnet50(weights=None)
  _randomise_batch_norms(model, _images(4, 90), seed)
  return model


def _resnet18(seed: int) -> nn.Module:
  import torchvision

  model = torchvision.models.resnet18(weights=None)
  _randomise_batch_norms(model, _images(4, 90), seed)
  return model


def _mobilenet_v3_large(seed: int) -> nn.Module:
  import torchvision

  model = torchvision.models.mobilenet_v3_large(weights=None)
  g = _generator(seed + 1)
  with torch.no_grad():
    for module in model.classifier:
      if isinstance(module, nn.Linear):
        bound = (3.0 / module.in_features) ** 0.5
        module.weight.uniform_(-bound, bound, generator=g)
        module.bias.uniform_(-0.1, 0.1, generator=g)
    # squeeze-and-excitation gates must gate: enlarge the last convolution of each
    for name, parameter in model.named_parameters():
      if name.endswith("fc2.weight"):
        parameter.mul_(2.0)
  _randomise_batch_norms(model, _images(4, 90), seed)
  return model


def _vit_b_16(seed: int) -> nn.Module:
  import torchvision

  model = torchvision.models.vit_b_16(weights=None)
  g = _generator(seed)
  with torch.no_grad():
    model.class_token.normal_(0.0, 1.0, generator=g)
    model.heads.head.weight.normal_(0.0, 0.05, generator=g)
    model.heads.head.bias.normal_(0.0, 0.05, generator=g)
    for name, parameter in model.named_parameters():
      if name.endswith("in_proj_weight"):
        parameter[: 2 * parameter.shape[1]].mul_(1.5)
      elif name.endswith("bias") and not name.startswith("heads"):
        parameter.normal_(0.0, 0.02, generator=g)
      elif ".ln" in name and name.endswith("weight"):
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=g))
  return model


def _randomise_transformer(model: nn.Module, seed: int) -> None:
  """Biases and norm weights at random (they start at 0 and 1, which hides a dropped bias)."""
  g = _generator(seed)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if name.endswith("bias"):
        parameter.normal_(0.0, 0.02, generator=g)
      elif parameter.ndim == 1:
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=g))
      elif any(part in name for part in ("query", "key", "c_attn")):
        parameter.mul_(2.0)


def _bert(seed: int, layers: int = 12, hidden: int = 768, attention: str = "sdpa") -> nn.Module:
  from transformers import BertConfig, BertModel

  config = BertConfig(
    vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers,
    num_attention_heads=hidden // 64, intermediate_size=4 * hidden, max_position_embeddings=512,
  )
  config._attn_implementation = attention
  model = BertModel(config)
  _randomise_transformer(model, seed)
  return model


def _gpt2(seed: int, layers: int = 12, hidden: int = 768, attention: str = "sdpa",
          use_cache: bool = True) -> nn.Module:
  from transformers import GPT2Config, GPT2Model

  config = GPT2Config(
    vocab_size=50257, n_positions=1024, n_embd=hidden, n_layer=layers, n_head=hidden // 64,
    use_cache=use_cache,
  )
  config._attn_implementation = attention
  model = GPT2Model(config)
  _randomise_transformer(model, seed)
  return model


def _image_inputs(batch: int = 1, seq: int = 0, seed: int = 0) -> Inputs:
  return Inputs((_images(batch, seed),), {})


def _text_inputs(vocabulary: int, with_types: bool) -> MakeInputs:
  def make(batch: int = 1, seq: int = 128, seed: int = 0, mask: bool = True) -> Inputs:
    """`mask` pads the later rows (row i lacks min(3 i + seed % 3, seq - 1) tokens at the end)."""
    g = _generator(2000 + seed)
    kwargs: dict[str, Any] = {
      "input_ids": torch.randint(0, vocabulary, (batch, seq), generator=g)
    }
    if mask:
      lengths = torch.tensor([seq - min(3 * i + seed % 3, seq - 1) for i in range(batch)])
      kwargs["attention_mask"] = (torch.arange(seq) < lengths[:, None]).to(torch.int64)
    if with_types:
      kwargs["token_type_ids"] = (torch.arange(seq) >= seq // 2).to(torch.int64).repeat(batch, 1)
    return Inputs((), kwargs)

  return make


_BUILDERS: dict[str, tuple[Callable[..., nn.Module], MakeInputs]] = {
  "resnet50": (_resnet50, _image_inputs),
  "resnet18": (_resnet18, _image_inputs),
  "mobilenet_v3_large": (_mobilenet_v3_large, _image_inputs),
  "vit_b_16": (_vit_b_16, _image_inputs),
  "bert": (_bert, _text_inputs(VOCABULARY, with_types=True)),
  "gpt2": (_gpt2, _text_inputs(50257, with_types=False)),
}

#: The models of the acceptance table, as (label, builder name, keyword arguments).
ACCEPTANCE = (
  ("resnet50", "resnet50", {}),
  ("mobilenet_v3_large", "mobilenet_v3_large", {}),
  ("vit_b_16", "vit_b_16", {}),
  ("bert", "bert", {}),
  ("gpt2", "gpt2", {"use_cache": False}),
  ("gpt2_cache", "gpt2", {"use_cache": True}),
)


def names() -> tuple[str, ...]:
  return tuple(_BUILDERS)


def build(name: str, seed: int = 0, **kw: Any) -> tuple[nn.Module, MakeInputs]:
  """The model `name` in eval mode and its `make_inputs(batch, seq, seed)`.

  The caller's global random state is left as it was. Raises KeyError for an unknown name and
  TypeError for an unknown keyword.
  """
  factory, make_inputs = _BUILDERS[name]
  unknown = set(kw) - set(inspect.signature(factory).parameters)
  if unknown:
    raise TypeError(f"model {name!r} takes no argument {sorted(unknown)}")
  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(seed)
    model = factory(seed, **kw)
  return model.eval(), make_inputs


def is_text(name: str) -> bool:
  """Whether the model takes tokens (and so a sequence length) rather than images."""
  return name in ("bert", "gpt2")


def traced(model: nn.Module, args: tuple, kwargs: dict[str, Any], *,
           fused: bool = True) -> torch.jit.ScriptModule:
  """The model as torch.jit.trace sees it; results may be dictionaries.

  `fused`: attention is one operator, as PyTorch runs it for inference; else its parts are traced.
  """
  before = torch.backends.mha.get_fastpath_enabled()
  torch.backends.mha.set_fastpath_enabled(fused)
  try:
    with warnings.catch_warnings(), torch.no_grad():
      warnings.simplefilter("ignore")
      if args:
        return torch.jit.trace(model, args, strict=False)
      return torch.jit.trace(model, example_kwarg_inputs=kwargs, strict=False)
  finally:
    torch.backends.mha.set_fastpath_enabled(before)
