"""Results that torch 2.11 describes wrongly while it traces, described rightly.

- aten::lstm.input: its decomposition takes an axis from the hidden states in the wrong place,
  (layers, 1, batch, hidden) for a batch of more than one.
- aten::_unique2, unique_dim and unique_consecutive: indices and counts are said to have the dtype
  of the values; they are int64.
- aten::_efficient_attention_forward: seed and offset are said to lie on the GPU; they lie on the
  CPU.

Whatever is traced after them then has other types than it has when it runs.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable, Iterator

import torch
from torch._decomp import decompositions
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensor, in_kernel_invocation_manager
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_UNIQUE = (_aten._unique2.default, _aten.unique_dim.default, _aten.unique_consecutive.default)


@contextlib.contextmanager
def results_as_run() -> Iterator[None]:
  """While active, tracing gives results the sizes, dtypes and devices that they have."""
  with contextlib.ExitStack() as stack:
    original = getattr(decompositions, "one_layer_lstm", None)
    if original is not None:  # another torch: results_disagree() tells whether it is right
      decompositions.one_layer_lstm = _states_of_rank_2(original)
      stack.callback(setattr, decompositions, "one_layer_lstm", original)
    implementations = getattr(fake_impls, "op_implementations_dict", {})
    corrected = {op: _indices_int64(implementations[op]) for op in _UNIQUE
                 if op in implementations}
    attention = _aten._efficient_attention_forward.default
    if attention not in implementations:
      corrected[attention] = _random_state_on_cpu
    for op, function in corrected.items():
      stack.callback(_put_back, implementations, op, implementations.get(op))
      implementations[op] = function
    yield


def _put_back(implementations: dict, op: Any, function: Callable | None) -> None:
  if function is None:
    del implementations[op]
  else:
    implementations[op] = function


def _states_of_rank_2(original: Callable) -> Callable:
  @functools.wraps(original)
  def one_layer_lstm(*args: Any, **kwargs: Any) -> Any:
    output, states = original(*args, **kwargs)
    return output, tuple(s.squeeze(0) if s.dim() == 3 else s for s in states)

  return one_layer_lstm


def _indices_int64(original: Callable) -> Callable:
  @functools.wraps(original)
  def unique(*args: Any, **kwargs: Any) -> Any:
    values, *indices = original(*args, **kwargs)
    return values, *(i.new_empty(i.shape, dtype=torch.int64) for i in indices)

  return unique


def _random_state_on_cpu(fake_mode: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
  with in_kernel_invocation_manager(fake_mode):
    results = func(*args, **kwargs)
  home = args[0].fake_device
  devices = (home, home, "cpu", "cpu")
  return *(FakeTensor(fake_mode, result, torch.device(device))
           for result, device in zip(results, devices)), *results[4:]


def results_disagree(program: ExportedProgram) -> bool:
  """Whether a program was traced with one of the wrong descriptions."""
  return any(_is_wrong(node)
             for module in program.graph_module.modules()
             for node in (module.graph.nodes if isinstance(module, GraphModule) else ()))


def _is_wrong(node: Node) -> bool:
  results = node.meta.get("val")
  if node.target is _aten.lstm.input:
    return any(state.dim() != 3 for state in results[1:])
  if node.target in _UNIQUE:
    return any(index.dtype != torch.int64 for index in results[1:])
  if node.target is _aten._efficient_attention_forward.default:
    return results[2].device.type != "cpu"
  return False
