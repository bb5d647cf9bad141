// Times of Kiln's own CPU kernels, one line each: `kernels_bench [FILTER]`
// prints the median of repeated runs in microseconds and what it means in
// GFLOP/s or GB/s. Threads as everywhere: OMP_NUM_THREADS. Only ratios between
// lines of one run on an idle machine say anything.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "backends/cpu/kernels/attention.h"
#include "backends/cpu/kernels/conv_direct.h"
#include "backends/cpu/kernels/copy.h"
#include "backends/cpu/kernels/depthwise.h"
#include "backends/cpu/kernels/gemm.h"
#include "backends/cpu/kernels/index.h"
#include "backends/cpu/kernels/pool.h"
#include "backends/cpu/kernels/resize.h"
#include "base/parallel_for.h"

namespace {

using namespace kiln;
using namespace kiln::cpu;

std::string filter;

class Buffer {  // 64-byte aligned floats with some values
 public:
  explicit Buffer(size_t bytes) : data_(::operator new(bytes + 64, std::align_val_t(64))) {
    float* f = static_cast<float*>(data_);
    for (size_t i = 0; i < bytes / 4; ++i) f[i] = static_cast<float>(i % 251) / 251.0f - 0.5f;
  }
  ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  float* f32() { return static_cast<float*>(data_); }
  void* data() { return data_; }

