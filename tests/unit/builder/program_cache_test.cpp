// The cache of compiled programs: when it answers, when it must not, and that what it answers is
// what compiling would have given.
#include <gtest/gtest.h>
#include <kiln/builder.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "aten/capture_hash.h"
#include "base/cache_folder.h"
#include "base/file.h"
#include "base/json.h"
#include "base/options.h"
#include "base/parallel_for.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using Handle = CaptureBuilder::Handle;

CaptureMeta meta(std::vector<CaptureDim> dims) {
  CaptureMeta result;
  result.dims = std::move(dims);
  return result;
}
CaptureArg value(Handle handle) { return {CaptureArg::Value{handle}}; }

// relu(x @ weight^T + bias) with a symbolic batch. `extent` of 600 makes packed weights.
struct Model {
  int64_t extent = 8;
  int64_t max_batch = 16;
  float scale = 1;
  std::string activation = "aten::relu";
  std::string location = "model.py:7";
  std::string second = "bias";

  static std::shared_ptr<std::vector<float>> data(int64_t count, float scale) {
    auto values = std::make_shared<std::vector<float>>();
    for (int64_t i = 0; i < count; ++i) {
      values->push_back(scale * static_cast<float>(i % 13 - 6) / 8);
    }
    return values;
  }

  void capture(CaptureBuilder& builder) const {
    EXPECT_TRUE(builder.symbol("n", 1, max_batch).ok());
    const std::string text = std::to_string(extent);
    const Handle x = builder.input("x", meta({"n", text})).value();
    auto weight = [&](const std::string& name, std::vector<int64_t> shape) {
      int64_t count = 1;
      for (int64_t e : shape) count *= e;
      auto owner = data(count, scale);
      const CaptureWeight captured{DType::kF32, std::move(shape), {}, owner->data(), owner};
      return builder.weight(name, captured, "parameter").value();
    };
    const Handle w = weight("weight", {extent, extent}), b = weight(second, {extent});
    const Handle y =
        builder.call("aten::linear", "", {value(x), value(w), value(b)}, {meta({"n", text})},
                     {"fc", "model.py:3"}, "").value()[0];
    const Handle z = builder.call(activation, "", {value(y)}, {meta({"n", text})},
                                  {"act", location}, "").value()[0];
    EXPECT_TRUE(builder.output(z, "y").ok());
  }
};

class ProgramCacheTest : public testing::Test {
 protected:
  ProgramCacheTest() {
    std::string pattern = testing::TempDir() + "kiln_programs_XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    options_.cache_dir = root_ + "/cache";
    options_.metadata = R"({"inputs": ["x"]})";
  }
  ~ProgramCacheTest() override {
    set_debug_options({});
    fs::remove_all(root_);
  }

