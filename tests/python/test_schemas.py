"""Every import rule carries torch's own schema, to the letter: positions, defaults, aliases."""

from __future__ import annotations

import pytest
import torch
from kiln import _native

SCHEMAS = _native.import_rule_schemas()


@pytest.fixture(scope="module")
def registry() -> dict[str, str]:
  """Full name -> text, of everything torch has registered."""
  found = {}
  for schema in torch._C._jit_get_all_schemas():
    name = schema.name + (f".{schema.overload_name}" if schema.overload_name else "")
    found.setdefault(name, set()).add(str(schema))
  return found


def test_there_are_rules():
  assert len(SCHEMAS) > 500
  assert len(set(SCHEMAS)) == len(SCHEMAS)


def test_schemas_are_those_of_torch(registry):
  wrong = []
  for text in SCHEMAS:
    name = text.split("(")[0]
    if text not in registry.get(name, ()):
      wrong.append(f"{text}\n  torch: {sorted(registry.get(name, ()))}")
  assert not wrong, "\n".join(wrong)


# Core ATen operators that cannot be a node: gradients, random numbers, results whose shape or type
# depends on data, complex numbers, queries of sizes that front ends resolve, out= forms, training.
NOT_NATIVE = {
  "aten::_adaptive_avg_pool2d_backward", "aten::_cdist_forward", "aten::_embedding_bag",
  "aten::_fft_c2r", "aten::_fft_r2c", "aten::_local_scalar_dense", "aten::_pdist_forward",
  "aten::atan2.out", "aten::avg_pool2d_backward", "aten::col2im", "aten::convolution_backward",
  "aten::embedding_dense_backward", "aten::empty_strided", "aten::grid_sampler_2d",
  "aten::masked_scatter", "aten::max_pool2d_with_indices_backward",
  "aten::native_group_norm_backward", "aten::native_layer_norm_backward", "aten::nonzero",
  "aten::rand", "aten::randn", "aten::randperm", "aten::resize_", "aten::sym_is_contiguous",
  "aten::sym_numel",
  "aten::sym_size.int", "aten::sym_storage_offset", "aten::sym_stride.int",
}


def test_core_aten_has_rules():
  known = {text.split("(")[0] for text in SCHEMAS}
  missing = set()
  # Not dir(torch.ops.aten): that lists what somebody has looked up before.
  names = {schema.name for schema in torch._C._jit_get_all_schemas()}
  for packet_name in sorted(n.removeprefix("aten::") for n in names if n.startswith("aten::")):
    packet = getattr(torch.ops.aten, packet_name, None)
    for overload in packet.overloads() if hasattr(packet, "overloads") else ():
      op = getattr(packet, overload)
      if torch.Tag.core in op.tags:
        missing.add(f"aten::{packet_name}" + ("" if overload == "default" else f".{overload}"))
  missing -= known
  assert missing == NOT_NATIVE, sorted(missing ^ NOT_NATIVE)
