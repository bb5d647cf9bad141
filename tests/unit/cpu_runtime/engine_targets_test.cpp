// Which plan of a file runs on this machine.
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "core/cpu_features.h"
#include "runtime/archive.h"
#include "runtime/engine_reader.h"

namespace kiln {
namespace {

// A file of plans without steps, one per target, as the writer lays it out.
std::string file_with(const std::vector<std::string>& targets) {
  std::vector<std::pair<std::string, std::string>> entries = {{"graph.kir", "module {}"},
                                                              {"report.json", "{}"}};
  Json plans = Json::object();
  for (const std::string& target : targets) {
    EnginePlan plan;
    plan.target = target;
    const std::string name = "plans/" + std::to_string(entries.size()) + ".json";
    plans.set(target, name);
    entries.emplace_back(name, to_json(plan).dump());
  }
  entries.emplace_back("weights.bin", "");
  Json header = Json::object();
  header.set("format", kFormatVersion);
  header.set("metadata", Json::object());
  header.set("plans", std::move(plans));
  header.set("weights", Json::array());
  Json list = Json::object();
  for (const auto& [name, content] : entries) {
    Json entry = Json::object();
    entry.set("bytes", static_cast<long>(content.size()));
    entry.set("xxh128", hash128(content).hex());
    list.set(name, std::move(entry));
  }
  header.set("entries", std::move(list));
  const std::string path = testing::TempDir() + "engine_targets_test.kiln";
  auto file = AtomicFile::create(path);
  EXPECT_TRUE(file.ok());
  ArchiveWriter archive(*file);
  EXPECT_TRUE(archive.add("kiln.json", header.dump()).ok());
  for (const auto& [name, content] : entries) EXPECT_TRUE(archive.add(name, content).ok());
  EXPECT_TRUE(archive.finish().ok());
  EXPECT_TRUE(file->commit().ok());
  auto bytes = read_file(path);
  EXPECT_TRUE(bytes.ok());
  return *bytes;
}

std::string chosen(const std::vector<std::string>& targets) {
  const std::string bytes = file_with(targets);
  auto contents = read_engine_file(bytes, nullptr);
  return contents.ok() ? contents->plan.target : contents.status().code();
}

std::string own() { return "cpu:" + std::string(cpu_level_name(cpu_level())); }

TEST(EngineTargets, OwnLevelBeatsLowerOnes) {
  EXPECT_EQ(chosen({"cpu:sse4", own()}), own());
  EXPECT_EQ(chosen({own(), "cpu:sse4"}), own());
}

TEST(EngineTargets, HigherLevelsRunWhereNothingElseIsThere) {
  EXPECT_EQ(chosen({"cpu:amx"}), "cpu:amx");
  if (cpu_level() < CpuLevel::kAmx) {
    EXPECT_EQ(chosen({"cpu:amx", "cpu:sse4"}), "cpu:sse4");
  }
}

TEST(EngineTargets, OtherDevicesAndUnknownLevelsDoNotFit) {
  EXPECT_EQ(chosen({"cuda:sm_90"}), "K3109");
  EXPECT_EQ(chosen({"cpu:avx9"}), "K3109");
  EXPECT_EQ(chosen({"cuda:sm_90", "cpu:sse4"}), "cpu:sse4");
}

}  // namespace
}  // namespace kiln
