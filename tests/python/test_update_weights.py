"""Weights that change: told by update_weights, noticed in place, through torch.compile; shared."""

from __future__ import annotations

import copy
import gc
import threading

import pytest
import torch
from torch import nn

import kiln
from kiln import _native


class Net(nn.Module):
  """Borrowed, packed, folded and merged constants, tied weights, an unread buffer, a mask."""

  def __init__(self, seed: int = 0):
    super().__init__()
    torch.manual_seed(seed)
    self.conv = nn.Conv2d(3, 8, 3, padding=1)
    self.norm = nn.BatchNorm2d(8)
    self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
    self.first = nn.Linear(8, 8, bias=False)
    self.second = nn.Linear(8, 8, bias=False)
    self.second.weight = self.first.weight
    self.shift = nn.Parameter(torch.randn(8))
    self.register_buffer("scale", torch.rand(8) + 0.5)
    with torch.no_grad():
      self.norm.running_mean.normal_()
      self.norm.running_var.uniform_(0.5, 2)
    self.eval()

  def forward(self, x):
    y = self.norm(self.conv(x)).relu().mean((2, 3))
    y = self.q(y) + self.k(y).tanh() * self.v(y)
    return self.second(self.first(y).relu()) * self.scale + self.shift


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(7))


@pytest.fixture(autouse=True)
def no_grad():
  with torch.no_grad():
    yield


def compiled(net: nn.Module) -> kiln.Program:
  return kiln.compile(net, [X])


def test_there_and_back_and_as_a_fresh_compile():
  a, b = Net(0), Net(1)
  program = compiled(a)
  before, fresh = program(X), compiled(b)(X)
  assert not torch.equal(before, fresh)
  state_a = copy.deepcopy(a.state_dict())
  program.update_weights(b.state_dict())
  assert torch.equal(program(X), fresh)
  program.update_weights(state_a)
  assert torch.equal(program(X), before)
  assert program.bindings_made == 1


def test_a_part_and_tied_names():
  a, b = Net(0), Net(1)
  program = compiled(copy.deepcopy(a))
  for names in (["k.weight"], ["norm.running_var", "norm.num_batches_tracked"], ["shift"],
                ["second.weight"], ["conv.bias", "scale"]):
    part = {name: b.state_dict()[name] for name in names}
    a.load_state_dict(part, strict=False)
    program.update_weights(part)
    assert torch.equal(program(X), compiled(copy.deepcopy(a))(X)), names
  program.update_weights({})


def test_other_dtypes_are_cast_and_strides_do_not_matter():
  net = Net(1)
  program = compiled(Net(0))
  state = {name: t.double() if t.is_floating_point() else t for name, t in
           net.state_dict().items()}
  state["q.weight"] = state["q.weight"].t().contiguous().t()
  program.update_weights(state)
  assert torch.equal(program(X), compiled(net)(X))


@pytest.mark.parametrize("wrong, code, text", [
  ({"q.weigth": torch.zeros(8, 8), "nonsense": torch.zeros(1)}, "K3113", "'q.weigth', 'nonsense'"),
  ({"q.weight": torch.zeros(8, 9)}, "K3114", r"'q.weight' has shape [8, 9], expected [8, 8]"),
  ({"second.weight": torch.zeros(64)}, "K3114", "second.weight"),
  ({"q.bias": [0.0] * 8}, "K1111", "q.bias"),
  ({"q.bias": torch.zeros(8).to_sparse()}, "K1111", "q.bias"),
])
def test_errors_change_nothing(wrong, code, text):
  program = compiled(Net(0))
  before = program(X)
  with pytest.raises(kiln.Error) as error:
    program.update_weights({**Net(1).state_dict(), **wrong})
  assert error.value.code == code
  assert text in str(error.value)
  assert torch.equal(program(X), before)


class WithConstant(nn.Module):
  def __init__(self):
    super().__init__()
    self.fc = nn.Linear(4, 4)
    self.table = torch.arange(4.0)  # no buffer: torch.export lifts it as a constant

  def forward(self, x):
    return self.fc(x) * self.table


def test_a_constant_is_part_of_the_program():
  net = WithConstant().eval()
  x = torch.randn(2, 4)
  program = kiln.compile(net, [x])
  before = program(x)
  (name,) = [n for n, _, _ in program._native.weights() if "table" in n]
  with pytest.raises(kiln.Error) as error:
    program.update_weights({name: torch.ones(4), "fc.bias": torch.ones(4)})
  assert error.value.code == "K3115"
  assert torch.equal(program(x), before)
  program.update_weights({name: torch.arange(4.0)})
  constant = torch.arange(4.0)
  program.update_weights({name: constant})
  constant.add_(1)  # noticed, and refused at every call
  for _ in range(2):
    with pytest.raises(kiln.Error) as error:
      program(x)
    assert error.value.code == "K3115"


