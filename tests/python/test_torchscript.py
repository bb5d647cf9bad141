"""kiln.compile of scripted and traced modules: the results, the weights, and what it refuses."""

from __future__ import annotations

import collections
import copy
import hashlib
import re
import sys
import warnings
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import pytest
import torch
from torch import Tensor, nn

import kiln
import torchscript_functions
from tests.models import zoo

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def scripted(model: Any) -> Any:
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return torch.jit.script(model)


def traced(model: nn.Module, *args: Any, **options: Any) -> torch.jit.ScriptModule:
  with warnings.catch_warnings(), torch.no_grad():
    warnings.simplefilter("ignore")
    return torch.jit.trace(model, args, **options)


def clones(values: Any) -> Any:
  return torch.utils._pytree.tree_map(
    lambda v: v.clone() if isinstance(v, Tensor) else v, values)


def assert_same(got: Any, expected: Any) -> None:
  if isinstance(expected, Tensor):
    torch.testing.assert_close(got, expected)
    return
  if hasattr(expected, "_fields"):
    assert got._fields == expected._fields
    got, expected = list(got), list(expected)
  assert type(got) is type(expected)
  if isinstance(expected, dict):
    assert list(got) == list(expected)
    got, expected = list(got.values()), list(expected.values())
  if isinstance(expected, (list, tuple)):
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
      assert_same(a, b)
  else:
    assert got == expected


# ---- functions


class Ends(NamedTuple):
  low: Tensor
  high: Tensor


Ends.__module__ = "__main__"


def ends(x: Tensor) -> Ends:
  return Ends(x.min(), x.max())


def test_named_tuples_of_main(monkeypatch):
  """TorchScript leaves `__main__` out of a type's name. One of a type that is not there unpacks."""
  x = torch.randn(4)
  low, high = kiln.compile(scripted(ends), inputs=[x])(x)
  assert low == x.min() and high == x.max()
  monkeypatch.setattr(sys.modules["__main__"], "Ends", Ends, raising=False)
  assert type(kiln.compile(scripted(ends), inputs=[x])(x)) is Ends


def _id(case: Any) -> str:
  return case.__name__ if callable(case) else ""


@pytest.mark.parametrize("function, args", torchscript_functions.CASES, ids=_id)
def test_functions_do_what_torchscript_does(function, args):
  script = scripted(function)
  given, example, passed = clones(args), clones(args), clones(args)
  try:
    expected = script(*given)
  except (RuntimeError, torch.jit.Error) as error:
    # The last line of TorchScript's message says what happened, behind the class.
    what = str(error).strip().splitlines()[-1].split(": ", 1)[1]
    with pytest.raises(kiln.Error, match=re.escape(what)) as refused:
      kiln.compile(script, inputs=list(example))
    assert refused.value.code == "K1146"
    return
  program = kiln.compile(script, inputs=list(example))
  assert_same(program(*passed), expected)
  assert_same(passed, given)  # what the function writes into its arguments


# ---- modules


