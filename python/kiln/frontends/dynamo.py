"""The torch.compile backend "kiln", found by its entry point (pyproject.toml)."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Sequence

from torch.fx import GraphModule


def backend(module: GraphModule, examples: Sequence[Any], *,
            options: dict[str, Any] | None = None, **more: Any) -> Callable[..., Any]:
  """torch.compile(model, backend="kiln", options={...}); options as for kiln.compile()."""
  # Here and not above: torch looks at entry points in processes that never use this one.
  import kiln  # noqa: F401: sets up the native side

  from ..compiler import lower_for_torch_compile
  from ..options import parse_options
  from .dynamo_frontend import compile_dynamo_graph

  parsed = parse_options({**(options or {}), **more})
  lower = partial(lower_for_torch_compile, parsed, parsed.module_paths(module.graph))
  return compile_dynamo_graph(module, examples, lower, strict=parsed.strict)
