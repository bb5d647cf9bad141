"""Makes the package under test and the shared test modules importable from a checkout."""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
for folder in (_ROOT, _ROOT / "python", _ROOT / "compat", Path(__file__).resolve().parent):
  if str(folder) not in sys.path:
    sys.path.insert(0, str(folder))
