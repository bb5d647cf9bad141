"""Programs: what compile() returns and load() reads."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
import warnings
from typing import Any, Mapping

import torch

from . import _native
from .frontends.captured import DTYPES, CapturedInput, CapturedProgram
from .frontends.errors import FrontendError
from .frontends.tree import make_binder, make_unflatten
from .report import Report
from .weights import sort_update

_warned_about_grad = False


def describe_program(captured: CapturedProgram) -> str:
  """What a file keeps of the Python side: trees and names, as JSON."""
  return json.dumps({
    "inputs": [[i.name, i.kind, i.dtype, i.dims, i.expr] for i in captured.inputs],
    "output_names": captured.output_names,
    "input_tree": captured.input_tree,
    "output_tree": captured.output_tree,
    "symbols": {name: list(bounds) for name, bounds in captured.symbols.items()},
    "parameters": list(captured.parameters),
    "state_names": captured.state_names,
  })


def _captured_from(metadata: str) -> CapturedProgram:
  try:
    data = json.loads(metadata)
    return CapturedProgram(
      inputs=[CapturedInput(*entry) for entry in data["inputs"]],
      output_names=list(data["output_names"]),
      input_tree=data["input_tree"],
      output_tree=data["output_tree"],
      symbols={name: tuple(bounds) for name, bounds in data["symbols"].items()},
      parameters=tuple(data["parameters"]),
      state_names=dict(data["state_names"]),
    )
  except (KeyError, TypeError, ValueError) as error:
    raise FrontendError("K3120", f"the file does not describe its inputs and outputs: {error}",
                        hint="it was not saved from Python; run it with kiln run or from C++"
                        ) from error


class Program(torch.nn.Module):
  """A compiled model: call it as the model was called.

  The program borrows the model's parameters and buffers and follows changes in place: an optimizer
  step, `load_state_dict` or `copy_` is taken in as a whole by the next call, which then computes
  again the constants that depend on what changed. It notices by the tensors' version counters, so
  writes that torch does not count stay unseen (through `.data` or numpy, or to tensors made in
  inference mode), and so do tensors that replace a parameter (`model.to(...)`,
  `load_state_dict(assign=True)`); after those, call `update_weights(model.state_dict())`.

  Buffers that the model changes (KV caches, counters) are buffers of the program, under the model's
  names: `named_buffers()`, `state_dict()` and `load_state_dict()` show and set them. Of a compiled
  module they are the module's own tensors; a program from a file has its own, which start with the
  values in the file. Calls of such a program from several threads run one after the other.

  Wrong arguments raise kiln.Error with a stable code.
  """

  def __init__(self, native: "_native.NativeProgram", captured: CapturedProgram, report: Report,
               compiled: Any = None, path: str | None = None, strict: bool = False):
    super().__init__()
    self._native = native
    self._captured = captured
    self._compiled = compiled
    self._path = path
    self._strict = strict
    self.report = report
    self._run = native.run
    count = len(captured.inputs)
    self._bind = make_binder(captured.input_tree, count, captured.parameters)
    self._rebuild = make_unflatten(captured.output_tree, captured.notes)
    self._state = self._register_state()
    self._state_names = [info["name"] for info in native.states()]
    self._weights = {name: captured.weights[name] for name, _, _ in native.weights()
                     if name in captured.weights and name not in self._state_names}
    self._updated = False
    self._needs_sizes = '"expr"' in json.dumps(captured.output_tree)
    self._plain = self._plain_arity()
    self._single = captured.output_tree == {"kind": "tensor", "index": 0}

  def _register_state(self) -> list[tuple[dict, str]]:
    """Buffers that the program changes: registered, and passed with every call.

    Where each one is found: `.to()` and its like put other tensors there.
    """
    places = []
    initial: list[torch.Tensor] | None = None
    for index, info in enumerate(self._native.states()):
      tensor = self._captured.weights.get(info["name"])
      if tensor is None:
        initial = self._native.initial_state() if initial is None else initial
        tensor = initial[index]
      *path, name = info["name"].split(".")
      owner: torch.nn.Module = self
      for part in path:
        owner = owner._modules.setdefault(part, torch.nn.Module())
      # Not register_buffer(), which refuses names that are attributes, as "report" is here.
      owner._buffers[name] = tensor
      places.append((owner._buffers, name))
    return places

  def _state_values(self) -> list[torch.Tensor]:
    return [buffers[name] for buffers, name in self._state]

  def _plain_arity(self) -> int:
    """Number of positional tensors when the arguments are nothing else; else -1."""
    args, kwargs = self._captured.input_tree["items"]
    expected = [{"kind": "tensor", "index": i} for i in range(len(args["items"]))]
    return len(expected) if args["items"] == expected and not kwargs["items"] else -1

  def forward(self, *args: Any, **kwargs: Any) -> Any:
    if not kwargs and len(args) == self._plain:
      values = args if not self._state else [*args, *self._state_values()]
    else:
      values = self._bind(args, kwargs)
      if self._state:
        values = [*values, *self._state_values()]
    if torch.is_grad_enabled():
      self._check_grad(values)
    outputs = self._run(values)
    if self._single:
      return outputs[0]
    sizes = self._captured.symbol_values(values) if self._needs_sizes else {}
    return self._rebuild(outputs, sizes)

  def _check_grad(self, values: Any) -> None:
    global _warned_about_grad
    if not any(isinstance(v, torch.Tensor) and v.requires_grad for v in values):
      return
    message = "grad mode is on, but kiln programs are for inference: outputs are detached"
    if self._strict:
      raise FrontendError("K1107", message, hint="call the program under torch.no_grad()")
    if not _warned_about_grad:
      _warned_about_grad = True
      warnings.warn(f"{message}; call the program under torch.no_grad()", stacklevel=4)

  # ---- weights

  def update_weights(self, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Gives the program other weights without compiling again.

    Names are those of the model's `state_dict()`, all of them or some; entries that the program
    does not read are ignored. Constants that depend on the named weights are computed again, from
    the values as they are now, whatever the version counters say. The results are those of a fresh
    compile with these weights.

    From now on the program borrows the given tensors and follows them as it did the model's:
    later changes in place are taken in as a whole at the next call. Pass clones to be independent
    of them. Other dtypes are cast and other devices copied from, as by load_state_dict; such copies
    follow nothing. Buffers that the program itself changes are written in place.

    May be called while other threads run the program: running calls end with the old weights. On
    error nothing has changed: kiln.Error K3113 unknown names, K3114 another shape, K3115 a constant
    that was compiled in and has another value now, K1111 something that is no dense tensor.
    """
    state = dict(zip(self._state_names, self._state_values()))
    weights, changes = sort_update(state_dict, self._captured.state_names, self._native.weights(),
                                   state)
    self._native.update_weights(weights)
    self._weights.update(weights)
    self._updated = True
    with torch.no_grad():
      for name, value in changes.items():
        state[name].copy_(value)

  # ---- files

  def save(self, path: str | os.PathLike) -> None:
    """Writes a `.kiln` file: runs with kiln.load, `kiln run` and libkiln_runtime in C++.

    On failure a file that was there stays as it was. Raises kiln.Error K30xx.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1]
    if suffix in (".pt2", ".ts", ".pt"):
      raise FrontendError("K1010", f"programs are saved as .kiln files only: {path}")
    if self._compiled is not None:
      self._compiled.update_weights(self._weights)
      self._compiled.save(path)
      return
    if self._updated:
      raise FrontendError("K1011", "a loaded program whose weights were updated cannot be saved",
                          hint="compile the model and save that, or load the file with the weights")
    _copy_file(self._path, path)

  # ---- looking inside

  def ir(self, stage: str = "simplified") -> str:
    """Text of the IR after simplify ("simplified") or as kernels were chosen for ("lowered")."""
    if self._compiled is None:
      raise FrontendError("K1004", "only a program built in this process has its ir at hand")
    return self._compiled.ir(stage)

  def profile(self, *args: Any, repeats: int = 20, **kwargs: Any) -> list[dict]:
    """Median seconds of each step: rows {kind, label, origin, implementation, seconds}."""
    values = [*self._bind(args, kwargs), *self._state_values()]
    return json.loads(self._native.profile(values, repeats))

  @property
  def bindings_made(self) -> int:
    """How many distinct shapes (and thread counts) have been prepared."""
    return self._native.bindings_made()

  def extra_repr(self) -> str:
    return repr(self.report)

  def __deepcopy__(self, memo: dict) -> "Program":
    # Only the state of a program changes: a copy has its own.
    if not self._state:
      return self
    twin = Program(self._native, self._captured, self.report, self._compiled, self._path,
                   self._strict)
    for (buffers, name), tensor in zip(twin._state, self._state_values()):
      buffers[name] = copy.deepcopy(tensor, memo)
    memo[id(self)] = twin
    return twin


def _copy_file(source: str, target: str) -> None:
  """Copies under a temporary name and renames."""
  folder = os.path.dirname(os.path.abspath(target))
  try:
    handle, temporary = tempfile.mkstemp(dir=folder)
    os.close(handle)
    try:
      shutil.copyfile(source, temporary)
      os.replace(temporary, target)
    except BaseException:
      os.unlink(temporary)
      raise
  except OSError as error:
    raise FrontendError("K3003", f"cannot write: {target}: {error.strerror}") from error


def load(path: str | os.PathLike, *, threads: int = 0, trust: bool = False,
         allow_ops: list[str] | tuple[str, ...] = ()) -> Program:
  """Reads a `.kiln` file. Safe with files from strangers unless `trust` or `allow_ops` says more.

  Raises kiln.Error: K3001 no such file, K31xx damaged or foreign, K3301 an operator that needs
  `allow_ops`, K51xx something this machine lacks.
  """
  path = os.fspath(path)
  native = _native.load(path, threads=threads, trust=trust, allow_ops=list(allow_ops))
  report = Report.from_json(native.report_json())
  report.update(memory={"packed_bytes": native.packed_bytes(),
                        "shared_bytes": native.shared_bytes()})
  return Program(native, _captured_from(native.metadata()), report, path=path)
