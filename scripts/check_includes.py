#!/usr/bin/env python3
"""Checks the layers: which folder may include which.

The table below is the one of docs/architecture.md. "May include" is transitive: a folder may
include what the folders in its row may include, and itself. Everything not allowed is an error.

    scripts/check_includes.py              check the repository; silent and 0 when all is well
    scripts/check_includes.py --self-test  check the checker
"""

import pathlib
import re
import sys
import tempfile

# Folder (below src/, or a file prefix in it) -> what it stands on.
MAY_INCLUDE = {
    "base": [],
    "core": ["base"],
    "runtime": ["core"],
    "ir": ["core"],
    "ops": ["ir"],
    "interp": ["ops"],
    "aten": ["ops"],
    # capture.h of include/kiln, which `aten` implements, is all it sees of the compiler.
    "frontend/pt2": ["base"],
    "passes": ["interp", "aten"],
    "tile": ["ir", "runtime"],
    "fusion": ["passes", "tile"],
    "tuning": ["ir", "runtime"],
    # Files directly in src/backends: what the compiler knows of any backend.
    "backends": ["fusion", "tuning"],
    "backends/cpu/kernels": ["runtime"],
    "backends/cpu/runtime": ["runtime", "backends/cpu/kernels"],
    "backends/cpu/compile": ["backends", "backends/cpu/runtime"],
    # What NVRTC sees, a world of its own; and the same names for the host compiler.
    "backends/cuda/device": [],
    "backends/cuda/emulated": [],
    "backends/cuda/runtime": ["runtime"],
    "backends/cuda/compile": ["backends", "backends/cuda/runtime"],
    "builder": ["fusion", "tuning", "backends"],
    "capi/run": ["runtime"],
    "capi/build": ["builder", "frontend/pt2", "capi/run"],
}

# Public header -> the folder that implements it; who may include that folder may include it.
PUBLIC_HEADERS = {
    "status.h": "base",
    "version.h": "base",
    "tensor.h": "core",
    "plugin.h": "core",
    "program.h": "runtime",
    "c_api.h": "capi/run",
    "capture.h": "aten",
    "builder.h": "builder",
    "pt2.h": "frontend/pt2",
    "torch.h": "torch",  # in torch/include: for programs with libtorch
}

# Exceptions to the rows above, each with its reason.
EXTRA_PUBLIC = {
    "frontend/pt2": {"capture.h", "tensor.h", "status.h"},  # a door: calls what aten implements
}
# The one file in which the compiler names the backends it is built with.
BACKEND_REGISTRY = "builder/backends.cpp"

# Folders outside src/ and what of src/ they may include; all see every public header.
OUTSIDE = {
    "torch": ["runtime", "capi/run"],
    "examples": [],
    "include": [],
}

# Nothing below src/ may know torch, Python or CUDA.
FORBIDDEN_SYSTEM = re.compile(r"^(torch|ATen|c10|caffe2|pybind11|nanobind|cuda|cudnn|nvrtc)\b|^Python\.h")
# Headers of other projects that are included in quotes because their own documents say so.
QUOTED_THIRD_PARTY = ("hwy/",)

# Headers of kernels: included by their names there, device/....
DEVICE_FOLDERS = ("backends/cuda/device/", "backends/cuda/emulated/")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.MULTILINE)
SUFFIXES = {".h", ".hpp", ".cpp", ".cc", ".cu", ".cuh"}


def closure(folder):
    """The folders that `folder` may include, itself among them."""
    seen, todo = set(), [folder]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(MAY_INCLUDE[name])
    return seen


def folder_of(path):
    """The table's folder of a path below src/, or None."""
    parts = path.split("/")
    if parts[0] == "capi":
        return "capi/build" if parts[-1].startswith("build") else "capi/run"
    for length in range(len(parts) - 1, 0, -1):
        name = "/".join(parts[:length])
        if name in MAY_INCLUDE:
            # src/backends holds folders with rows of their own; a new one needs its own too.
            return None if name == "backends" and length < len(parts) - 1 else name
    return None


def check_include(root, area, path, quoted, target):
    """What is wrong with one #include of the file `path` (relative to `area`), or None."""
    if not quoted:
        if target.startswith("kiln/"):
            return check_public(area, path, target[len("kiln/"):])
        if area in ("src", "include") and FORBIDDEN_SYSTEM.search(target):
            return "only the torch/ folder may include it"
        return None
    if area == "src" and path.startswith(DEVICE_FOLDERS):
        places = [root / "src/backends/cuda", (root / "src" / path).parent.parent]
        if any((place / target).is_file() for place in places):
            return None
        return "device headers include only device headers, as device/..."
    if target.startswith(QUOTED_THIRD_PARTY):
        return None
    if target.startswith("kiln/"):
        return "public headers are included as <kiln/...>"
    if area == "include":
        return "public headers include only public headers"
    if area == "torch" and (root / "torch" / target.removeprefix("torch/")).is_file():
        return None
    # An example stands alone: whoever copies its folder has all of it but the public headers.
    if area == "examples" and ((root / area / path).parent / target).is_file():
        return None
    if not (root / "src" / target).is_file():
        return "no such file below src/ (paths are relative to src/)"
    to = folder_of(target)
    if to is None:
        return "its folder is not in the table of scripts/check_includes.py"
    if area == "src":
        if path == BACKEND_REGISTRY:
            return None
        allowed = closure(folder_of(path))
        name = folder_of(path)
    else:
        allowed = {folder for start in OUTSIDE[area] for folder in closure(start)}
        name = area
    if to not in allowed:
        return f"{name} may include only {', '.join(sorted(allowed)) or 'public headers'}"
    return None


