// Speed of the tile virtual machine: time and bytes moved per second, beside memcpy of the same
// bytes and plain loops of the compiler where there is one.
//
//   tile_vm_bench [threads] [name part]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/kernels/tile_vm.h"

namespace {

using kiln::DType;
using kiln::TileBinding;
using kiln::TileCode;
using kiln::cpu::TileKernel;

int threads = 1;

// Median of several batches, in microseconds.
double time_us(const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  body();
  std::vector<double> times;
  int repeat = 1;
  for (int round = 0; round < 15; ++round) {
    const auto begin = Clock::now();
    for (int k = 0; k < repeat; ++k) body();
    const double us = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
    if (us < 4000 && round == 0 && repeat < 1 << 20) {
      repeat = std::max(repeat * 2, static_cast<int>(repeat * 5000 / std::max(us, 1.0)));
      round = -1;
      continue;
    }
    times.push_back(us / repeat);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

struct Array {
  explicit Array(size_t bytes)
      : size(bytes), data(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64))) {
    std::memset(data.get(), 0, bytes);
  }
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  size_t size;
  std::unique_ptr<char, Free> data;
};

void fill_floats(Array* array) {
  auto* values = reinterpret_cast<float*>(array->data.get());
  for (size_t i = 0; i < array->size / 4; ++i)
    values[i] = static_cast<float>(static_cast<double>(i * 7919 % 2003) / 500.0 - 2.0);
}

struct Bench {
  std::string name;
  std::string code;
  std::vector<int64_t> extents;
  std::vector<std::vector<int64_t>> strides;  // per memory instruction
  std::vector<int64_t> inputs, outputs;       // elements
  std::function<void(const std::vector<float*>&, float*)> naive = nullptr;
};

void run(const Bench& bench) {
  auto code = kiln::parse_tile_code(bench.code);
  if (!code.ok()) {
    std::printf("%s: %s\n", bench.name.c_str(), code.status().to_string().c_str());
    std::exit(1);
  }
  TileBinding binding;
  binding.extents = bench.extents;
  for (const auto& strides : bench.strides) binding.accesses.push_back({0, strides, {}});
  binding.input_elements = bench.inputs;
  binding.output_elements = bench.outputs;
  auto kernel = TileKernel::bind(*code, binding);
  if (!kernel.ok()) {
    std::printf("%s: %s\n", bench.name.c_str(), kernel.status().to_string().c_str());
    std::exit(1);
  }
  std::vector<Array> inputs, outputs;
  std::vector<const void*> in;
  std::vector<void*> out;
  std::vector<float*> floats;
  size_t bytes = 0;
  for (size_t k = 0; k < bench.inputs.size(); ++k) {
    inputs.emplace_back(static_cast<size_t>(bench.inputs[k]) * dtype_bytes(code->inputs[k]));
    if (code->inputs[k] == DType::kF32) fill_floats(&inputs.back());
    bytes += inputs.back().size;
  }
  for (size_t k = 0; k < bench.outputs.size(); ++k) {
    outputs.emplace_back(static_cast<size_t>(bench.outputs[k]) * dtype_bytes(code->outputs[k]));
    bytes += outputs.back().size;
  }
  for (Array& array : inputs) {
    in.push_back(array.data.get());
    floats.push_back(reinterpret_cast<float*>(array.data.get()));
  }
  for (Array& array : outputs) out.push_back(array.data.get());
  Array scratch((*kernel)->scratch_bytes(threads) + 64);
  const double us = time_us([&] {
    if (!(*kernel)->run(in.data(), out.data(), scratch.data.get(), threads).ok()) std::abort();
  });
  Array a(bytes / 2), b(bytes / 2);
  const double copy = time_us([&] { std::memcpy(b.data.get(), a.data.get(), bytes / 2); });
  double naive = 0;
  if (bench.naive)
    naive = time_us([&] { bench.naive(floats, reinterpret_cast<float*>(outputs[0].data.get())); });
  std::printf("%-34s %9.2f us %7.1f GB/s | memcpy %8.2f us | naive %8.2f us | %s\n",
              bench.name.c_str(), us, static_cast<double>(bytes) / us / 1e3, copy, naive,
              (*kernel)->describe().c_str());
}

std::vector<Bench> benches() {
  std::vector<Bench> list;
  const std::string add_relu =
      "tile rank=1 row=0\nin f32 f32\nout f32\n%0 = load.f32 in0\n%1 = load.f32 in1\n"
      "%2 = add.f32 %0 %1\n%3 = relu.f32 %2\nstore.f32 out0 %3\n";
  for (int64_t n : {4096, 100000, 1000000, 16000000})
    list.push_back({"relu(a+b) " + std::to_string(n),
                    add_relu,
                    {n},
                    {{1}, {1}, {1}},
                    {n, n},
                    {n},
                    [n](const std::vector<float*>& in, float* out) {
                      for (int64_t i = 0; i < n; ++i) out[i] = std::max(0.f, in[0][i] + in[1][i]);
                    }});
  const std::string bias_gelu =
      "tile rank=2 row=0\nin f32 f32\nout f32\n%0 = load.f32 in0\n%1 = load.f32 in1\n"
      "%2 = add.f32 %0 %1\n%3 = gelu_erf.f32 %2\nstore.f32 out0 %3\n";
  list.push_back({"bias+gelu 128x3072",
                  bias_gelu,
                  {128, 3072},
                  {{3072, 1}, {0, 1}, {3072, 1}},
                  {128 * 3072, 3072},
                  {128 * 3072},
                  [](const std::vector<float*>& in, float* out) {
                    for (int r = 0; r < 128; ++r)
                      for (int c = 0; c < 3072; ++c) {
                        const float x = in[0][r * 3072 + c] + in[1][c];
                        out[r * 3072 + c] = 0.5f * x * (1 + std::erf(x * 0.70710678f));
                      }
                  }});
  const char* unary[] = {"exp",       "log",  "tanh",      "erf", "sigmoid", "gelu_erf",
                         "gelu_tanh", "silu", "hardswish", "sin", "sqrt",    "mish"};
  for (const char* op : unary)
    list.push_back({std::string("unary ") + op + " 100000",
                    std::string("tile rank=1 row=0\nin f32\nout f32\n%0 = load.f32 in0\n%1 = ") +
                        op + ".f32 %0\nstore.f32 out0 %1\n",
                    {100000},
                    {{1}, {1}},
                    {100000},
                    {100000}});
  const std::string layer_norm =
      "tile rank=2 row=1\nin f32 f32 f32\nout f32\n%0 = load.f32 in0\n%1 = reduce_sum.f32 %0\n"
      "%2 = const.f32 0.0013020833333333333\n%3 = mul.f32 %1 %2\n%4 = sub.f32 %0 %3\n"
      "%5 = mul.f32 %4 %4\n%6 = reduce_sum.f32 %5\n%7 = mul.f32 %6 %2\n%8 = const.f32 1e-05\n"
      "%9 = add.f32 %7 %8\n%10 = rsqrt.f32 %9\n%11 = mul.f32 %4 %10\n%12 = load.f32 in1\n"
      "%13 = load.f32 in2\n%14 = fma.f32 %11 %12 %13\nstore.f32 out0 %14\n";
  list.push_back({"layer_norm 128x768",
                  layer_norm,
                  {128, 768},
                  {{768, 1}, {0, 1}, {0, 1}, {768, 1}},
                  {128 * 768, 768, 768},
                  {128 * 768},
                  [](const std::vector<float*>& in, float* out) {
                    for (int r = 0; r < 128; ++r) {
                      const float* x = in[0] + r * 768;
                      float s[16] = {}, q[16] = {};
                      for (int c = 0; c < 768; c += 16)
                        for (int k = 0; k < 16; ++k) s[k] += x[c + k];
                      float mean = 0;
                      for (float v : s) mean += v / 768;
                      for (int c = 0; c < 768; c += 16)
                        for (int k = 0; k < 16; ++k) q[k] += (x[c + k] - mean) * (x[c + k] - mean);
                      float var = 0;
                      for (float v : q) var += v / 768;
                      const float scale = 1 / std::sqrt(var + 1e-5f);
                      for (int c = 0; c < 768; ++c)
                        out[r * 768 + c] = (x[c] - mean) * scale * in[1][c] + in[2][c];
                    }
                  }});
  const std::string softmax =
      "tile rank=2 row=1\nin f32\nout f32\n%0 = load.f32 in0\n%1 = reduce_max.f32 %0\n"
      "%2 = sub.f32 %0 %1\n%3 = exp.f32 %2\n%4 = reduce_sum.f32 %3\n%5 = div.f32 %3 %4\n"
      "store.f32 out0 %5\n";
  for (int64_t cols : {8, 49, 128, 1000, 50257}) {
    const int64_t rows = cols == 50257 ? 16 : 1536;
    list.push_back({"softmax " + std::to_string(rows) + "x" + std::to_string(cols),
                    softmax,
                    {rows, cols},
                    {{cols, 1}, {cols, 1}},
                    {rows * cols},
                    {rows * cols}});
  }
  const std::string copy =
      "tile rank=3 row=0\nin f32\nout f32\n%0 = load.f32 in0\nstore.f32 out0 %0\n";
  list.push_back({"NCHW->NHWC 56x56x256",
                  copy,
                  {56, 56, 256},
                  {{56, 1, 3136}, {56 * 256, 256, 1}},
                  {56 * 56 * 256},
                  {56 * 56 * 256},
                  [](const std::vector<float*>& in, float* out) {
                    for (int p = 0; p < 3136; ++p)
                      for (int c = 0; c < 256; ++c) out[p * 256 + c] = in[0][c * 3136 + p];
                  }});
  list.push_back({"heads 128x12x64 -> 12x128x64",
                  copy,
                  {12, 128, 64},
                  {{64, 768, 1}, {8192, 64, 1}},
                  {128 * 768},
                  {128 * 768}});
  const std::string mean =
      "tile rank=2 row=1\nin f32\nout f32\n%0 = load.f32 in0\n%1 = reduce_sum.f32 %0\n"
      "%2 = const.f32 0.02\n%3 = mul.f32 %1 %2\nstore.f32 out0 %3\n";
  list.push_back(
      {"avgpool NHWC 49x2048", mean, {2048, 49}, {{1, 2048}, {1, 0}}, {49 * 2048}, {2048}});
  list.push_back(
      {"avgpool NCHW 2048x49", mean, {2048, 49}, {{49, 1}, {1, 0}}, {49 * 2048}, {2048}});
  list.push_back({"sum 1e6", mean, {1, 1000000}, {{0, 1}, {0, 0}}, {1000000}, {1}});
  const std::string scale_nchw =
      "tile rank=3 row=0\nin f32 f32 f32\nout f32\n%0 = load.f32 in0\n%1 = load.f32 in1\n"
      "%2 = mul.f32 %0 %1\n%3 = load.f32 in2\n%4 = add.f32 %2 %3\nstore.f32 out0 %4\n";
  list.push_back({"SE scale+residual NHWC 14x14x480",
                  scale_nchw,
                  {1, 196, 480},
                  {{0, 480, 1}, {0, 0, 1}, {0, 480, 1}, {0, 480, 1}},
                  {196 * 480, 480, 196 * 480},
                  {196 * 480}});
  list.push_back({"scale+residual NCHW 480x7x7",
                  scale_nchw,
                  {1, 480, 49},
                  {{0, 49, 1}, {0, 1, 0}, {0, 49, 1}, {0, 49, 1}},
                  {49 * 480, 480, 49 * 480},
                  {49 * 480}});
  const std::string bf16 =
      "tile rank=1 row=0\nin bf16 bf16\nout bf16\n%0 = load.f32 in0\n%1 = load.f32 in1\n"
      "%2 = add.f32 %0 %1\n%3 = relu.f32 %2\nstore.f32 out0 %3\n";
  list.push_back(
      {"bf16 relu(a+b) 1000000", bf16, {1000000}, {{1}, {1}, {1}}, {1000000, 1000000}, {1000000}});
  return list;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) threads = std::atoi(argv[1]);
  for (const Bench& bench : benches())
    if (argc < 3 || bench.name.find(argv[2]) != std::string::npos) run(bench);
  return 0;
}
