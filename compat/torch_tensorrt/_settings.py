"""The settings of Torch-TensorRT: checked, and translated to Kiln's options and notes.

What is said about each stands in _table/settings.py; here is what is done. A test holds both
together.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Iterator

import torch
from kiln import options as kiln_options
from kiln.frontends.errors import FrontendError

from . import _table, logging
from ._device import Device
from ._enums import EngineCapability, dtype
from ._refusal import known_words, note, refuse_kind, refuse_value

#: Doors: ahead of time, torch.compile, conversion to the bytes of a file.
COMPILE, TORCH_COMPILE, ENGINE = "compile", "torch.compile", "engine"

_PREFIX = "CompilationSettings."


def _never(value: Any) -> bool:
  return False


@dataclass(frozen=True)
class Setting:
  """One setting: `valid` says which values make sense, `refused` which of them Kiln cannot do."""

  default: Any
  valid: Callable[[Any], bool]
  expected: str
  refused: Callable[[Any], bool] = _never
  is_field: bool = True  # of CompilationSettings

  def is_default(self, value: Any) -> bool:
    return value is self.default or (type(value) is type(self.default) and value == self.default)

  def check(self, name: str, value: Any) -> None:
    """K1002 or K1041, for the row `name`, unless `value` can be honoured."""
    if not self.valid(value):
      refuse_kind(name, self.expected, value)
    if self.refused(value):
      refuse_value(name, value)


def flag(default: bool, **more: Any) -> Setting:
  return Setting(default, lambda v: isinstance(v, bool), "True or False", **more)


def integer(default: int | None, low: int = 0, high: float = float("inf"), **more: Any) -> Setting:
  bounds = f"{low} to {high}" if high != float("inf") else f"at least {low}"
  expected = f"an integer, {bounds}" + (", or None" if default is None else "")
  return Setting(default, lambda v: v is None and default is None or type(v) is int
                 and low <= v <= high, expected, **more)


def _collection(default: Any = (), **more: Any) -> Setting:
  # {} is meant as an empty set in many a program
  return Setting(default, lambda v: isinstance(v, (list, tuple, set, frozenset)) or v == {},
                 "a list, tuple or set", **more)


def _anything(default: Any, **more: Any) -> Setting:
  return Setting(default, lambda v: True, "anything", **more)


def _path(default: Any, **more: Any) -> Setting:
  return Setting(default, lambda v: v is None or isinstance(v, (str, os.PathLike)), "a path",
                 **more)


def _choice(*values: Any, **more: Any) -> Setting:
  return Setting(values[0], lambda v: v in values, " or ".join(map(repr, values)), **more)


def _is_true(value: Any) -> bool:
  return value is True


def _is_given(value: Any) -> bool:
  return value is not None


SETTINGS: dict[str, Setting] = {
  "workspace_size": integer(0),
  "min_block_size": integer(1, 1),
  "torch_executed_ops": _collection(),
  "pass_through_build_failures": flag(False),
  "max_aux_streams": integer(None),
  "version_compatible": flag(False),
  "optimization_level": integer(None, 0, 5),
  "truncate_double": flag(False),
  "use_complex_decomposition": flag(True),
  "use_fast_partitioner": flag(True),
  "enable_experimental_decompositions": flag(False),
  "device": _anything(None),
  "require_full_compilation": flag(False),
  "disable_tf32": flag(False),
  "assume_dynamic_shape_support": flag(False),
  "sparse_weights": flag(False),
  "engine_capability": _choice(
    EngineCapability.STANDARD, EngineCapability.SAFETY, EngineCapability.DLA_STANDALONE,
    refused=lambda v: v is not EngineCapability.STANDARD),
  "num_avg_timing_iters": integer(1, 1),
  "dla_sram_size": integer(1 << 20),
  "dla_local_dram_size": integer(1 << 30),
  "dla_global_dram_size": integer(1 << 29),
  "dryrun": Setting(False, lambda v: isinstance(v, (bool, str, os.PathLike)),
                    "True, False or a path"),
  "hardware_compatible": flag(False),
  "timing_cache_path": _path(None),
  "lazy_engine_init": flag(False),
  "cache_built_engines": flag(True),
  "reuse_cached_engines": flag(True),
  "use_fp32_acc": flag(False),
  "refit_identical_engine_weights": flag(False),
  "strip_engine_weights": flag(False),
  "immutable_weights": flag(True),
  "enable_weight_streaming": flag(False, refused=_is_true),
  "enable_cross_compile_for_windows": flag(False, refused=_is_true),
  "tiling_optimization_level": _choice("none", "fast", "moderate", "full"),
  "l2_limit_for_tiling": integer(-1, -1),
  "use_distributed_mode_trace": flag(False),
  "offload_module_to_cpu": flag(False),
  "enable_autocast": flag(False, refused=_is_true),
  "autocast_low_precision_type": Setting(
    None, lambda v: v is None or dtype.try_from(v) in (dtype.f16, dtype.bf16),
    "float16, bfloat16 or None"),
  "autocast_excluded_nodes": _collection(),
  "autocast_excluded_ops": _collection(),
  "autocast_max_output_threshold": Setting(
    512, lambda v: isinstance(v, (int, float)) and not isinstance(v, bool), "a number"),
  "autocast_max_depth_of_reduction": integer(None),
  "autocast_calibration_dataloader": _anything(None),
  "enable_resource_partitioning": flag(False),
  "cpu_memory_budget": integer(None, refused=_is_given),
  "dynamically_allocate_resources": flag(False),
  "decompose_attention": flag(False),
  "disabled_constant_fold_exclusions": _collection(frozenset()),
  "attn_bias_is_causal": flag(True),
  "fallback_data_dependent_ops": flag(False),
  # beside CompilationSettings
  "enabled_precisions": Setting(
    None, lambda v: v is None or isinstance(v, (list, tuple, set, frozenset)) and len(v) > 0
    and all(dtype.try_from(p) is not None for p in v), "a set of dtypes", is_field=False),
  "torch_executed_modules": _collection(is_field=False),
  "engine_cache_dir": _path(None, refused=_is_given, is_field=False),
  "engine_cache_size": integer(None, refused=_is_given, is_field=False),
  "custom_engine_cache": _anything(None, refused=_is_given, is_field=False),
  "debug": flag(False, is_field=False),
  "refit": flag(False, is_field=False),
  "make_refittable": flag(False, is_field=False),
  "truncate_long_and_double": flag(False, is_field=False),
  "use_python_runtime": Setting(None, lambda v: v is None or isinstance(v, bool),
                                "True, False or None", is_field=False),
}

#: Settings with the meaning of one of Kiln's options.
_OPTIONS = {
  "min_block_size": "min_block_size",
  "torch_executed_ops": "torch_executed_ops",
  "torch_executed_modules": "torch_executed_modules",
  "require_full_compilation": "strict",
}

#: One switch here: off when both are.
_CACHE = ("cache_built_engines", "reuse_cached_engines")


@dataclass
class Translated:
  """What a door does with the settings that it was given.

  options: for kiln.compile, with the notes among them
  dryrun: False, True or a path
  without_weights: the file is to hold none
  """

  options: dict[str, Any] = field(default_factory=dict)
  dryrun: Any = False
  debug: bool = False
  without_weights: bool = False
  pass_through_build_failures: bool = False
  precisions: frozenset[dtype] | None = None

  def note(self, line: str) -> None:
    self.options["notes"] = [*self.options.get("notes", ()), line]

  @contextlib.contextmanager
  def compiling(self) -> Iterator[None]:
    """Around the compiler: its log if asked for, its errors with the known words."""
    with logging.debug() if self.debug else contextlib.nullcontext(), known_words():
      yield

  def allow(self, tensors: Iterable[torch.Tensor]) -> None:
    """Lowers float32 to the 16-bit precisions that are allowed. K1041 where the model has a dtype
    that is neither allowed nor lowered."""
    if self.precisions is None:
      return
    # TensorRT has no double, so no set of precisions speaks about it.
    own = {dtype.try_from(t.dtype) for t in tensors if t.dtype.is_floating_point} - {dtype.f64}
    half = self.precisions & {dtype.f16, dtype.bf16}
    if own - self.precisions - ({dtype.f32} if half else set()):
      refuse_value("compile(enabled_precisions)", _set_of(self.precisions))
    if dtype.f32 in own and half and "precision" not in self.options:
      self.options.setdefault("enabled_precisions", [p.to(torch.dtype) for p in half])
    unused = self.precisions - own - half - {dtype.f32}
    if unused and own:
      self.note(f"Torch-TensorRT's enabled_precisions allows {_names(unused)}, which is not used: "
                f"Kiln computes in {_names(own | half)}")


def _names(types: Iterable[dtype]) -> str:
  return ", ".join(sorted(t.name for t in types))


def _set_of(types: Iterable[dtype]) -> str:
  return "{" + _names(types) + "}"


def known_options() -> list[str]:
  """Kiln's own options, which every door takes as well."""
  return [f.name for f in dataclasses.fields(kiln_options.Options)]


