"""The model and the registry that the checks of test_compat_table.py share."""

from __future__ import annotations

import functools
import logging
from typing import Any, Callable

import pytest
import torch
from torch import nn

import kiln
import torch_tensorrt

X = torch.linspace(-1, 1, 2 * 3 * 6 * 6).view(2, 3, 6, 6)

#: row -> its check, which may take a folder
WORKS: dict[str, Callable] = {}


class Net(nn.Module):
  def __init__(self):
    super().__init__()
    torch.manual_seed(0)
    self.conv = nn.Conv2d(3, 4, 3)
    self.linear = nn.Linear(4, 5)
    self.scale = 1.0

  def forward(self, x, bias=None):
    x = torch.relu(self.conv(x)).mean((2, 3))
    x = self.linear(x) * self.scale
    return x if bias is None else x + bias


@functools.cache
def net() -> Net:
  return Net().eval().requires_grad_(False)


@functools.cache
def exported() -> torch.export.ExportedProgram:
  return torch.export.export(net(), (X,))


@functools.cache
def program() -> kiln.Program:
  return torch_tensorrt.dynamo.compile(exported())


def same(got: Any, want: Any = None, **more: Any) -> None:
  torch.testing.assert_close(got, net()(X) if want is None else want, **more)


def error_of(call: Callable) -> kiln.Error:
  with pytest.raises(kiln.Error) as error:
    call()
  return error.value


def works(*ids: str) -> Callable:
  def register(check: Callable) -> Callable:
    for row in ids:
      assert row not in WORKS
      WORKS[row] = check
    return check
  return register


class logged:
  """The lines that reach the logger "kiln"."""

  def __enter__(self) -> list[str]:
    self.lines: list[str] = []
    self.handler = logging.Handler()
    self.handler.emit = lambda record: self.lines.append(record.getMessage())
    logging.getLogger("kiln").addHandler(self.handler)
    return self.lines

  def __exit__(self, *error: Any) -> None:
    logging.getLogger("kiln").removeHandler(self.handler)
