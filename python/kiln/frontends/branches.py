"""torch.cond: when both branches can be computed, so that a `where` chooses between their results.

A program is a flat list of steps. Computing the branch that is not taken costs time and nothing
else, as long as that branch cannot raise, draws no random numbers and has results of known shape.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

_TAGS = {
  torch.Tag.nondeterministic_seeded: "draws random numbers",
  torch.Tag.data_dependent_output: "looks at values",
  torch.Tag.dynamic_output_shape: "has a result whose shape depends on values",
}
#: Of integers, these raise on some values.
_PARTIAL = {"div", "floor_divide", "remainder", "fmod", "pow", "true_divide"}
#: Raise on no value, beside views and what torch tags as pointwise.
_TOTAL = frozenset("""
  linear matmul mm bmm addmm baddbmm convolution conv1d conv2d conv3d conv_transpose1d
  conv_transpose2d conv_transpose3d layer_norm native_layer_norm group_norm native_group_norm
  batch_norm instance_norm rms_norm softmax _softmax log_softmax _log_softmax
  scaled_dot_product_attention avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d
  adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d
  upsample_nearest3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d
  sum mean var std amax amin argmax argmin any all prod cumsum sort topk cat stack to _to_copy clone
  contiguous reshape flatten pad constant_pad_nd zeros ones full zeros_like ones_like full_like arange
  scalar_tensor dropout glu
""".split())


def reason_against(branch: GraphModule) -> str:
  """Why `branch` must not be computed where it is not taken; "" where it may be."""
  for node in branch.graph.nodes:
    if node.op != "call_function":
      continue
    if isinstance(node.target, torch._ops.HigherOrderOperator):
      return f"holds a region: {node.target.name()}"
    if isinstance(node.target, torch._ops.OpOverload):
      reason = _reason_against_call(node, node.target)
      if reason:
        return f"{reason}: {node.target}"
  return ""


def _reason_against_call(node: Node, op: torch._ops.OpOverload) -> str:
  if op._schema.is_mutable:
    return "writes in place"
  for tag, reason in _TAGS.items():
    if tag in op.tags and not _drops_nothing(node, op):
      return reason
  name = op._schema.name.removeprefix("aten::")
  if torch.Tag.pointwise in op.tags:
    partial = name in _PARTIAL and any(_is_integer(value) for value in node.all_input_nodes)
    return "may raise on some values" if partial else ""
  return "" if op.is_view or name in _TOTAL else "may raise on some values"


def _drops_nothing(node: Node, op: torch._ops.OpOverload) -> bool:
  """Whether a call that can do dropout is told not to."""
  for position, argument in enumerate(op._schema.arguments):
    if argument.name in ("train", "training", "dropout_p"):
      value = node.args[position] if position < len(node.args) \
        else node.kwargs.get(argument.name, argument.default_value)
      return not value
  return False


def _is_integer(node: Node) -> bool:
  value: Any = node.meta.get("val")
  return isinstance(value, torch.Tensor) and not (
    value.dtype.is_floating_point or value.dtype.is_complex or value.dtype is torch.bool)
