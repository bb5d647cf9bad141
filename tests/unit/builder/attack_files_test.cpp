// Files that somebody made to do harm: well-formed containers with hostile contents; and what the
// file system may do to a load or a save.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "builder/engine_writer.h"
#include "runtime/archive.h"
#include "runtime/engine_reader.h"
#include "unit/builder/small_files.h"
#include "unit/cpu_compile/lowered_program.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using test::AlignedBytes;
using testing::HasSubstr;

class AttackFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "kiln_attack_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    const AlignedBytes bytes(test::small_files()[0].bytes);
    const auto entries = read_archive({bytes.data, bytes.size});
    ASSERT_TRUE(entries.ok());
    for (const ArchiveEntry& entry : *entries) {
      contents_.emplace_back(entry.name, std::string(entry.content));
    }
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string& content(const std::string& name) {
    for (auto& [entry, text] : contents_) {
      if (entry.starts_with(name)) return text;
    }
    ADD_FAILURE() << name;
    return contents_[0].second;
  }

  // Changes the plan's text. The text must occur.
  void edit(const std::string& name, const std::string& from, const std::string& to) {
    std::string& text = content(name);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from << " in " << text;
    text.replace(at, from.size(), to);
  }

  // The file with the contents as they are, and a header whose list of entries fits.
  std::string build(bool list_entries = true) {
    Json header = parse_json(contents_[0].second).value();
    if (list_entries) {
      Json entries = Json::object();
      for (size_t i = 1; i < contents_.size(); ++i) {
        Json entry = Json::object();
        entry.set("bytes", contents_[i].second.size());
        entry.set("xxh128", hash128(contents_[i].second).hex());
        entries.set(contents_[i].first, std::move(entry));
      }
      header.set("entries", std::move(entries));
      contents_[0].second = header.dump_pretty();
    }
    return build_raw();
  }
  std::string build_raw() {
    const std::string path = (folder_ / "built.kiln").string();
    auto file = AtomicFile::create(path);
    EXPECT_TRUE(file.ok());
    ArchiveWriter writer(*file);
    for (const auto& [name, text] : contents_) EXPECT_TRUE(writer.add(name, text).ok());
    EXPECT_TRUE(writer.finish().ok());
    EXPECT_TRUE(file->commit().ok());
    return read_file(path).value();
  }

  Status outcome(const std::string& bytes) {
    const AlignedBytes copy(bytes);
    return test::load_and_run(copy.data, copy.size, test::small_files()[0]).status;
  }
  void expect_error(const std::string& what, const std::string& code = "") {
    SCOPED_TRACE(what);
    const Status status = outcome(build());
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.code(), "K9001") << status.to_string();
    if (!code.empty()) {
      EXPECT_EQ(status.code(), code) << status.to_string();
    }
  }

  fs::path folder_;
  std::vector<std::pair<std::string, std::string>> contents_;
};

TEST_F(AttackFile, UnchangedRuns) { EXPECT_TRUE(outcome(build()).ok()); }

TEST_F(AttackFile, NotAKilnFile) {
  for (const std::string& bytes :
       {std::string(), std::string("PK\3\4"), std::string(1000, '\0'), std::string(5000, 'x')}) {
    EXPECT_EQ(outcome(bytes).code(), "K3103");
  }
}

TEST_F(AttackFile, DeepJson) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  const std::string plan = content("plans/");
  content("plans/") = deep;
  expect_error("plan");
  content("plans/") = plan;
  edit("plans/", "\"params\":{", "\"params\":{\"x\":" + deep + ",");
  expect_error("parameters");
  content("plans/") = plan;
  contents_[0].second = "{\"format\":1,\"metadata\":" + deep + "}";
  EXPECT_FALSE(outcome(build_raw()).ok());
}

TEST_F(AttackFile, DeepExpressions) {
  std::string deep;
  for (int i = 0; i < 20000; ++i) deep += "min(1, ";
  deep += "1" + std::string(20000, ')');
  edit("plans/", "\"elements\":24", "\"elements\":\"" + deep + "\"");
  expect_error("elements");
}

TEST_F(AttackFile, ExpressionsThatExplode) {
  // Products of sums have exponentially many terms.
  std::string product = "(s0 + s1 + s2 + s3)";
  for (int i = 0; i < 60; ++i) product += "*(s0 + s1 + s2 + s3)";
  edit("plans/", "\"elements\":24", "\"elements\":\"" + product + "\"");
  expect_error("product of sums");
}

