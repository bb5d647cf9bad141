"""torch.compile's door: a Dynamo graph, through AOTAutograd, as a stream of calls.

AOTAutograd makes the graph functional (mutations of inputs stand at its end as copy_) and handles
aliases of inputs and outputs around it. It would also break composites such as linear,
layer_norm and scaled_dot_product_attention; `keep_composites` holds those together that Kiln wants
whole, so that this door and torch.export's speak nearly the same dialect.

Parameters and buffers are inputs of the graph. The ones that it does not write are frozen: their
values belong to the program. Each call checks that they are still the same tensors at the same
version; if not, the program's weights are updated, or it is lowered again where that cannot be
done, and a buffer that keeps changing by itself becomes an ordinary input.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
import weakref
from dataclasses import dataclass, replace
from typing import Any, Callable, Iterator, Sequence

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._guards import TracingContext
from torch.fx import GraphModule, Node

from .. import _native
from . import tree
from .captured import CapturedProgram, Tee
from .errors import FrontendError
from .export_frontend import output_leaf
from .graph_walker import GraphWalker
from .placement import place
from .origins import clean_module_path
from .protocol import Capture

log = logging.getLogger(__name__)

#: Hands the captured graph to a builder; may be called more than once.
Build = Callable[[Capture], CapturedProgram]
#: Runs a lowered program: runtime inputs in captured order -> outputs in captured order. Where it
#: has `weights()` and `update_weights(tensors by name)`, frozen tensors can be replaced.
Run = Callable[[list], Sequence[Any]]
#: Compiles; supplied by python/kiln/compiler.py.
Lower = Callable[[Build], Run]

aten = torch.ops.aten


# ---- composites ---------------------------------------------------------------------------------


def _always(*args: Any, **kwargs: Any) -> bool:
  return True


def _batch_norm_is_pure(x, weight, bias, mean, var, training, *rest, **kwargs) -> bool:
  return not training


def _instance_norm_is_pure(x, weight, bias, mean, var, use_input_stats, *rest, **kwargs) -> bool:
  return mean is None and var is None


#: Composites that stay whole, each with a test that this call writes nothing (some schemas hide
#: that they update running statistics).
_KEEP: tuple[tuple[str, Callable[..., bool]], ...] = (
  ("linear.default", _always),
  ("matmul.default", _always),
  ("conv1d.default", _always), ("conv1d.padding", _always),
  ("conv2d.default", _always), ("conv2d.padding", _always),
  ("conv3d.default", _always), ("conv3d.padding", _always),
  ("conv_transpose1d.default", _always),
  ("conv_transpose2d.input", _always),
  ("conv_transpose3d.input", _always),
  ("layer_norm.default", _always),
  ("group_norm.default", _always),
  ("rms_norm.default", _always),
  ("batch_norm.default", _batch_norm_is_pure),
  ("instance_norm.default", _instance_norm_is_pure),
  ("scaled_dot_product_attention.default", _always),
  ("max_pool1d.default", _always), ("max_pool2d.default", _always),
  ("max_pool3d.default", _always),
  ("adaptive_avg_pool1d.default", _always), ("adaptive_avg_pool2d.default", _always),
  ("adaptive_avg_pool3d.default", _always),
  ("upsample_nearest1d.vec", _always), ("upsample_nearest2d.vec", _always),
  ("upsample_nearest3d.vec", _always), ("upsample_linear1d.vec", _always),
  ("upsample_bilinear2d.vec", _always), ("upsample_trilinear3d.vec", _always),
  ("upsample_bicubic2d.vec", _always),
)


@contextlib.contextmanager
def keep_composites(notes: list[str]) -> Iterator[None]:
  """While active, tracing leaves the operators of _KEEP whole.

  Uses the mechanism with which torch.export does the same. Where this torch lacks it, the
  importer meets the decomposed forms instead, and a note says so.
  """
  try:
    from torch._export.utils import _get_decomp_for_cia
    from torch.export.exported_program import _override_composite_implicit_decomp
  except ImportError as error:
    notes.append(f"composites are decomposed by this version of torch: {error}")
    yield
    return

  def rule(op: Any, is_pure: Callable[..., bool]) -> Callable:
    decompose = _get_decomp_for_cia(op)

    def keep_or_decompose(*args, **kwargs):
      return NotImplemented if is_pure(*args, **kwargs) else decompose(*args, **kwargs)

    return keep_or_decompose

  rules = {}
  for name, is_pure in _KEEP:
    packet, overload = name.split(".")
    op = getattr(getattr(aten, packet, None), overload, None)
    if op is not None and op._can_decompose():
      rules[op] = rule(op, is_pure)
  with _override_composite_implicit_decomp(rules):
    yield


# ---- the captured graph -------------------------------------------------------------------------


@dataclass
class _Argument:
  """One input of AOTAutograd's graph."""

  node: Node
  value: Any  # fake tensor or symbolic int
  name: str
  kind: str  # "parameter" or "buffer" where it may be frozen, else "input"
  real: torch.Tensor | None  # the tensor behind a frozen one


