// Convolutions of cuDNN: as the library itself sees them, engines for described devices, where it
// is installed; and in a fake that computes. The real results are checked on a GPU
// (tests/gpu/cuda_libs_check.cpp).
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "backends/cuda/runtime/cudnn_conv.h"
#include "fake_cudnn.h"
#include "library_step.h"

namespace kiln::cuda_test {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace)
using Kind = KernelActivation::Kind;

ConcreteView nhwc(DType dtype, std::vector<int64_t> dims) {
  ConcreteView view;
  view.dtype = dtype;
  view.strides.assign(dims.size(), 1);
  int64_t stride = dims[1];
  for (size_t i = dims.size(); i-- > 2;) {
    view.strides[i] = stride;
    stride *= dims[i];
  }
  view.strides[0] = stride;
  view.dims = std::move(dims);
  return view;
}

struct Case {
  DType dtype = DType::kF16;
  int64_t n = 2, c = 64, k = 64, size = 56, window = 3, stride = 1, groups = 1;
  bool bias = false, add = false, transposed = false, tf32 = false;
  Kind activation = Kind::kNone;
  int rank = 2;
};

std::string asked(const Case& c, int sm = 90) {
  CudnnConvStepParams p;
  const auto rank = static_cast<size_t>(c.rank);
  p.stride.assign(rank, c.stride);
  p.dilation.assign(rank, 1);
  p.padding_low.assign(rank, c.window / 2);
  p.padding_high = p.padding_low;
  p.groups = c.groups;
  p.transposed = c.transposed;
  p.bias = c.bias;
  p.add = c.add;
  p.allow_tf32 = c.tf32;
  p.activation = {c.activation, 0, 6};
  p.workspace_bytes = 32 << 20;
  const int64_t out = (c.size + 2 * (c.window / 2) - c.window) / c.stride + 1;
  CudnnConv::Operands o;
  auto dims = [&](int64_t n, int64_t channels, int64_t size) {
    std::vector<int64_t> d(rank, size);
    d.insert(d.begin(), {n, channels});
    return d;
  };
  const ConcreteView large = nhwc(c.dtype, dims(c.n, c.c, c.size));
  const ConcreteView small = nhwc(c.dtype, dims(c.n, c.k, out));
  o.x = c.transposed ? small : large;
  o.y = c.transposed ? large : small;
  o.w = nhwc(c.dtype, dims(c.k, c.c / c.groups, c.window));
  if (c.add) o.add = o.y;
  const Status status = CudnnConv::supports(p, o, sm, 0);
  return status.ok() ? "" : status.to_string();
}

class CudnnLibrary : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    // At exit it closes libraries of its own, whose memory the leak check can then no more name.
    GTEST_SKIP() << "the real cuDNN under the address sanitizer";
#endif
    const auto library = cudnn();
    if (!library.ok()) GTEST_SKIP() << library.status().to_string();
    const auto device = CudnnDevice::described(**library, 90, 132);
    if (!device.ok()) GTEST_SKIP() << device.status().to_string();
  }
};

TEST_F(CudnnLibrary, TellsItsVersion) {
  const auto info = cudnn_info();
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->version.substr(0, 2), "9.");
  EXPECT_NE(info->path.find("libcudnn.so.9"), std::string::npos) << info->path;
}

// Patterns that its ready-made kernels have, so that no GPU and no driver are needed.
TEST_F(CudnnLibrary, HasEnginesForConvolutionsWithBiasAddendAndActivation) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (const bool add : {false, true}) {
      EXPECT_EQ(asked({dtype, 2, 64, 64, 28, 3, 1, 1, true, add, false, false, Kind::kRelu}), "");
      EXPECT_EQ(asked({dtype, 2, 64, 64, 28, 3, 1, 1, true, add}), "");
    }
    EXPECT_EQ(asked({dtype}), "");
    EXPECT_EQ(asked({dtype, 2, 3, 64, 64, 7, 2, 1, true, false, false, false, Kind::kRelu}), "");
    EXPECT_EQ(asked({dtype, 2, 13, 17, 20, 3, 1, 1, true}), "");
    EXPECT_EQ(asked({dtype, 2, 256, 256, 14, 3, 1, 32, true}), "");
    EXPECT_EQ(asked({dtype, 2, 64, 32, 14, 3, 2, 1, false, false, true}), "");
  }
  EXPECT_EQ(asked({DType::kF16, 2, 64, 32, 50, 3, 1, 1, true, false, false, false, Kind::kRelu, 1}),
            "");
  EXPECT_EQ(asked({DType::kF16, 2, 64, 32, 9, 3, 1, 1, true, false, false, false, Kind::kRelu, 3}),
            "");
  for (const int sm : {80, 90, 100}) EXPECT_EQ(asked({DType::kF16}, sm), "") << sm;
}

