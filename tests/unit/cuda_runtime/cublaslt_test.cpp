#include "fake_cublaslt.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "backends/cuda/runtime/cublaslt_step.h"
#include "library_step.h"

namespace kiln::cuda_test {
namespace {

class CublasLtTest : public testing::Test {
 protected:
  void SetUp() override {
    fake_cublaslt() = {};
    set_cublaslt_for_test(&fake_cublaslt_table());
  }
  void TearDown() override {
    set_cublaslt_for_test(nullptr);
    set_driver_for_test(nullptr);
  }
};

double activated(MatmulActivation activation, double x) {
  switch (activation) {
    case MatmulActivation::kNone: return x;
    case MatmulActivation::kRelu: return std::max(x, 0.0);
    case MatmulActivation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

double tolerance_of(DType dtype) {
  switch (dtype) {
    case DType::kF64: return 1e-12;
    case DType::kF32: return 1e-5;
    case DType::kF16: return 2e-3;
    default: return 2e-2;
  }
}

// Runs the step and compares with plain loops.
void check_product(const CublasLtStepParams& params, Operand a, Operand b, Operand d,
                   Operand* c = nullptr) {
  a.fill(1);
  b.fill(2);
  std::vector<Operand*> inputs{&a, &b};
  Operand bias(d.view.dtype, {d.view.dims.back()});
  bias.fill(3);
  if (params.bias) inputs.push_back(&bias);
  if (params.add) {
    c->fill(4);
    inputs.push_back(c);
  }
  auto bound = bind_step("cuda.cublaslt", params.to_json(), inputs, d);
  ASSERT_TRUE(bound.ok()) << bound.status().to_string();
  EXPECT_EQ((*bound)->replay(), BoundStep::Replay::kSameAddresses);
  const Status status = run_step(**bound, inputs, d);
  ASSERT_TRUE(status.ok()) << status.to_string();
  const size_t rank = d.view.dims.size();
  std::vector<int64_t> at(rank, 0);
  for (bool more = d.view.num_elements() > 0; more;) {
    double sum = 0;
    for (int64_t k = 0; k < a.view.dims[rank - 1]; ++k) {
      std::vector<int64_t> ia = at, ib = at;
      ia[rank - 1] = ib[rank - 2] = k;
      sum += a.at(ia) * b.at(ib);
    }
    sum *= params.alpha;
    if (params.add) sum += c->at(at);
    if (params.bias) sum += bias.at({at[rank - 1]});
    const double wanted = activated(params.activation, sum);
    const double found = d.stored(static_cast<size_t>(d.index(at)));
    ASSERT_NEAR(found, wanted, tolerance_of(d.view.dtype) * (1 + std::fabs(wanted)));
    more = false;
    for (size_t i = rank; i-- > 0 && !more;) {
      more = ++at[i] < d.view.dims[i];
      if (!more) at[i] = 0;
    }
  }
}

CublasLtStepParams plain() { return {}; }

TEST_F(CublasLtTest, MultipliesMatricesOfAllDtypes) {
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16}) {
    check_product(plain(), {dtype, {5, 7}}, {dtype, {7, 3}}, {dtype, {5, 3}});
  }
  EXPECT_EQ(fake_cublaslt().products, 4);
}

TEST_F(CublasLtTest, TakesEveryLayoutOfEveryOperand) {
  const DType f32 = DType::kF32;
  // Dense, transposed, padded rows, padded columns.
  const std::vector<std::vector<int64_t>> a{{7, 1}, {1, 5}, {9, 1}, {1, 8}};
  const std::vector<std::vector<int64_t>> b{{3, 1}, {1, 7}, {4, 1}, {1, 10}};
  const std::vector<std::vector<int64_t>> d{{3, 1}, {1, 5}, {6, 1}, {1, 6}};
  for (const auto& sa : a) {
    for (const auto& sb : b) {
      for (const auto& sd : d) {
        check_product(plain(), {f32, {5, 7}, sa}, {f32, {7, 3}, sb}, {f32, {5, 3}, sd});
      }
    }
  }
}

TEST_F(CublasLtTest, WalksBatchesByOneStrideWhereItCan) {
  const DType f32 = DType::kF32;
  check_product(plain(), {f32, {2, 3, 5, 7}}, {f32, {2, 3, 7, 4}}, {f32, {2, 3, 5, 4}});
  EXPECT_EQ(fake_cublaslt().products, 1);
  // One b for all: more rows.
  check_product(plain(), {f32, {2, 3, 5, 7}}, {f32, {1, 1, 7, 4}}, {f32, {2, 3, 5, 4}});
  EXPECT_EQ(fake_cublaslt().products, 2);
  // One a for all: stride 0.
  check_product(plain(), {f32, {1, 5, 7}}, {f32, {6, 7, 4}}, {f32, {6, 5, 4}});
  EXPECT_EQ(fake_cublaslt().products, 3);
  // The same where a has one row: its batches are no rows, since they are one. Nor are those of
  // what is added.
  check_product(plain(), {f32, {1, 1, 7}}, {f32, {1, 7, 4}, {28, 1, 7}}, {f32, {6, 1, 4}});
  check_product(plain(), {f32, {6, 1, 7}, {0, 7, 1}}, {f32, {1, 7, 4}}, {f32, {6, 1, 4}});
  EXPECT_EQ(fake_cublaslt().products, 5);
  CublasLtStepParams adds;
  adds.add = true;
  Operand once(f32, {6, 1, 4}, {0, 4, 1});
  check_product(adds, {f32, {6, 1, 7}}, {f32, {1, 7, 4}}, {f32, {6, 1, 4}}, &once);
  EXPECT_EQ(fake_cublaslt().products, 6);
  fake_cublaslt().products = 3;
  // Heads inside of rows, as attention has them: a call a batch, the heads by a stride.
  check_product(plain(), {f32, {2, 6, 5, 7}, {210, 7, 42, 1}}, {f32, {2, 6, 7, 4}, {168, 4, 24, 1}},
                {f32, {2, 6, 5, 4}, {120, 4, 24, 1}});
  EXPECT_EQ(fake_cublaslt().products, 5);
  // Batch dims broadcast against each other.
  check_product(plain(), {f32, {3, 1, 5, 4}}, {f32, {1, 2, 4, 6}}, {f32, {3, 2, 5, 6}});
  EXPECT_EQ(fake_cublaslt().products, 7);
}

TEST_F(CublasLtTest, ComputesRowsColumnsAndSinglesOfOneElement) {
  const DType f32 = DType::kF32;
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{
           {1, 5, 7}, {5, 1, 7}, {5, 7, 1}, {1, 1, 7}, {1, 7, 1}, {1, 1, 1}}) {
    check_product(plain(), {f32, {m, k}}, {f32, {k, n}}, {f32, {m, n}});
    check_product(plain(), {f32, {m, k}}, {f32, {k, n}, {1, k}}, {f32, {m, n}});
    check_product(plain(), {f32, {4, m, k}}, {f32, {4, k, n}}, {f32, {4, m, n}});
  }
}

TEST_F(CublasLtTest, EpiloguesAreComputedInTheirOrder) {
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kBF16}) {
    for (const bool bias : {false, true}) {
      for (const bool add : {false, true}) {
        for (const MatmulActivation activation :
             {MatmulActivation::kNone, MatmulActivation::kRelu, MatmulActivation::kGeluTanh}) {
          CublasLtStepParams params;
          params.alpha = 0.5;
          params.bias = bias;
          params.add = add;
          params.activation = activation;
          Operand c(dtype, {2, 5, 3}, {30, 6, 1});
          check_product(params, {dtype, {2, 5, 7}}, {dtype, {1, 7, 3}, {1, 1, 7}},
                        {dtype, {2, 5, 3}}, &c);
        }
      }
    }
  }
}

