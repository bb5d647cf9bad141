"""Every op's samples: the ATen calls of to_aten(), run by eager PyTorch, against the reference.

The C++ unit test binary writes samples, data, calls and results (KILN_OPS_DUMP); here the calls go
through torch's dispatcher. This checks both sides at once: that the reference computes what PyTorch
does, and that a node handed back to PyTorch computes what the node did.
"""
import json
import os
import pathlib
import subprocess

import pytest

torch = pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).resolve().parents[2]
DTYPES = {
    "f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16,
    "i8": torch.int8, "u8": torch.uint8, "i16": torch.int16, "i32": torch.int32,
    "i64": torch.int64, "bool": torch.bool,
}
MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format, "preserve": torch.preserve_format,
    "channels_last": torch.channels_last, "channels_last_3d": torch.channels_last_3d,
}
# Eager's own error where it computes in the 16-bit type, relative to the rms.
EAGER_TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 2e-5}

# Eager's defect, not ours: its oneDNN path for f32 and bf16 makes gelu(inf) NaN where f64 has inf.
NAN_FOR_INFINITY = {("gelu", torch.float32), ("gelu", torch.bfloat16)}


def unit_test_binary():
    named = os.environ.get("KILN_OPS_TEST")
    candidates = [pathlib.Path(named)] if named else sorted(
        ROOT.glob("build/*/bin/kiln_ops_test"), key=lambda path: path.stat().st_mtime)
    if not candidates:
        pytest.skip("kiln_ops_test is not built")
    return candidates[-1]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    path = tmp_path_factory.mktemp("ops") / "samples.jsonl"
    subprocess.run(
        [unit_test_binary(), "--gtest_filter=OpDump.*", "--gtest_brief=1"],
        check=True, stdout=subprocess.DEVNULL, env={**os.environ, "KILN_OPS_DUMP": str(path)})
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def tensor_of(spec):
    dtype, shape = DTYPES[spec["dtype"]], spec["shape"]
    data = bytearray.fromhex(spec["hex"])
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(shape)


def argument_of(arg, values):
    if isinstance(arg, list):
        return [argument_of(item, values) for item in arg]
    if not isinstance(arg, dict):
        return arg
    (tag, value), = arg.items()
    if tag == "value":
        return values[value]
    if tag == "float":
        return float(value)
    if tag == "dtype":
        return DTYPES[value]
    if tag == "device":
        return torch.device(value)
    if tag == "memory_format":
        return MEMORY_FORMATS[value]
    raise AssertionError(f"unknown argument {arg}")


def run_call(call, values):
    namespace, name = call["name"].split("::")
    packet = getattr(getattr(torch.ops, namespace), name)
    overload = getattr(packet, call["overload"] or "default")
    schema = overload._schema.arguments
    assert len(schema) == len(call["args"]), f"{overload._schema}: {len(call['args'])} given"
    positional, named = [], {}
    for argument, given in zip(schema, call["args"]):
        value = argument_of(given, values)
        if argument.kwarg_only:
            named[argument.name] = value
        else:
            positional.append(value)
    results = overload(*positional, **named)
    return list(results) if isinstance(results, (tuple, list)) else [results]


def difference(actual, expected, tolerance, per_element):
    """Empty when equal within the tolerance, else what differs.

    The tolerance is relative to the rms of all elements, or to each element for samples that mix
    magnitudes.
    """
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return f"{actual.dtype}{list(actual.shape)} vs {expected.dtype}{list(expected.shape)}"
    if actual.numel() == 0:
        return ""
    if not expected.dtype.is_floating_point:
        wrong = (actual != expected).sum().item()
        return f"{wrong} of {actual.numel()} elements differ" if wrong else ""
    if tolerance:
        tolerance = max(tolerance, EAGER_TOLERANCE.get(expected.dtype, 0))
    actual, expected = actual.double(), expected.double()
    finite = expected.isfinite()
    special = ~finite & ~((actual == expected) | (actual.isnan() & expected.isnan()))
    if special.any():
        return f"special values: {actual[special][:4].tolist()} vs {expected[special][:4].tolist()}"
    if not finite.any():
        return ""
    if per_element:
        limit = tolerance * expected.abs() + (1e-30 if tolerance else 0)
        wrong = finite & ((actual - expected).abs() > limit)
        if wrong.any():
            return f"{actual[wrong][:4].tolist()} vs {expected[wrong][:4].tolist()}"
        return ""
    rms = expected[finite].square().mean().sqrt().item()
    worst = (actual - expected)[finite].abs().max().item()
    if not worst <= tolerance * rms:
        return f"off by {worst:.3g} at rms {rms:.3g}, tolerance {tolerance:.3g}"
    return ""


def check(sample):
    values = {i: tensor_of(spec) for i, spec in enumerate(sample["operands"]) if spec}
    for call in sample["calls"]:
        results = run_call(call, values)
        for index, result in zip(call["results"], results):
            values[index] = result
    for index, spec in zip(sample["outputs"], sample["results"]):
        actual, expected = values[index], tensor_of(spec)
        if (sample["op"], expected.dtype) in NAN_FOR_INFINITY:
            actual = torch.where(actual.isnan() & (expected == float("inf")), expected, actual)
        problem = difference(actual, expected, sample["tolerance"], sample["special"])
        if problem:
            return problem
    return ""


def test_references_agree_with_pytorch(samples):
    assert len({sample["op"] for sample in samples}) > 90
    problems = []
    for sample in samples:
        try:
            problem = check(sample)
        except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
            problem = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if problem:
            problems.append(f"{sample['op']} ({sample['why']}): {problem}")
    assert not problems, f"{len(problems)} of {len(samples)} samples:\n" + "\n".join(problems)
