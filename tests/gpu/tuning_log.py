"""What the tuner logs, for benchmarks of kernels: debug switches and the cache's folder are read once
in a process, so each setting has a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile


def tuning_log(script: str, arguments: list[str], switches: str) -> str:
  """What `script --child ARGUMENTS` writes to standard error, the tuner's lines among it, with an
  empty cache and KILN_OPTIONS=switches. Shows the end of it when the script fails."""
  with tempfile.TemporaryDirectory() as cache:
    environment = dict(os.environ, KILN_CACHE_DIR=cache, KILN_LOGS="tuning=debug",
                       KILN_OPTIONS=switches)
    done = subprocess.run([sys.executable, script, "--child", *arguments], env=environment,
                          stderr=subprocess.PIPE, text=True, check=False)
  if done.returncode != 0:
    print(done.stderr[-3000:])
  return done.stderr
