"""torch.export's door: an ExportedProgram as a stream of calls.

Takes both forms of an ExportedProgram: the training IR that torch.export.export makes (composites
whole, in-place calls as written) and what run_decompositions() makes of it (functional, mutations
in the signature).
"""

from __future__ import annotations

from typing import Any, Iterator

import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node

from . import guards, tree
from .captured import CapturedProgram, Tee
from .errors import FrontendError
from .graph_walker import GraphWalker, Lazy, tensor_meta
from .opaque_types import OpaqueType
from .placement import place
from .protocol import Capture
from .symbols import always_true, bounds

_WEIGHT_KINDS = {InputKind.PARAMETER: "parameter", InputKind.BUFFER: "buffer",
                 InputKind.CONSTANT_TENSOR: "constant"}
_MUTATION_KINDS = {OutputKind.BUFFER_MUTATION: "buffer", OutputKind.PARAMETER_MUTATION: "buffer",
                   OutputKind.USER_INPUT_MUTATION: "input"}


def walk_exported_program(program: ExportedProgram, cap: Capture,
                          parameters: tuple[str, ...] = (), target: str = "") -> CapturedProgram:
  """Hands `program` to `cap`.

  `parameters` are the names of forward's positional parameters where the caller knows the module;
  `target` is the option. Raises FrontendError (K1002, K1103, K1104, K1105, K1106, K1118).
  """
  tree.register_known_types()
  captured = CapturedProgram(parameters=parameters)
  captured.placement = place(_tensors_of(program), target)
  walker = GraphWalker(Tee(cap, captured), ranges=program.range_constraints, notes=captured.notes,
                       placement=captured.placement)
  env, leaves = _declare_inputs(program, walker, captured)
  captured.input_tree = tree.describe(program.call_spec.in_spec, leaves)
  _declare_guards(program, walker, parameters)
  results = walker.walk(program.graph_module, env)
  _declare_outputs(program, walker, captured, results)
  return captured


def _tensors_of(program: ExportedProgram) -> Iterator[Any]:
  """What goes into a program: the values of its arguments and its weights."""
  for node, spec in zip(program.graph.nodes, program.graph_signature.input_specs):
    if spec.kind is InputKind.USER_INPUT:
      yield node.meta.get("val")
    elif spec.kind in _WEIGHT_KINDS and node.users:
      yield _weight_value(program, spec)


def _declare_inputs(program: ExportedProgram, walker: GraphWalker,
                    captured: CapturedProgram) -> tuple[dict[Node, Any], list[dict]]:
  placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
  specs = program.graph_signature.input_specs
  env: dict[Node, Any] = {}
  leaves: list[dict] = []
  used_as_output = {n for n in program.graph.output_node().all_input_nodes}
  # arguments first: their order is the program's order of inputs
  for node, spec in zip(placeholders, specs, strict=True):
    if spec.kind is not InputKind.USER_INPUT:
      continue
    value = node.meta.get("val", getattr(spec.arg, "value", None))
    if isinstance(value, (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool)):
      leaves.append(input_leaf(value, len(captured.inputs)))
      env[node] = walker.add_input(spec.arg.name, value)
      _describe_opaque_input(value, captured)
    elif value is None or isinstance(value, (bool, int, float, str)):
      leaves.append({"kind": "const", "value": value})
      env[node] = value
    else:
      raise FrontendError("K1104", "an input is neither tensor nor number: "
                          f"{spec.arg.name}, {type(value).__name__}")
  for node, spec in zip(placeholders, specs, strict=True):
    if spec.kind is InputKind.USER_INPUT:
      continue
    if not node.users and node not in used_as_output:
      env[node] = None  # num_batches_tracked and the like: never read
    elif spec.kind in _WEIGHT_KINDS:
      env[node] = walker.add_weight(spec.target, _weight_value(program, spec),
                                    _WEIGHT_KINDS[spec.kind])
    else:
      raise FrontendError("K1104", "an input of a kind that is not supported: "
                          f"{spec.kind.name.lower()} {spec.target or spec.arg.name}")
  return env, leaves