class Block(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.linear = nn.Linear(4, 4)
    self.norm = nn.LayerNorm(4)

  def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
    return self.norm(self.linear(x)) * scale


class Nested(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.first = Block()
    self.second = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    self.tied = self.first

  def helper(self, x: Tensor) -> Dict[str, Tensor]:
    return {"a": self.first(x, 2.0), "b": self.second(x)}

  def forward(self, x: Tensor) -> Tuple[Dict[str, Tensor], List[Tensor]]:
    parts = self.helper(x)
    return parts, [self.tied(parts["a"] + parts["b"]), x]


@pytest.mark.parametrize("how", ["script", "trace", "frozen"])
def test_modules(how):
  torch.manual_seed(0)
  model = Nested().eval()
  x = torch.randn(3, 4)
  module = traced(model, x, strict=False) if how == "trace" else scripted(model)
  if how == "frozen":
    module = torch.jit.freeze(module)
  program = kiln.compile(module, inputs=[x], strict=True)
  assert_same(program(x), model(x))


def test_names_and_places():
  model = scripted(Nested().eval())
  program = kiln.compile(model, inputs=[torch.randn(3, 4)],
                         torch_executed_modules=["second.1"], torch_executed_ops=["aten::layer_norm"])
  fallbacks = {(f["op"], f["module_path"]): f for f in program.report.fallbacks}
  assert set(fallbacks) == {("aten::relu", "second.1"), ("aten::layer_norm", "first.norm")}
  where = fallbacks[("aten::layer_norm", "first.norm")]["location"]
  assert re.fullmatch(r"tests/python/test_torchscript\.py:\d+", where), where


def test_modules_are_kept_by_class():
  model = scripted(Nested().eval())
  report = kiln.explain(model, inputs=[torch.randn(3, 4)], torch_executed_modules=[nn.ReLU])
  assert [f["module_path"] for f in report.fallbacks] == ["second.1"]


def test_weights_are_followed_and_updated():
  torch.manual_seed(0)
  model = Nested().eval()
  module, x = scripted(model), torch.randn(3, 4)
  program = kiln.compile(module, inputs=[x])
  with torch.no_grad():
    module.first.linear.weight.mul_(3)
    model.second[0].bias.add_(1)  # the scripted module has the same tensors
  assert_same(program(x), model(x))
  other = Nested().eval()
  program.update_weights(other.state_dict())
  assert_same(program(x), other(x))
  with pytest.raises(kiln.Error, match="K3113"):
    program.update_weights({"first.linear.wight": torch.zeros(4, 4)})


class Coder(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.block = Block()
    self.register_buffer("calls", torch.zeros(4))

  @torch.jit.export
  def encode(self, x: Tensor, scale: float = 2.0) -> Tuple[Tensor, Tensor]:
    self.calls += 1
    return self.block(x, scale), self.calls * x

  @torch.jit.export
  def choose(self, x: Tensor) -> Tensor:
    return x if bool(x.sum() > 0) else self.block(x)

  def forward(self, x: Tensor) -> Tensor:
    return x


def test_any_method_of_a_module(tmp_path):
  torch.manual_seed(0)
  module, x = scripted(Coder().eval()), torch.randn(2, 4)
  reference = copy.deepcopy(module)
  program = kiln.compile(module.encode, inputs=[kiln.Input(min_shape=(1, 4), max_shape=(8, 4))])
  for rows in (1, 5):
    y = torch.randn(rows, 4)
    assert_same(program(y), reference.encode(y))
  with torch.no_grad():
    module.block.linear.weight.mul_(2)  # followed, as forward's are
    reference.block.linear.weight.mul_(2)
  assert_same(program(x), reference.encode(x))
  assert_same(dict(program.named_buffers()), {"calls": reference.calls})
  program.save(tmp_path / "encode.kiln")
  assert_same(kiln.load(tmp_path / "encode.kiln")(x)[0], reference.encode(x)[0])
  report = kiln.explain(module.encode, inputs={"x": x, "scale": 3.0},
                        torch_executed_modules=["block.norm"])
  assert [f["module_path"] for f in report.fallbacks] == ["block.norm"]
  assert_same(kiln.compile(module.forward, inputs=[x])(x), x)
  for strict in (False, True):
    with pytest.raises(kiln.Error, match="K1145.*value of a tensor"):
      kiln.compile(module.choose, inputs=[x], strict=strict)
  with pytest.raises(kiln.Error, match="K1018"):
    kiln.compile(module.encode, inputs=[x], ir="dynamo")


class Counter(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.register_buffer("total", torch.zeros(3))
    self.register_buffer("last", torch.zeros(2, 3))

  def forward(self, x: Tensor) -> Tensor:
    self.total += x.sum(0)
    self.last = x * 2
    return self.total + x


def test_buffers_are_written():
  module, x = scripted(Counter()), torch.randn(2, 3)
  reference = copy.deepcopy(module)
  program = kiln.compile(module, inputs=[x])
  assert torch.equal(module.total, torch.zeros(3)), "compiling changed the module"
  for _ in range(3):
    assert_same(program(x), reference(x))
  assert_same(dict(program.named_buffers()), dict(reference.named_buffers()))
  assert module.total.data_ptr() == program.total.data_ptr()


class Cached(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.scales = [1.0, 2.0]
    self.table: Dict[str, int] = {"a": 3}
    self.calls = 0
    self.count = False

  def forward(self, x: Tensor, more: bool) -> Tensor:
    if more:
      self.scales.append(3.0)
    if self.count:
      self.calls += 1
    return x * self.scales[0] * self.table["a"]


def test_attributes_that_are_no_tensors():
  module, x = scripted(Cached()), torch.randn(2)
  assert_same(kiln.compile(module, inputs=[x, False])(x, False), module(x, False))
  with pytest.raises(kiln.Error, match="K1145.*changes an attribute that is no tensor: scales"):
    kiln.compile(module, inputs=[x, True])
  assert module.scales == [1.0, 2.0]


def test_arguments_by_name_and_defaults():
  module, x = scripted(Block().eval()), torch.randn(2, 4)
  assert_same(kiln.compile(module, inputs=[x])(x), module(x))
  program = kiln.compile(module, inputs={"x": x, "scale": 3.0})
  assert_same(program(x, scale=3.0), module(x, 3.0))
  assert_same(program(scale=3.0, x=x), module(x, 3.0))
  with pytest.raises(kiln.Error, match="K4101.*scale was fixed at capture to 3.0"):
    program(x, scale=2.0)
  with pytest.raises(kiln.Error, match="K4101"):
    program(x)


class Structures(nn.Module):
  def forward(self, pair: Tuple[Tensor, Tensor], items: List[Tensor], table: Dict[str, Tensor],
              mask: Optional[Tensor], name: str) -> Tuple[Tensor, Optional[Tensor], str, int]:
    y = pair[0] + pair[1] + items[-1] + table["t"]
    return y if mask is None else y * mask, mask, name, len(items)


@pytest.mark.parametrize("mask", [None, torch.ones(2)])
def test_nested_arguments(mask):
  module = scripted(Structures())
  args = ((torch.ones(2), torch.ones(2)), [torch.ones(2)] * 3, {"t": torch.ones(2)}, mask, "n")
  program = kiln.compile(module, inputs=list(args))
  assert_same(program(*args), module(*args))
  with pytest.raises(kiln.Error, match="K4101"):
    program(args[0], args[1][:1], *args[2:])


# ---- sizes that vary


class Pooled(nn.Module):
  def __init__(self, pairs: bool) -> None:
    super().__init__()
    self.pairs = pairs
    self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    self.linear = nn.Linear(8, 5)

  def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, int]:
    if self.pairs:
      if y.size(1) % 2 != 0:
        raise ValueError("the second size must be even")
      y = y.view(y.size(0), y.size(1) // 2, 2).sum(-1)
    z = self.conv(x)
    b, c, h, w = z.shape
    flat = z.flatten(2).transpose(1, 2).reshape(b, h * w, c)
    return self.linear(flat).mean(1) + y.sum(1, keepdim=True), h * w + b


@pytest.mark.parametrize("how", ["script", "trace"])
def test_one_program_serves_a_range(how):
  torch.manual_seed(0)
  model = Pooled(pairs=how == "script").eval()
  inputs = [kiln.Input(min_shape=(1, 3, 8, 8), opt_shape=(2, 3, 16, 16), max_shape=(6, 3, 64, 48),
                       dim_names=("b", None, None, None)),
            kiln.Input(min_shape=(1, 2), opt_shape=(2, 6), max_shape=(6, 40), dim_names=("b", None))]
  if how == "script":
    module = scripted(model)
  else:
    module = traced(model, torch.randn(2, 3, 16, 16), torch.randn(2, 6), strict=False)
  program = kiln.compile(module, inputs=inputs, strict=True)
  for b, h, w, n in ((1, 8, 8, 2), (2, 16, 16, 6), (6, 64, 47, 40), (3, 9, 33, 18)):
    x, y = torch.randn(b, 3, h, w), torch.randn(b, n)
    got, expected = program(x, y), model(x, y)
    torch.testing.assert_close(got[0], expected[0])
    assert int(got[1]) == expected[1]
  with pytest.raises(kiln.Error, match="K410"):
    program(torch.randn(7, 3, 8, 8), torch.randn(7, 2))
  with pytest.raises(kiln.Error, match="K410"):
    program(torch.randn(2, 3, 8, 8), torch.randn(3, 2))
  if how == "script":
    with pytest.raises(kiln.Error, match="K4105.*expected 2[*]"):
      program(torch.randn(2, 3, 8, 8), torch.randn(2, 5))


# ---- the models


def canonical(ir: str) -> list[str]:
  """The results as hashes of what computes them: equal for programs that differ only in names, in
  source lines and in the order of weights."""
  known: dict[str, str] = {}

  def named(text: str) -> str:
    return re.sub(r"%\w+", lambda m: known.get(m[0], m[0]), text)

  for line in ir.splitlines():
    line = re.sub(r' loc\("[^"]*" "[^"]*"\)| name "[^"]*"', "", line).strip()
    if line.startswith("main("):
      known |= {name: f"#{i}" for i, name in enumerate(re.findall(r"(%\w+):", line))}
    elif line.startswith("return"):
      return re.findall(r"#\w+", named(line))
    elif made := re.match(r"(?:const )?((?:%\w+(?:, )?)+) = (.*)$", line):
      body = named(made[2])
      for i, name in enumerate(made[1].split(", ")):
        known[name] = "#" + hashlib.sha1(f"{i} {body}".encode()).hexdigest()
  raise AssertionError("no results")


def operations(ir: str) -> collections.Counter:
  return collections.Counter(re.findall(r"^  %.*? = (\w+)\(", ir[ir.index("\nmain("):], re.MULTILINE))


@pytest.mark.parametrize("name, how", [
  ("resnet50", "trace"), ("resnet50", "script"), ("mobilenet_v3_large", "script"),
  ("mobilenet_v3_large", "trace"), ("vit_b_16", "trace"), ("vit_b_16", "trace in parts"),
  ("bert", "trace"), ("gpt2", "trace")])
def test_zoo_models(name, how):
  # The tracer takes no cache among the results.
  model, make_inputs = zoo.build(name, **({"use_cache": False} if name == "gpt2" else {}))
  args, kwargs = make_inputs()
  inputs = list(args) if args else dict(kwargs)
  module = (scripted(model) if how == "script" else
            zoo.traced(model, args, kwargs, fused=how == "trace"))
  assert ("_native_multi_head_attention" in str(getattr(module, "inlined_graph", ""))
          ) == (name == "vit_b_16" and how == "trace")
  program = kiln.compile(module, inputs=inputs)
  exported = kiln.compile(model, inputs=inputs)
  with torch.no_grad():
    got, expected = program(*args, **kwargs), module(*args, **kwargs)
  for a, b in zip(torch.utils._pytree.tree_leaves(got), torch.utils._pytree.tree_leaves(expected),
                  strict=True):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
  # Whatever is native there is native here.
  assert {f["op"] for f in program.report.fallbacks} <= {f["op"] for f in exported.report.fallbacks}
  if name == "resnet50" or how == "trace in parts":
    assert canonical(program.ir()) == canonical(exported.ir())
  elif name == "vit_b_16":  # the same operations, but the batch is not moved to and fro
    assert operations(program.ir()) == operations(exported.ir())


def test_views_may_divide_sizes_that_vary():
  """The program takes the sizes that fit, and no others, as eager does."""
  def pairs(x: Tensor) -> Tensor:
    return x.view(x.size(0), x.size(1) // 2, 2).flip(2).reshape(x.size(0), x.size(1))

  def open_pairs(x: Tensor) -> Tensor:
    return x.view(x.size(0), -1, 2).sum(-1)

  def checked(x: Tensor) -> Tensor:
    assert x.size(1) % 4 == 0, "quarters"
    return x.reshape(x.size(0), 4, x.size(1) // 4) + 1

  ranged = kiln.Input(min_shape=(1, 2), opt_shape=(2, 8), max_shape=(4, 64))
  for function in (pairs, open_pairs, checked):
    script = scripted(function)
    program = kiln.compile(script, inputs=[ranged], strict=True)
    for sizes in ((1, 4), (3, 8), (4, 64)):
      x = torch.randn(sizes)
      assert torch.equal(program(x), script(x))
    x = torch.randn(2, 9)
    with pytest.raises((RuntimeError, torch.jit.Error)):
      script(x)
    with pytest.raises(kiln.Error, match="K4105.* is 9, expected . *."):
      program(x)

  def patches(x: Tensor) -> Tensor:  # two sizes at once
    n, c, h, w = x.shape
    return x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(n, -1, c * 16)

  program = kiln.compile(scripted(patches), strict=True, inputs=[
    kiln.Input(min_shape=(1, 3, 4, 4), opt_shape=(2, 3, 8, 8), max_shape=(4, 3, 64, 64))])
  x = torch.randn(2, 3, 8, 12)
  assert torch.equal(program(x), patches(x))


def test_assertions_about_sizes_are_checked_at_each_call():
  def quarters(x: Tensor) -> Tensor:
    assert x.size(0) % 4 == 0, "quarters"
    return x + 1

  program = kiln.compile(scripted(quarters), strict=True, inputs=[
    kiln.Input(min_shape=(1,), opt_shape=(4,), max_shape=(16,))])
  assert torch.equal(program(torch.zeros(8)), torch.ones(8))
  with pytest.raises(kiln.Error, match="K4106.*raises an exception otherwise"):
    program(torch.zeros(6))


def test_views_that_no_multiple_explains():
  """Sample points meet what the view demands; PyTorch keeps the call, and checks it."""
  def rounded(x: Tensor) -> Tensor:
    return x.view(x.size(0), (x.size(1) + 1) // 2, 2) + 1

  program = kiln.compile(scripted(rounded), inputs=[
    kiln.Input(min_shape=(1, 2), opt_shape=(2, 8), max_shape=(4, 64))])
  assert [f["op"] for f in program.report.fallbacks] == ["aten::view"]
  x = torch.randn(3, 10)
  assert torch.equal(program(x), rounded(x))
  with pytest.raises(RuntimeError, match="invalid for input of size 27"):
    program(torch.randn(3, 9))


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("name", ["conv2d", "conv3d", "same", "transposed", "weight", "depthwise"])
def test_convolutions_keep_the_memory_format(name, how):
  last, space = torch.channels_last, (5, 6)
  conv: nn.Module = nn.Conv2d(4, 8, 3, padding=1)
  if name == "conv3d":
    last, space, conv = torch.channels_last_3d, (4, 5, 6), nn.Conv3d(4, 8, 3)
  elif name == "same":
    conv = nn.Conv2d(4, 8, 3, padding="same")
  elif name == "transposed":
    conv = nn.ConvTranspose2d(4, 8, 3, stride=2, output_padding=1)
  elif name == "depthwise":
    conv = nn.Conv2d(4, 8, 3, groups=4)
  x = torch.randn(2, 4, *space)
  if name == "weight":
    conv = conv.to(memory_format=last)
  else:
    x = x.to(memory_format=last)
  model = nn.Sequential(conv, nn.ReLU()).eval()
  module = traced(model, x) if how == "trace" else scripted(model)
  ranged = kiln.Input(min_shape=(1, 4, *space), opt_shape=(2, 4, *space), max_shape=(4, 4, *space),
                      memory_format=last if name != "weight" else torch.contiguous_format)
  for inputs in ([x], [ranged]):
    program = kiln.compile(module, inputs=inputs)
    with torch.no_grad():
      got, expected = program(x), model(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert got.stride() == expected.stride()


# ---- refusals


def test_what_depends_on_values_is_named():
  def early(x: Tensor) -> Tensor:
    if bool(x.sum() > 0):
      return x
    return x + 1

  with pytest.raises(kiln.Error, match="K1145.*branch depends on the value of a tensor") as refused:
    kiln.compile(scripted(early), inputs=[torch.ones(2)], strict=True)
  assert "test_torchscript.py:" in str(refused.value)


def test_a_branch_on_a_size_that_varies():
  def branch(x: Tensor) -> Tensor:
    return x if x.size(0) > 3 else x + 1

  ranged = kiln.Input(min_shape=(1,), max_shape=(8,))
  with pytest.raises(kiln.Error, match="K1145.*branch depends on sizes that vary"):
    kiln.compile(scripted(branch), inputs=[ranged], strict=True)
  low = kiln.compile(scripted(branch), inputs=[kiln.Input(min_shape=(1,), max_shape=(3,))])
  assert torch.equal(low(torch.zeros(2)), torch.ones(2))


def test_an_endless_loop_stops():
  def endless(x: Tensor) -> Tensor:
    while x.dim() == 1:
      x = x + 1
    return x

  with pytest.raises(kiln.Error, match="K1145.*unrolls to more than 200000 calls"):
    kiln.compile(scripted(endless), inputs=[torch.ones(2)], strict=True)


def test_wrong_use():
  script = scripted(Block())
  with pytest.raises(kiln.Error, match="K1101.*no example inputs"):
    kiln.compile(script)
  with pytest.raises(kiln.Error, match="K1101.*do not fit"):
    kiln.compile(script, inputs=[torch.ones(2, 4), "text"])
  with pytest.raises(kiln.Error, match="K1101.*do not fit"):
    kiln.compile(script, inputs=[])
  with pytest.raises(kiln.Error, match="K1018.*TorchScript"):
    kiln.compile(script, inputs=[torch.ones(2, 4)], ir="dynamo")
  with pytest.raises(kiln.Error, match="K1101.*dynamic_shapes"):
    kiln.compile(script, inputs=[torch.ones(2, 4)], dynamic_shapes={})


def test_training_mode_shows():
  module = scripted(nn.Sequential(nn.Dropout(0.5)).train())
  with pytest.warns(UserWarning, match="training mode"):
    kiln.compile(module, inputs=[torch.ones(4)])


