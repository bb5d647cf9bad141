"""From a module and a description of its inputs to an ExportedProgram."""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from dataclasses import dataclass, field
from typing import Any, Iterator, Sequence

import torch
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from . import fake_corrections, fx_graphs, tree
from .errors import FrontendError
from .input_spec import Input

_NO_EXAMPLE = "dynamic dims need example sizes >= 2"


@dataclass
class CapturedModule:
  """What torch.export made of a module."""

  program: ExportedProgram
  parameters: tuple[str, ...]  # names of forward's positional parameters
  mode: str  # "non-strict" or "strict"; "exported" for one that the user made
  notes: list[str] = field(default_factory=list)


def positional_parameters(model: torch.nn.Module) -> tuple[str, ...]:
  """Names of the parameters of forward that can be given by position."""
  kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
  try:
    signature = inspect.signature(model.forward)
  except (TypeError, ValueError):
    return ()
  return tuple(p.name for p in signature.parameters.values() if p.kind in kinds)


def capture_module(model: torch.nn.Module, args: Sequence[Any] | None = None,
                   kwargs: dict[str, Any] | None = None, inputs: Any = None,
                   dynamic_shapes: Any = None) -> CapturedModule:
  """Exports `model`.

  The arguments are given as examples (`args`, `kwargs`) or as `inputs`: a sequence is taken by
  position, a dict by name; leaves are tensors, kiln.Input or plain values. `dynamic_shapes` is
  torch.export's; ranges can come from it or from kiln.Input, not from both.
  The model's mode (training or eval) is taken as it is, with a warning where training shows.
  Non-strict capture is tried first, then strict; `mode` says which worked.
  Raises FrontendError K1101 (arguments), K1102 (capture).
  """
  if not isinstance(model, torch.nn.Module):
    raise FrontendError("K1101", f"expected a torch.nn.Module, got {type(model).__name__}")
  tree.register_known_types()
  if isinstance(model, torch.fx.GraphModule):
    model = fx_graphs.as_plain_module(model)
  notes: list[str] = []
  call_args, call_kwargs = collect_arguments(model, args, kwargs, inputs)
  call_args, call_kwargs, dynamic_shapes = _resolve_inputs(
    model, call_args, call_kwargs, dynamic_shapes)
  call_args, call_kwargs = _enlarge_examples(
    model, call_args, call_kwargs, dynamic_shapes, notes)
  call_args, call_kwargs = separate_examples(call_args, call_kwargs)
  lines = fx_graphs.NodeLines(model)
  program, mode = _export(model, call_args, call_kwargs, dynamic_shapes, notes, lines)
  if lines:
    fx_graphs.name_origins(program, lines)
  if _trains(program):
    message = ("the model is in training mode, so dropout and batch norm are captured as training "
               "does them; call model.eval() first for inference")
    warnings.warn(message, stacklevel=3)
    notes.append(message)
  return CapturedModule(program, positional_parameters(model), mode, notes)


def collect_arguments(model: torch.nn.Module, args: Any, kwargs: Any,
                      inputs: Any) -> tuple[tuple, dict]:
  """Positional and named arguments, from either way to give them. K1101."""
  if inputs is None and args is None and kwargs is None:
    raise FrontendError("K1101", "no example inputs given", hint=_line_to_write(model))
  if inputs is not None and (args is not None or kwargs is not None):
    raise FrontendError("K1101", "give the arguments either as inputs or as args and kwargs")
  if inputs is None:
    if isinstance(args, (torch.Tensor, Input)):
      args = (args,)
    return tuple(args or ()), dict(kwargs or {})
  if isinstance(inputs, (torch.Tensor, Input)):
    return (inputs,), {}
  if isinstance(inputs, dict):
    if not all(isinstance(k, str) for k in inputs):
      raise FrontendError("K1101", "inputs by name need names that are strings: "
                          f"{[k for k in inputs if not isinstance(k, str)]}")
    return (), dict(inputs)
  if isinstance(inputs, (list, tuple)):
    return tuple(inputs), {}
  raise FrontendError("K1101", "inputs must be a tensor, a kiln.Input, a sequence or a dict: "
                      f"got {type(inputs).__name__}")