CUresult memset_host(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
  std::memset(reinterpret_cast<void*>(to), value, bytes);
  return 0;
}

TEST_F(CublasLtTest, SumsOverNothingAreTheEpilogueOfZero) {
  Driver driver;
  driver.MemsetD8Async = memset_host;
  set_driver_for_test(&driver);
  const DType f32 = DType::kF32;
  CublasLtStepParams params;
  params.bias = true;
  check_product(params, {f32, {3, 0}}, {f32, {0, 5}}, {f32, {3, 5}});
  check_product(plain(), {f32, {4, 3, 0}}, {f32, {4, 0, 5}}, {f32, {4, 3, 5}});
  EXPECT_EQ(fake_cublaslt().products, 2);
  check_product(plain(), {f32, {0, 4}}, {f32, {4, 5}}, {f32, {0, 5}});
  check_product(plain(), {f32, {0, 3, 4}}, {f32, {0, 4, 5}}, {f32, {0, 3, 5}});
  EXPECT_EQ(fake_cublaslt().products, 2);
}

TEST_F(CublasLtTest, AsksWithTheTruthAboutAddressesAndPrecision) {
  CublasLtStepParams params;
  params.bias = true;
  params.workspace_bytes = 32 << 20;
  Operand a(DType::kF16, {8, 16}, {}, 1), b(DType::kF16, {16, 8}), bias(DType::kF16, {8}, {}, 4);
  Operand d(DType::kF16, {8, 8}, {}, 0, SlotKind::kOutput);
  ASSERT_TRUE(bind_step("cuda.cublaslt", params.to_json(), {&a, &b, &bias}, d).ok());
  ASSERT_EQ(fake_cublaslt().asked.size(), 1u);
  const auto& asked = fake_cublaslt().asked[0];
  EXPECT_EQ(asked.workspace, 32u << 20);
  EXPECT_EQ(asked.reductions, 3u);
  // b of the caller is the library's a.
  EXPECT_EQ(asked.alignments[0], 64u);
  EXPECT_EQ(asked.alignments[1], 2u);
  EXPECT_EQ(asked.alignments[2], 16u);
  EXPECT_EQ(asked.alignments[3], 16u);
  EXPECT_EQ(asked.bias % 16, 8u);
  EXPECT_EQ(asked.compute_type, kCublasCompute32F);
  // The same shape is not asked for again.
  ASSERT_TRUE(bind_step("cuda.cublaslt", params.to_json(), {&a, &b, &bias}, d).ok());
  EXPECT_EQ(fake_cublaslt().asked.size(), 1u);

  params = {};
  Operand x(DType::kF32, {9, 16}), y(DType::kF32, {16, 9}), z(DType::kF32, {9, 9});
  ASSERT_TRUE(bind_step("cuda.cublaslt", params.to_json(), {&x, &y}, z).ok());
  EXPECT_EQ(fake_cublaslt().asked.back().compute_type, kCublasCompute32F);
  params.allow_tf32 = true;
  ASSERT_TRUE(bind_step("cuda.cublaslt", params.to_json(), {&x, &y}, z).ok());
  EXPECT_EQ(fake_cublaslt().asked.back().compute_type, kCublasCompute32FFastTf32);
}