def check(name: str, value: Any) -> None:
  """K1001, K1002 or K1041 unless `value` can be honoured."""
  setting = SETTINGS.get(name)
  if setting is None:
    known = [*SETTINGS, *known_options()]
    near = difflib.get_close_matches(name, known, n=3)
    raise FrontendError(
      "K1001", f"torch_tensorrt has no setting of this name: {name}",
      hint=f"did you mean {' or '.join(near)}?" if near else
      "docs/coming_from_torch_tensorrt.md lists all settings")
  if name == "device":
    if value is not None:
      Device._from(value)
  else:
    setting.check(_PREFIX + name, value)


def translate(given: dict[str, Any], door: str) -> Translated:
  """Checks all settings of one door. K1001, K1002, K1041."""
  result = Translated()
  own = set(known_options())
  for name, value in given.items():
    if name == "notes":
      for line in value:
        result.note(line)
      continue
    if name in own and name not in SETTINGS:
      result.options[name] = value
      continue
    check(name, value)
    setting = SETTINGS[name]
    if setting.is_default(value):
      continue
    if name in _CACHE and all(given.get(other) is False for other in _CACHE):
      result.options["cache"] = False
    elif name in _OPTIONS:
      result.options[_OPTIONS[name]] = () if value == {} else value
    elif name == "enabled_precisions":
      result.precisions = frozenset(dtype._from(p) for p in value)
    elif name in ("dryrun", "strip_engine_weights"):
      _of_some_doors(result, name, value, door)
    elif name in ("debug", "pass_through_build_failures"):
      setattr(result, name, value)
    elif name == "device":
      if Device._from(value).allow_gpu_fallback:
        result.note(note("Device(allow_gpu_fallback)", True))
    elif _table.find(_PREFIX + name, _table.ACCEPTED) is not None:
      result.note(note(_PREFIX + name, value))
  return result


def _of_some_doors(result: Translated, name: str, value: Any, door: str) -> None:
  if name == "dryrun":
    if door == TORCH_COMPILE:
      refuse_value(_PREFIX + name, value)
    result.dryrun = value
    return
  if door != ENGINE:
    refuse_value(_PREFIX + name, value)
  result.without_weights = value


def _post_init(self: Any) -> None:
  for name, setting in SETTINGS.items():
    if setting.is_field:
      check(name, getattr(self, name))


def _make_class() -> type:
  fields = []
  for name, setting in SETTINGS.items():
    if setting.is_field:
      fields.append((name, Any, dataclasses.field(default=setting.default)))
  made = dataclasses.make_dataclass("CompilationSettings", fields,
                                    namespace={"__post_init__": _post_init})
  made.__module__ = "torch_tensorrt.dynamo"
  made.__doc__ = ("The settings of one compilation, checked when it is made. "
                  "`torch.compile(options=vars(settings))` and `compile(**vars(settings))` take "
                  "them; docs/coming_from_torch_tensorrt.md says what each means.")
  return made


CompilationSettings = _make_class()
