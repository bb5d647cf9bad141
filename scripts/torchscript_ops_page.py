#!/usr/bin/env python3
"""The part of docs/ops.md about TorchScript: docs/data/torchscript_operators.txt as a table.

tests/python/test_torchscript_ops.py holds the rows to what the importer does.
"""

import pathlib

DATA = pathlib.Path(__file__).resolve().parents[1] / "docs" / "data" / "torchscript_operators.txt"
TEXT = """
# TorchScript operators

What becomes of the operators that Torch-TensorRT's TorchScript front end converts or evaluates, when
Kiln imports a scripted or traced module:

- *native*: an import rule makes ops of this page of it.
- *composed*: by the rules of the operators that are named.
- *evaluated*: at import, by TorchScript's own operator; nothing of it is left in the program.
- *PyTorch*: the call stays in PyTorch, and the report names it.

PyTorch's fast path for inference leaves two more in traced models, whole:
`aten::_native_multi_head_attention` and `aten::_transformer_encoder_layer_fwd`. Both are composed, of
the projections, attention, masks, norms and activations that they compute. By default
`nn.TransformerEncoder` makes a nested tensor of a batch with a padding mask, and then stays in
TorchScript: trace it with `enable_nested_tensor=False`.

| operator | Kiln | |
|---|---|---|
"""


def rows() -> list[tuple[str, str, str, str]]:
  """(kind, operator, how, remark) of each line."""
  result = []
  for line in DATA.read_text(encoding="utf-8").splitlines():
    if not line.startswith("#"):
      kind, operator, how, remark = (line.split(" | ") + [""])[:4]
      result.append((kind, operator, how, remark))
  return result


if __name__ == "__main__":
  print(TEXT + "\n".join(f"| `{operator}` | {how} | {remark} |" for _, operator, how, remark in rows()))
