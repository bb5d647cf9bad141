"""The command `kiln` of an installed wheel: the program that lies in the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
  """Becomes the `kiln` tool; its arguments and its exit status are the tool's own."""
  program = Path(__file__).parent / "bin" / "kiln"
  if not program.exists():
    sys.exit("kiln: this is a source tree: run build/release/bin/kiln, which ./dev build makes")
  os.execv(program, [str(program), *sys.argv[1:]])