TEST_F(AttackFile, HugeNumbers) {
  const std::string plan = content("plans/");
  for (const char* number : {"9223372036854775807", "9223372036854775808", "-9223372036854775808",
                             "-1", "4611686018427387904", "1e30", "\"9223372036854775807*2\"",
                             "\"floordiv(1, 0)\"", "\"mod(5, 0)\"", "\"s9\""}) {
    for (const char* place : {"\"elements\":24", "\"dims\":[4,6]", "[4,6],[6,1],0]"}) {
      content("plans/") = plan;
      std::string to = place;
      const size_t at = to.find_last_of("0123456789");
      size_t begin = at;
      while (begin > 0 && isdigit(to[begin - 1])) --begin;
      to.replace(begin, at - begin + 1, number);
      edit("plans/", place, to);
      expect_error(to);
    }
  }
}

TEST_F(AttackFile, WeightsOfOtherSizes) {
  const std::string header = contents_[0].second;
  for (const auto& [from, to] : std::vector<std::pair<const char*, const char*>>{
           {"\"offset\": 0", "\"offset\": 64"},
           {"\"offset\": 0", "\"offset\": 9223372036854775807"},
           {"\"offset\": 0", "\"offset\": -64"},
           {"\"offset\": 64", "\"offset\": 0"},
           {"\"bytes\": 24", "\"bytes\": 9223372036854775807"},
           {"\"bytes\": 24", "\"bytes\": 0"},
           {"\"bytes\": 24", "\"bytes\": 28"},
           {"\"dtype\": \"f32\"", "\"dtype\": \"f64\""},
           {"\"dims\": [6]", "\"dims\": [7]"},
           {"\"dims\": [6]", "\"dims\": [-6]"},
           {"\"name\": \"scale\"", "\"name\": \"other\""}}) {
    contents_[0].second = header;
    edit("kiln.json", from, to);
    expect_error(to);
  }
}

TEST_F(AttackFile, PlanAndFileAgreeOnAWrongWeight) {
  edit("kiln.json", "\"dims\": [6]", "\"dims\": [4611686018427387904, 4]");
  edit("plans/", "\"name\":\"scale\",\"dtype\":\"f32\",\"dims\":[6]",
       "\"name\":\"scale\",\"dtype\":\"f32\",\"dims\":[4611686018427387904,4]");
  expect_error("product overflows", "K3106");
}

TEST_F(AttackFile, Entries) {
  const auto original = contents_;
  contents_.push_back({"graph.kir", "again"});
  EXPECT_EQ(outcome(build()).code(), "K3103");  // a name twice
  contents_ = original;
  contents_.push_back({"../../etc/passwd", "harmless"});
  EXPECT_TRUE(outcome(build()).ok());  // nothing is ever unpacked; the name is listed
  contents_ = original;
  contents_.push_back({"not_listed", "x"});
  EXPECT_EQ(outcome(build(false)).code(), "K3104");
  contents_ = original;
  contents_.pop_back();
  EXPECT_FALSE(outcome(build()).ok());
  contents_ = original;
  std::swap(contents_[1], contents_[2]);
  EXPECT_EQ(outcome(build(false)).code(), "K3104");
  contents_ = original;
  std::swap(contents_[0], contents_[1]);
  EXPECT_EQ(outcome(build_raw()).code(), "K3103");
  contents_ = original;
  contents_.resize(1);
  EXPECT_FALSE(outcome(build_raw()).ok());
}

TEST_F(AttackFile, OverlappingEntries) {
  std::string bytes = build();
  // The second central header points to the first entry.
  const size_t second = bytes.rfind("graph.kir") - 46;
  for (size_t i = 0; i < 4; ++i) bytes[second + 42 + i] = 0;
  EXPECT_EQ(outcome(bytes).code(), "K3103");
}

TEST_F(AttackFile, Versions) {
  for (const char* version : {"0", "4", "-1", "9223372036854775807"}) {
    const std::string header = contents_[0].second;
    edit("kiln.json", "\"format\": 1", std::string("\"format\": ") + version);
    expect_error(version, "K3108");
    contents_[0].second = header;
  }
  edit("kiln.json", "\"format\": 1", "\"format\": \"1\"");
  expect_error("text");
}

// What an older reader would pass over, and be wrong without, is a newer version; the rest is not.
TEST_F(AttackFile, OnlyWhatNeedsItHasTheNewerVersion) {
  std::map<std::string, int64_t> versions;
  for (const test::SmallFile& file : test::small_files()) {
    const AlignedBytes bytes(file.bytes);
    const auto entries = read_archive({bytes.data, bytes.size});
    ASSERT_TRUE(entries.ok());
    versions[file.name] = *parse_json((*entries)[0].content)->int_at("format");
    EXPECT_TRUE(test::load_and_run(bytes.data, bytes.size, file).status.ok());
    EXPECT_EQ(versions[file.name] > 1, file.bytes.find("\"conditions\"") != std::string::npos);
  }
  EXPECT_EQ(versions.at("Rows"), 2);
  EXPECT_EQ(versions.at("Elementwise"), 1);
}