def test_changes_in_place_are_taken_in_as_a_whole():
  net, other = Net(0), Net(1)
  program = compiled(net)
  program(X)
  net.load_state_dict(other.state_dict())
  assert torch.equal(program(X), compiled(other)(X))
  for parameter in net.parameters():
    parameter.mul_(1.25)
  assert torch.equal(program(X), compiled(copy.deepcopy(net))(X))
  net.norm.running_mean.add_(0.5)  # folded only
  assert torch.equal(program(X), compiled(copy.deepcopy(net))(X))
  torch.testing.assert_close(program(X), net(X), rtol=1e-4, atol=1e-5)


def test_given_tensors_are_followed_and_clones_are_not():
  program = compiled(Net(0))
  other = Net(1)
  program.update_weights(other.state_dict())
  other.first.weight.mul_(2)
  other.shift.add_(1)
  assert torch.equal(program(X), compiled(copy.deepcopy(other))(X))
  program.update_weights({name: t.clone() for name, t in other.state_dict().items()})
  before = program(X)
  other.shift.add_(1)
  other.conv.weight.zero_()
  assert torch.equal(program(X), before)


def test_changes_that_torch_does_not_count_need_telling():
  net = Net(0)
  program = compiled(net)
  program(X)
  net.conv.weight.data.mul_(3)
  net.shift.data.mul_(3)
  program.update_weights(net.state_dict())
  assert torch.equal(program(X), compiled(copy.deepcopy(net))(X))


def test_saved_with_the_weights_of_now(tmp_path):
  program = compiled(Net(0))
  other = Net(1)
  program.update_weights(other.state_dict())
  path = tmp_path / "net.kiln"
  program.save(path)
  loaded = kiln.load(path)
  fresh = compiled(other)(X)
  assert torch.equal(loaded(X), fresh)
  loaded.update_weights(Net(0).state_dict())  # tied and unread names are known
  assert torch.equal(loaded(X), compiled(Net(0))(X))
  with pytest.raises(kiln.Error, match="K1011"):
    loaded.save(tmp_path / "again.kiln")
  other.scale.mul_(2)
  program.save(path)
  assert torch.equal(kiln.load(path)(X), program(X))


class Halves(nn.Module):
  """A call that stays in PyTorch, with a weight of its own, between native parts; a counter."""

  def __init__(self, seed: int):
    super().__init__()
    torch.manual_seed(seed)
    self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)
    self.last.weight = self.first.weight
    self.middle = nn.Parameter(torch.rand(6))
    self.register_buffer("calls", torch.full((), float(seed)))
    self.eval()

  def forward(self, x):
    self.calls += 1
    y = torch.special.erfcx(torch.tanh(self.first(x)) * self.middle)
    return self.last(torch.logcumsumexp(y * self.middle, 1)) + self.calls


def test_the_open_form_has_the_weights_of_now(tmp_path):
  x = torch.randn(3, 6)
  program = kiln.compile(Halves(0), [x])
  assert program.report.fallbacks
  twin = copy.deepcopy(program)
  program.update_weights(Halves(5).state_dict())
  twin.update_weights(Halves(9).state_dict())
  for expected, current in ((Halves(5), program), (Halves(9), twin)):
    current.save(tmp_path / "open.pt2", embed_fallback=False)
    loaded = torch.export.load(tmp_path / "open.pt2").module()
    result = expected(x)
    torch.testing.assert_close(loaded(x), result)
    torch.testing.assert_close(current(x), result)  # the file has a counter of its own


def test_a_copy_has_weights_of_its_own(tmp_path):
  net, other = Net(0), Net(1)
  program, before, fresh = compiled(net), compiled(net)(X), compiled(other)(X)
  twin = copy.deepcopy(program)
  assert twin._native.packed_bytes() == twin._native.shared_bytes() > 0
  assert twin._native.constant_addresses() == program._native.constant_addresses()
  twin.update_weights(other.state_dict())
  assert torch.equal(program(X), before) and torch.equal(twin(X), fresh)
  twin.save(tmp_path / "twin.kiln")
  # What the twin saved is not what a copy of the program starts with.
  assert torch.equal(copy.deepcopy(program)(X), before)
  third = copy.deepcopy(twin)
  assert third._native.constant_addresses() == twin._native.constant_addresses()
  program.update_weights(other.state_dict())
  twin.update_weights(Net(0).state_dict())
  assert torch.equal(program(X), fresh) and torch.equal(twin(X), before)
  assert torch.equal(third(X), fresh)
  program.save(tmp_path / "program.kiln")
  assert torch.equal(kiln.load(tmp_path / "program.kiln")(X), fresh)
  other.shift.add_(1)  # followed by all that have it
  assert torch.equal(third(X), program(X)) and not torch.equal(third(X), fresh)


