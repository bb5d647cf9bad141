"""An installed Kiln: what `cmake --install` puts where, and programs that are built against it.

The tree is moved after it was installed, and the examples build in folders of their own, so that
nothing of the build can be in use. The programs must give the bits that Python gives.
"""

import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
import torch.utils.cpp_extension

import kiln

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build/release"))


def run(*words, cwd=None, ok=True, **environment):
  # The number of threads decides the order of some sums.
  done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True,
                        timeout=600, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()),
                                          **environment})
  assert (done.returncode == 0) == ok, done.stdout + done.stderr
  return done


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
  folder = tmp_path_factory.mktemp("install")
  run("cmake", "--install", BUILD, "--prefix", folder / "first")
  (folder / "first").rename(folder / "kiln")
  return folder / "kiln"


class Model(torch.nn.Module):
  """Two inputs, two outputs, a dynamic batch, kernels of oneDNN and of Kiln."""

  def __init__(self):
    super().__init__()
    self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    self.linear = torch.nn.Linear(8, 4)

  def forward(self, image, scale):
    features = torch.relu(self.conv(image) * scale).mean((2, 3))
    return torch.softmax(self.linear(features), -1), features


INPUTS = (torch.linspace(-1, 1, 3 * 3 * 8 * 8).reshape(3, 3, 8, 8), torch.tensor([1.5]))


def exported():
  torch.manual_seed(0)
  batch = torch.export.Dim("batch", min=1, max=4)
  return torch.export.export(Model().eval(), INPUTS, dynamic_shapes=({0: batch}, None))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """The folder of model.pt2, model.kiln and the inputs as files; and what Python computes."""
  folder = tmp_path_factory.mktemp("model")
  program = exported()
  torch.export.save(program, folder / "model.pt2")
  compiled = kiln.compile(program)
  compiled.save(folder / "model.kiln")
  for i, tensor in enumerate(INPUTS):
    np.save(folder / f"in{i}.npy", tensor.numpy())
    (folder / f"in{i}.bin").write_bytes(tensor.numpy().tobytes())
  with torch.no_grad():
    return folder, [output.numpy() for output in compiled(*INPUTS)]


def build(name, source, prefix, folder):
  """Configures and builds a CMake project as a stranger would; its executable. ccache, as for Kiln
  itself, keeps what was compiled of the same headers; pytest's folders have another name each time."""
  cache = [f"-DCMAKE_{language}_COMPILER_LAUNCHER=ccache" for language in ("C", "CXX")]
  kept = {"CCACHE_BASEDIR": str(folder.parent), "CCACHE_NOHASHDIR": "1"}
  run("cmake", "-S", source, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release",
      f"-DCMAKE_PREFIX_PATH={prefix}", *(cache if shutil.which("ccache") else []))
  run("cmake", "--build", folder / "build", **kept)
  return folder / "build" / name


def libraries_of(program):
  """Kiln's libraries as the loader finds them."""
  return dict(re.findall(r"(libkiln\w*)\.so\S* => (\S+)", run("ldd", program).stdout))


def check_libraries(program, prefix, expected):
  found = libraries_of(program)
  assert set(found) == expected
  assert all(pathlib.Path(path).resolve().is_relative_to(prefix.resolve()) for path in found.values())


def check_raw_outputs(folder, prefix, outputs):
  for i, expected in enumerate(outputs):
    assert (folder / f"{prefix}{i}.bin").read_bytes() == expected.tobytes()


def test_what_is_installed(prefix):
  headers = {path.name for folder in ("include", "torch/include")
             for path in (ROOT / folder / "kiln").glob("*.h")}
  assert {path.name for path in (prefix / "include" / "kiln").iterdir()} == headers
  assert {path.name for path in (prefix / "bin").iterdir()} == {"kiln"}
  libraries = {path.name for path in (prefix / "lib").glob("*.so")}
  assert libraries == {"libkiln_runtime.so", "libkiln.so", "libkiln_torch.so",
                       "libkiln_torch_compile.so"}
  assert {path.name for path in prefix.iterdir()} == {"include", "bin", "lib"}
  assert (prefix / "include/torch_tensorrt/torch_tensorrt.h").is_file()


