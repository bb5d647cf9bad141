// Attention by cuDNN: in a fake that computes and is as choosy about the graph as the library, and
// asked of the library itself where it is installed beside a driver. The real results are checked
// on a GPU (tests/gpu/kernel_table.py).
#include "backends/cuda/runtime/cudnn_sdpa.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "fake_cudnn.h"
#include "library_step.h"

namespace kiln::cuda_test {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace)
using testing::HasSubstr;

constexpr double kNothing = -std::numeric_limits<double>::infinity();

CudnnSdpaStepParams plain() {
  CudnnSdpaStepParams p;
  p.scale = 0.25;
  p.workspace_bytes = 1 << 20;
  return p;
}

struct Problem {
  DType dtype = DType::kF16;
  int64_t batch = 2, heads = 4, kv_heads = 4, rows = 5, columns = 7, head = 8, value = 16;
  bool causal = false;
  std::optional<std::vector<int64_t>> mask = std::nullopt;  // dims
};

// q, k and v as parts of one tensor [batch, length, heads + 2 kv_heads, head] where lengths and
// head sizes allow it, else each for itself; the result as [batch, rows, heads, value].
struct Tensors {
  Operand q, k, v, out, mask;
  bool has_mask;

  explicit Tensors(const Problem& p)
      : q(p.dtype, {p.batch, p.heads, p.rows, p.head}),
        k(p.dtype, {p.batch, p.kv_heads, p.columns, p.head}),
        v(p.dtype, {p.batch, p.kv_heads, p.columns, p.value}),
        out(p.dtype, {p.batch, p.heads, p.rows, p.value},
            {p.rows * p.heads * p.value, p.value, p.heads * p.value, 1}),
        mask(DType::kF16, p.mask.value_or(std::vector<int64_t>{1, 1, 1, 1})),
        has_mask(p.mask.has_value()) {
    if (p.rows == p.columns && p.head == p.value) {
      const int64_t all = p.heads + 2 * p.kv_heads, row = all * p.head;
      const std::vector<int64_t> strides{p.rows * row, p.head, row, 1};
      q = Operand(p.dtype, q.view.dims, strides);
      k = Operand(p.dtype, k.view.dims, strides, p.heads * p.head);
      v = Operand(p.dtype, v.view.dims, strides, (p.heads + p.kv_heads) * p.head);
    }
    int seed = 1;
    for (Operand* operand : {&q, &k, &v, &mask}) operand->fill(seed++);
  }
  std::vector<Operand*> inputs() {
    std::vector<Operand*> list{&q, &k, &v};
    if (has_mask) list.push_back(&mask);
    return list;
  }
  double expected(const Problem& p, double scale, int64_t b, int64_t h, int64_t i, int64_t e) {
    const int64_t kv = h / (p.heads / p.kv_heads);
    std::vector<double> score(static_cast<size_t>(p.columns));
    double max = kNothing, total = 0, sum = 0;
    for (int64_t j = 0; j < p.columns; ++j) {
      double& s = score[static_cast<size_t>(j)];
      for (int64_t d = 0; d < p.head; ++d) s += q.at({b, h, i, d}) * k.at({b, kv, j, d});
      s *= scale;
      if (p.causal && j > i) s = kNothing;
      if (has_mask) s += mask.at({b, h, i, j});
      max = std::max(max, s);
    }
    if (max == kNothing) return 0;
    for (double& s : score) total += s = std::exp(s - max);
    for (int64_t j = 0; j < p.columns; ++j) {
      sum += score[static_cast<size_t>(j)] * v.at({b, kv, j, e});
    }
    return sum / total;
  }
};

class CudnnSdpaTest : public testing::Test {
 protected:
  void SetUp() override {
    fake_cudnn() = {};
    set_cudnn_for_test(&fake_cudnn_table());
  }
  void TearDown() override { set_cudnn_for_test(nullptr); }

  static void check(const Problem& problem, const std::string& name) {
    Tensors t(problem);
    check(problem, t, name);
  }
  static void check(const Problem& problem, Tensors& t, const std::string& name) {
    CudnnSdpaStepParams params = plain();
    params.causal = problem.causal;
    params.mask = t.has_mask;
    auto bound = bind_step("cuda.cudnn_sdpa", params.to_json(), t.inputs(), t.out);
    ASSERT_TRUE(bound.ok()) << name << ": " << bound.status().to_string();
    ASSERT_TRUE(run_step(**bound, t.inputs(), t.out).ok()) << name;
    for (int64_t b = 0; b < problem.batch; ++b) {
      for (int64_t h = 0; h < problem.heads; ++h) {
        for (int64_t i = 0; i < problem.rows; ++i) {
          for (int64_t e = 0; e < problem.value; ++e) {
            ASSERT_NEAR(t.out.stored(static_cast<size_t>(t.out.index({b, h, i, e}))),
                        t.expected(problem, params.scale, b, h, i, e), 4e-3)
                << name << " at " << b << " " << h << " " << i << " " << e;
          }
        }
      }
    }
  }
  static std::string answer(const CudnnSdpaStepParams& params, Tensors& t) {
    const auto bound = bind_step("cuda.cudnn_sdpa", params.to_json(), t.inputs(), t.out);
    return bound.ok() ? (*bound)->implementation() : bound.status().to_string();
  }
};