def check_public(area, path, header):
    if header not in PUBLIC_HEADERS:
        return "not a public header of the table of scripts/check_includes.py"
    if area != "src":
        return None
    folder = folder_of(path)
    if header in EXTRA_PUBLIC.get(folder, ()) or PUBLIC_HEADERS[header] in closure(folder):
        return None
    return f"{folder} may not include what {PUBLIC_HEADERS[header]} implements"


def check_tree(root):
    """All violations, as "file:line: text", sorted."""
    errors = []
    for area in ("include", "src", *sorted(set(OUTSIDE) - {"include"})):
        for file in sorted((root / area).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            path = file.relative_to(root / area).as_posix()
            shown = file.relative_to(root).as_posix()
            if area == "src" and folder_of(path) is None:
                errors.append(f"{shown}:1: its folder is not in the table of scripts/check_includes.py")
                continue
            text = file.read_text(encoding="utf-8")
            for match in INCLUDE.finditer(text):
                problem = check_include(root, area, path, match[1] == '"', match[2])
                if problem:
                    line = text.count("\n", 0, match.start(2)) + 1
                    errors.append(f"{shown}:{line}: must not include {match[2]}: {problem}")
    return errors


def self_test():
    for folder in MAY_INCLUDE:
        for below in MAY_INCLUDE[folder]:
            assert folder not in closure(below), f"the table has a circle through {folder}"
    assert "ir" not in closure("backends/cpu/runtime") and "ir" not in closure("capi/run")
    assert "backends/cuda/runtime" not in closure("backends/cpu/compile")

    good = {
        "include/kiln/status.h": "#include <string>\n",
        "include/kiln/capture.h": "#include <kiln/status.h>\n",
        "src/base/log.h": "#include <string>\n",
        "src/core/dim.h": '#include "base/log.h"\n',
        "src/ir/graph.h": '#include "core/dim.h"\n#include "base/log.h"\n',
        "src/aten/import.cpp": '#include <kiln/capture.h>\n#include "ir/graph.h"\n',
        "src/frontend/pt2/zip.cpp": '#include <kiln/capture.h>\n#include "base/log.h"\n',
        "src/runtime/engine.h": '#include "core/dim.h"\n',
        "src/backends/backend.h": '#include "ir/graph.h"\n',
        "src/backends/cpu/kernels/exp.cpp": '#include "hwy/highway.h"\n',
        "src/backends/cpu/compile/lower.h": '#include "backends/backend.h"\n#include "ir/graph.h"\n',
        "src/builder/phases.cpp": '#include "backends/backend.h"\n',
        "src/capi/build.cpp": '#include "builder/phases.h"\n',
        "src/builder/phases.h": "",
        "src/builder/backends.cpp": '#include "backends/cpu/compile/lower.h"\n',
        "torch/host.h": "#include <torch/library.h>\n",
        "torch/host.cpp": '#include "host.h"\n#include "runtime/engine.h"\n#include <kiln/capture.h>\n',
        "examples/cpp_runner/main.cpp": "#include <kiln/status.h>\n",
        "tools/kiln/main.cpp": '#include "builder/phases.h"\n',
    }
    bad = {
        "src/base/up.cpp": '#include "core/dim.h"\n',
        "src/core/up.cpp": '\n#include "ir/graph.h"\n',
        "src/runtime/up.cpp": '#include "ir/graph.h"\n',
        "src/ir/torch.cpp": "#include <ATen/ATen.h>\n",
        "src/ir/python.cpp": "#include <Python.h>\n",
        "src/ir/capture.cpp": "#include <kiln/capture.h>\n",
        "src/ir/quoted.cpp": '#include "kiln/status.h"\n',
        "src/ir/relative.cpp": '#include "graph.h"\n',
        "src/ir/unknown.cpp": "#include <kiln/nothing.h>\n",
        "src/frontend/pt2/up.cpp": '#include "ir/graph.h"\n',
        "src/builder/up.cpp": '#include "backends/cpu/compile/lower.h"\n',
        "src/backends/cuda/runtime/side.cpp": '#include "backends/cpu/compile/lower.h"\n',
        "src/capi/run.cpp": '#include "builder/phases.h"\n',
        "src/strange/x.cpp": "",
        "src/backends/tpu/x.cpp": "",
        "torch/up.cpp": '#include "builder/phases.h"\n',
        "examples/cpp_runner/up.cpp": '#include "base/log.h"\n',
        "include/kiln/version.h": '#include "base/log.h"\n',
    }
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)

        def write(files):
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")

        write(good)
        assert check_tree(root) == [], check_tree(root)
        write(bad)
        found = check_tree(root)
        assert sorted(error.split(":")[0] for error in found) == sorted(bad), found
        assert any(error.startswith("src/core/up.cpp:2:") for error in found), found


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    errors = check_tree(pathlib.Path(__file__).resolve().parent.parent)
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