def _line_to_write(model: torch.nn.Module) -> str:
  """The call with inputs for this model's forward; shapes are known for its first layers only."""
  kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
           inspect.Parameter.KEYWORD_ONLY)
  try:
    parameters = [p for p in inspect.signature(model.forward).parameters.values()
                  if p.kind in kinds and p.default is inspect.Parameter.empty]
  except (AttributeError, TypeError, ValueError):  # a ScriptFunction has no forward
    parameters = []
  if not parameters:
    return "write kiln.compile(model, inputs=[torch.randn(SHAPE)])"
  if len(parameters) == 1 and parameters[0].kind is not inspect.Parameter.KEYWORD_ONLY:
    return f"write kiln.compile(model, inputs=[{_likely_example(model)}])  # {parameters[0].name}"
  entries = ", ".join(f'"{p.name}": torch.randn(SHAPE)' for p in parameters)
  return f"write kiln.compile(model, inputs={{{entries}}})"


def _likely_example(model: torch.nn.Module) -> str:
  """An example for a model of one argument, guessed from the first layer with weights."""
  for module in model.modules():
    if isinstance(module, torch.nn.Embedding):
      return "torch.zeros(1, 8, dtype=torch.int64)"
    if isinstance(module, torch.nn.Linear):
      return f"torch.randn(1, {module.in_features})"
    for cls, sizes in ((torch.nn.Conv1d, "224"), (torch.nn.Conv2d, "224, 224"),
                       (torch.nn.Conv3d, "16, 112, 112")):
      if isinstance(module, cls):
        return f"torch.randn(1, {module.in_channels}, {sizes})"
  return "torch.randn(SHAPE)"


# ---- kiln.Input to examples and dynamic_shapes --------------------------------------------------


def is_input(value: Any) -> bool:
  """Whether pytree is to take it for a leaf."""
  return isinstance(value, Input)


def _resolve_inputs(model: torch.nn.Module, args: tuple, kwargs: dict,
                    dynamic_shapes: Any) -> tuple[tuple, dict, Any]:
  """Replaces each kiln.Input by an example and collects its ranges."""
  specs = [leaf for leaf in pytree.tree_leaves((args, kwargs), is_leaf=is_input)
           if isinstance(leaf, Input)]
  if not specs:
    return args, kwargs, dynamic_shapes
  if dynamic_shapes is not None and any(spec.dynamic_dims() for spec in specs):
    raise FrontendError("K1101", "ranges are given twice: by kiln.Input and by dynamic_shapes")
  dims = DimTable()
  for spec in specs:
    dims.add(spec)
  dims.finish()
  order = {id(spec): i for i, spec in enumerate(specs)}
  def example(leaf: Any) -> Any:
    if not isinstance(leaf, Input):
      return leaf
    shape = [dims.example_size(leaf, d) for d in range(leaf.rank)]
    return leaf.example(shape, seed=order[id(leaf)])

  def ranges(leaf: Any) -> Any:
    if not isinstance(leaf, Input) or not leaf.dynamic_dims():
      return None
    return {d: dims.dim(leaf, d) for d in leaf.dynamic_dims()}

  new_args = pytree.tree_map(example, args, is_leaf=is_input)
  new_kwargs = pytree.tree_map(example, kwargs, is_leaf=is_input)
  if dynamic_shapes is None and any(spec.dynamic_dims() for spec in specs):
    shapes = pytree.tree_map(ranges, (args, kwargs), is_leaf=is_input)
    dynamic_shapes = _by_parameter(model, *shapes)
  return new_args, new_kwargs, dynamic_shapes


