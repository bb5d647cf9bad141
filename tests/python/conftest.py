"""Makes the package under test and the shared test modules importable from a checkout."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
for folder in (_ROOT, _ROOT / "python", _ROOT / "compat", Path(__file__).resolve().parent):
  if str(folder) not in sys.path:
    sys.path.insert(0, str(folder))

# Tests compile what they say they compile and leave the user's cache of programs alone, in this
# process and in those that they start; test_cache.py gives its processes a cache of their own.
os.environ.setdefault("KILN_OPTIONS", "cache=0")
_cache = tempfile.mkdtemp(prefix="kiln-test-cache-")
os.environ["KILN_CACHE_DIR"] = _cache


def pytest_unconfigure():
  shutil.rmtree(_cache, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_jit_reports():
  """kiln.jit_reports() keeps a bounded number; each test counts its own."""
  kiln = sys.modules.get("kiln.compiler")
  if kiln is not None:
    kiln._jit_reports.clear()