TEST_F(AttackFile, Targets) {
  Json header = parse_json(contents_[0].second).value();
  Json plans = Json::object();
  plans.set("tpu:v9", contents_.size() > 3 ? contents_[3].first : "");
  header.set("plans", std::move(plans));
  contents_[0].second = header.dump_pretty();
  const Status status = outcome(build());
  EXPECT_EQ(status.code(), "K3109");
  EXPECT_THAT(status.to_string(), testing::AllOf(HasSubstr("tpu:v9"), HasSubstr("cpu:")));
}

TEST_F(AttackFile, StepsThatNobodyKnows) {
  const std::string plan = content("plans/");
  edit("plans/", "\"kind\":\"tile\"", "\"kind\":\"exec\"");
  expect_error("kind", "K3201");
  content("plans/") = plan;
  edit("plans/", "\"kind\":\"tile\"", "\"kind\":\"host.call\"");
  expect_error("host call");
}

TEST_F(AttackFile, ManySlots) {
  std::string slots;
  for (int i = 0; i < 60000; ++i) slots += R"({"kind":"temp","dtype":"f32","elements":1},)";
  edit("plans/", "\"main\":{\"slots\":[", "\"main\":{\"slots\":[" + slots);
  expect_error("slots", "K3101");
}

// --- files without weights

class AttackExternalFile : public AttackFile {
 protected:
  void SetUp() override {
    AttackFile::SetUp();
    Json header = parse_json(contents_[0].second).value();
    const std::string blob = content("weights.bin");
    Json weights = Json::array();
    const Json listed = *header.member("weights").value();
    for (const Json& weight : listed.as_array()) {
      const auto offset = static_cast<size_t>(weight.int_at("offset").value());
      values_.push_back(blob.substr(offset, static_cast<size_t>(weight.int_at("bytes").value())));
      Json entry = Json::object();
      for (const char* key : {"name", "dtype", "dims"}) entry.set(key, *weight.find(key));
      entry.set("xxh128", hash128(values_.back()).hex());
      weights.push_back(std::move(entry));
    }
    header.set("weights", std::move(weights));
    std::erase_if(contents_, [](const auto& entry) { return entry.first == "weights.bin"; });
    contents_[0].second = header.dump_pretty();
  }

  Status outcome_with_weights(const std::string& bytes, bool give = true) {
    const AlignedBytes copy(bytes);
    LoadOptions options;
    options.threads = 1;
    const char* names[] = {"scale", "shift"};
    for (size_t i = 0; give && i < 2; ++i) {
      options.weights.push_back(
          {names[i], DType::kF32, {6}, values_[i].data(), values_[i].size(), nullptr});
    }
    return Program::load(copy.data, copy.size, nullptr, options).status();
  }
  void refused(const std::string& what, const std::string& code) {
    SCOPED_TRACE(what);
    EXPECT_EQ(outcome_with_weights(build()).code(), code);
  }

  std::vector<std::string> values_;
};

TEST_F(AttackExternalFile, Lists) {
  const std::string header = contents_[0].second;
  EXPECT_TRUE(outcome_with_weights(build()).ok());
  EXPECT_EQ(outcome_with_weights(build(), false).code(), "K3112");
  for (const auto& [from, to, code] : std::vector<std::array<const char*, 3>>{
           {"\"dims\": [6]", "\"dims\": [7]", "K3106"},
           {"\"dtype\": \"f32\"", "\"dtype\": \"f99\"", "K3106"},
           {"\"name\": \"scale\"", "\"name\": \"other\"", "K3106"},
           {"\"xxh128\": \"", "\"xxh128\": \"z", "K3104"},
           {"\"xxh128\"", "\"offset\"", "K3012"}}) {
    contents_[0].second = header;
    edit("kiln.json", from, to);
    refused(to, code);
  }
}

TEST_F(AttackExternalFile, PlanAndListAgreeOnAWrongWeight) {
  edit("kiln.json", "\"dims\": [6]", "\"dims\": [4611686018427387904, 4]");
  edit("plans/", "\"name\":\"scale\",\"dtype\":\"f32\",\"dims\":[6]",
       "\"name\":\"scale\",\"dtype\":\"f32\",\"dims\":[4611686018427387904,4]");
  refused("product overflows", "K3106");
}

TEST_F(AttackExternalFile, FixedWeights) {
  const std::string plan = content("plans/");
  auto fix = [&](const std::string& hash) {
    content("plans/") = plan;
    edit("plans/", "\"dims\":[6]", "\"dims\":[6],\"fixed_hash\":" + hash);
  };
  fix('"' + hash128(values_[0]).hex() + '"');
  EXPECT_TRUE(outcome_with_weights(build()).ok());
  fix('"' + hash128(values_[1]).hex() + '"');
  refused("hash of other bytes", "K3115");
  fix("\"abc\"");
  refused("no hash", "K3115");
  fix("5");
  refused("a number", "K3012");
}