  struct Built {
    std::unique_ptr<CompiledProgram> compiled;
    std::vector<float> result;
    std::string program, why;  // of the report
  };
  Built build(const Model& model) { return build(model, options_); }
  Built build(const Model& model, const BuildOptions& options) {
    Built built;
    CaptureBuilder builder;
    model.capture(builder);
    auto compiled = compile(builder, options);
    EXPECT_TRUE(compiled.ok()) << compiled.status().to_string();
    if (!compiled.ok()) return built;
    built.compiled = std::move(compiled).value();
    auto program = built.compiled->instantiate({});
    EXPECT_TRUE(program.ok()) << program.status().to_string();
    if (!program.ok()) return built;
    auto input = Model::data(3 * model.extent, 1);
    const int64_t shape[] = {3, model.extent};
    built.result.resize(static_cast<size_t>(3 * model.extent));
    TensorView x{input->data(), DType::kF32, {}, 2, shape, nullptr};
    TensorView y{built.result.data(), DType::kF32, {}, 2, shape, nullptr};
    const Status run = (*program)->create_context()->run({x}, {y});
    EXPECT_TRUE(run.ok()) << run.to_string();
    const Json report = parse_json(built.compiled->report_json()).value();
    const Json& cache = *report.find("cache");
    built.program = cache.find("program")->as_string();
    built.why = cache.find("why")->as_string();
    return built;
  }
  std::vector<float> expected(const Model& model) {
    BuildOptions options = options_;
    options.cache_dir.clear();
    const Built built = build(model, options);
    EXPECT_EQ(built.program, "off");
    return built.result;
  }
  std::string saved(const Built& built) {
    const std::string path = root_ + "/saved.kiln";
    EXPECT_TRUE(built.compiled->save(path).ok());
    return read_file(path).value();
  }
  // The file of the only entry.
  std::string entry() {
    const auto entries = CacheFolder::open(options_.cache_dir, 0)->list();
    EXPECT_EQ(entries->size(), 1u);
    return options_.cache_dir + "/" + entries->front().name;
  }
  static void write_raw(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  std::string root_;
  BuildOptions options_;
};

TEST_F(ProgramCacheTest, AHitIsTheSameProgram) {
  const Model model{.extent = 600};
  const Built cold = build(model), warm = build(model);
  EXPECT_EQ(cold.program, "miss");
  EXPECT_EQ(cold.why, "no entry");
  EXPECT_EQ(warm.program, "hit");
  EXPECT_EQ(warm.why, "");
  EXPECT_EQ(warm.result, cold.result);
  EXPECT_EQ(warm.result, expected(model));
  EXPECT_EQ(saved(warm), saved(cold));
  for (const char* stage : {"simplified", "lowered"}) {
    EXPECT_EQ(warm.compiled->ir(stage), cold.compiled->ir(stage));
    EXPECT_NE(warm.compiled->ir(stage), "");
  }
  EXPECT_EQ(warm.compiled->weight_names(), cold.compiled->weight_names());
  // All but times.
  const Json report = parse_json(warm.compiled->report_json()).value();
  const Json fresh = parse_json(cold.compiled->report_json()).value();
  for (const JsonMember& member : fresh.as_object()) {
    if (member.key == "build_seconds" || member.key == "cache") continue;
    ASSERT_NE(report.find(member.key), nullptr) << member.key;
    EXPECT_EQ(*report.find(member.key), member.value) << member.key;
  }
}

// Plans do not depend on the values of weights; the folder holds nothing that does.
TEST_F(ProgramCacheTest, OtherValuesOfWeightsShareTheProgram) {
  const Model model{.extent = 600}, tuned{.extent = 600, .scale = 2};
  const Built first = build(model), other = build(tuned);
  EXPECT_EQ(other.program, "hit");
  EXPECT_EQ(other.result, expected(tuned));
  EXPECT_NE(other.result, first.result);
  const auto entries = CacheFolder::open(options_.cache_dir, 0)->list();
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_LT(entries->front().bytes, 600u * 600u);
}

TEST_F(ProgramCacheTest, WhateverChangesTheProgramIsAMiss) {
  ASSERT_EQ(build({}).program, "miss");
  const std::pair<const char*, std::function<void(Model&)>> models[] = {
      {"shape", [](Model& m) { m.extent = 9; }},
      {"range", [](Model& m) { m.max_batch = 17; }},
      {"operator", [](Model& m) { m.activation = "aten::sigmoid"; }},
      {"location", [](Model& m) { m.location = "model.py:8"; }},
      {"name of a weight", [](Model& m) { m.second = "offset"; }},
  };
  for (const auto& [what, change] : models) {
    Model model;
    change(model);
    EXPECT_EQ(build(model).program, "miss") << what;
    EXPECT_EQ(build(model).program, "hit") << what;
  }
  const std::pair<const char*, std::function<void(BuildOptions&)>> options[] = {
      {"threads", [](BuildOptions& o) { o.threads = 1; }},
      {"strict", [](BuildOptions& o) { o.strict = true; }},
      {"min_block_size", [](BuildOptions& o) { o.min_block_size = 2; }},
      {"target", [](BuildOptions& o) { o.target = "cpu"; }},
      {"bf16", [](BuildOptions& o) { o.precisions = {DType::kBF16}; }},
      {"f16", [](BuildOptions& o) { o.precisions = {DType::kF16}; }},
      {"f16 or bf16", [](BuildOptions& o) { o.precisions = {DType::kF16, DType::kBF16}; }},
      {"metadata", [](BuildOptions& o) { o.metadata = "{}"; }},
      {"name", [](BuildOptions& o) { o.name = "other"; }},
  };
  for (const auto& [what, change] : options) {
    BuildOptions changed = options_;
    change(changed);
    EXPECT_EQ(build({}, changed).program, "miss") << what;
    EXPECT_EQ(build({}, changed).program, "hit") << what;
  }
  {
    ScopedNumThreads threads(num_threads() + 1);
    EXPECT_EQ(build({}).program, "miss") << "number of threads";
  }
  for (const char* switches : {"disable_providers=dnnl.matmul", "pass_limit=cse:0", "verify=0"}) {
    set_debug_options(parse_debug_options(switches).value());
    EXPECT_EQ(build({}).program, "miss") << switches;
  }
  set_debug_options({});
  EXPECT_EQ(build({}).program, "hit");
  // What does not matter: where the cache is and how large it may be.
  BuildOptions larger = options_;
  larger.cache_bytes = uint64_t{1} << 40;
  EXPECT_EQ(build({}, larger).program, "hit");
}

TEST_F(ProgramCacheTest, OnlySixteenBitDtypesAreAPrecision) {
  BuildOptions options = options_;
  options.precisions = {DType::kBF16, DType::kI8};
  CaptureBuilder builder;
  Model().capture(builder);
  const auto compiled = compile(builder, options);
  ASSERT_FALSE(compiled.ok());
  EXPECT_EQ(compiled.status().code(), "K1002");
}

// Each member of what a front end hands over, one by one.
TEST_F(ProgramCacheTest, TheHashOfACaptureSeesEverything) {
  std::vector<std::pair<std::string, Hash128>> hashes;
  auto add = [&](const std::string& what, const std::function<void(CaptureHash&)>& record) {
    CaptureHash hash;
    record(hash);
    hashes.emplace_back(what, hash.finish());
    CaptureHash again;
    record(again);
    EXPECT_EQ(again.finish(), hashes.back().second) << what;
  };
  add("nothing", [](CaptureHash&) {});
  add("symbol", [](CaptureHash& h) { h.symbol("n", 1, 2); });
  add("symbol name", [](CaptureHash& h) { h.symbol("m", 1, 2); });
  add("symbol min", [](CaptureHash& h) { h.symbol("n", 0, 2); });
  add("symbol max", [](CaptureHash& h) { h.symbol("n", 1, 3); });
  add("condition", [](CaptureHash& h) { h.condition("eq", "n", "m", "why"); });
  add("condition relation", [](CaptureHash& h) { h.condition("ne", "n", "m", "why"); });
  add("condition left", [](CaptureHash& h) { h.condition("eq", "k", "m", "why"); });
  add("condition right", [](CaptureHash& h) { h.condition("eq", "n", "k", "why"); });
  add("condition text", [](CaptureHash& h) { h.condition("eq", "n", "m", "how"); });
  std::vector<std::pair<std::string, CaptureMeta>> metas;
  auto vary = [&](const std::string& what, const std::function<void(CaptureMeta&)>& change) {
    CaptureMeta changed = meta({"2", "3"});
    change(changed);
    metas.emplace_back(what, changed);
  };
  vary("meta", [](CaptureMeta&) {});
  vary("dtype", [](CaptureMeta& m) { m.dtype = DType::kF16; });
  vary("dims", [](CaptureMeta& m) { m.dims = {"3", "2"}; });
  vary("rank", [](CaptureMeta& m) { m.dims = {"23"}; });
  vary("strides", [](CaptureMeta& m) { m.strides = {"1", "2"}; });
  vary("opaque", [](CaptureMeta& m) { m.opaque = "complex"; });
  vary("scalar", [](CaptureMeta& m) { m.scalar = 'i'; });
  vary("scalar kind", [](CaptureMeta& m) { m.scalar = 'f'; });
  for (const auto& [what, m] : metas) {
    add("input " + what, [&, m = m](CaptureHash& h) { h.input("x", m); });
    add("scalar input " + what, [&, m = m](CaptureHash& h) { h.scalar_input("x", m, "n"); });
    add("call " + what, [&, m = m](CaptureHash& h) { h.call("f", "", {}, {m}, {}, ""); });
  }
  add("input name", [](CaptureHash& h) { h.input("y", meta({"2", "3"})); });
  add("scalar name", [](CaptureHash& h) { h.scalar_input("y", meta({"2", "3"}), "n"); });
  add("scalar expr", [](CaptureHash& h) { h.scalar_input("x", meta({"2", "3"}), "m"); });
  using W = CaptureWeight;
  auto weight = [&](const std::string& what, const std::string& name, const W& w,
                    const std::string& kind, std::vector<int32_t> sharing = {}) {
    add("weight " + what, [&](CaptureHash& h) { h.weight(name, w, kind, sharing); });
  };
  weight("", "w", W{DType::kF32, {2, 3}, {}, nullptr, {}}, "parameter");
  weight("name", "v", W{DType::kF32, {2, 3}, {}, nullptr, {}}, "parameter");
  weight("kind", "w", W{DType::kF32, {2, 3}, {}, nullptr, {}}, "buffer");
  weight("dtype", "w", W{DType::kI32, {2, 3}, {}, nullptr, {}}, "parameter");
  weight("shape", "w", W{DType::kF32, {3, 2}, {}, nullptr, {}}, "parameter");
  weight("strides", "w", W{DType::kF32, {2, 3}, {1, 2}, nullptr, {}}, "parameter");
  weight("shared memory", "w", W{DType::kF32, {2, 3}, {}, nullptr, {}}, "parameter", {0});
  const std::pair<const char*, CaptureArg> args[] = {
      {"none", {}},
      {"false", {false}},
      {"true", {true}},
      {"0", {int64_t{0}}},
      {"1", {int64_t{1}}},
      {"0.0", {0.0}},
      {"-0.0", {-0.0}},
      {"text", {std::string("cpu")}},
      {"value", {CaptureArg::Value{0}}},
      {"other value", {CaptureArg::Value{1}}},
      {"expr", {CaptureArg::Expr{"cpu"}}},
      {"other expr", {CaptureArg::Expr{"n"}}},
      {"dtype", {DType::kF32}},
      {"other dtype", {DType::kF64}},
      {"device", {Device{}}},
      {"other device", {Device{DeviceKind::kCuda, 0}}},
      {"device index", {Device{DeviceKind::kCuda, 1}}},
      {"memory format", {CaptureArg::MemoryFormat{"cpu"}}},
      {"other memory format", {CaptureArg::MemoryFormat{"preserve"}}},
      {"layout", {CaptureArg::Layout{"cpu"}}},
      {"other layout", {CaptureArg::Layout{"strided"}}},
      {"empty list", {CaptureArg::List{}}},
      {"list", {CaptureArg::List{{int64_t{1}}}}},
      {"nested list", {CaptureArg::List{{CaptureArg::List{{int64_t{1}}}}}}},
  };
  for (const auto& [what, arg] : args) {
    add(std::string("argument ") + what,
        [&, arg = arg](CaptureHash& h) { h.call("f", "", {arg}, {}, {}, ""); });
  }
  add("two arguments", [](CaptureHash& h) { h.call("f", "", {{}, {}}, {}, {}, ""); });
  add("call", [](CaptureHash& h) { h.call("f", "", {}, {}, {}, ""); });
  add("call name", [](CaptureHash& h) { h.call("g", "", {}, {}, {}, ""); });
  add("overload", [](CaptureHash& h) { h.call("f", "out", {}, {}, {}, ""); });
  add("module path", [](CaptureHash& h) { h.call("f", "", {}, {}, {"a", ""}, ""); });
  add("call location", [](CaptureHash& h) { h.call("f", "", {}, {}, {"", "a"}, ""); });
  add("schema", [](CaptureHash& h) { h.call("f", "", {}, {}, {}, "f() -> ()"); });
  add("output", [](CaptureHash& h) { h.output(0, "y"); });
  add("output handle", [](CaptureHash& h) { h.output(1, "y"); });
  add("output name", [](CaptureHash& h) { h.output(0, "z"); });
  add("mutated input", [](CaptureHash& h) { h.mutates_input("y", 0); });
  add("mutated input handle", [](CaptureHash& h) { h.mutates_input("y", 1); });
  add("mutated buffer", [](CaptureHash& h) { h.mutates_buffer("y", 0); });
  add("mutated buffer name", [](CaptureHash& h) { h.mutates_buffer("z", 0); });
  add("torch ops", [](CaptureHash& h) { h.keep_in_torch({"a"}, {}); });
  add("torch modules", [](CaptureHash& h) { h.keep_in_torch({}, {"a"}); });
  add("order", [](CaptureHash& h) {
    h.output(1, "y");
    h.output(0, "y");
  });
  add("other order", [](CaptureHash& h) {
    h.output(0, "y");
    h.output(1, "y");
  });
  for (size_t i = 0; i < hashes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_NE(hashes[i].second, hashes[j].second) << hashes[i].first << ", " << hashes[j].first;
    }
  }
}

