"""Scripted modules that depend on the values of tensors: what is compiled, what stays, and why."""

from __future__ import annotations

import copy
from typing import Dict, List, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import kiln

from test_torchscript import scripted


class Mlp(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 4)

  def forward(self, x: Tensor) -> Tensor:
    return self.second(torch.relu(self.first(x)))


class Gate(nn.Module):
  """Its forward takes a branch on a value; the modules that it calls do not."""

  def __init__(self) -> None:
    super().__init__()
    self.left, self.right = Mlp(), Mlp()

  def forward(self, x: Tensor) -> Tensor:
    y = self.left(x)
    if bool(y.sum() > 0):
      return self.right(y)
    return self.right(y * 2) + 1


class Model(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.stem = nn.Linear(4, 4)
    self.gate = Gate()
    self.head = nn.Sequential(nn.Linear(4, 3), nn.ReLU())

  def forward(self, x: Tensor) -> Tensor:
    return self.head(self.gate(self.stem(x)))


@pytest.fixture
def model():
  torch.manual_seed(0)
  return Model().eval()


def batches() -> list[Tensor]:
  """Both branches of Gate are taken by some of them."""
  return [20 * torch.randn(2, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(9)]


def test_parts_are_compiled(model):
  script = scripted(model)
  program = kiln.compile(script, inputs=[batches()[0]])
  branches = {bool(model.gate.left(model.stem(x)).sum() > 0) for x in batches()}
  assert branches == {True, False}
  for x in batches():
    torch.testing.assert_close(program(x), model(x))
  assert set(program.kept) == {"", "gate"}
  assert "a branch depends on the value of a tensor" in program.kept["gate"]
  assert "test_torchscript_partial.py:" in program.kept["gate"]
  assert any("stays in TorchScript: gate" in note for note in program.report.notes)
  # Of gate: y.sum(), > 0, bool(), and of both branches y * 2 and + 1.
  assert program.report.ops_native == 9 and program.report.ops_total == 14
  rows = {row["op"]: row for row in program.report.fallbacks}
  assert set(rows) == {"aten::sum", "aten::gt.Scalar", "aten::Bool.Tensor", "aten::mul.Scalar",
                       "aten::add.Scalar"}
  for row in rows.values():
    assert row["code"] == "K1145" and row["module_path"] == "gate" and row["count"] == 1
    assert "a branch depends on the value of a tensor" in row["reason"]
    assert "test_torchscript_partial.py:" in row["location"]
  # The user's module is as it was.
  assert script.gate.left.original_name == "Mlp"
  torch.testing.assert_close(script(x), model(x))


def test_files(model, tmp_path):
  program = kiln.compile(scripted(model), inputs=[batches()[0]])
  program.save(tmp_path / "model.ts")
  loaded = torch.jit.load(tmp_path / "model.ts")
  for x in batches():
    torch.testing.assert_close(loaded(x), model(x))
  with pytest.raises(kiln.Error, match="K1147.*gate"):
    program.save(tmp_path / "model.kiln")
  assert not (tmp_path / "model.kiln").exists()


def test_explain_and_strict(model):
  report = kiln.explain(scripted(model), inputs=[batches()[0]])
  assert report.ops_native == 9 and any("gate" in note for note in report.notes)
  with pytest.raises(kiln.Error, match="K1145.*branch depends on the value"):
    kiln.compile(scripted(model), inputs=[batches()[0]], strict=True)


class Scaled(nn.Module):
  """Called with two shapes: one program cannot serve both."""

  def __init__(self) -> None:
    super().__init__()
    self.mlp = Mlp()

  def forward(self, x: Tensor) -> Tensor:
    y = self.mlp(x)
    if bool(y.max() > 100):
      return y
    return y + self.mlp(x[:1])


def test_several_shapes_stay():
  class Outer(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.scaled, self.head = Scaled(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
      return self.head(self.scaled(x))

  model = Outer().eval()
  program = kiln.compile(scripted(model), inputs=[torch.randn(3, 4)])
  assert program.kept["scaled.mlp"] == "is called with arguments of several shapes"
  x = torch.randn(3, 4)
  torch.testing.assert_close(program(x), model(x))


def test_nothing_to_compile():
  def branch(x: Tensor) -> Tensor:
    return x if bool(x.sum() > 0) else x + 1

  with pytest.raises(kiln.Error, match="K1145.*branch depends on the value of a tensor"):
    kiln.compile(scripted(branch), inputs=[torch.ones(2)])


@pytest.mark.parametrize("named", ["gate.left.first", "gate.left"])
def test_modules_that_are_to_stay(model, named):
  """Paths begin at the root, in parts too."""
  program = kiln.compile(scripted(model), inputs=[batches()[0]], torch_executed_modules=[named])
  if named == "gate.left":
    assert program.kept[named] == "torch_executed_modules names it"
    assert set(program.programs) == {"stem", "gate.right", "head"}
  else:
    report = program.programs["gate.left"].report
    assert [row["module_path"] for row in report.fallbacks] == ["first"]
  for x in batches():
    torch.testing.assert_close(program(x), model(x))


class Pair(NamedTuple):
  a: Tensor
  b: Tensor


class Added(nn.Module):
  def forward(self, pair: Pair) -> Tensor:
    return torch.relu(pair.a) + pair.b


def test_arguments_that_no_module_takes():
  class Outer(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.added, self.layer = Added(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
      y = self.layer(x)
      return branch(self.added(Pair(y, y + 1)))

  program = check_parts(Outer(), (torch.randn(2, 4),), {"layer"}, added="K1019: ")
  assert "hint" not in program.kept["added"]


# ---- the report


class Helped(nn.Module):
  """Its method calls functions, other methods of its own, and a module on one side only."""

  def __init__(self) -> None:
    super().__init__()
    self.inner, self.unused, self.rare = nn.Linear(4, 4), nn.Linear(4, 4), Mlp()
    self.loud = False

  def helper(self, x: Tensor) -> Tensor:
    return torch.tanh(x) if self.loud else torch.sin(x)

  def forward(self, x: Tensor) -> Tensor:
    y = nn.functional.dropout(self.inner(x), 0.5, False)
    if bool(y.sum() > 1e6):
      y = self.rare(y)
    return self.helper(y).view(-1, x.size(1))


def test_calls_that_stay_are_counted():
  model = Helped().eval()
  program = kiln.compile(scripted(model), inputs=[batches()[0]])
  report = program.report
  counts = {(row["op"], row["module_path"]): row["count"] for row in report.fallbacks}
  # sin but not tanh, as `loud` is a constant; no question about sizes; all of what was not called.
  assert counts == {
    ("aten::dropout", ""): 1, ("aten::sum", ""): 1, ("aten::gt.Scalar", ""): 1,
    ("aten::Bool.Tensor", ""): 1, ("aten::sin", ""): 1, ("aten::view", ""): 1,
    ("aten::linear", "rare.first"): 1, ("aten::relu", "rare"): 1, ("aten::linear", "rare.second"): 1}
  assert program.kept["rare"] == "is not called on the example inputs"
  assert report.ops_native == 1 and report.ops_total == 10 and report.coverage == 0.1
  assert "1 of 10 calls in Kiln (10 %)" in str(report)
  assert {row["module_path"] for row in report.kernels} == {"inner"}
  explained = kiln.explain(scripted(model), inputs=[batches()[0]])
  assert explained.fallbacks == report.fallbacks and explained.ops_total == 10


# ---- weights


@pytest.fixture
def compiled(model):
  script = scripted(model)
  return model, script, kiln.compile(script, inputs=[batches()[0]])


def check(program, model) -> None:
  for x in batches():
    torch.testing.assert_close(program(x), model(x))


def test_changes_in_place_are_followed(compiled, tmp_path):
  model, script, program = compiled
  check(program, model)
  with torch.no_grad():
    script.gate.left.first.weight.mul_(-1)
    script.head[0].bias.add_(3)
  check(program, script)
  torch.manual_seed(7)
  script.load_state_dict(Model().state_dict())
  check(program, script)
  program.save(tmp_path / "model.ts")
  check(torch.jit.load(tmp_path / "model.ts"), script)


class Scale(nn.Module):
  """All of it stays but one layer; it has a parameter and a buffer that it writes."""

  def __init__(self) -> None:
    super().__init__()
    self.layer, self.gain = nn.Linear(4, 4), nn.Parameter(torch.rand(4))
    self.register_buffer("calls", torch.zeros(1))

  def forward(self, x: Tensor) -> Tensor:
    self.calls.add_(1)
    y = self.layer(x) * self.gain
    return y if bool(y.sum() > 0) else y + self.calls


def test_update_weights(compiled, tmp_path):
  model, script, program = compiled
  torch.manual_seed(8)
  other = Model().eval()
  program.update_weights(other.state_dict())
  check(program, other)
  check(script, model)  # the user's module keeps what it has
  with torch.no_grad():
    other.stem.weight.mul_(2)  # what was given is followed
  check(program, other)
  program.save(tmp_path / "model.ts")
  check(torch.jit.load(tmp_path / "model.ts"), other)
  program.update_weights({"stem.bias": torch.ones(4, dtype=torch.float64)})
  with torch.no_grad():
    other.stem.bias.fill_(1)
  check(program, other)


def test_update_of_what_stays():
  model = Scale().eval()
  script = scripted(model)
  program = kiln.compile(script, inputs=[batches()[0]])
  other = Scale().eval()
  gain = script.gain.clone()
  program.update_weights({**other.state_dict(), "calls": torch.full((1,), 5.0)})
  assert torch.equal(script.gain, gain) and script.calls.item() == 5
  other.calls.fill_(5)
  for x in batches():
    torch.testing.assert_close(program(x), other(x))
  assert script.calls.item() == 5 + len(batches())
  with torch.no_grad():
    other.gain.neg_()
  torch.testing.assert_close(program(x), other(x))


def test_a_wrong_update_changes_nothing(compiled):
  model, _, program = compiled
  good = {name: torch.zeros_like(t) for name, t in model.state_dict().items()}
  for code, wrong in (("K3113", {"gate.left.frist.weight": torch.zeros(8, 4)}),
                      ("K3114", {"head.0.weight": torch.zeros(2, 2)}),
                      ("K1111", {"head.0.weight": 3})):
    with pytest.raises(kiln.Error, match=code):
      program.update_weights({**good, **wrong})
    check(program, model)
  staying = kiln.compile(scripted(Scale().eval()), inputs=[batches()[0]])
  with pytest.raises(kiln.Error, match="K3114.*gain"):
    staying.update_weights({"layer.bias": torch.zeros(4), "gain": torch.zeros(3)})


def test_copies_are_independent(compiled):
  model, script, program = compiled
  twin = copy.deepcopy(program)
  with torch.no_grad():
    script.stem.weight.mul_(2)
  check(program, script)
  torch.manual_seed(9)
  other = Model().eval()
  twin.update_weights(other.state_dict())
  check(twin, other)
  check(program, script)


# ---- sizes that vary


def ranged(low: int, high: int, opt: int | None = None, **more) -> kiln.Input:
  return kiln.Input(min_shape=(low, 4), opt_shape=(opt or high, 4), max_shape=(high, 4), **more)


def test_ranges(model, tmp_path):
  script = scripted(model)
  program = kiln.compile(script, inputs=[ranged(1, 6)])
  program.save(tmp_path / "model.ts")
  loaded = torch.jit.load(tmp_path / "model.ts")
  for size in range(1, 7):
    for x in batches():
      x = x[:1].repeat(size, 1) * torch.arange(1, size + 1)[:, None]
      torch.testing.assert_close(program(x), model(x))
      torch.testing.assert_close(loaded(x), model(x))
  with pytest.raises(kiln.Error, match="K4105.*is 7, allowed is .1, 6"):
    program(torch.randn(7, 4))


class Pieces(nn.Module):
  """Each part sees other sizes: a sum, a product, a rounded one, one that depends on values."""

  def __init__(self) -> None:
    super().__init__()
    self.twice, self.flat, self.third = Row(), Row(), Row()
    self.joined, self.found = Joined(), Row()

  def forward(self, x: Tensor, y: Tensor):
    d = self.twice(torch.cat([x, x, x[:1]]))
    f = self.flat(torch.matmul(x, y.t()).reshape(-1, 1).repeat(1, 4))
    t = self.third(x[::3])
    j = self.joined(x, torch.cat([x, x[:1]]))
    kept = self.found(x[x[:, 0] > 0])
    return d if bool(d.sum() > 1e9) else d + 1, f, t, j, kept


class Row(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.linear = nn.Linear(4, 2)

  def forward(self, x: Tensor) -> Tensor:
    return torch.relu(self.linear(x))


class Joined(nn.Module):
  """Adds what is one row longer: only a part that knows how the sizes relate compiles."""

  def forward(self, x: Tensor, longer: Tensor) -> Tensor:
    return torch.relu(x + longer[1:])


def test_sizes_of_parts():
  model = Pieces().eval()
  program = kiln.compile(scripted(model), inputs=[ranged(2, 20, dim_names=("n", None)),
                                                  ranged(1, 9, dim_names=("m", None))])
  assert set(program.programs) == {"twice", "flat", "third", "joined", "found"}
  for n, m in ((2, 1), (3, 9), (7, 4), (20, 9), (20, 1), (13, 5)):
    args = torch.randn(n, 4), torch.randn(m, 4)
    for got, want in zip(program(*args), model(*args), strict=True):
      torch.testing.assert_close(got, want)
  shown = {path: [row.dims[0] for row in p._captured.inputs] for path, p in program.programs.items()}
  symbols = {path: p._captured.symbols for path, p in program.programs.items()}
  assert shown["joined"] == ["s0", "s0 + 1"]
  assert list(symbols["twice"].values()) == [(5, 41)]
  assert list(symbols["flat"].values()) == [(2, 180)]
  assert list(symbols["third"].values()) == [(1, 7)]
  assert list(symbols["found"].values())[0][0] == 0  # whatever the mask finds
  program(-torch.rand(4, 4), args[1])


def test_numbers_that_vary_stay():
  class Narrow(nn.Module):
    def forward(self, x: Tensor, n: int) -> Tensor:
      return torch.relu(x[:n])

  class Outer(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.narrow, self.row = Narrow(), Row()

    def forward(self, x: Tensor):
      y = self.row(self.narrow(x, x.size(0) // 2))
      return y if bool(y.sum() > 0) else y + 1

  model = Outer().eval()
  program = kiln.compile(scripted(model), inputs=[ranged(2, 9)])
  assert program.kept["narrow"] == "is called with numbers that vary"
  for size in (2, 5, 9):
    x = torch.randn(size, 4)
    torch.testing.assert_close(program(x), model(x))


# ---- what the methods that stay do with submodules


def branch(y: Tensor) -> Tensor:
  """What no module is compiled with."""
  return y * 2 if bool(y.sum() > 0) else y


def check_parts(model: nn.Module, args: tuple, programs: set[str], tmp_path=None, **reasons: str):
  """The programs, results before and after a file, and why the others stay."""
  script = torch.jit.script(model.eval())
  program = kiln.compile(script, inputs=list(args))
  assert set(program.programs) == programs
  for path, reason in reasons.items():
    assert reason in program.kept[path.replace("__", ".")], program.kept
  calls = [program]
  if tmp_path is not None:
    program.save(tmp_path / "model.ts")
    calls.append(torch.jit.load(tmp_path / "model.ts"))
  with torch.no_grad():
    for given in (args, tuple(-a if a.is_floating_point() else a for a in args)):
      want = script(*given)
      for call in calls:
        for _ in range(2):
          torch.testing.assert_close(call(*given), want, rtol=1e-5, atol=1e-5)
  return program


class Tied(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.embedding, self.layer, self.size = nn.Embedding(10, 4), nn.Linear(4, 4), Sized()

  def forward(self, x: Tensor) -> Tensor:
    y = branch(self.size(self.layer(self.embedding(x)))) + self.size.z
    return nn.functional.linear(y, self.embedding.weight)


class Sized(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.inner, self.z = nn.Linear(4, 4), 5

  def forward(self, x: Tensor) -> Tensor:
    return self.inner(x)


def test_attributes_that_are_read_elsewhere(tmp_path):
  check_parts(Tied(), (torch.arange(5),), {"layer", "size.inner"}, tmp_path,
              embedding="has an attribute that is read: 'weight' in the root, which stays",
              size="has an attribute that is read: 'z'")


class Encoder(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.inner = nn.Linear(4, 4)

  def forward(self, x: Tensor) -> Tensor:
    return self.inner(x)

  @torch.jit.export
  def prepare(self, x: Tensor) -> Tensor:
    return self.inner(x) * 2


class Prepared(nn.Module):
  """Calls another method of a module, forks a call, and calls and walks through a container."""

  def __init__(self) -> None:
    super().__init__()
    self.encoder, self.forked = Encoder(), Mlp()
    self.steps = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

  def forward(self, x: Tensor) -> Tensor:
    future = torch.jit.fork(self.forked, x)
    y = self.encoder(self.encoder.prepare(x)) + torch.jit.wait(future)
    y = self.steps(y)
    for step in self.steps:
      y = step(y)
    return branch(y)


def test_other_calls_than_of_forward(tmp_path):
  check_parts(Prepared(), (torch.randn(2, 4),),
              {"encoder.inner", "forked", "steps.0", "steps.1"}, tmp_path,
              encoder="has a method that is called: 'prepare'",
              steps="has an attribute that is read: '0'")


def doubled(self, input: tuple[Tensor], output: Tensor) -> Tensor:
  return output * 2


def scaled_hook(self, input: tuple[Tensor], output: Tensor) -> Tensor:
  return output * self.scale


class Hooked(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.scale, self.inner, self.layer = 3.0, Mlp(), nn.Linear(4, 4)
    self.register_forward_hook(scaled_hook)
    self.layer.register_forward_hook(doubled)

  def forward(self, x: Tensor) -> Tensor:
    return self.layer(self.inner(x))


class HookedRoot(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.hooked = Hooked()
    self.register_forward_hook(doubled)

  def forward(self, x: Tensor) -> Tensor:
    return branch(self.hooked(x))


def test_hooks_stay(tmp_path):
  check_parts(HookedRoot(), (torch.randn(3, 4),), {"hooked.inner"}, tmp_path,
              hooked="has hooks that are called in the root", hooked__layer="has hooks")


class Writer(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.layer = nn.Linear(4, 4)

  def forward(self, x: Tensor, xs: list[Tensor], table: dict[str, Tensor]) -> Tensor:
    y = self.layer(x)
    xs.append(y)
    table["a"] = y
    return y


class Reader(nn.Module):
  """Reads a list, and makes and changes another."""

  def forward(self, xs: list[Tensor]) -> Tensor:
    made = [torch.relu(x) for x in xs]
    made.append(xs[0])
    return torch.cat(made)


class Lists(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.writer, self.reader = Writer(), Reader()

  def forward(self, x: Tensor):
    xs, table = [x], {"a": x}
    y = self.writer(x, xs, table)
    return branch(y), torch.cat(xs), table["a"], self.reader(xs)


def test_lists_that_are_changed(tmp_path):
  check_parts(Lists(), (torch.randn(2, 4),), {"writer.layer", "reader"}, tmp_path,
              writer="changes a list or dict that it is given at ")


class Masked(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.layer = nn.Linear(4, 4)

  def forward(self, x: Tensor, mask: Tensor | None = None, k: int = 1) -> Tensor:
    y = self.layer(x) * k
    return y if mask is None else y * mask


class OptionalMask(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.masked = Masked()

  def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
    return branch(self.masked(x, mask))


def test_optional_arguments(tmp_path):
  x = torch.randn(2, 4)
  program = check_parts(OptionalMask(), (x, torch.rand(2, 4)), {"masked"}, tmp_path)
  with pytest.raises(kiln.Error, match="K4101.*mask must not be None"):
    program(x)


class Sides(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.none, self.number, self.same = Masked(), Masked(), Masked()

  def forward(self, x: Tensor) -> Tensor:
    y = self.same(self.number(self.none(x, x), None, 2), None, 3)
    if bool(x.sum() > 1e3):
      return self.same(self.number(self.none(x), None, 4), None, 3)
    return y


def test_branches_that_call_otherwise():
  model = Sides()
  program = check_parts(model, (torch.ones(2, 4),), {"none.layer", "number.layer", "same"},
                        none="is called with several values of 'mask' at ",
                        number="is called with several values of 'k'")
  x = torch.full((2, 4), 1e3)
  torch.testing.assert_close(program(x), model(x), rtol=1e-5, atol=1e-5)


class Counts(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.layer, self.calls = nn.Linear(4, 4), torch.jit.Attribute([], List[int])
    self.table = torch.jit.Attribute({"sum": torch.zeros(1)}, Dict[str, Tensor])

  def forward(self, x: Tensor):
    self.calls.append(1)
    self.table["sum"].add_(1)
    return self.layer(x), len(self.calls), self.table["sum"].clone()


def test_lists_of_the_model_are_not_shared():
  script = torch.jit.script(Counts())
  x = torch.randn(2, 4)
  program = kiln.compile(script, inputs=[x])
  twin = copy.deepcopy(program)
  for _ in range(2):
    program(x)
  assert script.calls == []
  _, calls, total = twin(x)
  assert calls == 1 and total.item() == 1


def test_runs_leave_constants_alone():
  """A traced module's tensors that are no buffers are constants of its code, which a run may write."""
  total = torch.zeros(4)

  class Outer(nn.Module):
    def __init__(self, inner: torch.jit.ScriptModule) -> None:
      super().__init__()
      self.inner, self.layer = inner, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
      return branch(self.layer(x) + self.inner(x))

  traced = torch.jit.trace(lambda x: total.add_(1) + x, torch.zeros(4), check_trace=False)
  before = total.clone()
  kiln.compile(torch.jit.script(Outer(traced).eval()), inputs=[torch.randn(3, 4)])
  assert torch.equal(total, before)


# ---- functions of Python


class Ignoring(nn.Module):
  """What Python does with the module decides which of its modules can be programs. Its functions have
  no annotations: torch reads none that are text."""

  def __init__(self) -> None:
    super().__init__()
    self.layer, self.read, self.scale = nn.Linear(4, 4), Mlp(), 2.0

  @torch.jit.ignore
  def scaled(self, x):
    return x * self.scale * float(x.detach().numpy().sum())

  @torch.jit.ignore
  def shifted(self, x):
    return x + self.read.first.weight.sum()

  def forward(self, x: Tensor) -> Tensor:
    return self.shifted(self.scaled(self.read(self.layer(x))))


class Calling(nn.Module):
  """Only Python calls one of the modules."""

  def __init__(self) -> None:
    super().__init__()
    self.layer, self.called = nn.Linear(4, 4), Mlp()

  @torch.jit.ignore
  def call(self, x):
    return self.called.forward(x)

  def forward(self, x: Tensor) -> Tensor:
    return self.call(self.layer(x))


class Handed(Ignoring):
  @torch.jit.ignore
  def scaled(self, x):
    return x * len([module for module in [self]])


def test_ignored_methods(tmp_path):
  x = torch.randn(2, 4)
  program = check_parts(Ignoring(), (x,), {"layer"}, read="is used by a function of Python at",
                        read__first="is part of 'read', which is used by a function")
  assert "a function of Python: scaled at" in program.kept[""]
  with pytest.raises(kiln.Error, match="K1147.*Python function call 'scaled'"):
    program.save(tmp_path / "model.ts")
  assert not list(tmp_path.iterdir())
  check_parts(Calling(), (x,), {"layer"}, called="is used by a function of Python at")
  with pytest.raises(kiln.Error, match="K1145.*function of Python: scaled"):
    kiln.compile(scripted(Handed().eval()), inputs=[x])


# ---- programs of Kiln in a model


class Around(nn.Module):
  def __init__(self, inner: torch.jit.ScriptModule) -> None:
    super().__init__()
    self.inner, self.after = inner, Mlp()

  def forward(self, x: Tensor) -> Tensor:
    return self.after(self.inner(x)) + 1


def test_programs_are_left_alone(tmp_path):
  x = torch.randn(2, 4)
  program = kiln.compile(scripted(Mlp().eval()), inputs=[x])
  program.save(tmp_path / "own.ts")
  for own in (program.script_module(), torch.jit.load(tmp_path / "own.ts")):
    with pytest.raises(kiln.Error, match="K1145.*it is a program of Kiln already") as refused:
      kiln.compile(own, inputs=[x])
    assert "call it as it is" in refused.value.hint
    outer = torch.jit.script(Around(own).eval())
    whole = kiln.compile(outer, inputs=[x])
    assert set(whole.programs) == {"after"}
    assert "it is a program of Kiln already" in whole.kept["inner"]
    whole.save(tmp_path / "outer.ts")
    for made in (whole, torch.jit.load(tmp_path / "outer.ts"), copy.deepcopy(whole)):
      torch.testing.assert_close(made(-x), outer(-x))
    with pytest.raises(kiln.Error, match="K1145.*it is a program of Kiln already"):
      kiln.compile(outer, inputs=[x], strict=True)