def test_nothing_names_the_build(prefix):
  """Neither the texts nor the loader paths, or the tree could not be moved."""
  texts = [path for path in prefix.rglob("*") if path.suffix in (".cmake", ".pc", ".h")]
  assert len(texts) > 12
  for path in texts:
    text = path.read_text()
    assert str(ROOT) not in text and str(BUILD) not in text, path
    assert str(prefix) not in text and "/first" not in text, path
  for path in [prefix / "bin" / "kiln", *(prefix / "lib").glob("*.so")]:
    dynamic = run("readelf", "-d", path).stdout
    (runpath,) = re.findall(r"R(?:UN)?PATH.*\[(.*)\]", dynamic)
    assert runpath == "$ORIGIN:$ORIGIN/../lib", path


def test_versions_agree(prefix):
  header = (prefix / "include/kiln/version.h").read_text()
  assert f'#define KILN_VERSION "{kiln.__version__}"' in header
  assert run(prefix / "bin/kiln", "--version").stdout == f"kiln {kiln.__version__}\n"


def test_tool(prefix, model):
  check_libraries(prefix / "bin/kiln", prefix, {"libkiln", "libkiln_runtime"})
  folder, outputs = model
  run(prefix / "bin/kiln", "run", folder / "model.kiln", "--input", folder / "in0.npy", "--input",
      folder / "in1.npy", "--out", folder / "tool")
  for i, expected in enumerate(outputs):
    assert np.array_equal(np.load(folder / f"tool{i}.npy"), expected)


def test_cpp_runner(prefix, model, tmp_path):
  program = build("cpp_runner", ROOT / "examples/cpp_runner", prefix, tmp_path)
  check_libraries(program, prefix, {"libkiln_runtime"})
  folder, outputs = model
  run(program, folder / "model.kiln", folder / "in0.npy", folder / "in1.npy", "--out",
      tmp_path / "out")
  for i, expected in enumerate(outputs):
    assert np.array_equal(np.load(tmp_path / f"out{i}.npy"), expected)


def test_cpp_compile(prefix, model, tmp_path):
  program = build("cpp_compile", ROOT / "examples/cpp_compile", prefix, tmp_path)
  check_libraries(program, prefix, {"libkiln", "libkiln_runtime"})
  folder, outputs = model
  run(program, folder / "model.pt2", tmp_path / "made.kiln", folder / "in0.bin", folder / "in1.bin",
      "--out", tmp_path / "out")
  check_raw_outputs(tmp_path, "out", outputs)
  with torch.no_grad():
    loaded = kiln.load(tmp_path / "made.kiln")(*INPUTS)
  assert all(np.array_equal(a.numpy(), b) for a, b in zip(loaded, outputs, strict=True))
  assert "K3001" in run(program, "/no/such.pt2", tmp_path / "no.kiln", ok=False).stderr
  (tmp_path / "short.bin").write_bytes(b"123")
  done = run(program, folder / "model.pt2", tmp_path / "made.kiln", folder / "in0.bin",
             tmp_path / "short.bin", ok=False)
  assert "K4105" in done.stderr


@pytest.fixture(scope="module", params=["cmake", "pkg-config"])
def c_runner(request, prefix, tmp_path_factory):
  folder = tmp_path_factory.mktemp("c")
  if request.param == "cmake":
    return build("c_runner", ROOT / "examples/c_runner", prefix, folder)
  # As the head of main.c says.
  command = (ROOT / "examples/c_runner/main.c").read_text()
  command = re.search(r"\*\n( \*   export PKG_CONFIG_PATH.*?)\n \*/", command, re.S)[1]
  command = re.sub(r"^ \*   ", "", command, flags=re.M).replace("PREFIX", str(prefix), 1)
  shutil.copy(ROOT / "examples/c_runner/main.c", folder)
  run("sh", "-ec", command, cwd=folder)
  return folder / "c_runner"


def test_c_runner(c_runner, prefix, model, tmp_path):
  check_libraries(c_runner, prefix, {"libkiln_runtime"})
  folder, outputs = model
  run(c_runner, folder / "model.kiln", folder / "in0.bin", folder / "in1.bin", "--out",
      tmp_path / "out")
  check_raw_outputs(tmp_path, "out", outputs)
  shown = run(c_runner, folder / "model.kiln").stdout.splitlines()
  assert len(shown) == 4 and re.fullmatch(r"input 0: image f32\[\w+,3,8,8\]", shown[0])
  done = run(c_runner, folder / "model.pt2", ok=False)
  assert re.match(r"c_runner: K31\d\d: ", done.stderr)


