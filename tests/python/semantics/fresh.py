"""python -m semantics.fresh SEEN FILES...: loads each NAME.kiln, makes the calls of the case of that
name and writes what was seen to the file SEEN. Compiles nothing.
"""

from __future__ import annotations

import pathlib
import sys
import warnings

import torch

import kiln

from . import cases  # noqa: F401: registers the cases
from .case import CASES
from .observe import describe_error, run


def main(target: str, paths: list[pathlib.Path]) -> None:
  seen = {}
  for path in paths:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      try:
        case = CASES[path.stem]
        program = kiln.load(path, trust=True)
        seen[path.stem] = (run(case, program), "", None)
      except Exception as error:  # noqa: BLE001: as in doors.Door.observe
        seen[path.stem] = (describe_error(error), str(error), None)
  torch.save(seen, target)


if __name__ == "__main__":
  main(sys.argv[1], [pathlib.Path(path) for path in sys.argv[2:]])
