#include "unit/builder/small_files.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "base/crc32.h"
#include "base/file.h"
#include "base/hash.h"
#include "builder/engine_writer.h"
#include "runtime/archive.h"
#include "unit/cpu_compile/lowered_program.h"

namespace kiln::test {
namespace {

struct Source {
  const char* name;
  const char* text;
  std::vector<std::vector<int64_t>> inputs;
};

// An elementwise chain with weights, of which one is computed at load.
constexpr const char* kElementwise = R"(weights {
  %w0 = parameter "scale" : f32[6]
  %w1 = parameter "shift" : f32[6]
}
init {
  const %c0 = %w0 : f32[6] name "scale"
  %0 = neg(%w1) : f32[6]
  const %c1 = %0 : f32[6] name "shift"
}
main(%x: f32[4,6]) {
  %0 = mul(%x, %c0) : f32[4,6]
  %1 = add(%0, %c1) : f32[4,6]
  %2 = relu(%1) : f32[4,6]
  return %2 {name="y"}
})";

// Rows of symbolic number and length.
constexpr const char* kRows = R"(symbols {
  n in [1, 8]
  m in [2, 16]
}
conditions {
  "n" le "2*m" : "few rows"
}
main(%x: f32[?n,?m]) {
  %0 = layer_norm(%x) {eps=0.1} : f32[?n,?m]
  %1 = softmax(%0) {axis=1} : f32[?n,?m]
  %2 = reduce_max(%1) {axes=[1]} : f32[?n]
  return %1 {name="y"}, %2 {name="top"}
})";

// A product with packed weights, between a transpose and a concat.
constexpr const char* kMatmul = R"(symbols {
  n in [1, 8]
}
weights {
  %w0 = parameter "weight" : f32[5,6]
  %w1 = parameter "bias" : f32[5]
}
init {
  const %c0 = %w0 : f32[5,6] name "weight"
  const %c1 = %w1 : f32[5] name "bias"
}
main(%x: f32[6,?n], %y: f32[?n,2]) {
  %0 = permute(%x) {order=[1, 0]} : f32[?n,6]
  %1 = linear(%0, %c0, %c1) : f32[?n,5]
  %2 = concat(%1, %y) {axis=1} : f32[?n,7]
  return %2 {name="z"}
})";

// A buffer of which a row is replaced in place, and views of an input, the buffer and a result.
constexpr const char* kState = R"(weights {
  %w0 = buffer "cache" : f32[4,6]
}
main(%x: f32[1,6], %cache: f32[4,6] {state=%w0}) {
  %0 = slice(%cache) {axis=0, start=0, end=1, step=1} : f32[1,6]
  %1 = slice(%cache) {axis=0, start=2, end=4, step=1} : f32[2,6]
  %2 = concat(%0, %x, %1) {axis=0} : f32[4,6]
  %3 = neg(%2) : f32[4,6]
  %4 = reshape(%x) {shape=[2, 3]} : f32[2,3]
  %5 = permute(%2) {order=[1, 0]} : f32[6,4]
  %6 = slice(%3) {axis=1, start=1, end=6, step=2} : f32[4,3]
  return %3 {name="y"}, %4 {view_of=%x, view=[reshape(2, 3)], name="v"}, %5 {view_of=%cache, view=[permute(1, 0)], name="t"}, %6 {view_of=#0, view=[slice(1, 1, 6, 2)], name="s"}, %2 {writes=%cache, name="cache"}
})";

std::string temporary_path() {
  const char* folder = std::getenv("TMPDIR");
  return std::string(folder == nullptr ? "/tmp" : folder) + "/kiln_small_" +
         std::to_string(getpid()) + ".kiln";
}

SmallFile make(const Source& source) {
  auto program = cpu_compile_test::lower(source.text, "assign_layouts, fuse_epilogues, fuse_tiles",
                                         DataKind::kUnit);
  KILN_CHECK(program.engine != nullptr);
  EngineFile contents;
  contents.metadata = R"({"inputs": "x", "outputs": ["y"]})";
  contents.report = R"({"ops_total": 3})";
  contents.graph = print(*program.module);
  contents.plans = {&program.plan};
  for (size_t i = 0; i < program.module->weights.size(); ++i) {
    Weight& weight = program.module->weights[i];
    weight.data = {program.weights[i].bytes(), program.weights[i].num_bytes(), nullptr};
    contents.weights.push_back(&weight);
  }
  const std::string path = temporary_path();
  const Status written = write_engine_file(path, contents);
  KILN_CHECK_MSG(written.ok(), written.to_string());
  SmallFile file;
  file.name = source.name;
  file.bytes = read_file(path).value();
  unlink(path.c_str());
  KILN_CHECK_LE(file.bytes.size(), size_t{64} << 10);
  uint64_t seed = 1;
  for (const auto& shape : source.inputs) {
    const HostTensor values = random_data(DType::kF32, shape, DataKind::kNormal, seed++);
    const auto* data = values.data<float>();
    file.inputs.push_back({shape, std::vector<float>(data, data + values.num_elements())});
  }
  const AlignedBytes bytes(file.bytes);
  Outcome outcome = load_and_run(bytes.data, bytes.size, file);
  KILN_CHECK_MSG(outcome.status.ok(), outcome.status.to_string());
  file.outputs = std::move(outcome.outputs);
  return file;
}