// A plan for a described device: what the engines' names, notes and workspaces are taken from.
TEST_F(CudnnLibrary, MakesPlansForDescribedDevices) {
  const Cudnn& library = **cudnn();
  const auto device = CudnnDevice::described(library, 90, 132);
  ASSERT_TRUE(device.ok());
  CudnnGraph graph(library);
  auto tensor = [&](std::vector<int64_t> dims, bool is_virtual = false) {
    const ConcreteView view = nhwc(DType::kF16, std::move(dims));
    const auto id = graph.tensor({is_virtual ? DType::kF32 : DType::kF16, view.dims, view.strides,
                                  16, is_virtual});
    EXPECT_TRUE(id.ok()) << id.status().to_string();
    return *id;
  };
  const int64_t x = tensor({2, 64, 28, 28}), w = tensor({64, 64, 3, 3});
  const int64_t y = tensor({2, 64, 28, 28}), bias = tensor({1, 64, 1, 1});
  const int64_t product = tensor({2, 64, 28, 28}, true), sum = tensor({2, 64, 28, 28}, true);
  ASSERT_TRUE(
      graph.convolution({DType::kF32, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, false, x, w, product).ok());
  ASSERT_TRUE(graph.pointwise({}, product, bias, sum).ok());
  CudnnGraph::Pointwise relu;
  relu.mode = kCudnnRelu;
  ASSERT_TRUE(graph.pointwise(relu, sum, 0, y).ok());
  ASSERT_TRUE(graph.finish(*device).ok());
  ASSERT_TRUE(graph.find_engines(*device, {}, true).ok());
  std::set<std::string> names;
  int plans = 0;
  for (size_t i = 0; i < graph.num_engines(); ++i) {
    EXPECT_TRUE(names.insert(graph.engine_name(i)).second) << graph.engine_name(i);
    const auto plan = graph.plan(*device, i);
    if (!plan.ok()) continue;
    ++plans;
    EXPECT_EQ((*plan)->engine(), graph.engine_name(i));
  }
  EXPECT_GT(graph.num_engines(), 3u);
  EXPECT_GT(plans, 0);
}

// The library in a fake that computes.
class CudnnConvTest : public testing::Test {
 protected:
  void SetUp() override {
    fake_cudnn() = {};
    set_cudnn_for_test(&fake_cudnn_table());
  }
  void TearDown() override { set_cudnn_for_test(nullptr); }
};

CudnnConvStepParams plain(size_t rank = 2) {
  CudnnConvStepParams p;
  p.stride.assign(rank, 1);
  p.dilation.assign(rank, 1);
  p.padding_low.assign(rank, 0);
  p.padding_high.assign(rank, 0);
  p.workspace_bytes = 1 << 20;
  return p;
}

Operand channels_last(DType dtype, std::vector<int64_t> dims) {
  const ConcreteView view = nhwc(dtype, dims);
  return Operand(dtype, view.dims, view.strides);
}

TEST_F(CudnnConvTest, ComputesAConvolutionWithItsEpilogue) {
  CudnnConvStepParams p = plain();
  p.stride = {2, 1};
  p.padding_low = {1, 0};
  p.padding_high = {1, 2};
  p.bias = p.add = true;
  p.activation.kind = Kind::kHardswish;
  Operand x = channels_last(DType::kF32, {2, 3, 7, 5});
  Operand w = channels_last(DType::kF32, {4, 3, 3, 2});
  Operand bias(DType::kF32, {4}), add = channels_last(DType::kF32, {2, 4, 4, 6});
  Operand y = channels_last(DType::kF32, {2, 4, 4, 6});
  int seed = 1;
  for (Operand* operand : {&x, &w, &bias, &add}) operand->fill(seed++);
  auto bound = bind_step("cuda.cudnn_conv", p.to_json(), {&x, &w, &bias, &add}, y);
  ASSERT_TRUE(bound.ok()) << bound.status().to_string();
  EXPECT_EQ((*bound)->replay(), BoundStep::Replay::kSameAddresses);
  ASSERT_TRUE(run_step(**bound, {&x, &w, &bias, &add}, y).ok());
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t k = 0; k < 4; ++k) {
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t j = 0; j < 6; ++j) {
          double sum = bias.at({k}) + add.at({n, k, i, j});
          for (int64_t c = 0; c < 3; ++c) {
            for (int64_t r = 0; r < 3; ++r) {
              for (int64_t s = 0; s < 2; ++s) {
                const int64_t a = i * 2 - 1 + r, b = j + s;
                if (a < 0 || a >= 7 || b >= 5) continue;
                sum += x.at({n, c, a, b}) * w.at({k, c, r, s});
              }
            }
          }
          const double wanted = sum * std::min(std::max(sum + 3, 0.0), 6.0) / 6;
          ASSERT_NEAR(y.stored(static_cast<size_t>(y.index({n, k, i, j}))), wanted, 1e-4);
        }
      }
    }
  }
}