def test_pkg_config(prefix):
  def ask(*words):
    return run("pkg-config", *words, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig")).stdout.split()

  assert ask("--modversion", "kiln") == ask("--modversion", "kiln-runtime") == [kiln.__version__]
  assert {"-lkiln", "-lkiln_runtime"} <= set(ask("--libs", "kiln"))
  assert "-lkiln" not in ask("--libs", "kiln-runtime")
  (include,) = ask("--cflags", "kiln-runtime")
  assert pathlib.Path(include.removeprefix("-I")).resolve() == (prefix / "include").resolve()


@pytest.mark.parametrize("request_text, complaint", [
  ("Kiln 0.1 REQUIRED", None),
  ("Kiln 99 REQUIRED", "99"),
  ("Kiln REQUIRED COMPONENTS nobody", "nobody"),
  ("Kiln REQUIRED COMPONENTS torch", "torch was not found"),
])
def test_find_package(prefix, tmp_path, request_text, complaint):
  (tmp_path / "CMakeLists.txt").write_text(f"""
cmake_minimum_required(VERSION 3.23)
project(finds LANGUAGES NONE)
find_package({request_text})
if(NOT TARGET Kiln::runtime OR NOT TARGET Kiln::kiln OR TARGET Kiln::torch)
  message(FATAL_ERROR "wrong targets")
endif()
""")
  done = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
             ok=complaint is None)
  if complaint is not None:
    assert complaint in done.stderr and "wrong targets" not in done.stderr


def test_torch_that_was_found_before(prefix, tmp_path):
  """A project with find_package(Torch) of its own links its targets, not a second torch."""
  (tmp_path / "CMakeLists.txt").write_text("""
cmake_minimum_required(VERSION 3.23)
project(finds LANGUAGES NONE)
add_library(torch INTERFACE IMPORTED)
find_package(Kiln REQUIRED COMPONENTS torch)
get_target_property(links Kiln::torch INTERFACE_LINK_LIBRARIES)
message(STATUS "links: ${links}")
""")
  done = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
  assert "links: Kiln::runtime;torch\n" in done.stdout


HYBRID = """
#include <kiln/c_api.h>
#include <stdio.h>

static int fail(kiln_error* error) {
  fprintf(stderr, "%s\\n", kiln_error_text(error));
  kiln_error_free(error);
  return 1;
}

int main(int argc, char** argv) {
  float data[16];
  const int64_t shape[] = {16};
  const kiln_tensor input = {data, KILN_F32, KILN_CPU, 0, 1, shape, NULL};
  kiln_tensor output = input;
  kiln_load_options options = KILN_LOAD_OPTIONS_INIT;
  kiln_program* program;
  kiln_context* context;
  kiln_error* error;
  int i;
  for (i = 0; i < 16; ++i) data[i] = (float)i / 8 - 1;
  if (argc > 2) options.host = kiln_torch_host();
  error = kiln_program_load(argv[1], &options, &program);
  if (error == NULL) error = kiln_context_create(program, NULL, &context);
  if (error == NULL) error = kiln_context_run(context, &input, 1, &output, 1);
  if (error != NULL) return fail(error);
  fwrite(data, sizeof(float), 16, stdout);
  return 0;
}
"""


def test_torch_as_the_host(prefix, tmp_path):
  """A program of which a part stays in PyTorch, from C: Kiln::torch is all that it takes."""
  program = kiln.compile(torch.nn.Sequential(torch.nn.GELU(), torch.nn.Softplus()).eval(),
                         inputs=[torch.zeros(16)], torch_executed_ops=["aten::softplus"])
  program.save(tmp_path / "hybrid.kiln")
  x = torch.arange(16, dtype=torch.float32) / 8 - 1
  with torch.no_grad():
    expected = program(x).numpy()
  source = tmp_path / "source"
  source.mkdir()
  (source / "main.c").write_text(HYBRID)
  (source / "CMakeLists.txt").write_text("""
cmake_minimum_required(VERSION 3.23)
project(hybrid LANGUAGES C)
find_package(Kiln REQUIRED COMPONENTS torch)
add_executable(hybrid main.c)
target_link_libraries(hybrid PRIVATE Kiln::torch)
""")
  built = build("hybrid", source, f"{prefix};{torch.utils.cmake_prefix_path}", tmp_path)
  check_libraries(built, prefix, {"libkiln_torch", "libkiln_runtime"})
  assert "K3302" in run(built, tmp_path / "hybrid.kiln", ok=False).stderr
  done = subprocess.run([built, tmp_path / "hybrid.kiln", "torch"], capture_output=True, timeout=300)
  assert done.returncode == 0, done.stderr
  assert done.stdout == expected.tobytes()