TEST_F(CublasLtTest, RefusesWhatDoesNotFit) {
  const DType f32 = DType::kF32;
  auto code = [](const CublasLtStepParams& params, std::vector<Operand> inputs, Operand d) {
    std::vector<Operand*> pointers;
    for (Operand& input : inputs) pointers.push_back(&input);
    const auto bound = bind_step("cuda.cublaslt", params.to_json(), pointers, d);
    return bound.ok() ? std::string("ok") : bound.status().code();
  };
  EXPECT_EQ(code({}, {{f32, {5, 7}}, {f32, {7, 3}}}, {f32, {5, 3}}), "ok");
  EXPECT_EQ(code({}, {{f32, {5, 7}}, {f32, {6, 3}}}, {f32, {5, 3}}), "K3212");
  EXPECT_EQ(code({}, {{f32, {5, 7}}, {f32, {7, 3}}}, {f32, {4, 3}}), "K3212");
  EXPECT_EQ(code({}, {{f32, {2, 5, 7}}, {f32, {3, 7, 3}}}, {f32, {2, 5, 3}}), "K3212");
  EXPECT_EQ(code({}, {{f32, {5, 7}}, {DType::kF16, {7, 3}}}, {f32, {5, 3}}), "K3212");
  EXPECT_EQ(code({}, {{DType::kI32, {5, 7}}, {DType::kI32, {7, 3}}}, {DType::kI32, {5, 3}}),
            "K3212");
  // Batches in reverse order, which nothing here makes.
  ConcreteView reversed = Operand(f32, {4, 5, 7}).view;
  reversed.strides[0] = -35;
  reversed.offset = 3 * 35;
  EXPECT_EQ(describe_matmul(reversed, Operand(f32, {4, 7, 3}).view, nullptr,
                            Operand(f32, {4, 5, 3}).view, false)
                .status()
                .code(),
            "K3212");
  // No dense dim; rows that overlap.
  EXPECT_EQ(code({}, {{f32, {5, 7}, {20, 2}}, {f32, {7, 3}}}, {f32, {5, 3}}), "K3212");
  EXPECT_EQ(code({}, {{f32, {5, 7}, {2, 1}}, {f32, {7, 3}}}, {f32, {5, 3}}), "K3212");
  EXPECT_EQ(code({}, {{f32, {4, 5, 7}}, {f32, {4, 7, 3}}}, {f32, {4, 5, 3}, {0, 3, 1}}), "K3212");
  CublasLtStepParams bias;
  bias.bias = true;
  EXPECT_EQ(code(bias, {{f32, {5, 7}}, {f32, {7, 3}}, {f32, {4}}}, {f32, {5, 3}}), "K3212");
  EXPECT_EQ(code(bias, {{f32, {5, 7}}, {f32, {7, 3}}, {f32, {3}, {2}}}, {f32, {5, 3}}), "K3212");
  EXPECT_EQ(code(bias, {{f32, {5, 7}}, {f32, {7, 3}}}, {f32, {5, 3}}), "K3212");
  // No algorithm, and a library that fails.
  fake_cublaslt().algorithms = 0;
  EXPECT_EQ(code({}, {{f32, {6, 7}}, {f32, {7, 3}}}, {f32, {6, 3}}), "K5308");
  fake_cublaslt().heuristic_status = 14;
  EXPECT_EQ(code({}, {{f32, {8, 7}}, {f32, {7, 3}}}, {f32, {8, 3}}), "K5308");
}

