"""torch_tensorrt.fx.lower: compiling by way of an FX graph."""

from __future__ import annotations

from typing import Any

import kiln
import torch

from .. import _compile
from .._refusal import module_getattr

__all__ = ["compile"]


def compile(module: torch.nn.Module, input: Any = None, min_acc_module_size: int = 1,
            max_batch_size: int = 2048, max_workspace_size: int = 1 << 25,
            explicit_batch_dimension: bool = False, lower_precision: Any = None,
            verbose_log: bool = False, timing_cache_prefix: str = "",
            save_timing_cache: bool = False, cuda_graph_batch_size: int = -1,
            dynamic_batch: bool = True, is_aten: bool = False,
            use_experimental_fx_rt: bool = False, correctness_atol: float | None = None,
            correctness_rtol: float | None = None, **settings: Any) -> kiln.Program:
  """Compiles an fx.GraphModule; another module is traced by torch.fx first.

  input: tensors, InputTensorSpec or torch_tensorrt.Input by position
  dynamic_batch, max_batch_size: dim 0 of all tensors is one batch, of 1 to that many
  lower_precision: what float32 is stored and multiplied in; None: float32
  correctness_atol, correctness_rtol: either of them: results are compared with the module's
  docs/coming_from_torch_tensorrt.md says what the others mean. `settings`: as for compile().
  Raises kiln.Error K1001, K1002, K1041, K1042 and what kiln.compile raises.
  """
  words = {name: value for name, value in locals().items()
           if name not in ("module", "input", "settings")}
  return _compile.compile_fx("fx.compile", module, _compile.one_of("fx.compile", input, None), None,
                             words, settings)


__getattr__ = module_getattr(__name__)