uint64_t number(const char* data, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(data[at + i]);
  return value;
}

void put32(char* data, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) data[at + i] = static_cast<char>(value >> (8 * i));
}

}  // namespace

const std::vector<SmallFile>& small_files() {
  static const std::vector<SmallFile> files = [] {
    std::vector<SmallFile> made;
    made.push_back(make({"Elementwise", kElementwise, {{4, 6}}}));
    made.push_back(make({"Rows", kRows, {{3, 5}}}));
    made.push_back(make({"State", kState, {{1, 6}}}));
    made.push_back(make({"Matmul", kMatmul, {{6, 3}, {3, 2}}}));
    return made;
  }();
  return files;
}

AlignedBytes::AlignedBytes(const std::string& text) : size(text.size()) {
  data = static_cast<char*>(std::aligned_alloc(kArchiveAlignment, (size + 63) / 64 * 64));
  KILN_CHECK(data != nullptr);
  std::memcpy(data, text.data(), size);
}
AlignedBytes::~AlignedBytes() { std::free(data); }

Outcome load_and_run(const char* data, size_t size, const SmallFile& file) {
  Outcome outcome;
  LoadOptions options;
  options.threads = 1;
  auto program = Program::load(data, size, nullptr, options);
  if (!program.ok()) {
    outcome.status = program.status();
    return outcome;
  }
  outcome.loaded = true;
  auto context = (*program)->create_context();
  std::vector<TensorView> inputs;
  for (const SmallFile::Input& input : file.inputs) {
    inputs.push_back({const_cast<float*>(input.data.data()), DType::kF32, Device(),
                      static_cast<int>(input.shape.size()), input.shape.data(), nullptr});
  }
  auto outputs = context->run(inputs, [&](int, const TensorSpec&, size_t bytes) -> void* {
    if (bytes > size_t{1} << 22) return nullptr;
    // Rounded up to elements only: reads and writes beyond the end are seen by asan.
    outcome.outputs.emplace_back((bytes + 3) / 4, 0.0f);
    return outcome.outputs.back().data();
  });
  outcome.status = outputs.status();
  return outcome;
}

void recompute_hashes(char* data, size_t size) {
  struct Entry {
    std::string name;
    size_t crc_at = 0, begin = 0, bytes = 0, central_crc_at = 0;
  };
  const size_t end = size - 22;
  const auto count = static_cast<size_t>(number(data, end + 10, 2));
  size_t central = static_cast<size_t>(number(data, end + 16, 4)), at = 0;
  std::vector<Entry> entries;
  for (size_t i = 0; i < count; ++i) {
    Entry entry;
    entry.crc_at = at + 14;
    entry.bytes = static_cast<size_t>(number(data, at + 22, 4));
    const auto name = static_cast<size_t>(number(data, at + 26, 2));
    const auto extra = static_cast<size_t>(number(data, at + 28, 2));
    entry.name.assign(data + at + 30, name);
    entry.begin = at + 30 + name + extra;
    entry.central_crc_at = central + 16;
    central += 46 + name + static_cast<size_t>(number(data, central + 30, 2));
    at = entry.begin + entry.bytes;
    entries.push_back(std::move(entry));
  }
  auto set_crc = [&](const Entry& entry) {
    const uint32_t crc = crc32(data + entry.begin, entry.bytes);
    put32(data, entry.crc_at, crc);
    put32(data, entry.central_crc_at, crc);
  };
  std::string_view header(data + entries[0].begin, entries[0].bytes);
  for (size_t i = 1; i < entries.size(); ++i) {
    set_crc(entries[i]);
    // "NAME": {"bytes": N, "xxh128": "HEX"}, with any spacing; the list of entries comes last.
    const size_t name = header.rfind('"' + entries[i].name + '"');
    if (name == std::string_view::npos) continue;
    size_t hash = header.find("\"xxh128\"", name);
    if (hash == std::string_view::npos) continue;
    hash = header.find('"', hash + 8);
    if (hash == std::string_view::npos || hash + 33 > header.size()) continue;
    const std::string hex = hash128({data + entries[i].begin, entries[i].bytes}).hex();
    std::memcpy(data + entries[0].begin + hash + 1, hex.data(), 32);
  }
  set_crc(entries[0]);
}

}  // namespace kiln::test
