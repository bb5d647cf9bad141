#!/usr/bin/env bash
# Builds only the Python extension, for a machine that has another Python than the one where Kiln was
# built, torch of the same version, nanobind and a compiler, and that nothing can be installed on.
#
#   scripts/gpu_extension.sh LIBRARIES    LIBRARIES: folder with the built libkiln*.so
#
# The extension goes to python/kiln and finds the libraries where they lie now.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
libraries=$(realpath "$1")
python=${PYTHON-python3}

read -r torch_dir nanobind_dir python_include suffix abi < <("$python" - <<'CODE'
import importlib.util, os, sysconfig
import nanobind, torch
print(os.path.dirname(torch.__file__), os.path.dirname(nanobind.__file__),
      sysconfig.get_paths()["include"], sysconfig.get_config_var("EXT_SUFFIX"),
      int(torch._C._GLIBCXX_USE_CXX11_ABI))
CODE
)

flags=(-std=c++20 -O1 -fPIC -fvisibility=hidden -D_GLIBCXX_USE_CXX11_ABI="$abi" -march=x86-64-v2
       -I. -Isrc -Iinclude -isystem "$torch_dir/include"
       -isystem "$torch_dir/include/torch/csrc/api/include" -isystem "$nanobind_dir/include"
       -isystem "$nanobind_dir/ext/robin_map/include" -isystem "$python_include")
objects=build/gpu/objects
mkdir -p "$objects"
for source in torch/python/*.cpp "$nanobind_dir/src/nb_combined.cpp"; do
  c++ "${flags[@]}" -fno-strict-aliasing -c "$source" -o "$objects/$(basename "$source" .cpp).o" &
  while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n; done
done
while (($(jobs -rp | wc -l) > 0)); do wait -n; done
c++ -shared -o "python/kiln/_native$suffix" "$objects"/*.o -L"$libraries" \
  -Wl,--disable-new-dtags -Wl,-rpath,"$libraries" -Wl,-rpath,"$torch_dir/lib" -Wl,-z,undefs -Wl,--allow-shlib-undefined \
  -lkiln_torch_compile -lkiln_torch -lkiln -lkiln_runtime -L"$torch_dir/lib" -ltorch_python -ltorch -ltorch_cpu -lc10