TEST_F(CublasLtTest, ParamsRoundTripAndAreChecked) {
  CublasLtStepParams params;
  params.alpha = 0.125;
  params.bias = params.add = params.allow_tf32 = params.tune = true;
  params.activation = MatmulActivation::kGeluTanh;
  params.workspace_bytes = 1 << 20;
  const Json json = params.to_json();
  const auto again = CublasLtStepParams::from_json(json);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->to_json().dump(), json.dump());
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{
           {"activation", "gelu"}, {"workspace_bytes", -1}, {"workspace_bytes", int64_t{1} << 40},
           {"bias", 1}, {"other", true}}) {
    Json bad = json;
    bad.set(key, value);
    EXPECT_FALSE(CublasLtStepParams::from_json(bad).ok()) << key;
  }
}

TEST_F(CublasLtTest, ErrorsOfTheLibraryNameTheCall) {
  Operand a(DType::kF32, {5, 7}), b(DType::kF32, {7, 3}), d(DType::kF32, {5, 3});
  auto bound = bind_step("cuda.cublaslt", CublasLtStepParams().to_json(), {&a, &b}, d);
  ASSERT_TRUE(bound.ok());
  fake_cublaslt().matmul_status = 15;
  const Status status = run_step(**bound, {&a, &b}, d);
  EXPECT_EQ(status.code(), "K5308");
  EXPECT_NE(status.message().find("cublasLtMatmul: not supported"), std::string::npos);
}