def input_leaf(value: Any, index: int) -> dict:
  """The description of a runtime argument. What native code does not check is described closer."""
  if not isinstance(value, torch.Tensor):
    return {"kind": "scalar", "index": index}
  meta = tensor_meta(value)
  if meta[0] != "opaque":
    return {"kind": "tensor", "index": index}
  fixed = [int(s) if isinstance(s, int) else None for s in value.shape]
  return {"kind": "tensor", "index": index, "shape": fixed,
          "dtype": str(value.dtype).removeprefix("torch.")}


def _describe_opaque_input(value: Any, captured: CapturedProgram) -> None:
  """Says what the last argument is where it is a tensor that native code does not look at."""
  item = captured.inputs[-1]
  if isinstance(value, torch.Tensor) and item.dims is None:
    known = OpaqueType.of(value)
    if known is not None:
      item.dtype, item.dims = known.dtype, list(known.dims)


def _declare_guards(program: ExportedProgram, walker: GraphWalker,
                    parameters: tuple[str, ...]) -> None:
  """Hands over what the program demands of its input sizes beyond their ranges."""
  for guard in guards.parse_guards(program, parameters):
    if sympy.false in guard.relations:
      raise FrontendError("K1131", "no size in the ranges meets a condition of the program: "
                          f"{guard.text}")
    if walker.add_conditions([r for r in guard.relations if r != sympy.true], guard.text):
      continue
    if not all(always_true(r, program.range_constraints) for r in guard.relations):
      raise FrontendError(
        "K1105", f"a condition on the inputs that cannot be expressed: {guard.text}")


def _weight_value(program: ExportedProgram, spec: Any) -> torch.Tensor:
  source = program.constants
  if spec.kind is InputKind.PARAMETER or (spec.kind is InputKind.BUFFER and spec.persistent):
    source = program.state_dict
  value = source.get(spec.target)
  if not isinstance(value, torch.Tensor):
    raise FrontendError("K1105", f"the exported program lacks a tensor: {spec.target}")
  return value


def _declare_outputs(program: ExportedProgram, walker: GraphWalker, captured: CapturedProgram,
                     results: list) -> None:
  specs = program.graph_signature.output_specs
  user_leaves: list[dict] = []
  names = iter(tree.leaf_names(program.call_spec.out_spec))
  nodes = program.graph.output_node().args[0]
  for spec, value, node in zip(specs, results, nodes, strict=True):
    if spec.kind in _MUTATION_KINDS:
      walker.cap.mutation(_MUTATION_KINDS[spec.kind], spec.target, value[1])
    elif spec.kind is OutputKind.USER_OUTPUT:
      user_leaves.append(output_leaf(value, next(names), walker, captured))
      if user_leaves[-1]["kind"] == "tensor":
        _describe_opaque_result(node.meta["val"], user_leaves[-1]["index"], program, captured)
    else:
      raise FrontendError("K1105", "an output of a kind that is not supported: "
                          f"{spec.kind.name.lower()} {spec.target or ''}".rstrip(),
                          hint="export the model for inference")
  captured.output_tree = tree.describe(program.call_spec.out_spec, user_leaves)


def _describe_opaque_result(value: torch.Tensor, index: int, program: ExportedProgram,
                            captured: CapturedProgram) -> None:
  """Keeps the type of a result that native code does not look at."""
  lies_elsewhere = value.device != captured.placement.home
  if tensor_meta(value)[0] != "opaque" or lies_elsewhere:
    return
  known = OpaqueType.of(value)
  if known is None:
    return
  captured.opaque_results[index] = known
  ranges = {str(symbol): bounds(r) for symbol, r in program.range_constraints.items()}
  for name in sorted(known.names() - captured.symbols.keys()):
    captured.unbacked[name] = ranges.get(name, bounds(None))


def output_leaf(value: Any, name: str, walker: GraphWalker, captured: CapturedProgram) -> dict:
  """Declares one returned value to the builder if it is one; returns its description."""
  if isinstance(value, Lazy):
    raise AssertionError("the graph's output is encoded, so nothing lazy is left")
  if isinstance(value, tuple) and value[0] == "v":
    index = len(captured.output_names)
    walker.cap.output(value, name or f"output_{index}")
    return {"kind": "scalar" if value[1] in walker.host_numbers else "tensor", "index": index}
  if isinstance(value, tuple) and value[0] == "e":
    return {"kind": "expr", "text": value[1]}
  if value is None or isinstance(value, (bool, int, float, str)):
    return {"kind": "const", "value": value}
  raise FrontendError("K1105", f"an output that cannot be returned: {value!r}")
