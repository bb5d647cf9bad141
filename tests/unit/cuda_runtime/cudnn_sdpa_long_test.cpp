// cuDNN's own answers about attention on described devices. They need a process of their own: the
// library looks for a driver once, and finds the stub.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "backends/cuda/runtime/cudnn_sdpa.h"
#include "cuda/null_driver.h"

namespace kiln::cuda_test {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace)

struct Case {
  int64_t batch = 2, heads = 4, kv_heads = 4, rows = 128, columns = 128, head = 64, value = 64;
  DType dtype = DType::kF16;
  bool causal = false, packed = false;
  std::optional<std::vector<int64_t>> mask = std::nullopt;  // dims
};

ConcreteView view_of(DType dtype, std::vector<int64_t> dims, std::vector<int64_t> strides) {
  ConcreteView view;
  view.dtype = dtype;
  view.kind = SlotKind::kTemp;
  view.dims = std::move(dims);
  view.strides = std::move(strides);
  return view;
}

// [batch, heads, length, size] as it lies in [batch, length, all heads, size].
ConcreteView by_length(DType dtype, std::vector<int64_t> d, int64_t all_heads) {
  const int64_t row = all_heads * d[3], size = d[3], length = d[2];
  return view_of(dtype, std::move(d), {length * row, size, row, 1});
}

std::string answer(const Case& c, int sm) {
  CudnnSdpaStepParams params;
  params.scale = 0.125;
  params.causal = c.causal;
  params.mask = c.mask.has_value();
  params.workspace_bytes = 32 << 20;
  const int64_t all = c.packed ? c.heads + 2 * c.kv_heads : c.heads;
  CudnnSdpa::Operands o;
  o.q = by_length(c.dtype, {c.batch, c.heads, c.rows, c.head}, all);
  o.k = by_length(c.dtype, {c.batch, c.kv_heads, c.columns, c.head}, c.packed ? all : c.kv_heads);
  o.v = by_length(c.dtype, {c.batch, c.kv_heads, c.columns, c.value}, c.packed ? all : c.kv_heads);
  o.out = by_length(c.dtype, {c.batch, c.heads, c.rows, c.value}, c.heads);
  if (c.mask) {
    const std::vector<int64_t>& d = *c.mask;
    o.mask = view_of(DType::kF16, d, {d[1] * d[2] * d[3], d[2] * d[3], d[3], 1});
  }
  const Status status = CudnnSdpa::supports(params, o, sm, 0);
  return status.ok() ? "" : status.message();
}

class CudnnSdpaAnswers : public testing::Test {
 protected:
  static void SetUpTestSuite() { dlopen(KILN_CUDA_DRIVER_STUB, RTLD_NOW | RTLD_GLOBAL); }
  void SetUp() override {
    table_ = test::NullDriver::table();
    set_driver_for_test(&table_);
    const auto library = cudnn();
    if (!library.ok()) GTEST_SKIP() << library.status().to_string();
    if ((*library)->cudnnGetVersion() < 91900) GTEST_SKIP() << "another cuDNN than was tried";
  }
  void TearDown() override { set_driver_for_test(nullptr); }
  Driver table_;
};

// Needs the driver's stub: without one cuDNN has no engine at all.
TEST_F(CudnnSdpaAnswers, HasEnginesForWhatTheRulesLetThrough) {
  std::vector<Case> cases;
  for (const int64_t head : {8, 40, 64, 72, 80, 96, 128, 160, 256}) {
    cases.push_back({.head = head, .value = head});
    cases.push_back({.head = head, .value = head, .causal = true});
  }
  for (const int64_t length : {1, 7, 77, 128, 197, 512}) {
    Case c{.rows = length, .columns = length, .packed = true};
    cases.push_back(c);
    c.causal = true;
    cases.push_back(c);
    c.causal = false;
    for (const std::vector<int64_t>& mask : std::vector<std::vector<int64_t>>{
             {2, 1, 1, length}, {1, 1, length, length}, {2, 4, length, length}}) {
      c.mask = mask;
      cases.push_back(c);
    }
  }
  cases.push_back({.rows = 1, .columns = 512});
  cases.push_back({.rows = 512, .columns = 5, .causal = true});
  cases.push_back({.rows = 77, .columns = 1});
  cases.push_back({.heads = 12, .kv_heads = 4, .causal = true});
  cases.push_back({.heads = 8, .kv_heads = 1, .packed = true});
  cases.push_back({.value = 128});
  cases.push_back({.head = 192, .value = 128});
  cases.push_back({.dtype = DType::kBF16, .causal = true, .packed = true});
  for (size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(answer(cases[i], 90), "") << "case " << i;
  EXPECT_EQ(answer({.causal = true}, 80), "");
  EXPECT_EQ(answer({.causal = true}, 100), "");
}

// The graph reaches the library: it says no where it should.
TEST_F(CudnnSdpaAnswers, HasNoneForADeviceThatIsTooOld) { EXPECT_NE(answer({}, 70), ""); }

}  // namespace
}  // namespace kiln::cuda_test