// The library that torch brings along, where it is installed.
TEST(CublasLtLibrary, HasEveryFunction) {
  const auto library = cublaslt();
  if (!library.ok()) GTEST_SKIP() << library.status().to_string();
  const auto info = cublaslt_info();
  ASSERT_TRUE(info.ok());
  EXPECT_NE(info->path.find("libcublasLt.so"), std::string::npos);
  EXPECT_GE(info->version, "12");
  // Descriptors need no device.
  CublasLtMatrixLayout layout{};
  EXPECT_EQ((*library)->cublasLtMatrixLayoutInit_internal(&layout, sizeof(layout), kCudaR16F, 64,
                                                          32, 64),
            0);
  const int32_t batches = 3;
  const int64_t stride = 2048;
  EXPECT_EQ((*library)->cublasLtMatrixLayoutSetAttribute(&layout, kCublasLtLayoutBatchCount,
                                                         &batches, sizeof(batches)),
            0);
  EXPECT_EQ((*library)->cublasLtMatrixLayoutSetAttribute(&layout, kCublasLtLayoutBatchStride,
                                                         &stride, sizeof(stride)),
            0);
  CublasLtMatmulDesc desc{};
  EXPECT_EQ((*library)->cublasLtMatmulDescInit_internal(&desc, sizeof(desc), kCublasCompute32F,
                                                        kCudaR32F),
            0);
  const int32_t transposed = kCublasOpT;
  const uint32_t epilogue = kCublasLtEpilogueGeluBias;
  const void* bias = &desc;
  const int32_t type = kCudaR16F;
  EXPECT_EQ((*library)->cublasLtMatmulDescSetAttribute(&desc, kCublasLtMatmulTransA, &transposed,
                                                       sizeof(transposed)),
            0);
  EXPECT_EQ((*library)->cublasLtMatmulDescSetAttribute(&desc, kCublasLtMatmulEpilogue, &epilogue,
                                                       sizeof(epilogue)),
            0);
  EXPECT_EQ((*library)->cublasLtMatmulDescSetAttribute(&desc, kCublasLtMatmulBiasPointer, &bias,
                                                       sizeof(bias)),
            0);
  EXPECT_EQ((*library)->cublasLtMatmulDescSetAttribute(&desc, kCublasLtMatmulBiasDataType, &type,
                                                       sizeof(type)),
            0);
  CublasLtPreference preference{};
  EXPECT_EQ((*library)->cublasLtMatmulPreferenceInit_internal(&preference, sizeof(preference)), 0);
  const uint64_t workspace = 32 << 20;
  const uint32_t word = kCublasLtExactReductions;
  EXPECT_EQ((*library)->cublasLtMatmulPreferenceSetAttribute(
                &preference, kCublasLtPreferMaxWorkspaceBytes, &workspace, sizeof(workspace)),
            0);
  EXPECT_EQ((*library)->cublasLtMatmulPreferenceSetAttribute(
                &preference, kCublasLtPreferReductionSchemeMask, &word, sizeof(word)),
            0);
  for (int i = kCublasLtPreferMinAlignmentA; i <= kCublasLtPreferMinAlignmentD; ++i) {
    const uint32_t alignment = 16;
    EXPECT_EQ((*library)->cublasLtMatmulPreferenceSetAttribute(&preference, i, &alignment,
                                                               sizeof(alignment)),
              0);
  }
}

}  // namespace
}  // namespace kiln::cuda_test
