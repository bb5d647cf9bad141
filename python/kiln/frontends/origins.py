"""Where a captured call comes from: the module path and the user's source line."""

from __future__ import annotations

import os
import re
from functools import lru_cache

import torch
from torch.fx import Node

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)
_SUBSCRIPT = re.compile(r"""\[(?:'([^']*)'|"([^"]*)"|(\d+))\]""")
_PACKAGES = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")


@lru_cache(maxsize=4096)
def clean_module_path(path: str) -> str:
  """"L['self']._modules['layer1']._modules['0'].conv1" -> "layer1.0.conv1"; the root is ""."""
  if path.startswith("_empty_nn_module_stack"):
    return ""
  path = re.sub(r"^(?:[LG]\['[^']*'\]|self(?=\.|$|\[))", "", path)
  path = re.sub(r"\._(?:modules|parameters|buffers)(?=\[)", "", path)
  path = _SUBSCRIPT.sub(lambda m: "." + next(g for g in m.groups() if g is not None), path)
  return path.strip(".")


@lru_cache(maxsize=4096)
def shorten_file(path: str) -> str:
  """A path that leaks nothing: relative to the package or the working folder, or a bare name."""
  inside = _PACKAGES.match(path)
  if inside:
    return path[inside.end():]
  relative = os.path.relpath(path) if os.path.isabs(path) else path
  return os.path.basename(path) if relative.startswith("..") else relative


@lru_cache(maxsize=8192)
def location_of_trace(stack_trace: str) -> str:
  """"file.py:line" of the innermost frame outside torch; "" where there is none."""
  frames = [(m["file"], m["line"]) for m in _FRAME.finditer(stack_trace)]
  own = [f for f in frames if not os.path.abspath(f[0]).startswith((_TORCH, _HERE))
         and not f[0].startswith(("torch/", "<"))]
  if not own:
    return ""
  file, line = own[-1]
  return f"{shorten_file(file)}:{line}"


_ORIGIN = "kiln_origin"


def set_origin(node: Node, path: str, location: str) -> None:
  """Says what origin_of() answers for a node whose own metadata know less."""
  node.meta[_ORIGIN] = (path, location)


def origin_of(node: Node) -> tuple[str, str]:
  """(module path, "file.py:line"), each "" where unknown."""
  if _ORIGIN in node.meta:
    return node.meta[_ORIGIN]
  stack = node.meta.get("nn_module_stack")
  module_path = ""
  if stack:
    entry = next(reversed(list(stack.values())))
    module_path = clean_module_path(str(entry[0] if isinstance(entry, tuple) else entry))
  return module_path, location_of_trace(node.meta.get("stack_trace") or "")
