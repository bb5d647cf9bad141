"""A saved program cut off at every `step` bytes and with single bits flipped, read one after the other."""

from __future__ import annotations

from pathlib import Path

from pt2_cases import run_python

# What decides is `is_right(name)`: whether a file was taken, and right; False for a typed error.
_LOOP = """
import logging, random, sys, time, warnings
import torch, kiln
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
path, flips, step, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
data = open(path, "rb").read()
errors = right = 0
def attempt(what, content, seconds=seconds):
  global errors, right
  name = path + ".damaged" + path[path.rindex("."):]
  with open(name, "wb") as file:
    file.write(content)
  print(what, file=sys.stderr, flush=True)
  start = time.perf_counter()
  if is_right(name):
    right += 1
  else:
    errors += 1
  assert time.perf_counter() - start < seconds, what
attempt("whole", data, seconds + 10)
assert right == 1
for end in range(0, len(data), step):
  attempt(f"truncated to {end}", data[:end])
assert right == 1, "a truncated file was taken for a whole one"
generator = random.Random(0)
for _ in range(flips):
  position, mask = generator.randrange(len(data)), 1 << generator.randrange(8)
  changed = bytearray(data)
  changed[position] ^= mask
  attempt(f"bit {mask} of byte {position}", bytes(changed))
print(errors, right)
"""


def damage(path: Path, flips: int, step: int, is_right: str, seconds: int = 2) -> tuple[int, int]:
  """How many damaged copies were errors, and how many were right, in a process of their own.

  `is_right` is the text of a function of that name, from a file's name to whether it was taken and
  right; it may use `path`. Each attempt ends within `seconds`.
  """
  done = run_python(is_right + _LOOP, path, flips, step, seconds, timeout=1200)
  assert done.returncode == 0, done.stderr[-2000:]
  errors, right = map(int, done.stdout.split())
  return errors, right
