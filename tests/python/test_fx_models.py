"""The zoo as FX graphs: the same program as through torch.export, where torch.fx can trace."""

from __future__ import annotations

import pytest
import torch
from torch import fx

import kiln
from kir_text import graph
from tests.models import accuracy, zoo

LONG = pytest.mark.long

#: By default what is quick. BERT and GPT-2 look at sizes and masks in Python, which torch.fx cannot
#: trace, and transformers has no tracer of its own any more (transformers.utils.fx was removed).
TRACEABLE = [
  pytest.param("resnet50"), pytest.param("mobilenet_v3_large", marks=LONG),
  pytest.param("vit_b_16", marks=LONG)]


@pytest.mark.parametrize("name", TRACEABLE)
def test_same_program_as_through_export(name, tmp_path):
  model, make_inputs = zoo.build(name)
  args, kwargs = make_inputs()
  traced = fx.symbolic_trace(model)
  with torch.no_grad():
    expected = kiln.compile(model, args, kwargs=kwargs)
    program = kiln.compile(traced, args, kwargs=kwargs)
    expected.save(tmp_path / "expected.kiln")
    program.save(tmp_path / "fx.kiln")
    texts = [graph(tmp_path / f"{file}.kiln", places=False) for file in ("fx", "expected")]
    assert texts[0] == texts[1] and "loc(" not in texts[0]
    assert not program.report.fallbacks
    assert program.report.coverage == expected.report.coverage == 1
    result = program(*args, **kwargs)
    for got, want in zip(accuracy.leaves(result), accuracy.leaves(expected(*args, **kwargs)),
                         strict=True):
      assert torch.equal(got, want)
    torch.testing.assert_close(result, model(*args, **kwargs), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_what_torch_fx_cannot_trace_says_so(name):
  model, make_inputs = zoo.build(name, layers=1, hidden=64)
  args, kwargs = make_inputs(1, 16, 0)
  with pytest.raises(kiln.Error, match="K1102.*torch.fx could not trace") as error:
    kiln.compile(model, args, kwargs=kwargs, ir="fx")
  assert 'ir="dynamo"' in error.value.hint
