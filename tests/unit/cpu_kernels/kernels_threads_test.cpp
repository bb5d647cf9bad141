// Several callers run the same kernels at once, each of them in parallel itself: equal results, and
// nothing for the thread sanitizer to find.
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "backends/cpu/kernels/attention.h"
#include "backends/cpu/kernels/conv_direct.h"
#include "backends/cpu/kernels/copy.h"
#include "backends/cpu/kernels/gather_scatter.h"
#include "backends/cpu/kernels/gemm.h"
#include "backends/cpu/kernels/index.h"
#include "backends/cpu/kernels/pad.h"
#include "backends/cpu/kernels/pool.h"
#include "backends/cpu/kernels/resize.h"
#include "backends/cpu/kernels/scan.h"
#include "backends/cpu/kernels/sort.h"
#include "base/parallel_for.h"
#include "unit/cpu_kernels/buffers.h"

namespace kiln::cpu {
namespace {

constexpr int kThreads = 3;  // parts of each call
constexpr int kCallers = 4;

// Runs `kernel` once alone on one thread and then from several callers; all results must be equal.
void check(int64_t out_size, const std::function<void(float* out)>& kernel) {
  std::vector<float> expected(out_size);
  {
    ScopedNumThreads one(1);
    kernel(expected.data());
  }
  std::vector<std::vector<float>> results(kCallers);
  std::vector<std::thread> callers;
  callers.reserve(kCallers);
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&, i] {
      ScopedNumThreads limit(kThreads);
      for (int round = 0; round < 5; ++round) {
        results[i].assign(out_size, -1.0f);
        kernel(results[i].data());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(KernelThreads, Attention) {
  for (int64_t q_len : {1, 70}) {
    for (int64_t heads : {1, 6}) {  // shared packing, packing by head; one query row: by keys
      AttentionParams p;
      p.batch = 1, p.heads = p.kv_heads = heads, p.q_len = q_len, p.kv_len = 600;
      p.head_dim = p.value_dim = 24, p.scale = 0.2;
      p.q_strides = p.out_strides = {0, q_len * 24, 24, 1};
      p.k_strides = p.v_strides = {0, 600 * 24, 24, 1};
      const auto q = random_reals<float>(heads * q_len * 24, 1);
      const auto k = random_reals<float>(heads * 600 * 24, 2);
      check(heads * q_len * 24, [&](float* out) {
        Scratch scratch(attention_scratch_bytes(p, kThreads));
        attention(p, {q.data(), k.data(), k.data(), nullptr, out}, scratch.data(), kThreads);
      });
    }
  }
}

TEST(KernelThreads, Gemm) {
  for (int64_t m : {1, 100}) {
    GemmParams p;
    p.m = m, p.n = 300, p.k = 300;
    p.a_strides = p.b_strides = p.c_strides = {300, 1};
    const auto a = random_reals<float>(m * 300, 1), b = random_reals<float>(300 * 300, 2);
    const GemmPlan plan(p, kThreads);
    check(m * 300, [&](float* out) {
      Scratch scratch(plan.scratch_bytes());
      plan.run(a.data(), b.data(), nullptr, out, scratch.data());
    });
  }
}

TEST(KernelThreads, Convolution) {
  for (bool transposed : {false, true}) {
    ConvParams p;
    p.transposed = transposed, p.batch = 2, p.groups = 2, p.in_channels = p.out_channels = 8;
    p.in_sizes = p.out_sizes = {16, 16, 1}, p.kernel = {3, 3, 1}, p.padding = {1, 1, 0};
    p.in_strides = p.out_strides = {8 * 256, 256, 16, 1, 0};
    p.weight_strides = {36, 9, 3, 1, 0};
    if (transposed) std::swap(p.weight_strides[0], p.weight_strides[1]);
    const auto in = random_reals<float>(2 * 8 * 256, 1), weight = random_reals<float>(8 * 36, 2);
    const ConvPlan plan(p, kThreads);
    check(2 * 8 * 256, [&](float* out) {
      Scratch scratch(plan.scratch_bytes());
      plan.run(in.data(), weight.data(), nullptr, out, scratch.data());
    });
  }
}

TEST(KernelThreads, Movement) {
  const int64_t rows = 200, columns = 300;
  const auto x = random_reals<float>(rows * columns, 1);
  const auto picks = random_integers<int64_t>(rows, 0, static_cast<int>(rows) - 1, 2);

  CopyParams copy;
  copy.rank = 2, copy.sizes = {rows, columns};
  copy.src_strides = {columns, 1}, copy.dst_strides = {1, rows};
  const CopyPlan plan(copy);
  check(rows * columns, [&](float* out) { plan.run(x.data(), out); });
  check(2 * rows * columns, [&](float* out) {
    const CopyTask tasks[] = {{&plan, x.data(), out}, {&plan, x.data(), out + rows * columns}};
    copy_all(tasks);
  });

  IndexParams index;
  index.table_sizes[0] = rows, index.table_strides[0] = columns;
  index.index_rank = 1, index.index_sizes[0] = rows;
  index.index_strides[0][0] = 1, index.index_dense_strides[0] = columns;
  index.slice_rank = 1, index.slice_sizes[0] = columns;
  index.slice_table_strides[0] = index.slice_dense_strides[0] = 1;
  const void* indices = picks.data();
  check(rows * columns, [&](float* out) {
    Scratch scratch(index_scratch_bytes(index));
    EXPECT_TRUE(index_gather(index, x.data(), &indices, out, scratch.data()).ok());
  });
  check(rows * columns, [&](float* out) {
    std::fill_n(out, rows * columns, 1.0f);
    Scratch scratch(index_scratch_bytes(index));
    EXPECT_TRUE(index_put(index, DType::kF32, true, x.data(), &indices, out, scratch.data()).ok());
  });

  GatherParams scatter_params;
  scatter_params.rank = 2, scatter_params.dim = 0, scatter_params.dim_size = rows;
  scatter_params.sizes = {rows, columns};
  scatter_params.index_strides = {1, 0};
  scatter_params.table_strides = scatter_params.dense_strides = {columns, 1};
  check(rows * columns,
        [&](float* out) { EXPECT_TRUE(gather(scatter_params, x.data(), picks.data(), out).ok()); });
  check(rows * columns, [&](float* out) {
    std::fill_n(out, rows * columns, 1.0f);
    Scratch scratch(scatter_scratch_bytes(scatter_params, ScatterReduce::kMean, kThreads));
    EXPECT_TRUE(scatter(scatter_params, ScatterReduce::kMean, true, x.data(), picks.data(), out,
                        scratch.data(), kThreads)
                    .ok());
  });

  for (PadMode mode : {PadMode::kConstant, PadMode::kReflect}) {
    PadParams p;
    p.mode = mode, p.rank = 2, p.sizes = {rows, columns}, p.before = {2, 3}, p.after = {4, 5};
    p.src_strides = {columns, 1}, p.dst_strides = {columns + 8, 1};
    const float value = 7;
    check((rows + 6) * (columns + 8), [&](float* out) {
      Scratch scratch(pad_scratch_bytes(p));
      pad(p, x.data(), &value, out, scratch.data());
    });
  }

  SortParams order;
  order.rank = 2, order.dim = 1, order.sizes = {rows, columns};
  order.src_strides = order.value_strides = {columns, 1};
  check(rows * columns, [&](float* out) {
    Scratch scratch(sort_scratch_bytes(order, kThreads));
    sort(order, x.data(), out, nullptr, scratch.data(), kThreads);
  });
  ScanParams sums;
  sums.rank = 2, sums.dim = 0, sums.sizes = {rows, columns};
  sums.src_strides = sums.dst_strides = {columns, 1};
  check(rows * columns, [&](float* out) { scan(sums, x.data(), out); });
}

TEST(KernelThreads, PoolAndResize) {
  for (bool channels_last : {false, true}) {
    const auto x = random_reals<float>(2 * 20 * 400, 1);
    const std::array<int64_t, 5> strides = channels_last
                                               ? std::array<int64_t, 5>{8000, 1, 400, 20, 0}
                                               : std::array<int64_t, 5>{8000, 400, 20, 1, 0};
    PoolParams p;
    p.batch = 2, p.channels = 20, p.in_sizes = p.out_sizes = {20, 20, 1};
    p.kernel = {3, 3, 1}, p.padding = {1, 1, 0};
    p.in_strides = p.out_strides = strides;
    check(2 * 20 * 400, [&](float* out) { pool(p, x.data(), out, nullptr); });
    ResizeParams r;
    r.mode = ResizeMode::kCubic, r.batch = 2, r.channels = 20;
    r.in_sizes = r.out_sizes = {20, 20, 1};
    r.scale_factors = {1.1, 1.1, 0};
    r.in_strides = r.out_strides = strides;
    check(2 * 20 * 400, [&](float* out) {
      Scratch scratch(resize_scratch_bytes(r));
      resize(r, x.data(), out, scratch.data());
    });
  }
}

}  // namespace
}  // namespace kiln::cpu