TEST_F(AttackExternalFile, TruncatedAndFlipped) {
  const std::string bytes = build();
  for (size_t size = 0; size < bytes.size(); size += 5) {
    const Status status = outcome_with_weights(bytes.substr(0, size));
    ASSERT_FALSE(status.ok()) << size;
    ASSERT_NE(status.code(), "K9001") << size;
  }
  for (size_t bit = 0; bit < bytes.size() * 8; bit += 11) {
    std::string damaged = bytes;
    damaged[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const Status status = outcome_with_weights(damaged);
    ASSERT_TRUE(!status.ok() && status.code() != "K9001") << bit << " " << status.to_string();
  }
}

// --- the file system

TEST_F(AttackFile, PathsThatCannotBeRead) {
  EXPECT_EQ(Program::load((folder_ / "missing.kiln").string()).status().code(), "K3001");
  const Status status = Program::load(folder_.string()).status();
  EXPECT_EQ(status.code(), "K3004");
  EXPECT_THAT(status.to_string(), HasSubstr(folder_.string()));
  EXPECT_FALSE(Program::load("").ok());
  EXPECT_FALSE(Program::load((folder_ / std::string(5000, 'x')).string()).ok());
  const fs::path empty = folder_ / "empty.kiln";
  std::ofstream(empty).close();
  EXPECT_EQ(Program::load(empty.string()).status().code(), "K3103");
  if (geteuid() != 0) {  // root reads everything
    chmod(empty.c_str(), 0);
    EXPECT_EQ(Program::load(empty.string()).status().code(), "K3001");
  }
}

class SavedFile : public AttackFile {
 protected:
  void SetUp() override {
    AttackFile::SetUp();
    program_ = cpu_compile_test::lower(R"(weights {
  %w0 = parameter "w" : f32[64,64]
}
init {
  const %c0 = %w0 : f32[64,64] name "w"
}
main(%x: f32[64,64]) {
  %0 = add(%x, %c0) : f32[64,64]
  return %0 {name="y"}
})",
                                       "fuse_tiles");
    Weight& weight = program_.module->weights[0];
    weight.data = {program_.weights[0].bytes(), program_.weights[0].num_bytes(), nullptr};
    file_.report = "{\"build_seconds\": 3.5, \"ops_total\": 1}";
    file_.graph = print(*program_.module);
    file_.plans = {&program_.plan};
    file_.weights = {&weight};
  }
  std::vector<std::string> files() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  cpu_compile_test::Program program_;
  EngineFile file_;
};

TEST_F(SavedFile, EqualBytesWithoutTimes) {
  const std::string a = (folder_ / "a.kiln").string(), b = (folder_ / "b.kiln").string();
  ASSERT_TRUE(write_engine_file(a, file_).ok());
  file_.report = "{\"build_seconds\": 99.5, \"ops_total\": 1}";
  ASSERT_TRUE(write_engine_file(b, file_).ok());
  EXPECT_EQ(read_file(a).value(), read_file(b).value());
  auto program = Program::load(a);
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  EXPECT_THAT((*program)->report_json(), testing::Not(HasSubstr("build_seconds")));
  EXPECT_EQ((*program)->metadata(), "{}");
}

TEST_F(SavedFile, FoldersThatCannotBeWritten) {
  for (const std::string& path : {std::string("/proc/kiln_test.kiln"), std::string(),
                                  (folder_ / "no/such/folder.kiln").string(), folder_.string()}) {
    const Status status = write_engine_file(path, file_);
    EXPECT_FALSE(status.ok()) << path;
    EXPECT_EQ(status.code().substr(0, 4), "K300") << status.to_string();
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(SavedFile, MetadataMustBeJson) {
  file_.metadata = "{";
  EXPECT_FALSE(write_engine_file((folder_ / "a.kiln").string(), file_).ok());
  EXPECT_TRUE(files().empty());
}

TEST_F(SavedFile, AFailedSaveLeavesTheOldFile) {
  const std::string path = (folder_ / "program.kiln").string();
  ASSERT_TRUE(write_engine_file(path, file_).ok());
  const std::string before = read_file(path).value();
  file_.metadata = "{\"new\": true}";
  // Files may not grow beyond 4 KiB: writing fails in the middle.
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = write_engine_file(path, file_);
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), "K3003");
  EXPECT_EQ(read_file(path).value(), before);
  EXPECT_THAT(files(), testing::ElementsAre("program.kiln"));
  EXPECT_TRUE(write_engine_file(path, file_).ok());
  EXPECT_NE(read_file(path).value(), before);
}

}  // namespace
}  // namespace kiln
