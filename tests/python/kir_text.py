"""The graph in a compiled file, so that programs of different doors can be compared."""

import re
import zipfile


def graph(path, places=True):
  """graph.kir with names of values normalised; without `places`, calls do not say where they are
  from."""
  with zipfile.ZipFile(path) as archive:
    text = archive.read("graph.kir").decode()
  if not places:
    text = re.sub(r' loc\("[^"]*" "[^"]*"\)', "", text)
  names = {}
  return re.sub(r"%[A-Za-z0-9_.]+", lambda m: names.setdefault(m[0], f"%{len(names)}"), text)