def test_only_names_of_kiln_are_exported(prefix):
  names = set()
  for library in ("kiln_runtime", "kiln"):
    text = run("nm", "-DC", "--defined-only", prefix / f"lib/lib{library}.so").stdout
    own = [line.split(" ", 2)[2] for line in text.splitlines()]
    strange = [name for name in own if "kiln::" not in name and not name.startswith("kiln_")]
    assert own and not strange, strange[:20]
    names.update(own)
  header = re.sub(r"/\*.*?\*/", "", (prefix / "include/kiln/c_api.h").read_text(), flags=re.S)
  declared = set(re.findall(r"\b(kiln_\w+)\((?!\*)", header))
  assert len(declared) > 30 and declared - names == {"kiln_torch_host"}  # in libkiln_torch


@pytest.mark.parametrize("page", ["README.md", "docs/cpp.md"])
def test_samples_compile(page, prefix, tmp_path):
  """The samples in C++ and C, each as the body of a function."""
  blocks = re.findall(r"```(cpp|c)\n(.*?)```", (ROOT / page).read_text(), re.S)
  assert blocks
  torch_headers = [word for folder in torch.utils.cpp_extension.include_paths()
                   for word in ("-isystem", folder)]
  for i, (language, block) in enumerate(blocks):
    lines = block.splitlines()
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    if language == "cpp":
      views = "const std::vector<kiln::TensorView>&"
      with_torch = any("<torch/" in line for line in includes)
      given = "const torch::Tensor& x" if with_torch else f"{views} inputs, {views} outputs"
      compiler, head = ["c++", "-std=c++20"], f"void sample({given})"
    else:
      compiler, head = ["cc", "-std=c99", "-pedantic"], "void sample(void)"
      # A sample that goes on from what another one declared.
      if not includes:
        includes = ["#include <kiln/c_api.h>", "static kiln_program* program;"]
    source = tmp_path / f"sample{i}.{language}"
    source.write_text("\n".join([*includes, f"{head};", f"{head} {{", *body, "}", ""]))
    # All warnings but those on what a sample leaves out on purpose: uses of its results, and fields
    # of options that keep their defaults.
    run(*compiler, "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", "-Wno-unused-parameter",
        "-Wno-missing-field-initializers", "-fsyntax-only", f"-I{prefix}/include", *torch_headers,
        source)


def test_libtorch_app(prefix, model, tmp_path):
  """The libtorch program of the examples, on a file of which a part stays in PyTorch."""
  built = build("libtorch_app", ROOT / "examples/libtorch_app",
                f"{prefix};{torch.utils.cmake_prefix_path}", tmp_path)
  check_libraries(built, prefix, {"libkiln_torch", "libkiln_runtime"})
  program = kiln.compile(exported(), torch_executed_ops=["aten::softmax"])
  program.save(tmp_path / "hybrid.kiln")
  torch.save(list(INPUTS), tmp_path / "inputs.pt")
  run(built, tmp_path / "hybrid.kiln", tmp_path / "inputs.pt", tmp_path / "outputs.pt")
  with torch.no_grad():
    expected = program(*INPUTS)
  outputs = torch.load(tmp_path / "outputs.pt", weights_only=False)  # a list as TorchScript has them
  assert len(outputs) == len(expected) and all(map(torch.equal, outputs, expected))


def test_ts_compile(prefix, tmp_path):
  """Torch-TensorRT's C++ names, from the installed header."""
  built = build("ts_compile", ROOT / "examples/ts_compile",
                f"{prefix};{torch.utils.cmake_prefix_path}", tmp_path)
  check_libraries(built, prefix,
                  {"libkiln_torch_compile", "libkiln_torch", "libkiln", "libkiln_runtime"})
  torch.manual_seed(0)
  module = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.GELU()).eval())
  module.save(tmp_path / "model.ts")
  run(built, tmp_path / "model.ts", tmp_path / "compiled.ts", tmp_path / "engine.kiln", "3x8")
  x = torch.linspace(-1, 1, 24).reshape(3, 8)
  with torch.no_grad():
    compiled, engine = torch.jit.load(tmp_path / "compiled.ts")(x), kiln.load(tmp_path / "engine.kiln")(x)
    # Sums of eight products in another order.
    assert torch.allclose(compiled, module(x), rtol=1e-5, atol=1e-6)
  assert torch.equal(compiled, engine)