TEST_F(ProgramCacheTest, DamagedEntriesAreMissesThatAreReplaced) {
  const Model model{.extent = 600};
  const std::vector<float> right = expected(model);
  build(model);
  std::mt19937 random(5);
  const std::string path = entry();
  const std::string whole = read_file(path).value();
  auto try_with = [&](const std::string& bytes, const std::string& what) {
    write_raw(path, bytes);
    const Built built = build(model);
    EXPECT_EQ(built.result, right) << what;
    EXPECT_EQ(built.program, "miss") << what;
    EXPECT_EQ(read_file(path).value(), whole) << what;
  };
  for (size_t size : {size_t{0}, size_t{1}, size_t{127}, size_t{128}, whole.size() / 2,
                      whole.size() - 1}) {
    try_with(whole.substr(0, size), "truncated to " + std::to_string(size));
  }
  for (int i = 0; i < 40; ++i) {
    std::string flipped = whole;
    const size_t at = random() % whole.size();
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));
    try_with(flipped, "flipped at " + std::to_string(at));
  }
  EXPECT_EQ(build(model).program, "hit");
}

// Content that is whole, under the right key, and no program of this capture.
TEST_F(ProgramCacheTest, ContentOfAnotherProgramIsAMiss) {
  const std::vector<float> right = expected({});
  build({});
  const std::string mine = fs::path(entry()).stem();
  BuildOptions elsewhere = options_;
  elsewhere.cache_dir = root_ + "/elsewhere";
  build({.extent = 9}, elsewhere);
  const CacheFolder folder = CacheFolder::open(options_.cache_dir, 0).value();
  const CacheFolder other = CacheFolder::open(elsewhere.cache_dir, 0).value();
  const std::string name = other.list().value()[0].name;
  const auto content = other.get(*Hash128::from_hex(name.substr(0, 32)), "program");
  const Hash128 key = *Hash128::from_hex(mine);
  const std::string text(content->bytes);
  for (const std::string& bytes : {text, std::string(), std::string("x"), text.substr(0, 50),
                                   text + "x", std::string(64, '\0'), std::string(64, '\xff')}) {
    ASSERT_TRUE(folder.put(key, "program", bytes).ok());
    const Built built = build({});
    EXPECT_EQ(built.program, "miss");
    EXPECT_NE(built.why, "");
    EXPECT_EQ(built.result, right);
    EXPECT_EQ(build({}).program, "hit");
  }
}

