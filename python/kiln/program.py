"""Programs: what compile() returns and load() reads."""

from __future__ import annotations

import copy
import json
import os
import shutil
import warnings
from typing import Any, Callable, Iterable, Mapping

import torch

from . import _native, pt2, script_files
from .frontends.captured import CapturedProgram
from .frontends.errors import FrontendError
from .frontends.tree import make_binder, make_unflatten
from .report import Report, memory_of
from .weights import sort_update

_warned_about_grad = False


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
    self._path = None if path is None else os.path.abspath(path)
    self._file = None if path is None else _identity(path)
    self._strict = strict
    self._script_object: torch.ScriptObject | None = None
    self._open_form: Callable[[dict[str, torch.Tensor]], torch.export.ExportedProgram] | None = None
    self._load_options: dict[str, Any] = {}
    self.report = report
    self._run = native.run
    count = len(captured.inputs)
    self._bind = make_binder(captured.input_tree, count, captured.parameters)
    self._rebuild = make_unflatten(captured.output_tree, captured.notes)
    self._state_names = [info["name"] for info in native.states()]
    self._state = self._register_state()
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
    device = self._native.device()
    initial: list[torch.Tensor] | None = None
    for index, full_name in enumerate(self._state_names):
      tensor = self._captured.weights.get(full_name)
      if tensor is None:
        initial = self._native.initial_state() if initial is None else initial
        tensor = initial[index]
      elif str(tensor.device) != device:  # compiled for another device than the model's
        tensor = tensor.to(device)
      *path, name = full_name.split(".")
      owner: torch.nn.Module = self
      for part in path:
        owner = owner._modules.setdefault(part, torch.nn.Module())
      # Not register_buffer(), which refuses names that are attributes, as "report" is here.
      owner._buffers[name] = tensor
      places.append((owner._buffers, name))
    return places

  def _state_values(self) -> list[torch.Tensor]:
    return [buffers[name] for buffers, name in self._state]

  def _all_weights(self) -> dict[str, torch.Tensor]:
    """By the program's names, as they are now; of the state, the values that it starts from."""
    return {**self._captured.weights, **self._weights}

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

    May be called while other threads run the program: running calls end with the old weights,
    calls that begin meanwhile may wait for the new ones. On error nothing has changed: kiln.Error
    K3113 unknown names, K3114 another shape, K3115 a constant that was compiled in and has another
    value now, K1111 something that is no dense tensor.
    """
    weights, changes = self._sort_update(state_dict)
    self._native.update_weights(weights)
    self._weights.update(weights)
    self._updated = True
    state = dict(zip(self._state_names, self._state_values()))
    with torch.no_grad():
      for name, value in changes.items():
        state[name].copy_(value)

  def _sort_update(self, state_dict: Mapping[str, torch.Tensor]
                   ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Values for weights and for buffers that the program changes. K3113, K3114, K1111."""
    state = dict(zip(self._state_names, self._state_values()))
    return sort_update(state_dict, self._captured.state_names, self._native.weights(), state,
                       self._native.device())

  def _weights_now(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """What would undo an update of the weights with these names."""
    state = {n: t.clone() for n, t in zip(self._state_names, self._state_values())}
    values = {**self._all_weights(), **state}
    targets = {self._captured.state_names[name] for name in names}
    return {name: tensor for name, tensor in values.items() if name in targets}

  # ---- files

  def save(self, path: str | os.PathLike, *, embed_fallback: bool = True,
           native: bool = False) -> None:
    """Writes the program to a file; the suffix says which kind (docs/files.md).

    `.kiln`: runs with kiln.load, `kiln run` and libkiln_runtime in C++. `.pt2`: an ExportedProgram,
    for torch.export.load, kiln.load and C++ programs with libtorch; with embed_fallback=False the
    calls that stay in PyTorch are nodes of its graph. `.ts`: a TorchScript module, for
    torch.jit.load, kiln.load and torch::jit::load in C++. On failure a file that was there stays as
    it was. Raises kiln.Error K1010 to K1019, K30xx.

    native=True, for a program that was compiled for a GPU in this process: a `.kiln` file with the
    machine code of its kernels, which kiln.load(path, trust=True) and libkiln_runtime alone use
    without a compiler (docs/engine_file.md). K1010, K2011, K5305.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1]
    if native and (suffix in (".ts", ".pt", ".pt2") or self._compiled is None):
      raise FrontendError("K1010", "machine code is saved in .kiln files of programs that were "
                          f"built in this process: {path}")
    if suffix == ".pt":
      raise FrontendError("K1010", f"programs are saved as .kiln, .pt2 and .ts files: {path}")
    if suffix == ".pt2":
      pt2.save_exported(self.exported_program(embed_fallback=embed_fallback), path)
    elif suffix == ".ts" and embed_fallback:
      script_files.save_module(self.script_module(), path)
    elif not embed_fallback:
      raise FrontendError("K1010", f"only a .pt2 file can leave its fallbacks to PyTorch: {path}")
    elif self._compiled is not None:
      self._compiled.update_weights(self._weights)
      self._compiled.save(path, native=native)
    elif self._updated:
      raise _updated_and_loaded()
    elif self._path is not None:
      source = self._own_file()
      if os.path.realpath(path) != os.path.realpath(source):
        pt2.write_atomically(path, lambda name: shutil.copyfile(source, name), suffix)
    else:
      raise FrontendError("K1010", "a program from a .pt2 or .ts file is saved as one of these: "
                          f"{path}")

  def exported_program(self, *, embed_fallback: bool = True) -> torch.export.ExportedProgram:
    """The program as torch.export's: one call of the operator kiln::run. What `.pt2` files hold.

    With embed_fallback=False one call for each native part, and between them the ATen calls that
    stay in PyTorch.
    """
    state = dict(zip(self._state_names, self._state_values()))
    if embed_fallback:
      return pt2.export_closed(self._native, self._captured, self.script_object(), state)
    if self._open_form is None:
      raise FrontendError("K1004", "only a program built in this process can leave its fallbacks "
                          "to PyTorch")
    return self._open_form({**self._all_weights(), **state})

  def script_module(self) -> torch.jit.ScriptModule:
    """The program as a TorchScript module with the model's signature. What `.ts` files hold.

    It calls the operator kiln::run, takes its own arguments apart and nests its results; it shares
    the program's buffers. Arguments that were fixed at capture have their values as defaults.
    kiln.Error K1019 for what TorchScript cannot express.
    """
    return script_files.make_module(self.script_object(), self._state_values())

  def script_object(self) -> torch.ScriptObject:
    """The program as a value of class `__torch__.torch.classes.kiln.Program`, as operators take it.

    It shares the program's memory, and the weights are saved from where they lie.
    """
    if self._compiled is not None:
      return pt2.script_object(self._native, self._compiled, self._all_weights())
    if self._updated:
      raise _updated_and_loaded()
    if self._script_object is None:
      # A program from a `.kiln` file is saved as that file, which has its weights inside.
      with open(self._own_file(), "rb") as file:
        data = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
      self._script_object = self._native.script_object(data, [], [])
    return self._script_object

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

  def cuda_graphs(self) -> dict[str, Any]:
    """What was recorded and replayed at the last call on the current stream; empty on the CPU.

    plain_runs, recordings, replays, patches: counts since the first call at these shapes
    spans: list of {steps, plain}: runs of steps; `plain` says why they are started one by one
    staged: list of {name, reason}: inputs and results that are copied, and for which kernel
    """
    return json.loads(self._native.replays())

  def memory(self) -> dict[str, int]:
    """Bytes that the program uses beside its inputs and results.

    weights: the model's own, which the program reads where they lie
    constants: what it has made from weights: packed, cast, folded
    working: memory for values in between and for libraries' workspaces, copies of inputs that the
      kernels cannot take as they lie included. It is that of the largest shapes that ran, once for
      each call that ran at the same time as others (on a GPU: for each stream).
    """
    return {"weights": int(self.report.memory.get("weight_bytes", 0)),
            "constants": int(self._native.packed_bytes()),
            "working": int(self._native.working_bytes())}

  @property
  def bindings_made(self) -> int:
    """How many distinct shapes (and thread counts) have been prepared."""
    return self._native.bindings_made()

  def extra_repr(self) -> str:
    return repr(self.report)

  def __deepcopy__(self, memo: dict) -> "Program":
    """A program with weights and state of its own; the plan is shared, and so are equal constants.

    The copy starts with the weights of now and follows the tensors that this program follows, until
    its update_weights() gives it others. K1017 when the file that this program is from has changed.
    """
    native, script_object = self._new_native()
    twin = Program(native, self._captured, self.report, self._compiled, self._path, self._strict)
    memo[id(self)] = twin
    twin._file = self._file
    twin._script_object = script_object
    twin._open_form = self._open_form
    twin._load_options = self._load_options
    twin._weights = dict(self._weights)
    twin._updated = self._updated
    twin.training = self.training
    for (buffers, name), tensor in zip(twin._state, self._state_values()):
      buffers[name] = copy.deepcopy(tensor, memo)
    return twin

  def _new_native(self) -> tuple["_native.NativeProgram", torch.ScriptObject | None]:
    """Another instance with the weights of now, and its object if it is from a `.pt2` file."""
    if self._compiled is not None:
      # What save() leaves in it may be the weights of another copy.
      self._compiled.update_weights(self._weights)
      return self._compiled.instantiate(weights=self._all_weights()), None
    script_object = None
    if self._path is not None:
      native = _native.load(self._own_file(), **self._load_options)
    else:
      native, script_object = pt2.load_again(self._script_object, **self._load_options)
    if self._updated:
      native.update_weights(self._weights)
    return native, script_object

  def _own_file(self) -> str:
    """The path of the file that the program is from. K1017 when another one is there now."""
    if _identity(self._path) != self._file:
      raise FrontendError("K1017", f"the file of a loaded program has changed: {self._path}",
                          hint="load it again")
    return self._path


def _identity(path: str) -> tuple[int, ...] | None:
  """Tells a file from others that come to its path; None where there is none."""
  try:
    found = os.stat(path)
  except OSError:
    return None
  return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _updated_and_loaded() -> FrontendError:
  return FrontendError("K1011", "a loaded program whose weights were updated cannot be saved",
                       hint="compile the model and save that, or load the file with the weights")


def save(program: Program, path: str | os.PathLike, **options: Any) -> None:
  """program.save(path, ...)."""
  program.save(path, **options)


def _gpu_index(device: str | torch.device | None) -> int:
  """Which GPU a program for one is loaded on: the given one, else torch's current one."""
  index = None if device is None else torch.device(device).index
  if index is None and torch.cuda.is_available():
    index = torch.cuda.current_device()
  return index or 0


def load(path: str | os.PathLike | torch.export.ExportedProgram | torch.jit.ScriptModule, *,
         threads: int = 0, trust: bool = False, allow_ops: list[str] | tuple[str, ...] = (),
         device: str | torch.device | None = None, cuda_graphs: bool = True) -> Program:
  """Reads a `.kiln` file, or a `.pt2` or `.ts` file that holds a program; docs/files.md.

  `.kiln` files are safe with files from strangers unless `trust` or `allow_ops` says more: with
  `trust` any operator is called, and machine code that the file brings runs. `.pt2` and `.ts` files
  are read by torch. An ExportedProgram or ScriptModule that torch.export.load or torch.jit.load gave
  is taken as well: calls of the result do not go through torch's module and operator. Such programs
  share the buffers of what they are from, as the modules of `exported.module()` do, but each has
  weights and threads of its own.

  A `.kiln` file for a GPU runs on `device`, else on torch's current one; `cuda_graphs` as in
  kiln.compile. Raises kiln.Error: K3001 no such
  file, K31xx damaged or foreign, K3301 an operator that needs `allow_ops`, K51xx something this
  machine lacks.
  """
  script_object = None
  load_options: dict[str, Any] = {}
  given = isinstance(path, (torch.export.ExportedProgram, torch.jit.ScriptModule))
  scripted = isinstance(path, torch.jit.ScriptModule) or (
    not given and os.fspath(path).endswith(".ts"))
  if scripted:
    load_options = {"threads": threads}
    module = path if given else script_files.read_module(
      os.fspath(path), trust=trust, allow_ops=list(allow_ops), device_index=_gpu_index(device),
      cuda_graphs=cuda_graphs, **load_options)
    native, captured, script_object = script_files.find_program(module)
  elif given or os.fspath(path).endswith(".pt2"):
    load_options = {"threads": threads}
    exported = path if given else pt2.read_exported(
      os.fspath(path), threads=threads, trust=trust, allow_ops=tuple(allow_ops))
    native, captured, script_object = pt2.find_program(exported)
    captured.weights.update(exported.state_dict)
  else:
    path = os.fspath(path)
    load_options = {"threads": threads, "trust": trust, "allow_ops": list(allow_ops),
                    "device_index": _gpu_index(device), "cuda_graphs": cuda_graphs}
    native = _native.load(path, **load_options)
    captured = CapturedProgram.from_json(native.metadata())
  if given:  # its object belongs to whoever else holds it
    native, script_object = pt2.load_again(script_object, threads)
  report = Report.from_json(native.report_json())
  report.update(memory=memory_of(native))
  program = Program(native, captured, report, path=path if script_object is None else None)
  program._script_object = script_object
  program._load_options = load_options
  return program