TEST_F(CudnnSdpaTest, Computes) {
  check({}, "plain");
  check({.rows = 6, .columns = 6, .head = 16}, "packed");
  check({.rows = 6, .columns = 6, .head = 16, .causal = true}, "packed, causal");
  check({.rows = 7, .columns = 3, .causal = true}, "causal, fewer keys");
  check({.kv_heads = 2}, "grouped heads");
  check({.heads = 6, .kv_heads = 1, .causal = true}, "one head of keys");
  check({.rows = 1}, "one query");
  check({.batch = 1, .columns = 1}, "one key");
}

TEST_F(CudnnSdpaTest, AddsMasks) {
  for (const std::vector<int64_t>& mask : std::vector<std::vector<int64_t>>{
           {2, 4, 5, 7}, {1, 1, 5, 7}, {2, 1, 1, 7}, {1, 4, 5, 7}, {1, 1, 1, 7}}) {
    check({.mask = mask}, "mask");
  }
  check({.kv_heads = 2, .causal = true, .mask = std::vector<int64_t>{2, 1, 5, 7}}, "all of it");
  // Repeated along the heads by a stride of zero.
  const Problem problem{.mask = std::vector<int64_t>{2, 4, 5, 7}};
  Tensors t(problem);
  t.mask = Operand(DType::kF16, {2, 4, 5, 7}, {35, 0, 7, 1});
  t.mask.fill(9);
  check(problem, t, "repeated mask");
}

TEST_F(CudnnSdpaTest, ARowThatSeesNothingIsZero) {
  const Problem problem{.mask = std::vector<int64_t>{1, 1, 5, 7}};
  Tensors t(problem);
  for (int64_t j = 0; j < 7; ++j) t.mask.set(static_cast<size_t>(2 * 7 + j), kNothing);
  t.mask.set(3, kNothing);
  check(problem, t, "masked row");
  EXPECT_EQ(t.out.stored(static_cast<size_t>(t.out.index({1, 2, 2, 3}))), 0.0);
}

TEST_F(CudnnSdpaTest, RefusesWhatTheLibraryDoesNotCompute) {
  auto refused = [](const Problem& problem, const std::function<void(Tensors&)>& change) {
    Tensors t(problem);
    change(t);
    CudnnSdpaStepParams params = plain();
    params.causal = problem.causal;
    params.mask = t.has_mask;
    return answer(params, t);
  };
  auto same = [](Tensors&) {};
  EXPECT_EQ(refused({}, same), "cudnn:eng0.0");
  EXPECT_THAT(refused({.dtype = DType::kF32}, same), HasSubstr("no attention in f32"));
  EXPECT_THAT(refused({.head = 12}, same), HasSubstr("not a multiple of 8"));
  EXPECT_THAT(refused({.value = 264}, same), HasSubstr("264"));
  EXPECT_THAT(refused({.kv_heads = 2, .rows = 1, .causal = true}, same),
              HasSubstr("one causal query with grouped heads"));
  EXPECT_EQ(refused({.rows = 1, .causal = true}, same), "cudnn:eng0.0");
  auto change = [&](Operand Tensors::*which, auto strides_of, int64_t offset = 0) {
    return refused({}, [&](Tensors& t) {
      const std::vector<int64_t> dims = (t.*which).view.dims;
      t.*which = Operand(DType::kF16, dims, strides_of(dims), offset);
    });
  };
  auto turned = [](const std::vector<int64_t>& d) {
    return std::vector<int64_t>{d[1] * d[2] * d[3], d[2] * d[3], 1, d[2]};
  };
  auto loose = [](const std::vector<int64_t>& d) {
    return std::vector<int64_t>{d[1] * d[2] * (d[3] + 4), d[2] * (d[3] + 4), d[3] + 4, 1};
  };
  auto repeated = [](const std::vector<int64_t>& d) {
    return std::vector<int64_t>{d[2] * d[3], 0, d[3], 1};
  };
  auto dense = [](const std::vector<int64_t>& d) {
    return std::vector<int64_t>{d[1] * d[2] * d[3], d[2] * d[3], d[3], 1};
  };
  for (Operand Tensors::*which : {&Tensors::q, &Tensors::k, &Tensors::v, &Tensors::out}) {
    EXPECT_THAT(change(which, turned), HasSubstr("do not lie side by side"));
    EXPECT_THAT(change(which, loose), HasSubstr("multiples of 16 bytes"));
    EXPECT_THAT(change(which, repeated), HasSubstr("multiples of 16 bytes"));
    EXPECT_THAT(change(which, dense, 4), HasSubstr("not aligned"));
  }
  const Problem masked{.mask = std::vector<int64_t>{2, 1, 5, 7}};
  EXPECT_THAT(refused(masked,
                      [](Tensors& t) {
                        t.mask.view.strides = {35, 35, 1, 5};
                      }),
              HasSubstr("side by side"));
  EXPECT_THAT(refused(masked, [](Tensors& t) { t.mask.view.dtype = DType::kBF16; }),
              HasSubstr("an added mask of bf16"));
  EXPECT_THAT(refused(masked, [](Tensors& t) { t.mask.view.offset = 1; }),
              HasSubstr("not aligned"));
  EXPECT_THAT(refused({.mask = std::vector<int64_t>{2, 1, 5, 1}}, same), HasSubstr("side by side"));
  fake_cudnn().version = 91001;
  EXPECT_THAT(refused({}, same), HasSubstr("before 9.11"));
}