TEST_F(ProgramCacheTest, WhatIsWrongWithTheFolderIsANote) {
  const std::vector<float> right = expected({});
  BuildOptions options = options_;
  write_raw(root_ + "/file", "");
  options.cache_dir = root_ + "/file";
  Built built = build({}, options);
  EXPECT_EQ(built.program, "unusable");
  EXPECT_NE(built.why.find("K3401"), std::string::npos) << built.why;
  EXPECT_EQ(built.result, right);
  build({});
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ASSERT_EQ(::chmod(options_.cache_dir.c_str(), 0500), 0);
  built = build({.extent = 9});
  EXPECT_EQ(built.program, "miss");
  EXPECT_NE(built.why.find("cannot be kept"), std::string::npos) << built.why;
  EXPECT_EQ(build({}).program, "hit");
  ASSERT_EQ(::chmod(options_.cache_dir.c_str(), 0700), 0);
}

TEST_F(ProgramCacheTest, SwitchesTurnItOff) {
  build({});
  set_debug_options(parse_debug_options("cache=0").value());
  Built built = build({});
  EXPECT_EQ(built.program, "off");
  EXPECT_EQ(built.why, "KILN_OPTIONS=cache=0");
  set_debug_options(parse_debug_options("dump_ir=cse,dump_dir=" + root_).value());
  built = build({});
  EXPECT_EQ(built.program, "off");
  set_debug_options({});
  EXPECT_EQ(build({}).program, "hit");
}