def _source_name(node: Node) -> str:
  """Dynamo's name for where an argument comes from: "L['x']", "" where unknown."""
  source = getattr(node.meta.get("grapharg"), "source", None)
  name = getattr(source, "name", "")
  return str(name() if callable(name) else name)


def _static_kind(node: Node, example: Any) -> str:
  """"parameter" or "buffer" for a tensor that Dynamo knows to belong to a module, else "input"."""
  if not isinstance(example, torch.Tensor) or type(example) not in (
      torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
    return "input"
  static = (node.meta.get("tensor_dict") or {}).get("_dynamo_static_input_type")
  if not static:
    return "input"
  return "parameter" if isinstance(example, torch.nn.Parameter) else "buffer"


class _Graph:
  """AOTAutograd's inference graph with what is needed to lower it."""

  def __init__(self, module: GraphModule, dynamo: GraphModule, examples: Sequence[Any]):
    self.module = module
    self.arguments: list[_Argument] = []
    sources = [n for n in dynamo.graph.nodes if n.op == "placeholder"]
    written = _written_placeholders(module)
    names: set[str] = set()
    for position, node in enumerate(n for n in module.graph.nodes if n.op == "placeholder"):
      value = node.meta.get("val")
      index = _dynamo_index(node)
      source, example = (sources[index], examples[index]) if index is not None else (None, None)
      frozen = source is not None and node not in written
      kind = _static_kind(source, example) if frozen else "input"
      name = clean_module_path(_source_name(source)) if source is not None else ""
      if isinstance(value, torch.SymInt):
        name = f"size_{value.node.expr}"
      elif kind == "input":
        name = name or _local_name(source) or f"input_{position}"
      name = _unique(name or node.name, names)
      self.arguments.append(
        _Argument(node, value, name, kind, example if kind != "input" else None))

  def ranges(self) -> dict:
    for argument in self.arguments:
      parts = [*argument.value.shape] if isinstance(argument.value, torch.Tensor) \
        else [argument.value]
      for part in parts:
        if isinstance(part, torch.SymInt):
          return dict(part.node.shape_env.var_to_range)
    return {}

  def walk(self, cap: Capture, frozen: dict[int, torch.Tensor],
           captured: CapturedProgram, target: str = "") -> None:
    """Hands the graph over, with the arguments in `frozen` (by position) as weights. `target` is
    the option."""
    captured.placement = place((a.value for a in self.arguments), target)
    walker = GraphWalker(Tee(cap, captured), ranges=self.ranges(), notes=captured.notes,
                         placement=captured.placement)
    env: dict[Node, Any] = {}
    leaves: list[dict] = []
    for position, argument in enumerate(self.arguments):
      if position in frozen:
        continue
      if argument.value is None or isinstance(argument.value, (bool, int, float, str)):
        raise FrontendError("K1105", "an input of the graph is neither tensor nor symbolic: "
                            f"{argument.name}, {argument.value!r}")
      kind = "tensor" if isinstance(argument.value, torch.Tensor) else "scalar"
      leaves.append({"kind": kind, "index": len(captured.inputs)})
      env[argument.node] = walker.add_input(argument.name, argument.value)
    for position, tensor in frozen.items():
      argument = self.arguments[position]
      if argument.node.users:
        env[argument.node] = walker.add_weight(argument.name, tensor, argument.kind)
      else:
        env[argument.node] = None
    results = walker.walk(self.module, env)
    outputs = [output_leaf(value, f"output_{i}", walker, captured)
               for i, value in enumerate(results)]
    captured.input_tree = {"kind": "list", "items": leaves}
    captured.output_tree = {"kind": "list", "items": outputs}


def _dynamo_index(node: Node) -> int | None:
  """Which input of Dynamo's graph a placeholder is; None for one that AOTAutograd made up."""
  descriptor = node.meta.get("desc")
  if type(descriptor).__name__ == "PlainAOTInput":
    return descriptor.idx
  return None


def _local_name(node: Node | None) -> str:
  """"x" of "L['x']", "kwargs_input_ids" of "L['kwargs']['input_ids']"."""
  if node is None:
    return ""
  return node.name.removeprefix("l_").strip("_") or node.name


def _unique(name: str, taken: set[str]) -> str:
  candidate, count = name, 1
  while candidate in taken:
    candidate, count = f"{name}_{count}", count + 1
  taken.add(candidate)
  return candidate


def _written_placeholders(module: GraphModule) -> set[Node]:
  """Inputs that the graph writes to, directly or through a view."""
  written: set[Node] = set()
  base: dict[Node, Node] = {n: n for n in module.graph.nodes if n.op == "placeholder"}
  for node in module.graph.nodes:
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    if schema is None:
      continue
    for position, argument in enumerate(schema.arguments):
      value = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
      if argument.alias_info is None or not isinstance(value, Node) or value not in base:
        continue
      if argument.alias_info.is_write:
        written.add(base[value])
      base[node] = base[value]
  return written


# ---- running ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
  """One lowering of a graph: which arguments are frozen, and the program for the others."""

  frozen: dict[int, torch.Tensor]  # by position, as lowered
  guard: _native.FrozenArguments
  dynamic: tuple[int, ...]
  run: Run
  captured: CapturedProgram
  rebuild: tree.Rebuild | None  # None: the outputs are the program's outputs
  needs_sizes: bool


class _Runner:
  """What AOTAutograd calls: a boxed list of all arguments -> list of outputs. Thread-safe."""

  _boxed_call = True  # AOTAutograd hands over the list itself, so that inputs can be freed early

  def __init__(self, graph: _Graph, lower: Lower, notes: Sequence[str] = ()):
    self._graph = graph
    self._lower = lower
    self._notes = list(notes)
    self._changes: dict[int, int] = {}
    self._lock = threading.Lock()
    self._direct: Callable[[], Any] = lambda: None
    self._state = self._prepare({i: a.real for i, a in enumerate(graph.arguments)
                                 if a.real is not None})

  def serve(self, direct: _native.GraphCall) -> None:
    """Has `direct` run the program as long as the frozen arguments stay; it is held weakly."""
    self._direct = weakref.ref(direct)
    self._bind(self._state)

  def _bind(self, state: _State) -> None:
    direct = self._direct()
    if direct is not None and state.rebuild is None and isinstance(
        state.run, _native.NativeProgram):
      direct.bind(state.guard, state.dynamic, state.run)

  def _prepare(self, frozen: dict[int, torch.Tensor]) -> _State:
    captured: list[CapturedProgram] = []
    # versions first: a write during lowering then shows at the next call
    guard = _native.FrozenArguments(list(frozen), tuple(frozen.values()))

    def build(cap: Capture, target: str = "") -> CapturedProgram:
      program = CapturedProgram(notes=list(self._notes))
      self._graph.walk(cap, frozen, program, target)
      captured.append(program)
      return program

    run = self._lower(build)
    if not captured:
      raise AssertionError("lower must build the program")
    program = captured[-1]
    items = program.output_tree["items"]
    plain = [item.get("index") for item in items] == list(range(len(program.output_names)))
    return _State(
      frozen=frozen,
      guard=guard,
      dynamic=tuple(i for i in range(len(self._graph.arguments)) if i not in frozen),
      run=run,
      captured=program,
      rebuild=None if plain else tree.make_unflatten(program.output_tree),
      needs_sizes=any(item["kind"] == "expr" for item in items),
    )

  def __call__(self, arguments: list) -> list:
    state = self._state
    if not state.guard.current(arguments):
      state = self._refresh(arguments)
    values = [arguments[i] for i in state.dynamic]
    arguments.clear()
    with torch.no_grad():
      outputs = state.run(values)
    if state.rebuild is None:
      return list(outputs)
    sizes = state.captured.symbol_values(values) if state.needs_sizes else {}
    return state.rebuild(outputs, sizes)

  def _refresh(self, arguments: list) -> _State:
    """Some frozen tensors are not what they were: takes the new values in."""
    with self._lock:
      old = self._state
      changed = old.guard.changed(arguments)
      if not changed:
        return old  # another thread was first
      current = {i: arguments[i] for i in old.frozen}
      alone = all(self._graph.arguments[i].kind == "buffer" for i in changed)
      repeated = any(self._changes.get(i, 0) > 0 for i in changed)
      if not (alone and repeated):
        state = self._updated(old, current, changed)
        if state is not None:
          for i in changed if alone else ():
            self._changes[i] = 1
          self._state = state
          self._bind(state)
          return state
      log.info("%d frozen tensors changed, lowering again", len(changed))
      for i in changed:
        self._changes[i] = self._changes.get(i, 0) + 1
        if self._changes[i] > 1:
          del current[i]
      self._state = self._prepare(current)
      self._bind(self._state)
      return self._state

  def _updated(self, old: _State, current: dict[int, torch.Tensor],
               changed: list[int]) -> _State | None:
    """The state with new values for the changed tensors; None when they need another program."""
    update = getattr(old.run, "update_weights", None)
    if update is None:
      return None
    ties = _ties(list(current.values()))
    if ties != _ties(list(old.frozen.values())):
      return None  # one weight of the program may stand for several tensors
    # versions first: a write during the update then shows at the next call
    guard = _native.FrozenArguments(list(current), tuple(current.values()))
    names = {name for name, _, _ in old.run.weights()}
    touched = {ties[position] for position, i in enumerate(current) if i in changed}
    new = {self._graph.arguments[i].name: tensor.detach()
           for (i, tensor), first in zip(current.items(), ties) if first in touched}
    try:
      update({name: tensor for name, tensor in new.items() if name in names})
    except FrontendError as error:
      log.info("weights cannot be updated: %s", error)
      return None
    log.info("%d frozen tensors changed, weights updated", len(changed))
    return replace(old, frozen=current, guard=guard)


def _ties(tensors: Sequence[torch.Tensor]) -> list[int]:
  """For each tensor the position of the first one in the same memory."""
  first: dict[tuple, int] = {}
  return [first.setdefault((t.data_ptr(), t.dtype, t.shape, t.stride()), i) if t.numel() else i
          for i, t in enumerate(tensors)]


class _Late:
  """What the inference compiler returns; lowering happens after AOTAutograd has left its modes."""

  _boxed_call = True

  def __init__(self) -> None:
    self.runner: Callable[[list], list] | None = None

  def __call__(self, arguments: list) -> list:
    if self.runner is None:
      raise AssertionError("called before lowering")
    return self.runner(arguments)


_warned_about_grad = False


def _check_grad_mode(examples: Sequence[Any], strict: bool) -> None:
  """Programs are for inference: with grad mode on, outputs are detached, and the user is told."""
  global _warned_about_grad
  if not torch.is_grad_enabled():
    return
  if not any(isinstance(x, torch.Tensor) and x.requires_grad for x in examples):
    return
  message = "grad mode is on, but kiln programs are for inference: outputs are detached"
  hint = "call the model under torch.no_grad() or torch.inference_mode()"
  if strict:
    raise FrontendError("K1107", message, hint=hint)
  if not _warned_about_grad:
    _warned_about_grad = True
    warnings.warn(f"{message}; {hint}", stacklevel=2)


def _needs_nothing_around(meta: Any, module: GraphModule) -> bool:
  """Whether AOTAutograd's graph takes and returns just what Dynamo's does.

  True where there is no mutation, no alias, no subclass, no effect token, no random state passed
  in, no size that outputs are marked with and no change of grad mode: then the wrappers that
  AOTAutograd puts around the graph do nothing.
  """
  try:
    from torch._functorch import config
    from torch._functorch._aot_autograd.schemas import PlainTensorMeta
    subclasses = [m for m in (*meta.subclass_inp_meta, *meta.subclass_fw_graph_out_meta)
                  if not isinstance(m, PlainTensorMeta)]
    results = next(n for n in module.graph.nodes if n.op == "output").args[0]
    return not (
      config.functionalize_rng_ops or subclasses or meta.is_train or meta.tokens
      or any(i.mutates_data or i.mutates_metadata or i.mutates_storage_metadata
             for i in meta.input_info)
      or meta.num_outputs_aliased or meta.num_intermediate_bases or meta.dynamic_outputs
      or meta.grad_enabled_mutation is not None or meta.num_graphsafe_rng_states
      or len(meta.output_info) != len(results))
  except (ImportError, AttributeError) as error:  # another version of torch
    log.info("AOTAutograd's wrappers stay: %s", error)
    return False


def compile_dynamo_graph(module: GraphModule, examples: Sequence[Any], lower: Lower, *,
                         strict: bool = False) -> Callable[..., Any]:
  """The body of a torch.compile backend: returns what Dynamo calls instead of `module`.

  `lower(build)` compiles; it is called here once and again when frozen weights change.
  `strict` makes grad mode an error. Raises FrontendError K1103..K1107 and whatever `lower` does.
  """
  notes: list[str] = []
  _check_grad_mode(examples, strict)
  examples = list(examples)
  pending: list[tuple[_Late, _Graph, bool]] = []

  def inference_compiler(graph_module: GraphModule, _: Sequence[Any]) -> _Late:
    late = _Late()
    context = TracingContext.try_get()
    direct = context is not None and _needs_nothing_around(context.fw_metadata, module)
    pending.append((late, _Graph(graph_module, module, examples), direct))
    return late

  def training_compiler(graph_module: GraphModule, _: Sequence[Any]) -> Callable:
    raise FrontendError("K1107", "a training graph was captured under no_grad")

  with torch.no_grad(), keep_composites(notes), _first_auto_functionalized():
    compiled = aot_autograd(fw_compiler=training_compiler, inference_compiler=inference_compiler,
                            keep_inference_input_mutations=True)(module, examples)
  for late, graph, _ in pending:
    late.runner = _Runner(graph, lower, notes)
  if len(pending) == 1 and pending[0][2] and len(pending[0][1].arguments) == len(examples):
    call = _native.GraphCall(compiled)
    pending[0][0].runner.serve(call)
    return call
  return compiled


@contextlib.contextmanager
def _first_auto_functionalized() -> Iterator[None]:
  """Mutating custom operators in the form that names plain arguments instead of bases and views."""
  try:
    from torch._inductor import config
  except ImportError:
    yield
    return
  with config.patch(enable_auto_functionalized_v2=False):
    yield
