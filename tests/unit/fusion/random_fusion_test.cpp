// Random programs through the fusion passes, lowering and the engine, against the reference
// executor. A failure prints the seed and the program.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "unit/cpu_compile/lowered_program.h"
#include "unit/fusion/random_graph.h"

namespace kiln {
namespace {

namespace lowered = cpu_compile_test;

// KILN_FUSION_SEEDS=N: that many of each kind; KILN_FUSION_SEED=N: this one only.
int number_from(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// The elements of `values` laid out in memory order `order`; the view describes them.
struct Stored {
  std::vector<std::byte> bytes;
  std::vector<int64_t> shape, strides;
  DType dtype = DType::kF32;

  Stored(const HostTensor& values, const std::vector<int>& order, int64_t gap)
      : shape(values.shape()), strides(values.shape().size()), dtype(values.dtype()) {
    int64_t stride = 1 + gap;
    for (size_t i = shape.size(); i-- > 0;) {
      const size_t d = order.empty() ? i : static_cast<size_t>(order[i]);
      strides[d] = stride;
      stride *= std::max<int64_t>(shape[d], 1);
    }
    bytes.resize(static_cast<size_t>(stride) * dtype_bytes(dtype));
    each(values.num_elements(), [&](int64_t flat, std::byte* at) {
      memcpy(at, values.bytes() + flat * static_cast<int64_t>(dtype_bytes(dtype)),
             dtype_bytes(dtype));
    });
  }
  template <typename F>
  void each(int64_t count, F body) {
    for (int64_t flat = 0; flat < count; ++flat) {
      int64_t rest = flat, at = 0;
      for (size_t d = shape.size(); d-- > 0;) {
        at += rest % shape[d] * strides[d];
        rest /= shape[d];
      }
      body(flat, bytes.data() + at * static_cast<int64_t>(dtype_bytes(dtype)));
    }
  }
  HostTensor read() {
    HostTensor result(dtype, shape);
    each(result.num_elements(), [&](int64_t flat, std::byte* at) {
      memcpy(result.bytes() + flat * static_cast<int64_t>(dtype_bytes(dtype)), at,
             dtype_bytes(dtype));
    });
    return result;
  }
  TensorView view() {
    return {bytes.data(), dtype,         Device(), static_cast<int>(shape.size()),
            shape.data(), strides.data()};
  }
};

void expect_close(const HostTensor& got, const HostTensor& want, const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  ASSERT_EQ(got.dtype(), want.dtype()) << what;
  double sum = 0;
  for (int64_t i = 0; i < want.num_elements(); ++i) {
    const double w = want.get_double(i);
    if (std::isfinite(w)) sum += w * w;
  }
  const double rms =
      std::sqrt(sum / static_cast<double>(std::max<int64_t>(want.num_elements(), 1)));
  for (int64_t i = 0; i < want.num_elements(); ++i) {
    const double g = got.get_double(i), w = want.get_double(i);
    if (std::isnan(w) && std::isnan(g)) continue;
    if (g == w) continue;
    ASSERT_LE(std::abs(g - w), 2e-4 * std::max({std::abs(w), rms, 0.1}))
        << what << " element " << i;
  }
}

void check(uint64_t seed, const test::RandomGraphOptions& options) {
  std::unique_ptr<Module> module = test::RandomGraph(seed, options).make();
  const std::string text = print(*module);
  SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + text);
  lowered::Program program =
      lowered::lower(text, "assign_layouts, fuse_epilogues, fuse_tiles", DataKind::kUnit);
  ASSERT_NE(program.engine, nullptr);
  const std::vector<SymbolValues> sizes = options.symbols
                                              ? std::vector<SymbolValues>{{{"s0", 5}, {"s1", 3}},
                                                                          {{"s0", 1}, {"s1", 2}},
                                                                          {{"s0", 13}, {"s1", 7}}}
                                              : std::vector<SymbolValues>{{}};
  for (const SymbolValues& symbols : sizes) {
    std::string at = "sizes";
    for (const auto& [name, value] : symbols) at += " " + name + "=" + std::to_string(value);
    SCOPED_TRACE(at);
    const std::vector<HostTensor> inputs =
        lowered::random_inputs(program, symbols, seed * 10 + 1, DataKind::kNormal);
    const auto expected = interpret(*program.module, inputs, program.weights);
    if (!expected.ok()) {
      // Maxima of nothing, where a slice left nothing at these sizes.
      ASSERT_EQ(expected.status().code(), "K4201") << expected.status().to_string();
      continue;
    }
    // In the program's memory orders, then in others.
    for (int64_t gap : {0, 1}) {
      const EnginePlan& plan = program.engine->plan();
      std::vector<Stored> stored_inputs, stored_outputs;
      std::vector<TensorView> input_views, output_views;
      for (size_t i = 0; i < inputs.size(); ++i) {
        stored_inputs.emplace_back(inputs[i], gap == 0 ? plan.inputs[i].order : std::vector<int>(),
                                   gap);
      }
      for (size_t i = 0; i < expected->size(); ++i) {
        HostTensor blank((*expected)[i].dtype(), (*expected)[i].shape());
        for (int64_t k = 0; k < blank.num_elements(); ++k) blank.set_double(k, -77);
        stored_outputs.emplace_back(
            blank, gap == 0 ? plan.outputs[i].signature.order : std::vector<int>(), gap);
      }
      for (Stored& stored : stored_inputs) input_views.push_back(stored.view());
      for (Stored& stored : stored_outputs) output_views.push_back(stored.view());
      ExecutionContext::Impl context(program.engine);
      Status status = context.prepare(input_views);
      if (status.ok()) status = context.run(input_views, output_views);
      if (status.code() == "K4402") {
        // logsumexp of nothing, which has no row to take a maximum of.
        ASSERT_NE(status.message().find("empty row"), std::string::npos) << status.to_string();
        break;
      }
      ASSERT_TRUE(status.ok()) << status.to_string();
      for (size_t i = 0; i < expected->size(); ++i) {
        const OutputSpec& spec = program.module->outputs[i];
        const bool writes = spec.kind == OutputSpec::Kind::kWriteInput;
        HostTensor got = writes ? stored_inputs[static_cast<size_t>(spec.target)].read()
                                : stored_outputs[i].read();
        expect_close(got, (*expected)[i], "output " + std::to_string(i));
        if (testing::Test::HasFatalFailure()) return;
      }
      for (size_t i = 0; i < inputs.size(); ++i) {
        bool written = false;
        for (const OutputSpec& spec : program.module->outputs) {
          written = written || (spec.kind == OutputSpec::Kind::kWriteInput &&
                                spec.target == static_cast<int>(i));
        }
        if (!written) {
          ASSERT_TRUE(stored_inputs[i].read() == inputs[i]) << "input " << i << " changed";
        }
      }
    }
  }
}

void check_all(uint64_t first, const test::RandomGraphOptions& options) {
  if (const int only = number_from("KILN_FUSION_SEED", -1); only >= 0) {
    check(static_cast<uint64_t>(only), options);
    return;
  }
  const int count = number_from("KILN_FUSION_SEEDS", 400);
  int failed = 0;
  for (int i = 0; i < count && failed < 3; ++i) {
    check(first + static_cast<uint64_t>(i), options);
    if (testing::Test::HasFailure()) ++failed;
  }
}

TEST(RandomFusion, Elementwise) {
  test::RandomGraphOptions options;
  options.reductions = options.views = false;
  check_all(1000, options);
}

TEST(RandomFusion, Reductions) {
  test::RandomGraphOptions options;
  options.views = false;
  check_all(2000, options);
}

TEST(RandomFusion, Everything) { check_all(3000, {}); }

TEST(RandomFusion, EverythingWithSymbols) {
  test::RandomGraphOptions options;
  options.symbols = true;
  check_all(4000, options);
}

TEST(RandomFusion, ChannelsLast) {
  test::RandomGraphOptions options;
  options.pools = true;
  options.symbols = true;
  check_all(5000, options);
}

}  // namespace
}  // namespace kiln
