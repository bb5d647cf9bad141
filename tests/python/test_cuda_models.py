"""The models of the acceptance table for a GPU that need not be here: NVRTC compiles all kernels."""

import io
import json
import zipfile

import kiln
import pytest
from tests.models import zoo

CASES = [case for case in zoo.ACCEPTANCE if case[0] != "gpt2_cache"]


@pytest.mark.parametrize("label, name, keywords", CASES, ids=[case[0] for case in CASES])
def test_all_kernels_of_a_model_compile(label, name, keywords):
  model, make_inputs = zoo.build(name, **keywords)
  inputs = make_inputs(batch=1, seq=32)
  program = kiln.compile(model, inputs=list(inputs.args) or dict(inputs.kwargs), target="sm_90",
                         precision="fp16", cache=False)
  assert program.report.fallbacks == []
  data = program._compiled.serialize(external_weights=True, native=True)
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    plan = json.loads(archive.read("plans/cuda_sm_90.json"))
    code = json.loads(archive.read("kernels/cuda_sm_90.json"))
    images = {kernel["code"]: archive.read(f"kernels/{kernel['code']}.cubin")
              for kernel in code["kernels"]}
  assert len(plan["kernels"]) > 5
  of_plan = [kernel for kernel in code["kernels"] if kernel["family"] != "strided_copy"]
  assert ([kernel["family"] for kernel in of_plan]
          == [kernel["family"] for kernel in plan["kernels"]])
  for kernel in code["kernels"]:
    image = images[kernel["code"]]
    assert image.startswith(b"\x7fELF") and kernel["entry"].encode() in image