 private:
  void* data_;
};

void report(const std::string& name, double work, const char* unit,
            const std::function<void()>& run) {
  if (name.find(filter) == std::string::npos) return;
  using Clock = std::chrono::steady_clock;
  auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  const auto start = Clock::now();
  std::vector<double> times;
  while (times.size() < 11 || (seconds(Clock::now() - start) < 0.4 && times.size() < 5000)) {
    const auto begin = Clock::now();
    run();
    times.push_back(seconds(Clock::now() - begin));
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  const double median = times[times.size() / 2];
  std::printf("%-48s %10.1f us %9.1f %s\n", name.c_str(), median * 1e6, work / median * 1e-9, unit);
}

void attention_lines() {
  struct Shape {
    const char* name;
    int64_t batch, heads, kv_heads, q_len, kv_len, dim;
    bool causal;
  };
  const Shape shapes[] = {
      {"attention bert L128", 1, 12, 12, 128, 128, 64, false},
      {"attention vit L197", 1, 12, 12, 197, 197, 64, false},
      {"attention gpt2 L128 causal", 1, 12, 12, 128, 128, 64, true},
      {"attention L1024", 1, 12, 12, 1024, 1024, 64, false},
      {"attention one head L512 D80", 1, 1, 1, 512, 512, 80, false},
      {"attention decode L4096", 1, 12, 12, 1, 4096, 64, false},
      {"attention decode grouped L4096 D128", 1, 32, 8, 1, 4096, 128, false},
  };
  for (const Shape& s : shapes) {
    AttentionParams p;
    p.batch = s.batch, p.heads = s.heads, p.kv_heads = s.kv_heads;
    p.q_len = s.q_len, p.kv_len = s.kv_len, p.head_dim = p.value_dim = s.dim;
    p.causal = s.causal;
    p.scale = 1.0 / std::sqrt(static_cast<double>(s.dim));
    auto blhd = [](int64_t h, int64_t l, int64_t d) {
      return std::array<int64_t, 4>{h * l * d, d, h * d, 1};
    };
    p.q_strides = p.out_strides = blhd(s.heads, s.q_len, s.dim);
    // A cache of keys and values lies head by head, projections lie token by
    // token.
    p.k_strides = s.q_len > 1 ? blhd(s.kv_heads, s.kv_len, s.dim)
                              : std::array<int64_t, 4>{s.kv_heads * s.kv_len * s.dim,
                                                       s.kv_len * s.dim, s.dim, 1};
    p.v_strides = p.k_strides;
    const int64_t q_size = s.batch * s.heads * s.q_len * s.dim;
    const int64_t k_size = s.batch * s.kv_heads * s.kv_len * s.dim;
    Buffer q(q_size * 4), k(k_size * 4), v(k_size * 4), out(q_size * 4);
    Buffer scratch(attention_scratch_bytes(p, num_threads()));
    const double flops = 4.0 * static_cast<double>(q_size) * static_cast<double>(s.kv_len);
    report(s.name, s.causal ? flops / 2 : flops, "GFLOP/s", [&] {
      attention(p, {q.data(), k.data(), v.data(), nullptr, out.data()}, scratch.data(),
                num_threads());
    });
  }
}

void gemm_lines() {
  struct Shape {
    const char* name;
    int64_t batch, m, n, k;
    bool transposed_b, packed;
  };
  const Shape shapes[] = {
      {"gemm 128x768x768", 1, 128, 768, 768, false, false},
      {"gemm 128x768x768 weights [n,k]", 1, 128, 768, 768, true, false},
      {"gemm 128x768x768 packed", 1, 128, 768, 768, true, true},
      {"gemm 128x3072x768 packed", 1, 128, 3072, 768, true, true},
      {"gemm 512x512x512", 1, 512, 512, 512, false, false},
      {"gemm batch 12 128x128x64", 12, 128, 128, 64, true, false},
      {"gemm 8x768x768 packed", 1, 8, 768, 768, true, true},
      {"gemm 1x3072x768 packed", 1, 1, 3072, 768, true, true},
      {"gemm 1x3072x768 weights [n,k]", 1, 1, 3072, 768, true, false},
      {"gemm 1x3072x768 weights [k,n]", 1, 1, 3072, 768, false, false},
      {"gemm 4x3072x768 weights [k,n]", 1, 4, 3072, 768, false, false},
      {"gemm 2x3072x768 weights [k,n]", 1, 2, 3072, 768, false, false},
      {"gemm 4x3072x768 weights [n,k]", 1, 4, 3072, 768, true, false},
      {"gemm 1x50257x768 packed", 1, 1, 50257, 768, true, true},
  };
  for (const Shape& s : shapes) {
    GemmParams p;
    p.m = s.m, p.n = s.n, p.k = s.k, p.packed_b = s.packed;
    p.a_strides = {s.k, 1}, p.c_strides = {s.n, 1};
    p.b_strides = s.transposed_b ? std::array<int64_t, 2>{1, s.k} : std::array<int64_t, 2>{s.n, 1};
    p.batch_rank = 1, p.batch_sizes[0] = s.batch;
    p.a_batch_strides[0] = s.m * s.k, p.b_batch_strides[0] = s.n * s.k,
    p.c_batch_strides[0] = s.m * s.n;
    const GemmPlan plan(p, num_threads());
    Buffer a(s.batch * s.m * s.k * 4), b(s.batch * s.n * s.k * 4), c(s.batch * s.m * s.n * 4);
    Buffer scratch(plan.scratch_bytes()), packed(packed_weights_bytes(p.dtype, s.k, s.n));
    if (s.packed) pack_weights(p.dtype, s.k, s.n, p.b_strides, b.data(), packed.data());
    const double products = static_cast<double>(s.batch * s.m * s.n * s.k);
    const bool bandwidth = s.m <= 8;
    report(s.name, bandwidth ? products / static_cast<double>(s.m) * 4 : 2 * products,
           bandwidth ? "GB/s" : "GFLOP/s", [&] {
             plan.run(a.data(), s.packed ? packed.data() : b.data(), nullptr, c.data(),
                      scratch.data());
           });
  }
}

void movement_lines() {
  struct Shape {
    const char* name;
    int bytes, rank;
    Dims sizes, src_strides, dst_strides;
  };
  const int64_t hw = 56 * 56;
  const Shape shapes[] = {
      {"copy 4 MB contiguous", 4, 1, {1 << 20}, {1}, {1}},
      {"copy transpose 1024x1024 f32", 4, 2, {1024, 1024}, {1, 1024}, {1024, 1}},
      {"copy transpose 1024x1024 16 bit", 2, 2, {1024, 1024}, {1, 1024}, {1024, 1}},
      {"copy transpose 1024x1024 f64", 8, 2, {1024, 1024}, {1, 1024}, {1024, 1}},
      {"copy nchw to nhwc 3x224x224", 4, 2, {224 * 224, 3}, {1, 224 * 224}, {3, 1}},
      {"copy nchw to nhwc 64x56x56", 4, 2, {hw, 64}, {1, hw}, {64, 1}},
      {"copy nhwc to nchw 64x56x56", 4, 2, {64, hw}, {1, 64}, {hw, 1}},
      {"copy split heads 128x12x64", 4, 3, {12, 128, 64}, {64, 768, 1}, {128 * 64, 64, 1}},
  };
  for (const Shape& s : shapes) {
    CopyParams p;
    p.element_bytes = s.bytes, p.rank = s.rank;
    p.sizes = s.sizes, p.src_strides = s.src_strides, p.dst_strides = s.dst_strides;
    const double bytes = static_cast<double>(element_count(p.rank, p.sizes)) * s.bytes;
    Buffer src(static_cast<size_t>(bytes)), dst(static_cast<size_t>(bytes));
    const CopyPlan plan(p);
    report(s.name, 2 * bytes, "GB/s", [&] { plan.run(src.data(), dst.data()); });
  }
  IndexParams p;
  p.table_sizes[0] = 30522, p.table_strides[0] = 768;
  p.index_rank = 1, p.index_sizes[0] = 128, p.index_strides[0][0] = 1,
  p.index_dense_strides[0] = 768;
  p.slice_rank = 1, p.slice_sizes[0] = 768, p.slice_table_strides[0] = p.slice_dense_strides[0] = 1;
  Buffer table(30522 * 768 * 4), out(128 * 768 * 4), scratch(index_scratch_bytes(p));
  std::vector<int64_t> ids(128);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * 7919 % 30522);
  const void* index = ids.data();
  report("embedding 128 of 30522x768", 2.0 * 128 * 768 * 4, "GB/s", [&] {
    if (!index_gather(p, table.data(), &index, out.data(), scratch.data()).ok()) std::abort();
  });
}

void image_lines() {
  struct Depthwise {
    const char* name;
    int64_t size, channels, kernel, stride;
  };
  const Depthwise depthwise_shapes[] = {
      {"depthwise 3x3 112x112x16", 112, 16, 3, 1}, {"depthwise 3x3/2 112x112x64", 112, 64, 3, 2},
      {"depthwise 3x3 56x56x72", 56, 72, 3, 1},    {"depthwise 5x5/2 56x56x72", 56, 72, 5, 2},
      {"depthwise 3x3 14x14x480", 14, 480, 3, 1},  {"depthwise 5x5 14x14x672", 14, 672, 5, 1},
      {"depthwise 5x5 7x7x960", 7, 960, 5, 1},
  };
  for (const Depthwise& s : depthwise_shapes) {
    DepthwiseParams p;
    p.batch = 1, p.channels = s.channels;
    p.in_sizes = {s.size, s.size}, p.out_sizes = {s.size / s.stride, s.size / s.stride};
    if (s.size % s.stride != 0) p.out_sizes = {s.size / s.stride + 1, s.size / s.stride + 1};
    p.kernel = {s.kernel, s.kernel}, p.stride = {s.stride, s.stride};
    p.padding = {s.kernel / 2, s.kernel / 2};
    p.in_strides = {0, s.size * s.channels, s.channels};
    p.out_strides = {0, p.out_sizes[1] * s.channels, s.channels};
    Buffer in(s.size * s.size * s.channels * 4), weight(s.kernel * s.kernel * s.channels * 4);
    Buffer out(p.out_sizes[0] * p.out_sizes[1] * s.channels * 4);
    const double products =
        static_cast<double>(p.out_sizes[0] * p.out_sizes[1] * s.channels * s.kernel * s.kernel);
    report(s.name, 2 * products, "GFLOP/s",
           [&] { depthwise(p, in.f32(), weight.f32(), nullptr, out.f32()); });
  }

  ConvParams conv;
  conv.batch = 1, conv.in_channels = conv.out_channels = 64;
  conv.in_sizes = conv.out_sizes = {56, 56, 1}, conv.kernel = {3, 3, 1}, conv.padding = {1, 1, 0};
  conv.weight_strides = {576, 9, 3, 1, 0};
  Buffer x(64 * 56 * 56 * 4), w(64 * 576 * 4), y(64 * 112 * 112 * 4);
  for (bool nhwc : {true, false}) {
    const int64_t hw = 56 * 56;
    conv.in_strides = nhwc ? std::array<int64_t, 5>{64 * hw, 1, 56 * 64, 64, 0}
                           : std::array<int64_t, 5>{64 * hw, hw, 56, 1, 0};
    conv.out_strides = conv.in_strides;
    const ConvPlan plan(conv, num_threads());
    Buffer scratch(plan.scratch_bytes());
    report(nhwc ? "convolution 3x3 56x56x64 nhwc" : "convolution 3x3 56x56x64 nchw",
           2.0 * 576 * 64 * hw, "GFLOP/s",
           [&] { plan.run(x.data(), w.data(), nullptr, y.data(), scratch.data()); });
    PoolParams p;
    p.batch = 1, p.channels = 64, p.in_sizes = {56, 56, 1}, p.out_sizes = {28, 28, 1};
    p.kernel = {3, 3, 1}, p.stride = {2, 2, 1}, p.padding = {1, 1, 0};
    p.in_strides = conv.in_strides;
    p.out_strides = nhwc ? std::array<int64_t, 5>{64 * 784, 1, 28 * 64, 64, 0}
                         : std::array<int64_t, 5>{64 * 784, 784, 28, 1, 0};
    report(nhwc ? "max pool 3x3/2 56x56x64 nhwc" : "max pool 3x3/2 56x56x64 nchw", 64.0 * hw * 4,
           "GB/s", [&] { pool(p, x.data(), y.data(), nullptr); });
    ResizeParams r;
    r.mode = ResizeMode::kLinear, r.batch = 1, r.channels = 64;
    r.in_sizes = {56, 56, 1}, r.out_sizes = {112, 112, 1};
    r.in_strides = conv.in_strides;
    r.out_strides = nhwc ? std::array<int64_t, 5>{256 * hw, 1, 112 * 64, 64, 0}
                         : std::array<int64_t, 5>{256 * hw, 4 * hw, 112, 1, 0};
    Buffer taps(resize_scratch_bytes(r));
    report(nhwc ? "resize bilinear 56 to 112, 64 nhwc" : "resize bilinear 56 to 112, 64 nchw",
           64.0 * 5 * hw * 4, "GB/s", [&] { resize(r, x.data(), y.data(), taps.data()); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) filter = argv[1];
  std::printf("threads: %d\n", kiln::num_threads());
  attention_lines();
  gemm_lines();
  movement_lines();
  image_lines();
  return 0;
}
