"""Runs a recorded capture stream with eager PyTorch: the oracle of the walkers.

Whatever a walker hands over must be enough to compute the model: replaying it call by call, with
arguments taken from the encodings alone, gives eager's results, and every result has the dtype,
sizes and strides that its meta announced.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from kiln.frontends.captured import CapturedProgram
from kiln.frontends.graph_walker import DTYPE_NAMES
from kiln.frontends.protocol import RecordedCall, RecordingCapture
from kiln.frontends.symbols import compile_expr

_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "preserve": torch.preserve_format,
                   "channels_last": torch.channels_last,
                   "channels_last_3d": torch.channels_last_3d}


class Replay:
  """`strides=False` skips the comparison of strides."""

  def __init__(self, capture: RecordingCapture, program: CapturedProgram, strides: bool = True):
    self.capture = capture
    self.program = program
    self.strides = strides

  def __call__(self, values: list) -> list:
    """Runtime inputs -> outputs. Mutations are applied to inputs and weights as announced."""
    capture = self.capture
    self.sizes = self.program.symbol_values(values)
    env: dict[int, Any] = {}
    runtime = iter(values)
    weights = iter(capture.weights)
    names: dict[tuple[str, str], Any] = {}
    for handle, maker in capture.made_by.items():
      if maker[0] in ("input", "object_input", "scalar_input"):
        env[handle] = next(runtime)
        names["input", maker[1]] = env[handle]
      elif maker[0] == "weight":
        name, tensor, _ = next(weights)
        env[handle] = tensor
        names["buffer", name] = tensor
    for name, (low, high) in capture.symbols.items():
      assert low <= self.sizes[name] <= high, f"{name} = {self.sizes[name]} not in {low}..{high}"
    for relation, left, right, text in capture.conditions:
      if not getattr(operator, relation)(self._size(left), self._size(right)):
        raise RuntimeError(text)
    with torch.no_grad():
      for call in capture.calls:
        self._run(call, env)
      outputs = [env[handle] for handle, _ in capture.outputs]
      outputs = [o.clone() if isinstance(o, torch.Tensor) else o for o in outputs]
      for kind, target, handle in capture.mutations:
        names[kind, target].copy_(env[handle])
    return outputs

  def _run(self, call: RecordedCall, env: dict[int, Any]) -> None:
    args = [self._decode(a, env) for a in call.args]
    namespace, name = call.name.split("::")
    if namespace == "_operator":
      results = [getattr(operator, name)(*args)]
    elif namespace in ("torch", "math"):
      results = [getattr(torch if namespace == "torch" else __import__("math"), name)(*args)]
    else:
      overload = getattr(getattr(getattr(torch.ops, namespace), name), call.overload or "default")
      schema = overload._schema
      assert len(args) == len(schema.arguments), f"{call.full_name} lacks arguments"
      positional = [a for a, s in zip(args, schema.arguments) if not s.kwarg_only]
      keyword = {s.name: a for a, s in zip(args, schema.arguments) if s.kwarg_only}
      value = overload(*positional, **keyword)
      results = _flatten(value) if schema.returns else []
    assert len(results) == len(call.results), call.full_name
    for handle, result, meta in zip(call.handles, results, call.results):
      self._check(call, result, meta)
      env[handle] = result

  def _check(self, call: RecordedCall, value: Any, meta: tuple) -> None:
    if meta[0] == "opaque":
      return
    if meta[0] == "scalar":
      assert type(value) is {"i64": int, "f64": float, "bool": bool}[meta[1]], call.full_name
      return
    dtype, dims, strides = meta
    assert DTYPE_NAMES[value.dtype] == dtype, f"{call.full_name}: {value.dtype} is not {dtype}"
    expected = [self._size(d) for d in dims]
    assert list(value.shape) == expected, f"{call.full_name}: {list(value.shape)} is not {expected}"
    if self.strides and value.numel() and "empty" not in call.name:
      if strides is None:
        assert value.is_contiguous(), f"{call.full_name}: strides {value.stride()}"
      else:
        wanted = [self._size(s) for s in strides]
        got = list(value.stride())
        differs = [i for i, n in enumerate(value.shape) if n > 1 and got[i] != wanted[i]]
        assert not differs, f"{call.full_name}: strides {got} are not {wanted}"

  def _size(self, dim: int | str) -> int:
    return dim if isinstance(dim, int) else compile_expr(dim)(self.sizes)

  def _decode(self, value: Any, env: dict[int, Any]) -> Any:
    if isinstance(value, list):
      return [self._decode(v, env) for v in value]
    if not isinstance(value, tuple):
      return value
    kind, content = value
    if kind == "v":
      return env[content]
    if kind == "e":
      return self._size(content)
    if kind == "dtype":
      return _DTYPES.get(content) or getattr(torch, content)
    if kind == "device":
      return torch.device(content)
    if kind == "layout":
      return getattr(torch, content)
    if kind == "memory_format":
      return _MEMORY_FORMATS[content]
    raise AssertionError(f"unknown encoding {value!r}")


def _flatten(value: Any) -> list:
  if isinstance(value, (list, tuple)):
    return [leaf for item in value for leaf in _flatten(item)]
  return [value]
