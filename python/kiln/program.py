"""Programs: what compile() returns and load() reads."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from typing import Any, Callable

import torch

from . import _native, pt2
from .frontends.captured import CapturedProgram
from .frontends.errors import FrontendError
from .frontends.tree import make_binder, make_unflatten
from .report import Report

_warned_about_grad = False


class Program(torch.nn.Module):
  """A compiled model: call it as the model was called.

  The program borrows the model's parameters and does not follow later changes to them. Wrong
  arguments raise kiln.Error with a stable code.
  """

  def __init__(self, native: "_native.NativeProgram", captured: CapturedProgram, report: Report,
               compiled: Any = None, path: str | None = None, strict: bool = False):
    super().__init__()
    self._native = native
    self._captured = captured
    self._compiled = compiled
    self._path = path
    self._strict = strict
    self._script_object: torch.ScriptObject | None = None
    self._open_form: Callable[[], torch.export.ExportedProgram] | None = None
    self.report = report
    self._run = native.run
    count = len(captured.inputs)
    self._bind = make_binder(captured.input_tree, count, captured.parameters)
    self._rebuild = make_unflatten(captured.output_tree, captured.notes)
    self._state = self._find_state(native.inputs()[count:])
    self._needs_sizes = '"expr"' in json.dumps(captured.output_tree)
    self._plain = self._plain_arity()
    self._single = captured.output_tree == {"kind": "tensor", "index": 0}

  def _find_state(self, infos: list[dict]) -> list[torch.Tensor]:
    """Buffers that the program changes: the module's own, passed with every call."""
    state = []
    for info in infos:
      tensor = self._captured.weights.get(info["name"])
      if tensor is None:
        shape = [low for _, low, _ in info["dims"]]
        tensor = torch.zeros(shape, dtype=pt2.TORCH_DTYPES[info["dtype"]])
      state.append(tensor)
    return state

  def _plain_arity(self) -> int:
    """Number of positional tensors when the arguments are nothing else; else -1."""
    args, kwargs = self._captured.input_tree["items"]
    expected = [{"kind": "tensor", "index": i} for i in range(len(args["items"]))]
    return len(expected) if args["items"] == expected and not kwargs["items"] else -1

  def forward(self, *args: Any, **kwargs: Any) -> Any:
    if not kwargs and len(args) == self._plain:
      values = args if not self._state else [*args, *self._state]
    else:
      values = self._bind(args, kwargs)
      if self._state:
        values = [*values, *self._state]
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

  # ---- files

  def save(self, path: str | os.PathLike, *, embed_fallback: bool = True) -> None:
    """Writes the program to a file; the suffix says which kind (docs/files.md).

    `.kiln`: runs with kiln.load, `kiln run` and libkiln_runtime in C++. `.pt2`: an ExportedProgram,
    for torch.export.load, kiln.load and C++ programs with libtorch; with embed_fallback=False the
    calls that stay in PyTorch are nodes of its graph. On failure a file that was there stays as it
    was. Raises kiln.Error K1010 to K1015, K30xx.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1]
    if suffix in (".ts", ".pt"):
      raise FrontendError("K1010", f"programs are saved as .kiln and .pt2 files: {path}")
    if suffix == ".pt2":
      pt2.save_exported(self.exported_program(embed_fallback=embed_fallback), path)
    elif not embed_fallback:
      raise FrontendError("K1010", f"only a .pt2 file can leave its fallbacks to PyTorch: {path}")
    elif self._compiled is not None:
      self._compiled.save(path)
    elif self._path is not None:
      pt2.write_atomically(path, lambda name: shutil.copyfile(self._path, name), suffix)
    else:
      raise FrontendError("K1010", "a program from a .pt2 file is saved as a .pt2 file: "
                          f"{path}")

  def exported_program(self, *, embed_fallback: bool = True) -> torch.export.ExportedProgram:
    """The program as torch.export's: one call of the operator kiln::run. What `.pt2` files hold.

    With embed_fallback=False one call for each native part, and between them the ATen calls that
    stay in PyTorch.
    """
    if not embed_fallback:
      if self._open_form is None:
        raise FrontendError("K1004", "only a program built in this process can leave its fallbacks "
                            "to PyTorch")
      return self._open_form()
    names = [info["name"] for info in self._native.inputs()[len(self._captured.inputs):]]
    return pt2.export_closed(self._native, self._captured, self.script_object(),
                             dict(zip(names, self._state)))

  def script_object(self) -> torch.ScriptObject:
    """The program as a value of class `__torch__.torch.classes.kiln.Program`, as operators take it.

    It shares the program's memory, and the weights are saved from where they lie.
    """
    if self._compiled is not None:
      return pt2.script_object(self._native, self._compiled, self._captured.weights)
    if self._script_object is None:
      # A program from a `.kiln` file is saved as that file, which has its weights inside.
      with open(self._path, "rb") as file:
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
    values = [*self._bind(args, kwargs), *self._state]
    return json.loads(self._native.profile(values, repeats))

  @property
  def bindings_made(self) -> int:
    """How many distinct shapes (and thread counts) have been prepared."""
    return self._native.bindings_made()

  def extra_repr(self) -> str:
    return repr(self.report)

  def __deepcopy__(self, memo: dict) -> "Program":
    # Programs do not change, so a copy is the program itself.
    return self


def save(program: Program, path: str | os.PathLike, **options: Any) -> None:
  """program.save(path, ...)."""
  program.save(path, **options)


def load(path: str | os.PathLike | torch.export.ExportedProgram, *, threads: int = 0,
         trust: bool = False, allow_ops: list[str] | tuple[str, ...] = ()) -> Program:
  """Reads a `.kiln` file, or a `.pt2` file that holds a program; docs/files.md.

  `.kiln` files are safe with files from strangers unless `trust` or `allow_ops` says more; `.pt2`
  files are read by torch. An ExportedProgram that torch.export.load gave is taken as well: calls
  of the result do not go through torch's module and operator. Raises kiln.Error: K3001 no such
  file, K31xx damaged or foreign, K3301 an operator that needs `allow_ops`, K51xx something this
  machine lacks.
  """
  script_object = None
  if isinstance(path, torch.export.ExportedProgram) or os.fspath(path).endswith(".pt2"):
    exported = path
    if not isinstance(path, torch.export.ExportedProgram):
      exported = pt2.read_exported(os.fspath(path), threads=threads, trust=trust,
                                   allow_ops=tuple(allow_ops))
    native, captured, script_object = pt2.find_program(exported)
    captured.weights.update(exported.state_dict)
  else:
    path = os.fspath(path)
    native = _native.load(path, threads=threads, trust=trust, allow_ops=list(allow_ops))
    captured = CapturedProgram.from_json(native.metadata())
  report = Report.from_json(native.report_json())
  report.update(memory={"packed_bytes": native.packed_bytes()})
  program = Program(native, captured, report, path=path if script_object is None else None)
  program._script_object = script_object
  return program
