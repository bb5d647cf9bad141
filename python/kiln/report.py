"""What was built: coverage, fallbacks with reasons, kernels, memory, times."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from .absent import AbsentProgram


class Report:
  """The report of one program; `print(report)` shows it, `to_json()` gives everything.

  ops_total, ops_native: captured calls, counted before any pass
  fallbacks: list of {op, count, code, reason, module_path, location}
  segments: runs of native steps between calls to PyTorch
  kernels: list of {kernel, computes, dtype, module_path, location, refusals}
  precision: {asked, storage, kernels, stays_f32, computes_in_f32}: which dtypes kernels read, and
    what computes in float32 beside the wish, with reasons
  memory: bytes {weight_bytes, packed_bytes, shared_bytes}
  build_seconds: by phase, "capture" apart
  cache: {program, why, key, folder}: "hit", "miss", ... and the reason
  notes: what could not be honoured and what else the user should know
  """

  def __init__(self, data: dict[str, Any]):
    self._data = data

  @classmethod
  def from_json(cls, text: str) -> "Report":
    return cls(json.loads(text))

  def __getattr__(self, name: str) -> Any:
    if name.startswith("_"):
      raise AttributeError(name)
    try:
      return self._data[name]
    except KeyError:
      raise AttributeError(f"the report has no {name}") from None

  def update(self, **fields: Any) -> None:
    for name, value in fields.items():
      if isinstance(value, dict) and isinstance(self._data.get(name), dict):
        self._data[name].update(value)
      else:
        self._data[name] = value

  def to_json(self, indent: int | None = None) -> str:
    return json.dumps(self._data, indent=indent)

  @property
  def coverage(self) -> float:
    """Share of captured calls that run in Kiln; 1 for a program without calls."""
    return self.ops_native / self.ops_total if self.ops_total else 1.0

  def __str__(self) -> str:
    return "\n".join(self._lines())

  def _lines(self) -> list[str]:
    data = self._data
    total, native = data["ops_total"], data["ops_native"]
    lines = []
    if total and not native:
      lines.append("nothing was accelerated: every call runs in PyTorch")
    lines.append(f"{native} of {total} calls in Kiln ({100 * self.coverage:.0f} %), "
                 f"{total - native} in PyTorch, {data['segments']} native segment(s), "
                 f"target {data['target']}")
    if data["fallbacks"]:
      lines.append("in PyTorch:")
      for row in data["fallbacks"]:
        place = " ".join(p for p in (row["module_path"], row["location"]) if p)
        lines.append(f"  {row['count']:4d} x {row['op']}  [{row['code']}] {row['reason']}"
                     + (f"  first at {place}" if place else ""))
    if data.get("kernels"):
      counts = Counter(row["kernel"] for row in data["kernels"])
      lines.append("kernels: " + ", ".join(f"{n} {k}" for k, n in counts.most_common()))
    lines += _precision_lines(data.get("precision", {}))
    memory = data.get("memory", {})
    if memory:
      text = f"memory: weights {_mib(memory.get('weight_bytes', 0))} (borrowed)"
      if "packed_bytes" in memory:
        text += f", packed and computed {_mib(memory['packed_bytes'])}"
      lines.append(text)
    seconds = data.get("build_seconds")
    if seconds:
      build = sum(v for k, v in seconds.items() if k != "capture")
      phases = ", ".join(f"{k} {v:.2f}" for k, v in seconds.items() if k != "capture" and v >= 0.005)
      text = f"build: {build:.2f} s" + (f" ({phases})" if phases else "")
      if "capture" in seconds:
        text += f"; capture {seconds['capture']:.2f} s"
      lines.append(text)
    lines += _cache_lines(data.get("cache", {}))
    lines += [f"note: {note}" for note in data.get("notes", [])]
    return lines

  def kernel_table(self, refusals: bool = False) -> str:
    """One line per kernel, with the refusals of the providers asked before on request."""
    lines = []
    for row in self._data.get("kernels", []):
      lines.append(f"{row['kernel']:16s} {row['dtype']:5s} {row['computes']:40s} "
                   f"{row['module_path']}")
      if refusals:
        lines += [f"    not {reason}" for reason in row["refusals"]]
    return "\n".join(lines)

  def __repr__(self) -> str:
    return f"<kiln.Report: {self.ops_native} of {self.ops_total} calls in Kiln>"


def memory_of(native: Any) -> dict[str, int]:
  """What the report says of a native program's memory."""
  if isinstance(native, AbsentProgram):
    return {}
  return {"packed_bytes": native.packed_bytes(), "shared_bytes": native.shared_bytes()}


def _precision_lines(precision: dict[str, Any]) -> list[str]:
  """The dtypes of kernels where there is more than float32 to tell of."""
  if not precision:
    return []
  kernels, wide = precision["kernels"], precision["computes_in_f32"]
  if not precision["asked"] and not wide and not kernels.keys() & {"f16", "bf16"}:
    return []
  text = f"precision: asked for {' or '.join(precision['asked'])}" if precision["asked"] else \
    "precision: as the model has it"
  if kernels:
    text += "; kernels: " + ", ".join(f"{n} {dtype}" for dtype, n in kernels.items())
  lines = [text]
  for rows, what in ((precision["stays_f32"], "stays f32"), (wide, "computes in f32")):
    for row in rows:
      place = " ".join(p for p in (row["module_path"], row["location"]) if p)
      lines.append(f"  {row['count']:4d} x {row['op']} {what}: {row['reason']}"
                   + (f"  first at {place}" if place else ""))
  return lines


def _cache_lines(cache: dict[str, str]) -> list[str]:
  if not cache or (cache["program"] == "off" and not cache["why"]):
    return []
  return [f"cache: {cache['program']}" + (f" ({cache['why']})" if cache["why"] else "")]


def _mib(size: int) -> str:
  return f"{size / 2**20:.1f} MiB"
