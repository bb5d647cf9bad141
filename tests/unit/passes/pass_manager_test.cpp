#include "passes/pass_manager.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/check.h"
#include "base/file.h"
#include "base/options.h"

namespace kiln {
namespace {

// Erases the last node nobody uses, one a run.
KILN_PASS(test_erase_one, "erases one dead node") {
  std::vector<Node*> nodes = module.main.snapshot();
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Value* result = (*it)->result();
    if (!result->uses().empty() || module.main.is_output(result)) continue;
    if (!context.should_rewrite()) return false;
    module.main.erase(*it);
    return true;
  }
  return false;
}

KILN_PASS(test_claims_change, "says that it changed something, always") { return true; }

KILN_PASS(test_hides_change, "changes something and does not say so") {
  module.main.erase(module.main.snapshot().back());
  return false;
}

KILN_PASS(test_breaks, "leaves a wrong type") {
  module.main.snapshot().back()->result()->tensor().dtype = DType::kF64;
  return true;
}

KILN_PASS(test_refuses, "returns an error") {
  return Status::error("K2999", "refused on purpose").at("somewhere");
}

KILN_PASS(test_throws, "has a bug") {
  KILN_CHECK_EQ(module.inputs.size(), 77u);
  return false;
}

KILN_PASS(test_alternates, "changes the module at every run") {
  module.inputs[0].kind = module.inputs[0].kind == InputSpec::Kind::kUser ? InputSpec::Kind::kState
                                                                          : InputSpec::Kind::kUser;
  return true;
}

KILN_PASS(test_service, "wants an int") {
  const int* number = context.service<int>();
  return number != nullptr && *number == 5 ? Result<bool>(false)
                                           : Status::error("K2998", "no number");
}

constexpr const char* kThreeDead =
    "main(%x: f32[2]) {\n"
    "  %0 = add(%x, %x) : f32[2]\n"
    "  %1 = add(%x, %x) : f32[2]\n"
    "  %2 = add(%x, %x) : f32[2]\n"
    "  return\n}\n";

std::unique_ptr<Module> three_dead() {
  Result<std::unique_ptr<Module>> module = parse_module(kThreeDead);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  return module.ok() ? std::move(module).value() : nullptr;
}

class PassManagerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    options_.check_claims = true;
    options_.dump_dir = folder_;
    module_ = three_dead();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<bool> run(const char* passes) {
    manager_ = std::make_unique<PassManager>(options_, &context_);
    return manager_->run(passes, *module_);
  }

  // By process: ctest may run this binary twice at once, in two build trees.
  const std::string folder_ =
      ::testing::TempDir() + "kiln_pass_manager_test_" + std::to_string(getpid());
  PassOptions options_;
  PassContext context_;
  std::unique_ptr<PassManager> manager_;
  std::unique_ptr<Module> module_;
};

TEST_F(PassManagerTest, RunsInOrderAndReportsChange) {
  Result<bool> changed = run("test_erase_one, test_erase_one");
  ASSERT_TRUE(changed.ok()) << changed.status().to_string();
  EXPECT_TRUE(*changed);
  EXPECT_EQ(module_->main.nodes().size(), 1u);
  ASSERT_EQ(manager_->timings().size(), 1u);
  EXPECT_EQ(manager_->timings()[0].runs, 2);
  EXPECT_EQ(manager_->timings()[0].changes, 2);
  EXPECT_FALSE(std::filesystem::exists(options_.dump_dir));
}

TEST_F(PassManagerTest, FixedPointStopsWhenNothingChanges) {
  Result<bool> changed = run("fix(test_erase_one)");
  ASSERT_TRUE(changed.ok());
  EXPECT_TRUE(*changed);
  EXPECT_TRUE(module_->main.empty());
  EXPECT_EQ(manager_->timings()[0].runs, 4);
  EXPECT_TRUE(context_.notes().empty());
  changed = run("fix(test_erase_one)");
  ASSERT_TRUE(changed.ok());
  EXPECT_FALSE(*changed);
}

TEST_F(PassManagerTest, FixedPointCapIsReported) {
  Result<bool> changed = run("fix(test_alternates)");
  ASSERT_TRUE(changed.ok()) << changed.status().to_string();
  EXPECT_EQ(manager_->timings()[0].runs, PassManager::kFixpointCap);
  ASSERT_EQ(context_.notes().size(), 1u);
  EXPECT_NE(context_.notes()[0].find("test_alternates"), std::string::npos);
}

TEST_F(PassManagerTest, PassLimitStopsAfterNRewritesOverAllRuns) {
  options_.limited_pass = "test_erase_one";
  options_.limit = 2;
  Result<bool> changed = run("fix(test_erase_one), test_erase_one");
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(module_->main.nodes().size(), 1u);
}

TEST_F(PassManagerTest, FalseClaimsAreFoundBothWays) {
  EXPECT_EQ(run("test_claims_change").status().code(), "K2604");
  EXPECT_EQ(run("test_hides_change").status().code(), "K2604");
  options_.check_claims = false;
  EXPECT_TRUE(run("test_claims_change").ok());
}

