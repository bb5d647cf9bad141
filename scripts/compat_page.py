#!/usr/bin/env python3
"""Prints docs/coming_from_torch_tensorrt.md from the table of the package. Needs no torch."""

import pathlib
import sys

# As a package of its own: importing torch_tensorrt would import torch and look at the environment.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "compat" / "torch_tensorrt"))

from _table import page  # noqa: E402

sys.stdout.write(page.page())
