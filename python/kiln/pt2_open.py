"""The open form of a `.pt2` file: PyTorch's part of a program stays visible.

Native runs of the captured graph become calls of `kiln::run`, each with a program of its own; what
Kiln has no kernel for stays an ATen node between them, for torch's own compilers to see.
"""

from __future__ import annotations

import operator
from typing import Any, Callable, Mapping

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase
from torch.utils import _pytree as pytree

from . import pt2
from .frontends import symbols as sizes
from .frontends.captured import CapturedProgram, Tee
from .frontends.errors import FrontendError
from .frontends.fake_corrections import results_as_run
from .frontends.graph_walker import GraphWalker
from .frontends.origins import origin_of
from .frontends.placement import Placement

# A walked segment to (native program, its ScriptObject).
Build = Callable[[Any, CapturedProgram], tuple[Any, torch.ScriptObject]]

_LIFTED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def export_open(exported: ExportedProgram, captured: CapturedProgram,
                weights: Mapping[str, torch.Tensor], fallbacks: list[dict],
                new_capture: Callable[[], Any], build: Build) -> ExportedProgram:
  """`exported` with its native runs replaced. `weights` are those of now by the program's names, its
  state included; `fallbacks` the rows of the report of the whole program; `new_capture` makes a
  capture builder with the options of the compilation."""
  with results_as_run():
    functional = exported.run_decompositions({})  # writes become values; nothing is decomposed
  values = _lifted_values(functional, captured.state_names, weights)
  support = _Native(fallbacks)
  graph = CapabilityBasedPartitioner(
    functional.graph_module, support, allows_single_node_partition=True).partition_and_fuse()
  segments = 0
  unchecked = list(captured.conditions)
  for name, body in list(graph.named_children()):
    if not name.startswith("fused_") or not isinstance(body, GraphModule):
      continue
    segment = _build_segment(functional, graph, name, body, values, unchecked,
                             captured.placement, new_capture, build)
    if segment is not None:
      setattr(graph, name, segment)
      segments += 1
  if segments == 0:
    raise FrontendError("K1016", "no part of the program is native, so its open form would be the "
                        "model itself", hint="see program.report for the reasons")
  if unchecked:
    raise FrontendError("K1014", "an open .pt2 file cannot hold a condition on sizes that no native "
                        f"part of the program sees: {unchecked[0][3]}",
                        hint="save it with embed_fallback=True, or as a .kiln file")
  module = _OpenModule(functional, graph, values, captured)
  args, kwargs, dynamic_shapes = pt2.example_arguments(captured, module)
  return pt2.trace(module, args, kwargs, dynamic_shapes)


class _Native(OperatorSupportBase):
  """Which nodes the compiler took: calls on tensors that no row of the report sends to PyTorch."""

  def __init__(self, fallbacks: list[dict]):
    self._rows = {(row["op"], row["module_path"], row["location"]) for row in fallbacks}
    self._names = {row["op"] for row in fallbacks}

  def is_node_supported(self, submodules: Any, node: Node) -> bool:
    if node.op != "call_function":
      return False
    if node.target is operator.getitem:
      return isinstance(node.args[0], Node) and self.is_node_supported(submodules, node.args[0])
    if not isinstance(node.target, torch._ops.OpOverload):
      return False
    value = node.meta.get("val")
    tensors = value if isinstance(value, (list, tuple)) else [value]
    if not tensors or not all(isinstance(t, torch.Tensor) for t in tensors):
      return False
    if not any(isinstance(a, Node) and isinstance(a.meta.get("val"), torch.Tensor)
               for a in node.all_input_nodes):
      return False
    schema = node.target._schema
    names = (schema.name, f"{schema.name}.{schema.overload_name}")
    origin = origin_of(node)
    # a node that lost its origin counts as every place at once
    return not any((name, *origin) in self._rows or (name in self._names and not any(origin))
                   for name in names)


def _lifted_values(program: ExportedProgram, names: Mapping[str, str | None],
                   weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, torch.Tensor]]:
  """Placeholder -> (name, tensor of now) of parameters, buffers and constants."""
  values = {}
  for spec in program.graph_signature.input_specs:
    if spec.kind in _LIFTED:
      source = program.state_dict if spec.target in program.state_dict else program.constants
      value = weights.get(names.get(spec.target) or spec.target, source[spec.target])
      values[spec.arg.name] = (spec.target, value)
  return values