TEST_F(CudnnSdpaTest, RefusesOperandsThatDoNotFit) {
  auto code = [](const std::function<void(Tensors&)>& change) {
    Tensors t(Problem{.mask = std::vector<int64_t>{2, 1, 5, 7}});
    change(t);
    CudnnSdpaStepParams params = plain();
    params.mask = true;
    const auto bound = bind_step("cuda.cudnn_sdpa", params.to_json(), t.inputs(), t.out);
    return bound.ok() ? std::string("ok") : bound.status().code();
  };
  EXPECT_EQ(code([](Tensors&) {}), "ok");
  for (Operand Tensors::*which :
       {&Tensors::q, &Tensors::k, &Tensors::v, &Tensors::out, &Tensors::mask}) {
    for (size_t dim = 0; dim < 4; ++dim) {
      if (which == &Tensors::mask && dim == 1) continue;
      EXPECT_EQ(code([&](Tensors& t) { (t.*which).view.dims[dim] += 3; }), "K3212") << dim;
    }
    EXPECT_EQ(code([&](Tensors& t) {
                (t.*which).view.dims.pop_back();
                (t.*which).view.strides.pop_back();
              }),
              "K3212");
  }
}

TEST_F(CudnnSdpaTest, EqualProblemsShareAPlanWhileItIsHeld) {
  Tensors t{Problem{}};
  auto first = bind_step("cuda.cudnn_sdpa", plain().to_json(), t.inputs(), t.out);
  auto second = bind_step("cuda.cudnn_sdpa", plain().to_json(), t.inputs(), t.out);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(fake_cudnn().plans, 1);
  CudnnSdpaStepParams other = plain();
  other.scale = 0.5;
  ASSERT_TRUE(bind_step("cuda.cudnn_sdpa", other.to_json(), t.inputs(), t.out).ok());
  EXPECT_EQ(fake_cudnn().plans, 2);
  first->reset();
  second->reset();
  ASSERT_TRUE(bind_step("cuda.cudnn_sdpa", plain().to_json(), t.inputs(), t.out).ok());
  EXPECT_EQ(fake_cudnn().plans, 3);
}

TEST_F(CudnnSdpaTest, MayBeRecorded) {
  Tensors t{Problem{}};
  auto bound = bind_step("cuda.cudnn_sdpa", plain().to_json(), t.inputs(), t.out);
  ASSERT_TRUE(bound.ok());
  EXPECT_EQ((*bound)->replay(), BoundStep::Replay::kSameAddresses);
}

TEST_F(CudnnSdpaTest, ParamsRoundTripAndAreChecked) {
  CudnnSdpaStepParams p = plain();
  p.causal = p.mask = p.tune = true;
  p.otherwise_kind = "cuda.attention";
  p.otherwise_params = Json::object();
  p.otherwise_params.set("kernel", 3);
  const Json json = p.to_json();
  const auto again = CudnnSdpaStepParams::from_json(json);
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(again->to_json().dump(), json.dump());
  auto otherwise = [](const char* kind) {
    Json other = Json::object();
    other.set("kind", kind);
    other.set("params", Json::object());
    return other;
  };
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"scale", "x"},
                                                 {"scale", Json()},
                                                 {"causal", 1},
                                                 {"mask", "yes"},
                                                 {"workspace_bytes", -1},
                                                 {"workspace_bytes", int64_t{1} << 40},
                                                 {"unknown", 1},
                                                 {"otherwise", 1},
                                                 {"otherwise", Json::object()},
                                                 {"otherwise", otherwise("cuda.cudnn_sdpa")},
                                                 {"otherwise", otherwise("host.call")}}) {
    Json bad = json;
    bad.set(key, value);
    EXPECT_FALSE(CudnnSdpaStepParams::from_json(bad).ok()) << key << " " << value.dump();
  }
}

}  // namespace
}  // namespace kiln::cuda_test