TEST_F(ProgramCacheTest, TheFolderComesFromTheEnvironment) {
  auto set = [](const char* name, const char* text) {
    if (text == nullptr) ::unsetenv(name);
    else ::setenv(name, text, 1);
  };
  const char* const names[] = {"KILN_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "KILN_CACHE_SIZE"};
  std::vector<std::optional<std::string>> before;
  for (const char* name : names) {
    const char* text = std::getenv(name);
    before.push_back(text == nullptr ? std::nullopt : std::optional<std::string>(text));
    set(name, nullptr);
  }
  EXPECT_EQ(default_cache_dir(), "");
  set("HOME", "/home/me");
  EXPECT_EQ(default_cache_dir(), "/home/me/.cache/kiln");
  set("XDG_CACHE_HOME", "relative");
  EXPECT_EQ(default_cache_dir(), "/home/me/.cache/kiln");
  set("XDG_CACHE_HOME", "/xdg");
  EXPECT_EQ(default_cache_dir(), "/xdg/kiln");
  set("KILN_CACHE_DIR", "here");
  EXPECT_EQ(default_cache_dir(), "here");
  EXPECT_EQ(default_cache_bytes().value(), uint64_t{8} << 30);
  set("KILN_CACHE_SIZE", "2M");
  EXPECT_EQ(default_cache_bytes().value(), uint64_t{2} << 20);
  set("KILN_CACHE_SIZE", "many");
  EXPECT_EQ(default_cache_bytes().status().code(), "K1009");
  for (size_t i = 0; i < before.size(); ++i) {
    set(names[i], before[i] ? before[i]->c_str() : nullptr);
  }
}

}  // namespace
}  // namespace kiln