@pytest.mark.parametrize("suffix", [".kiln", ".pt2"])
def test_a_copy_of_a_loaded_program(tmp_path, suffix):
  program, fresh = compiled(Net(0)), compiled(Net(1))(X)
  path = tmp_path / f"net{suffix}"
  program.save(path)
  loaded, before = kiln.load(path), program(X)
  twin = copy.deepcopy(loaded)
  assert torch.equal(twin(X), before)
  assert set(twin._native.constant_addresses()) & set(loaded._native.constant_addresses())
  twin.save(tmp_path / f"again{suffix}")
  assert torch.equal(kiln.load(tmp_path / f"again{suffix}")(X), before)
  exported = twin.exported_program()
  twin.update_weights(Net(1).state_dict())
  assert torch.equal(loaded(X), before) and torch.equal(twin(X), fresh)
  third = copy.deepcopy(twin)
  assert torch.equal(third(X), fresh)
  twin.update_weights(Net(0).state_dict())
  loaded.update_weights(Net(1).state_dict())
  assert torch.equal(third(X), fresh) and torch.equal(twin(X), before)
  assert torch.equal(exported.module()(X), before), "it is the twin's, not the original's"


def test_no_copy_from_a_file_that_has_changed(tmp_path):
  path = tmp_path / "net.kiln"
  compiled(Net(0)).save(path)
  loaded = kiln.load(path)
  loaded.save(path)  # is there already
  before = copy.deepcopy(loaded)(X)
  compiled(Net(1)).save(path)
  for act in (lambda: copy.deepcopy(loaded), lambda: loaded.save(tmp_path / "other.kiln"),
              loaded.exported_program):
    with pytest.raises(kiln.Error, match="K1017"):
      act()
  assert torch.equal(loaded(X), before)


def test_external_weights_from_bytes():
  net = Net(0)
  program = compiled(net)
  data = program._compiled.serialize(True)
  weights = {n: program._captured.weights[n] for n, _, _ in program._native.weights()}
  native = _native.load_bytes(data, weights=weights)
  assert torch.equal(native.run([X])[0], program(X))
  assert native.shared_bytes() == native.packed_bytes() > 0  # program holds them already
  net.q.weight.mul_(2)
  assert torch.equal(native.run([X])[0], program(X))
  with pytest.raises(kiln.Error, match="K3112"):
    _native.load_bytes(data)


def test_threads_see_all_of_one_update():
  a, b = Net(0).state_dict(), Net(1).state_dict()
  program = compiled(Net(0))
  results = [compiled(Net(0))(X), compiled(Net(1))(X)]
  wrong, stop = [], threading.Event()

  def call():
    with torch.no_grad():
      while not stop.is_set():
        y = program(X)
        if not any(torch.equal(y, result) for result in results):
          wrong.append(y)

  threads = [threading.Thread(target=call) for _ in range(3)]
  for thread in threads:
    thread.start()
  for i in range(40):
    program.update_weights(b if i % 2 == 0 else a)
  stop.set()
  for thread in threads:
    thread.join()
  assert not wrong


def test_programs_of_one_model_hold_packed_weights_once():
  net = Net(0)
  first = kiln.compile(net, [X])
  second = kiln.compile(net, [X])
  assert first._native.packed_bytes() == second._native.packed_bytes() > 0
  assert second._native.shared_bytes() == second._native.packed_bytes()
  assert second._native.constant_addresses() == first._native.constant_addresses()
  other = Net(1).state_dict()
  for program in (first, second):
    program.update_weights(other)
  assert second._native.constant_addresses() == first._native.constant_addresses()
  y = second(X)
  del first, program
  gc.collect()
  assert torch.equal(second(X), y)
  # For another shape oneDNN may want the convolution's weights in another layout.
  third = kiln.compile(net, [torch.cat([X, X, X])])
  third.update_weights(other)
  assert third._native.packed_bytes() > 0
  shared = set(third._native.constant_addresses()) & set(second._native.constant_addresses())
  assert len(shared) >= len(second._native.constant_addresses()) - 1


def test_torch_compile_updates_without_lowering_again():
  from kiln.compiler import _jit_reports
  torch._dynamo.reset()
  net, other = Net(0), Net(1)
  function = torch.compile(net, backend="kiln")
  function(X)
  reports = len(_jit_reports)
  for state in (other.state_dict(), Net(2).state_dict(), other.state_dict()):
    net.load_state_dict(state)
    y = function(X)
    torch.testing.assert_close(y, copy.deepcopy(net)(X), rtol=1e-4, atol=1e-5)
  net.q.weight.mul_(2)
  torch.testing.assert_close(function(X), net(X), rtol=1e-4, atol=1e-5)
  assert len(_jit_reports) == reports


def test_torch_compile_variants_share():
  torch._dynamo.reset()
  net = Net(0)
  reports = []
  function = torch.compile(net, backend="kiln", dynamic=False)
  from kiln.compiler import _jit_reports
  for x in (X, torch.cat([X, X])):
    function(x)
    reports.append(_jit_reports[-1].memory)
  # All but the convolution's weights, which may be packed otherwise for another shape.
  assert reports[1]["shared_bytes"] > 0.7 * reports[1]["packed_bytes"] > 0