TEST_F(PassManagerTest, FailureWritesAReproducerThatRunsAgain) {
  options_.label = "model";
  const Status status = run("test_erase_one, test_breaks").status();
  EXPECT_EQ(status.code(), "K2603");
  const std::string path = options_.dump_dir + "/model-test_breaks.reproducer.ir";
  EXPECT_NE(status.hint().find(path), std::string::npos) << status.to_string();
  Result<std::string> text = read_file(path);
  ASSERT_TRUE(text.ok()) << text.status().to_string();
  EXPECT_TRUE(text->starts_with("// RUN: passes=test_breaks\n")) << *text;
  Result<std::unique_ptr<Module>> before = parse_module(*text);
  ASSERT_TRUE(before.ok()) << before.status().to_string();
  EXPECT_EQ((*before)->main.nodes().size(), 2u);
  module_ = std::move(before).value();
  EXPECT_EQ(run("test_breaks").status().code(), "K2603");
}

TEST_F(PassManagerTest, ReproducerCarriesWhatIsLeftOfTheLimit) {
  options_.limited_pass = "test_breaks";
  options_.limit = 3;
  EXPECT_FALSE(run("test_breaks").ok());
  Result<std::string> text = read_file(options_.dump_dir + "/test_breaks.reproducer.ir");
  ASSERT_TRUE(text.ok());
  EXPECT_TRUE(text->starts_with("// RUN: passes=test_breaks limit=3\n")) << *text;
}

TEST_F(PassManagerTest, ErrorsKeepTheirCodeAndOrigin) {
  const Status status = run("test_refuses").status();
  EXPECT_EQ(status.code(), "K2999");
  EXPECT_EQ(status.origin(), (std::vector<std::string>{"somewhere", "pass test_refuses"}));
  EXPECT_EQ(run("test_throws").status().code(), "K2605");
}

TEST_F(PassManagerTest, NoFolderForReproducersIsSaidAndHidesNothing) {
  options_.dump_dir = "/dev/null/nowhere";
  const Status status = run("test_refuses").status();
  EXPECT_EQ(status.code(), "K2999");
  EXPECT_NE(status.hint().find("no reproducer"), std::string::npos);
  options_.dump_after = "all";
  EXPECT_EQ(run("test_erase_one").status().code(), "K3003");
}

TEST_F(PassManagerTest, DumpsAreNumberedAndParse) {
  options_.dump_after = "all";
  ASSERT_TRUE(run("test_erase_one, test_alternates").ok());
  ASSERT_EQ(manager_->dumps().size(), 2u);
  EXPECT_TRUE(manager_->dumps()[1].ends_with("/001-test_alternates.ir"));
  Result<std::string> text = read_file(manager_->dumps()[1]);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, print(*module_));
  options_.dump_after = "test_erase_one";
  ASSERT_TRUE(run("test_erase_one, test_alternates").ok());
  EXPECT_EQ(manager_->dumps().size(), 1u);
}

TEST_F(PassManagerTest, ServicesAreFoundByType) {
  EXPECT_EQ(run("test_service").status().code(), "K2998");
  int number = 5;
  context_.provide(&number);
  EXPECT_TRUE(run("test_service").ok());
  EXPECT_EQ(context_.service<double>(), nullptr);
}

TEST(Pipeline, TextRoundTripsAndRefusesNonsense) {
  const std::string text = "test_breaks, fix(test_throws, fix(test_service)), test_refuses";
  Result<std::vector<PipelineItem>> items = parse_pipeline(text);
  ASSERT_TRUE(items.ok()) << items.status().to_string();
  EXPECT_EQ(pipeline_text(*items), text);
  EXPECT_TRUE(parse_pipeline("")->empty());
  EXPECT_EQ(parse_pipeline("nothing_like_it").status().code(), "K2601");
  for (const char* bad : {"fix(", "fix()", "test_breaks,", "test_breaks test_breaks", ",",
                          "fix(test_breaks))", "fix(test_breaks"}) {
    EXPECT_EQ(parse_pipeline(bad).status().code(), "K2602") << bad;
  }
  EXPECT_EQ(find_pipeline("nothing_like_it").status().code(), "K2601");
}

TEST(Pipeline, EveryNamedOneConsistsOfKnownPasses) {
  for (const NamedPipeline& pipeline : named_pipelines()) {
    const Status status = find_pipeline(pipeline.name).status();
    EXPECT_TRUE(status.ok()) << pipeline.name << ": " << status.to_string();
  }
}

TEST(PassOptions, ComeFromTheDebugSwitches) {
  const DebugOptions saved = debug_options();
  DebugOptions debug = saved;
  debug.pass_limit = "test_breaks:3";
  debug.dump_ir = "all";
  set_debug_options(debug);
  Result<PassOptions> options = PassOptions::from_debug_options();
  ASSERT_TRUE(options.ok()) << options.status().to_string();
  EXPECT_EQ(options->limited_pass, "test_breaks");
  EXPECT_EQ(options->limit, 3);
  for (const char* bad :
       {"test_breaks", "test_breaks:", "test_breaks:-1", ":3", "test_breaks:3x"}) {
    debug.pass_limit = bad;
    set_debug_options(debug);
    EXPECT_EQ(PassOptions::from_debug_options().status().code(), "K1002") << bad;
  }
  debug.pass_limit = "nothing_like_it:3";
  set_debug_options(debug);
  EXPECT_EQ(PassOptions::from_debug_options().status().code(), "K2601");
  set_debug_options(saved);
}

}  // namespace
}  // namespace kiln
