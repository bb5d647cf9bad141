"""The demo's models and its real input: photographs, digits, a paragraph. Nothing is downloaded."""

from __future__ import annotations

import math
import re
import warnings
import zlib

import torch
from torch import nn
from torch.nn import functional as F

PARAGRAPH = """
A kiln is an oven that turns soft clay into something hard that keeps its shape for thousands of
years. The potter works while the clay is wet, and nothing is decided yet. Then the pot is dried,
the fire is lit, and the heat drives out the water and joins the grains. What comes out of the fire
cannot be changed any more, but it can be used by anybody, every day, without the potter.
"""


def photographs() -> torch.Tensor:
  """The two photographs that ship with scikit-learn, 2 x 3 x 224 x 224, normalised as usual."""
  from sklearn.datasets import load_sample_images

  images = []
  for pixels in load_sample_images().images:
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[2:])
    top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
    image = image[:, :, top:top + side, left:left + side]
    images.append(F.interpolate(image, size=(224, 224), mode="bilinear", antialias=True))
  mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
  deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
  return ((torch.cat(images) - mean) / deviation).contiguous()


def resnet50(images: torch.Tensor) -> nn.Module:
  """ResNet-50 with random weights and batch-norm statistics that belong to them.

  The statistics are measured on `images` and then disturbed: with the initial ones (mean 0,
  variance 1) folding batch norm into the convolutions would change nothing.
  """
  import torchvision

  torch.manual_seed(0)
  model = torchvision.models.resnet50(weights=None)
  norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
  with torch.no_grad():
    for norm in norms:
      norm.momentum = 1.0
      norm.weight.uniform_(0.7, 1.3)
      norm.bias.uniform_(-0.2, 0.2)
    model.train()(images)
    for norm in norms:
      norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
      norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
  return model.eval()


class SentenceEncoder(nn.Module):
  """BERT-base with random weights: token states and the sentence vector."""

  def __init__(self) -> None:
    super().__init__()
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    self.bert = BertModel(BertConfig())
    with torch.no_grad():
      for name, parameter in self.bert.named_parameters():
        if name.endswith("bias"):
          parameter.normal_(0, 0.02)
        elif "query" in name or "key" in name:
          parameter.mul_(2)  # so that attention looks at something

  def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor):
    output = self.bert(input_ids=input_ids, attention_mask=attention_mask)
    return output.last_hidden_state, output.pooler_output


def tokenize(sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
  """Ids and mask, padded to the longest. A word's id is its hash: there is no vocabulary here."""
  rows = []
  for sentence in sentences:
    words = re.findall(r"[a-z]+|[.,]", sentence.lower())
    rows.append([101, *(1000 + zlib.crc32(word.encode()) % 29000 for word in words), 102])
  length = max(map(len, rows))
  ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
  mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
  return ids, mask


def sentences() -> list[str]:
  return [s.strip() for s in re.split(r"(?<=\.)\s", PARAGRAPH.strip()) if s.strip()]


def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
  """Handwritten digits, 8 x 8: images and labels to learn from, images and labels to test with."""
  from sklearn.datasets import load_digits

  data = load_digits()
  images = torch.from_numpy(data.images).float()[:, None] / 16
  labels = torch.from_numpy(data.target).long()
  order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
  train, test = order[360:], order[:360]
  return images[train], labels[train], images[test], labels[test]


class DigitNet(nn.Module):
  """A small CNN with the usual layers."""

  def __init__(self) -> None:
    super().__init__()
    self.features = nn.Sequential(
      nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
      nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
      nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
    )
    self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10))

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    return self.head(self.features(images))


def train_digits(images: torch.Tensor, labels: torch.Tensor, epochs: int = 12) -> nn.Module:
  torch.manual_seed(0)
  model = DigitNet().train()
  steps = epochs * math.ceil(len(labels) / 64)
  optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
  for _ in range(epochs):
    for batch in torch.randperm(len(labels)).split(64):
      optimizer.zero_grad()
      F.cross_entropy(model(images[batch]), labels[batch]).backward()
      optimizer.step()
      schedule.step()
  return model.eval()
