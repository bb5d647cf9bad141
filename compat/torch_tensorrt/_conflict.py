"""Refuses to stand in for a real Torch-TensorRT that is installed too.

Two distributions with one module overwrite each other's files, and which one a program gets is
chance. Packaging has no field that keeps an installer from it, so the import looks.
"""

from __future__ import annotations

from importlib import metadata

OURS = "torch-kiln-compat"
CODE = "K5201"
REAL = ("torch-tensorrt", "torch-tensorrt-rtx")


def check() -> None:
  for name in REAL:
    try:
      version = metadata.version(name)
    except metadata.PackageNotFoundError:
      continue
    raise ImportError(
      f"{CODE}: this module torch_tensorrt is Kiln's ({OURS}), and {name} {version} is installed "
      f"as well\n  hint: uninstall both, then install the one that you want: "
      f"pip uninstall {OURS} {name}; for Kiln without the names of Torch-TensorRT, import kiln")
