#include "backends/cpu/runtime/dnnl_api.h"

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "backends/cpu/runtime/dnnl_conv.h"
#include "backends/cpu/runtime/dnnl_matmul.h"
#include "backends/cpu/runtime/dnnl_pool.h"
#include "dnnl_test_support.h"

namespace kiln {
namespace {

using dnnl_test::DnnlTest;

using DnnlApiTest = DnnlTest;

TEST_F(DnnlApiTest, TellsVersionAndInstructionSet) {
  const auto info = dnnl_library_info();
  ASSERT_TRUE(info.ok()) << info.status().to_string();
  EXPECT_EQ(info->version.substr(0, 2), "3.");
  EXPECT_NE(info->version.find('+'), std::string::npos) << info->version;
  EXPECT_NE(info->path.find("libdnnl"), std::string::npos) << info->path;
  EXPECT_FALSE(info->isa.empty());
  EXPECT_EQ(*dnnl_api(), *dnnl_api());
}

// The environment is read when the process starts and the library is looked for once, so each case
// needs a process of its own, which inherits this.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~ScopedVariable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// Says on stderr what it saw, and leaves with 0 if everything gives the expected code.
void exit_after_trying(const std::string& code) {
  const Status status = dnnl_api().status();
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  DnnlMatmulParams matmul{DnnlTensor::dense({2, 3}), DnnlTensor::dense({3, 4}),
                          DnnlTensor::dense({2, 4})};
  DnnlConvParams conv{.src = DnnlTensor::channels_last({1, 1, 4}),
                      .weights = DnnlTensor::dense({1, 1, 3}),
                      .dst = DnnlTensor::channels_last({1, 1, 2}),
                      .stride = {1}, .dilation = {1}, .padding_begin = {0}, .padding_end = {0}};
  DnnlPoolParams pool{.src = conv.src, .dst = conv.dst, .kernel = {3}, .stride = {1},
                      .dilation = {1}, .padding_begin = {0}, .padding_end = {0}};
  const bool same = status.code() == code && !status.hint().empty() &&
                    dnnl_library_info().status().code() == code &&
                    DnnlMatmul::create(matmul).status().code() == code &&
                    DnnlConv::create(conv).status().code() == code &&
                    DnnlPool::create(pool).status().code() == code;
  std::exit(same ? 0 : 1);
}

class DnnlApiDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(DnnlApiDeathTest, MissingLibraryIsATypedErrorThatNamesIt) {
  const ScopedVariable variable("KILN_DNNL_LIBRARY", "/nonexistent/libdnnl.so.3");
  EXPECT_EXIT(exit_after_trying("K5101"),
              ::testing::ExitedWithCode(0), "K5101: oneDNN was not found: .*/nonexistent/libdnnl");
}

TEST_F(DnnlApiDeathTest, DebugSwitchNamesTheLibraryToo) {
  const ScopedVariable variable("KILN_OPTIONS", "onednn_library=/nonexistent/other.so");
  EXPECT_EXIT(exit_after_trying("K5101"),
              ::testing::ExitedWithCode(0), "K5101: oneDNN was not found: .*/nonexistent/other.so");
}

TEST_F(DnnlApiDeathTest, AnotherLibraryIsRefused) {
  const ScopedVariable variable("KILN_DNNL_LIBRARY", "libc.so.6");
  EXPECT_EXIT(exit_after_trying("K5103"),
              ::testing::ExitedWithCode(0), "K5103: function missing .*dnnl_version");
}

TEST_F(DnnlApiDeathTest, CpuTargetLimitsOneDnn) {
  // Without the library there is nothing to limit; asking here would load it in the child too.
  auto limited = [] {
    const auto info = dnnl_library_info();
    std::fprintf(stderr, "isa %s\n",
                 info.ok() ? info->isa.c_str() : info.status().to_string().c_str());
    std::exit(0);
  };
  {
    const ScopedVariable variable("KILN_OPTIONS", "cpu_target=sse4");
    EXPECT_EXIT(limited(), ::testing::ExitedWithCode(0), "isa sse41|isa K5101");
  }
  auto unknown = [] {
    std::fprintf(stderr, "%s\n", dnnl_api().status().to_string().c_str());
    std::exit(0);
  };
  const ScopedVariable variable("KILN_OPTIONS", "cpu_target=z80");
  EXPECT_EXIT(unknown(), ::testing::ExitedWithCode(0), "K1002: .*z80|K5101");
}

TEST(DnnlReference, IsRecognisedByWord) {
  EXPECT_TRUE(is_dnnl_reference("ref:any"));
  EXPECT_TRUE(is_dnnl_reference("gemm:ref"));
  EXPECT_TRUE(is_dnnl_reference("conv:any+ref:any"));
  EXPECT_FALSE(is_dnnl_reference("brgconv_1x1:avx512_core"));
  EXPECT_FALSE(is_dnnl_reference("prefetch:any"));
}

}  // namespace
}  // namespace kiln