TEST_F(CudnnConvTest, TensorCoresComputeF32OnlyWhereTf32IsAllowed) {
  Operand x = channels_last(DType::kF32, {1, 4, 5, 5});
  Operand w = channels_last(DType::kF32, {4, 4, 3, 3});
  Operand y = channels_last(DType::kF32, {1, 4, 3, 3});
  auto engine = [&](const CudnnConvStepParams& p) {
    auto bound = bind_step("cuda.cudnn_conv", p.to_json(), {&x, &w}, y);
    return bound.ok() ? (*bound)->implementation() : bound.status().to_string();
  };
  EXPECT_EQ(engine(plain()), "cudnn:eng1.0");
  CudnnConvStepParams allowed = plain();
  allowed.allow_tf32 = true;
  EXPECT_EQ(engine(allowed), "cudnn:eng0.0");
  fake_cudnn().tensor_core_engines = 100;
  EXPECT_NE(engine(plain()).find("K5308"), std::string::npos);
}

TEST_F(CudnnConvTest, TakesTheFirstPlanThatCanBeMadeAndFits) {
  Operand x = channels_last(DType::kF16, {1, 4, 5, 5});
  Operand w = channels_last(DType::kF16, {4, 4, 3, 3});
  Operand y = channels_last(DType::kF16, {1, 4, 3, 3});
  auto bind = [&](const CudnnConvStepParams& p) {
    return bind_step("cuda.cudnn_conv", p.to_json(), {&x, &w}, y);
  };
  fake_cudnn().failing_plans = 1;
  auto bound = bind(plain());
  ASSERT_TRUE(bound.ok());
  EXPECT_EQ((*bound)->implementation(), "cudnn:eng1.0");
  EXPECT_EQ((*bound)->scratch_bytes(), 1024u);
  // None fits: the smallest. All of the first mode fail: another mode's.
  CudnnConvStepParams small = plain();
  small.workspace_bytes = 100;
  bound = bind(small);
  ASSERT_TRUE(bound.ok());
  EXPECT_EQ((*bound)->scratch_bytes(), 1024u);
  fake_cudnn().failing_plans = 3;
  bound = bind(plain());
  ASSERT_TRUE(bound.ok());
  EXPECT_EQ((*bound)->implementation(), "cudnn:eng99.0");
  fake_cudnn().failing_plans = 100;
  EXPECT_EQ(bind(plain()).status().code(), "K5308");
}

TEST_F(CudnnConvTest, RefusesWhatDoesNotFit) {
  auto code = [](const CudnnConvStepParams& p, Operand x, Operand w, Operand y) {
    const auto bound = bind_step("cuda.cudnn_conv", p.to_json(), {&x, &w}, y);
    return bound.ok() ? std::string("ok") : bound.status().code();
  };
  auto t = [](std::vector<int64_t> dims) { return channels_last(DType::kF32, std::move(dims)); };
  EXPECT_EQ(code(plain(), t({1, 4, 5, 5}), t({6, 4, 3, 3}), t({1, 6, 3, 3})), "ok");
  EXPECT_EQ(code(plain(), t({1, 4, 5, 5}), t({6, 3, 3, 3}), t({1, 6, 3, 3})), "K3212");
  EXPECT_EQ(code(plain(), t({1, 4, 5, 5}), t({6, 4, 3, 3}), t({1, 6, 4, 3})), "K3212");
  EXPECT_EQ(code(plain(), t({1, 4, 5, 5}), t({6, 4, 3, 3}), t({2, 6, 3, 3})), "K3212");
  EXPECT_EQ(code(plain(1), t({1, 4, 5, 5}), t({6, 4, 3, 3}), t({1, 6, 3, 3})), "K3212");
  CudnnConvStepParams grouped = plain();
  grouped.groups = 3;
  EXPECT_EQ(code(grouped, t({1, 4, 5, 5}), t({6, 4, 3, 3}), t({1, 6, 3, 3})), "K3212");
  grouped.groups = int64_t{1} << 30;
  EXPECT_EQ(code(grouped, t({1, 4, 5, 5}), t({6, 4, 3, 3}), t({1, 6, 3, 3})), "K3212");
}

TEST_F(CudnnConvTest, ParamsRoundTripAndAreChecked) {
  CudnnConvStepParams p = plain(3);
  p.bias = p.add = p.tune = p.transposed = true;
  p.activation = {Kind::kClip, -1, 2.5};
  const Json json = p.to_json();
  const auto again = CudnnConvStepParams::from_json(json);
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(again->to_json().dump(), json.dump());
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{
           {"stride", std::vector<int64_t>{0, 1, 1}}, {"stride", std::vector<int64_t>{}},
           {"padding_low", std::vector<int64_t>{1}},
           {"padding_low", std::vector<int64_t>{-1, 0, 0}},
           {"groups", 0}, {"activation", "other"}, {"unknown", 1}}) {
    Json bad = json;
    bad.set(key, value);
    EXPECT_FALSE(CudnnConvStepParams::from_json(bad).ok()) << key;
  }
}

}  // namespace
}  // namespace kiln::cuda_test