class DimTable:
  """The dynamic dims of all inputs, with one Dim per name and example sizes that torch accepts.

  torch.export takes sizes 0 and 1 as constants and may take equal sizes for one symbol, so dims
  get distinct example sizes of at least 2.
  """

  def __init__(self) -> None:
    self._ranges: dict[str, tuple[int, int, int]] = {}
    self._examples: dict[str, int] = {}
    self._dims: dict[str, Any] = {}

  def add(self, spec: Input) -> None:
    for d in spec.dynamic_dims():
      name = spec.dim_name(d)
      entry = (spec.min_shape[d], spec.opt_shape[d], spec.max_shape[d])
      known = self._ranges.setdefault(name, entry)
      if (known[0], known[2]) != (entry[0], entry[2]):
        raise FrontendError("K1101", "a dim name stands for different ranges: "
                            f"{name}, {known[0]}..{known[2]} and {entry[0]}..{entry[2]}")

  def finish(self) -> None:
    taken: set[int] = set()
    for name, (low, opt, high) in self._ranges.items():
      candidates = [opt, *range(opt + 1, high + 1), *range(opt - 1, low - 1, -1)]
      size = next((c for c in candidates if c >= 2 and c not in taken), None)
      if size is None:
        raise FrontendError("K1101", f"{_NO_EXAMPLE}, distinct for each dim: "
                            f"{name} in {low}..{high}")
      taken.add(size)
      self._examples[name] = size
      self._dims[name] = Dim(name, min=low, max=high)

  def range_of(self, name: str) -> tuple[int, int]:
    low, _, high = self._ranges[name]
    return low, high

  def example_size(self, spec: Input, d: int) -> int:
    if spec.min_shape[d] == spec.max_shape[d]:
      return spec.min_shape[d]
    return self._examples[spec.dim_name(d)]

  def dim(self, spec: Input, d: int) -> Any:
    return self._dims[spec.dim_name(d)]


def _by_parameter(model: torch.nn.Module, args: tuple, kwargs: dict) -> dict:
  """dynamic_shapes keyed by the names of forward's parameters, as torch.export wants them."""
  signature = inspect.signature(model.forward)
  bound = signature.bind(*args, **kwargs).arguments
  shapes: dict[str, Any] = {}
  for name, value in bound.items():
    if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
      shapes.update(value)
    else:
      shapes[name] = value
  return shapes


# ---- examples that are too small ----------------------------------------------------------------