def _build_segment(program: ExportedProgram, graph: GraphModule, name: str, body: GraphModule,
                   values: dict[str, tuple[str, torch.Tensor]], unchecked: list[tuple],
                   placement: Placement, new_capture: Callable[[], Any], build: Build
                   ) -> torch.nn.Module | None:
  """The segment as a call of kiln::run; None where its sizes cannot be found from its inputs.

  Of the `unchecked` conditions of the whole program it takes those whose sizes it sees.
  """
  call = next(n for n in graph.graph.nodes if n.op == "call_module" and n.target == name)
  mutated = set(program.graph_signature.buffers_to_mutate.values())
  cap, captured = new_capture(), CapturedProgram()
  captured.placement = placement
  walker = GraphWalker(Tee(cap, captured), ranges=program.range_constraints,
                       placement=captured.placement)
  placeholders = [n for n in body.graph.nodes if n.op == "placeholder"]
  env: dict[Node, Any] = {}
  inputs: list[int] = []
  sources: set[str] = set()
  # tensors before numbers: their sizes say what the numbers are
  for position, (inner, outer) in enumerate(zip(placeholders, call.args, strict=True)):
    value = outer.meta["val"]
    target, weight = values.get(outer.name, (None, None))
    if weight is not None and target not in mutated:
      env[inner] = walker.add_weight(target, weight, "parameter")
    elif isinstance(value, torch.Tensor):
      env[inner] = walker.add_input(inner.name, value)
      inputs.append(position)
      linear = [sizes.linear_in_one_symbol(d) for d in captured.inputs[-1].dims if isinstance(d, str)]
      sources.update(source[0] for source in linear if source is not None)
  used = {name for item in captured.inputs for d in item.dims if isinstance(d, str)
          for name in sizes.names_of(d)}
  for inner, outer in zip(placeholders, call.args):
    if inner in env:
      continue
    try:
      text = sizes.print_expr(outer.meta["val"])
    except (sizes.Inexpressible, KeyError):
      return None
    used.update(sizes.names_of(text))
    env[inner] = ("e", text)
  if not used <= sources:
    return None
  visible = [c for c in unchecked if sizes.names_of(f"{c[1]} + {c[2]}") <= sources]
  encoded = walker.walk(body, env)
  for i, value in enumerate(encoded if isinstance(encoded, list) else [encoded]):
    if value[0] != "v":
      return None
    walker.cap.output(value, f"output_{i}")
  for condition in visible:
    cap.condition(*condition)
    unchecked.remove(condition)
  native, program_object = build(cap, captured)
  return _Segment(program_object, inputs, isinstance(encoded, list), native.signature())


class _Segment(torch.nn.Module):
  """One native run: the operator on those of its arguments that are no weights."""

  def __init__(self, program: torch.ScriptObject, inputs: list[int], many: bool, signature: dict):
    super().__init__()
    # In a list: torch.export shall find programs in the module that it traces, under flat names.
    self._program = [program]
    self._inputs = inputs
    self._many = many
    self._outputs = signature["outputs"]

  def forward(self, *args: Any) -> Any:
    inputs = [args[i] for i in self._inputs]
    fresh = iter(torch.ops.kiln.run(inputs, [], self._program[0]))
    results = tuple(next(fresh) if row["kind"] == "result" else inputs[row["target"]]
                    for row in self._outputs)
    return results if self._many else results[0]


class _OpenModule(torch.nn.Module):
  """A functional exported program as a module again: state inside, writes in place."""

  def __init__(self, program: ExportedProgram, graph: GraphModule,
               values: dict[str, tuple[str, torch.Tensor]], captured: CapturedProgram):
    super().__init__()
    self._signature = program.graph_signature
    self._call_spec = program.call_spec
    self._values: dict[str, str] = {}
    needed = {n.name for n in graph.graph.nodes if n.op == "call_function" or n.op == "output"
              for n in n.all_input_nodes}
    for node in graph.graph.nodes:
      if node.op == "call_module":
        child = graph.get_submodule(node.target)
        taken = child._inputs if isinstance(child, _Segment) else range(len(node.args))
        needed.update(node.args[i].name for i in taken)
    mutated = set(self._signature.buffers_to_mutate.values())
    for placeholder, (name, tensor) in values.items():
      if placeholder in needed or name in mutated:
        pt2.register_buffer(self, name, tensor.detach())
        self._values[placeholder] = name
    self._order = [n.name for n in graph.graph.nodes if n.op == "placeholder"]
    self._graph = [graph]
    segments = [child for child in graph.children() if isinstance(child, _Segment)]
    for i, segment in enumerate(segments):
      setattr(self, f"program_{i}", segment._program[0])
    self.forward = pt2.with_signature(self._call, captured)

  def _call(self, *args: Any, **kwargs: Any) -> Any:
    leaves = iter(pytree.tree_leaves((args, kwargs), is_leaf=lambda v: v is None))
    specs = self._signature.input_specs
    user: dict[str, Any] = {}
    values = []
    for placeholder, spec in zip(self._order, specs, strict=True):
      if spec.kind is InputKind.USER_INPUT:
        value = user[placeholder] = next(leaves)
      elif placeholder in self._values:
        value = self.get_buffer(self._values[placeholder])
      else:
        value = None  # a weight that lies in the programs now
      values.append(value)
    results = Interpreter(self._graph[0]).run(*values)
    outputs = []
    for spec, value in zip(self._signature.output_specs, results, strict=True):
      if spec.kind is OutputKind.USER_OUTPUT:
        outputs.append(value)
      elif spec.kind is OutputKind.USER_INPUT_MUTATION:
        user[spec.target].copy_(value)
      else:
        self.get_buffer(spec.target).copy_(value)
    return pytree.tree_unflatten(outputs, self._call_spec.out_spec)
