"""Wrong and unusual use: a typed error that says what is wrong, or the right result."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from torch import nn

import kiln


class Small(nn.Module):
  def __init__(self):
    super().__init__()
    self.linear = nn.Linear(6, 4)

  def forward(self, x, y):
    return torch.relu(self.linear(x)) + y, x * 2


@pytest.fixture(scope="module")
def program():
  torch.manual_seed(0)
  model = Small().eval()
  return model, kiln.compile(model, inputs=[torch.randn(3, 6), torch.randn(4)])


def error_of(call):
  with pytest.raises(kiln.Error) as error:
    call()
  return error.value


def test_wrong_inputs(program):
  _, p = program
  x, y = torch.randn(3, 6), torch.randn(4)
  assert error_of(lambda: p(x)).code == "K4101"
  assert error_of(lambda: p(x, y, y)).code == "K4101"
  assert error_of(lambda: p(x.double(), y)).code == "K4102"
  assert error_of(lambda: p(x[0], y)).code == "K4104"
  error = error_of(lambda: p(torch.randn(5, 6), y))
  assert error.code == "K4105" and "'x'" in str(error) and "dim 0" in str(error) and "5" in str(error)
  assert error_of(lambda: p(x, "y")).code in ("K4101", "K4111")
  assert error_of(lambda: p(x, y.to("meta"))).code == "K4107"
  assert error_of(lambda: p(x, y.to(torch.complex64))).code == "K4102"


def test_unknown_options():
  error = error_of(lambda: kiln.compile(Small().eval(), inputs=[torch.randn(3, 6), torch.randn(4)],
                                        strickt=True))
  assert error.code == "K1001" and "strict" in str(error)
  assert error_of(lambda: kiln.compile(Small(), inputs=[], threads=-1)).code == "K1002"
  assert error_of(lambda: kiln.compile(Small(), inputs=[], precision="fp3")).code == "K1002"
  assert error_of(lambda: kiln.compile(Small(), inputs=[], ir="tensorrt")).code == "K1005"
  assert error_of(lambda: kiln.compile("model")).code == "K1101"
  assert error_of(lambda: kiln.compile(Small())).code == "K1101"


def test_files_that_cannot_be(program, tmp_path):
  _, p = program
  assert error_of(lambda: kiln.load(tmp_path / "none.kiln")).code == "K3001"
  assert error_of(lambda: kiln.load(tmp_path)).code.startswith("K300")
  assert error_of(lambda: p.save(tmp_path / "no" / "folder" / "m.kiln")).code.startswith("K30")
  assert error_of(lambda: p.save(tmp_path / "m.pt")).code == "K1010"
  (tmp_path / "text.kiln").write_text("this is no program, however long the text may be")
  assert error_of(lambda: kiln.load(tmp_path / "text.kiln")).code == "K3103"
  (tmp_path / "empty.kiln").write_text("")
  assert error_of(lambda: kiln.load(tmp_path / "empty.kiln")).code == "K3103"


def test_failed_save_leaves_the_old_file(program, tmp_path):
  _, p = program
  path = tmp_path / "m.kiln"
  p.save(path)
  before = path.read_bytes()
  # A folder in the place of the file cannot be replaced by a file.
  other = tmp_path / "folder.kiln"
  other.mkdir()
  (other / "kept").write_text("x")
  error_of(lambda: p.save(other))
  assert (other / "kept").read_text() == "x"
  p.save(path)
  assert path.read_bytes() == before, "equal programs give equal bytes"
  assert sorted(os.listdir(tmp_path)) == ["folder.kiln", "m.kiln"], "no temporary file is left"


def test_unusual_tensors(program):
  model, p = program
  with torch.no_grad():
    wide = torch.randn(3, 12)
    cases = [
      (wide[:, ::2], torch.randn(4)),
      (torch.randn(6, 3).t(), torch.randn(4)),
      (torch.randn(1, 6).expand(3, 6), torch.randn(1).expand(4)),
      (torch.randn(3, 6), torch.randn(8)[4:]),
    ]
    for x, y in cases:
      for got, want in zip(p(x, y), model(x, y)):
        torch.testing.assert_close(got, want)
    both = torch.randn(24)
    x, y = both[:18].view(3, 6), both[10:14]  # the inputs share memory
    for got, want in zip(p(x, y), model(x, y)):
      torch.testing.assert_close(got, want)


def test_empty_and_scalar_tensors():
  class Model(nn.Module):
    def forward(self, x, s):
      return (x * s).sum(), x + 1, s * s

  model = Model()
  for shape in ((0, 3), (2, 3)):
    x, s = torch.randn(shape), torch.tensor(2.5)
    p = kiln.compile(model, inputs=[x, s])
    for got, want in zip(p(x, s), model(x, s)):
      assert got.shape == want.shape
      torch.testing.assert_close(got, want)


def test_outputs_are_fresh(program):
  _, p = program
  x, y = torch.randn(3, 6), torch.randn(4)
  first = p(x, y)
  kept = [t.clone() for t in first]
  p(torch.randn(3, 6), torch.randn(4))
  for a, b in zip(first, kept):
    assert torch.equal(a, b)
  first[0].zero_()
  assert torch.equal(p(x, y)[0], kept[0])


def test_grad_mode_detaches_with_one_warning(program):
  model, p = program
  x, y = torch.randn(3, 6, requires_grad=True), torch.randn(4)
  import kiln.program as module
  module._warned_about_grad = False
  with pytest.warns(UserWarning, match="detached"):
    result = p(x, y)
  assert not result[0].requires_grad
  strict = kiln.compile(model, inputs=[torch.randn(3, 6), torch.randn(4)], strict=True)
  assert error_of(lambda: strict(x, y)).code == "K1107"


def test_eight_threads_at_once(program):
  model, p = program
  inputs = [(torch.randn(3, 6), torch.randn(4)) for _ in range(8)]
  with torch.no_grad():
    expected = [p(x, y) for x, y in inputs]
  failures = []

  def work(i):
    x, y = inputs[i]
    for _ in range(200):
      with torch.no_grad():
        for got, want in zip(p(x, y), expected[i]):
          if not torch.equal(got, want):
            failures.append(i)
            return

  threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not failures


def test_program_is_a_submodule():
  torch.manual_seed(0)
  model = Small().eval()
  p = kiln.compile(model, inputs=[torch.randn(3, 6), torch.randn(4)])

  class Outer(nn.Module):
    def __init__(self):
      super().__init__()
      self.inner = p

    def forward(self, x, y):
      return self.inner(x, y)[0] - 1

  x, y = torch.randn(3, 6), torch.randn(4)
  with torch.no_grad():
    torch.testing.assert_close(Outer()(x, y), model(x, y)[0] - 1)


def test_memory_is_flat():
  """RSS after 10,000 runs is what it was after 1,000, up to the allocator's noise."""
  model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8)).eval()
  x = torch.randn(4, 32)
  p = kiln.compile(model, inputs=[x])

  def rss():
    with open("/proc/self/statm") as file:
      return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

  with torch.no_grad():
    for _ in range(1000):
      p(x)
    before = rss()
    for _ in range(10000):
      p(x)
  assert rss() - before < 2 * 2**20


def test_tensors_without_plain_memory(program):
  _, p = program
  x, y = torch.randn(3, 6), torch.randn(4)
  nested = torch.nested.nested_tensor([torch.randn(2, 6), torch.randn(1, 6)])
  for unusual in (nested, x.to_sparse(), x.to_mkldnn()):
    error = error_of(lambda: p(unusual, y))
    assert error.code == "K4102" and "layout" in str(error) and "'x'" in str(error)
  transformed = (lambda: torch.vmap(lambda row: p(row, y))(torch.randn(2, 3, 6)),
                 lambda: torch.func.grad(lambda x: p(x, y)[0].sum())(x),
                 lambda: torch.func.jvp(lambda x: p(x, y), (x,), (x,)))
  for call in transformed:
    error = error_of(call)
    assert error.code == "K4112" and "torch.func" in str(error)