def _enlarge_examples(model: torch.nn.Module, args: tuple, kwargs: dict, dynamic_shapes: Any,
                      notes: list[str]) -> tuple[tuple, dict]:
  """Repeats example tensors along dynamic dims of size 0 or 1, which torch takes as constants.

  Capture looks at shapes, not at values, so the program is the same.
  """
  if not dynamic_shapes:
    return args, kwargs
  try:
    bound = inspect.signature(model.forward).bind(*args, **kwargs)
  except TypeError as error:
    raise FrontendError("K1101", f"the inputs do not fit forward: {error}") from error
  names = list(bound.arguments)
  if isinstance(dynamic_shapes, dict):
    by_name = dynamic_shapes
  else:
    by_name = dict(zip(names, dynamic_shapes))
  wanted: dict[int, int] = {}  # by identity of the Dim: its example size where 0 or 1 will not do

  def needs(spec: Any, value: Any) -> None:
    for d, dim in _dims_of(spec, value):
      if value.shape[d] < 2 and _maximum(dim) >= 2:
        wanted[id(dim)] = max(2, _minimum(dim))

  def enlarge(spec: Any, value: Any) -> Any:
    for d, dim in _dims_of(spec, value):
      size = wanted.get(id(dim))
      if size is not None and value.shape[d] != size:
        shape = list(value.shape)
        shape[d] = size
        source = value.narrow(d, 0, 1).expand(shape) if value.shape[d] else value.new_zeros(shape)
        value = source.contiguous()
        notes.append(f"example enlarged to {shape} along dynamic dim {d}")
    return value

  def visit(function: Any, spec: Any, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
      result = function(spec, value) if spec is not None else None
      return value if result is None else result
    if spec is None:
      return value
    if isinstance(value, dict) and isinstance(spec, dict):
      return {k: visit(function, spec.get(k), v) for k, v in value.items()}
    if type(value) in (list, tuple) and isinstance(spec, (list, tuple)) and len(spec) == len(value):
      return type(value)(visit(function, s, v) for s, v in zip(spec, value))
    return value

  def apply(function: Any) -> tuple[tuple, dict]:
    parameters = list(positional_parameters(model))
    new_args = tuple(
      visit(function, by_name.get(parameters[i]) if i < len(parameters) else None, v)
      for i, v in enumerate(args))
    new_kwargs = {k: visit(function, by_name.get(k), v) for k, v in kwargs.items()}
    return new_args, new_kwargs

  apply(needs)
  return apply(enlarge) if wanted else (args, kwargs)


def separate_examples(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
  """Copies a tensor that is given for several arguments.

  torch.export takes one tensor for one value, so the program would ignore all but one of them.
  """
  seen: set[int] = set()

  def separate(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or id(value) not in seen:
      seen.add(id(value))
      return value
    return value.detach().clone()

  return pytree.tree_map(separate, (args, kwargs))


def _dims_of(spec: Any, value: torch.Tensor) -> list[tuple[int, Any]]:
  entries = spec.items() if isinstance(spec, dict) else enumerate(spec)
  return [(d % value.ndim, dim) for d, dim in entries
          if value.ndim and dim is not None and not isinstance(dim, int)
          and "STATIC" not in repr(dim)]


def _minimum(dim: Any) -> int:
  low = getattr(dim, "min", None)
  return low if isinstance(low, int) else 0


def _maximum(dim: Any) -> int:
  high = getattr(dim, "max", None)
  return high if isinstance(high, int) else 2**62


# ---- programs that the user exported ------------------------------------------------------------


def prepare_program(program: ExportedProgram) -> CapturedModule:
  """An ExportedProgram from elsewhere, in the form that the walk takes.

  Raises FrontendError K1101 for one that was exported with one tensor for several arguments, of
  which it would ignore all but one.
  """
  notes: list[str] = []
  examples = pytree.tree_leaves(program.example_inputs or ())
  tensors = [id(value) for value in examples if isinstance(value, torch.Tensor)]
  if len(set(tensors)) < len(tensors):
    raise FrontendError("K1101", "the program was exported with one tensor for several arguments",
                        hint="export it with a tensor of its own for each")
  if _has_autocast(program):
    program = _write_out_autocast(program)
    notes.append("autocast regions were written out as casts")
  if fake_corrections.results_disagree(program):
    program = _trace_again(program)
    notes.append("the program was traced again, as torch.export gave results of operators (an "
                 "LSTM's hidden states, indices of unique) other types than they have")
  return CapturedModule(program, _exported_parameters(program), "exported", notes)


def _exported_parameters(program: ExportedProgram) -> tuple[str, ...]:
  """Names of the arguments that were given by position, where the program keeps them."""
  calls = [entry.signature for entry in program.module_call_graph if entry.fqn == ""]
  names = getattr(calls[0], "forward_arg_names", None) if calls else None
  count = len(program.call_spec.in_spec.children()[0].children())
  return tuple(names[:count]) if names else ()


# ---- torch.export -------------------------------------------------------------------------------


def _export(model: torch.nn.Module, args: tuple, kwargs: dict, dynamic_shapes: Any,
            notes: list[str], lines: fx_graphs.NodeLines) -> tuple[ExportedProgram, str]:
  """Non-strict first, as torch does; strict (Dynamo) where that fails. `lines` tell of the FX node
  that failed."""
  failures: list[tuple[str, Exception]] = []

  def attempt(strict: bool, shapes: Any) -> ExportedProgram:
    with torch.no_grad(), warnings.catch_warnings(), buffer_hooks_as_before(), \
        fake_corrections.results_as_run():
      warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|copyreg).*")
      return torch.export.export(model, args, kwargs or None, dynamic_shapes=shapes, strict=strict)

  for mode, strict in (("non-strict", False), ("strict", True)):
    try:
      try:
        program = attempt(strict, dynamic_shapes)
      except Exception as error:  # noqa: BLE001
        fixes, multiples = _as_multiples(error, dynamic_shapes)
        if not fixes:
          raise
        program = attempt(strict, multiples)
        notes.append(f"the program takes no other sizes than multiples: {fixes}")
    except Exception as error:  # noqa: BLE001: torch.export raises whatever the model raises
      failures.append((mode, error))
      continue
    if failures:
      notes.append(f"non-strict capture failed, strict capture worked: {_brief(failures[0][1])}")
    if _has_autocast(program):
      program = _write_out_autocast(program)
      notes.append("autocast regions were written out as casts")
    return program, mode
  reasons = "; ".join(f"{mode}: {_brief(error)}" for mode, error in failures)
  node = lines.of_error(failures[0][1])
  raise FrontendError(
    "K1102", f"torch.export could not capture the model: {reasons}",
    location=fx_graphs.describe_node(*node) if node else "",
    hint='torch.compile(model, backend="kiln") captures around what export cannot',
  ) from failures[0][1]


def _as_multiples(error: Exception, dynamic_shapes: Any) -> tuple[str, Any]:
  """What torch.export says of sizes that have to be multiples, as x.view(b, n // 2, 2) makes them,
  and dynamic_shapes that say so. "" where it asks for anything else: whether a size is a constant
  or that of another is for the user to say."""
  text = str(error).partition("Suggested fixes:")[2].strip().partition("\n\n")[0]
  fixes = [line.strip() for line in text.splitlines()]
  multiples = [fix for fix in fixes if re.fullmatch(r"(\w+) = \d+\*_\1", fix)]
  ranges = [fix for fix in fixes if re.fullmatch(r"(_\w+) = Dim\('\1'.*\)", fix)]
  if not multiples or len(multiples) + len(ranges) != len(fixes):
    return "", None
  refined = torch.export.dynamic_shapes.refine_dynamic_shapes_from_suggested_fixes(
    "Suggested fixes:\n" + "\n".join(fixes), dynamic_shapes)
  return ", ".join(multiples), refined


@contextlib.contextmanager
def buffer_hooks_as_before() -> Iterator[None]:
  """A capture that fails leaves a global hook behind (torch 2.11), which the next one trips over."""
  hooks = getattr(torch.nn.modules.module, "_global_buffer_registration_hooks", {})
  before = set(hooks)
  try:
    yield
  finally:
    for key in set(hooks) - before:
      del hooks[key]


def _write_out_autocast(program: ExportedProgram) -> ExportedProgram:
  """The program with explicit casts in place of autocast regions."""
  try:
    with fake_corrections.results_as_run():
      return program.run_decompositions({})  # an empty table decomposes nothing else
  except Exception as error:  # noqa: BLE001: torch fails here in many ways
    raise FrontendError("K1103", "torch cannot write the casts of an autocast region out: "
                        f"{_brief(error)}", hint="cast the model instead of using autocast"
                        ) from error


def _trace_again(program: ExportedProgram) -> ExportedProgram:
  """The same program with the types that its results have when it runs."""
  try:
    with fake_corrections.results_as_run():
      return program.run_decompositions({})  # an empty table decomposes nothing
  except Exception as error:  # noqa: BLE001: torch raises whatever does not fit the right types
    raise FrontendError(
      "K1103", "torch.export gave results of operators (an LSTM's hidden states, indices of unique) "
      "other types than they have, and the program does not run with the right ones: "
      f"{_brief(error)}", hint="compile the module itself") from error


def _brief(error: Exception) -> str:
  """The first paragraph of an error, in one line."""
  lines = [line.strip() for line in str(error).strip().splitlines()]
  paragraph = lines[: lines.index("")] if "" in lines else lines
  text = " ".join(paragraph) or "no message"
  return f"{type(error).__name__}: {text[:400]}"


def _trains(program: ExportedProgram) -> bool:
  """Whether a call in the program behaves as in training: dropout, or batch statistics."""
  for node in program.graph.nodes:
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    for position, argument in enumerate(schema.arguments if schema else ()):
      if argument.name in ("train", "training"):
        value = node.args[position] if position < len(node.args) \
          else node.kwargs.get(argument.name)
        if value is True:
          return True
  return False


def _has_autocast(program: ExportedProgram) -> bool:
  return any(getattr(n.target, "__name__", "") == "wrap_with_autocast"
             for module in program.graph_module.modules()
             if isinstance(module, torch.fx.GraphModule)
             for n in module.graph.nodes if n.op == "call_function")
