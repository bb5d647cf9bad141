// Products of 16-bit matrices by one of Kiln's kernels, launched by itself, against sums in double:
// what the tests of these kernels have in common.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/multistage_gemm.h"
#include "backends/cuda/runtime/warpgroup_gemm.h"
#include "emulator/kernel_run.h"
#include "emulator/matrix_map.h"
#include "interp/random_data.h"

namespace kiln::emulator {

struct ProductProblem {
  int64_t m = 64, n = 64, k = 64;
  bool baked = true;   // sizes in the source, or arguments of the kernel
  int64_t gap = 0;     // between rows of all matrices
  int64_t blocks = 1;  // of a kernel that goes through tiles

  std::string text() const {
    return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
  }
};

// The operands' addresses, in the order of a kernel's arguments; those that it has not are 0.
struct ProductAddresses {
  uint64_t a, b, bias, d, c;
};

inline std::string launch_product(LoadedKernel& loaded, const cuda::MultistageGemm& kernel,
                                  const ProductProblem& p, const ProductAddresses& at,
                                  const std::vector<uint64_t>& sizes) {
  std::vector<uint64_t> arguments{at.a, at.b};
  if (kernel.bias) arguments.push_back(at.bias);
  if (kernel.add) arguments.push_back(at.d);
  arguments.push_back(at.c);
  arguments.insert(arguments.end(), sizes.begin(), sizes.end());
  const cuda::GemmTiling& t = kernel.tiling;
  Shape shape;
  shape.grid[0] = cuda::ceil_div(p.m, t.rows) * cuda::ceil_div(p.n, t.columns) * t.split;
  shape.block[0] = static_cast<int>(t.threads());
  shape.shared_bytes = t.shared_bytes();
  return loaded.launch(shape, arguments);
}

inline std::string launch_product(LoadedKernel& loaded, const cuda::WarpgroupGemm& kernel,
                                  const ProductProblem& p, const ProductAddresses& at,
                                  const std::vector<uint64_t>& sizes) {
  const cuda::WarpgroupTiling& t = kernel.tiling;
  MatrixMapBytes a = map_of(at.a, p.m, p.k, p.k + p.gap, t.rows());
  MatrixMapBytes b = map_of(at.b, p.n, p.k, p.k + p.gap, t.columns);
  std::vector<uint64_t> values;
  if (kernel.bias) values.push_back(at.bias);
  if (kernel.add) values.push_back(at.d);
  values.push_back(at.c);
  values.insert(values.end(), sizes.begin(), sizes.end());
  std::vector<void*> arguments{&a, &b};
  for (uint64_t& value : values) arguments.push_back(&value);
  Shape shape;
  shape.grid[0] = p.blocks;
  shape.block[0] = static_cast<int>(t.threads());
  shape.shared_bytes = t.shared_bytes(kernel.add);
  return loaded.launch_with(shape, arguments);
}

template <class Kernel>
class ProductCase {
 public:
  ProductCase(const ProductProblem& problem, Kernel kernel)
      : p_(problem),
        kernel_(std::move(kernel)),
        a_(rows_of(p_.m, p_.k, 1)),
        b_(rows_of(p_.n, p_.k, 2)),
        d_(rows_of(p_.m, p_.n, 4)),
        bias_(random_data(kernel_.dtype, {p_.n}, DataKind::kUnit, 3)) {
    cuda::NamedSizes<DimExpr> sizes;
    const auto size = [&](const char* name, int64_t value) {
      sizes.add(name, p_.baked ? DimExpr(value) : DimExpr::symbol(std::string("s") + name));
      if (!p_.baked) sizes_.push_back(static_cast<uint64_t>(value));
    };
    size("m", p_.m);
    size("n", p_.n);
    size("k", p_.k);
    size("am", p_.k + p_.gap);
    size("bn", p_.k + p_.gap);
    size("cm", p_.n + p_.gap);
    size("cn", 1);
    if (kernel_.bias) size("h", 1);
    if (kernel_.add) {
      size("dm", p_.n + p_.gap);
      size("dn", 1);
    }
    kernel_.sizes = cuda::KernelSizes(sizes);
    compute();
  }

  Result<cuda::KernelSource> source() const {
    return cuda::print_kernel({Kernel::kFamily, kernel_.to_json()});
  }

  // "" or what is wrong.
  std::string run(LoadedKernel& loaded) const {
    const Buffer a(bytes_of(a_)), b(bytes_of(b_)), bias(bytes_of(bias_, 0)), d(bytes_of(d_));
    const int64_t by_row = p_.n + p_.gap;
    HostTensor c(kernel_.dtype, {p_.m, by_row});
    std::memset(c.bytes(), 0x5a, c.num_bytes());
    const double before = c.get_double(0);
    const Buffer at_c(bytes_of(c));
    const std::string report = launch_product(
        loaded, kernel_, p_,
        {a.address(), b.address(), bias.address(), d.address(), at_c.address()}, sizes_);
    if (!report.empty()) return report;
    std::memcpy(c.bytes(), at_c.data(), bytes_of(c).size());
    const double tolerance = kernel_.dtype == DType::kF16 ? 1e-3 : 8e-3;
    for (int64_t i = 0; i < p_.m; ++i) {
      for (int64_t j = 0; j < p_.n; ++j) {
        const double expected = expected_[static_cast<size_t>(i * p_.n + j)];
        const double actual = c.get_double(i * by_row + j);
        if (!(std::fabs(actual - expected) <= tolerance * (1 + std::fabs(expected)))) {
          return "row " + std::to_string(i) + ", column " + std::to_string(j) + ": " +
                 std::to_string(actual) + ", expected " + std::to_string(expected);
        }
      }
      for (int64_t j = p_.n; j < by_row; ++j) {
        if (c.get_double(i * by_row + j) != before) return "wrote between rows";
      }
    }
    return {};
  }

 private:
  HostTensor rows_of(int64_t rows, int64_t columns, uint64_t seed) const {
    return random_data(kernel_.dtype, {rows, columns + p_.gap}, DataKind::kUnit, seed);
  }
  // Up to the last element: nobody may read the gap behind the last row.
  std::vector<uint8_t> bytes_of(const HostTensor& tensor) const { return bytes_of(tensor, p_.gap); }
  static std::vector<uint8_t> bytes_of(const HostTensor& tensor, int64_t gap) {
    std::vector<uint8_t> bytes(tensor.num_bytes() - static_cast<size_t>(gap) * 2);
    std::memcpy(bytes.data(), tensor.bytes(), bytes.size());
    return bytes;
  }
  static std::vector<double> numbers_of(const HostTensor& tensor) {
    std::vector<double> numbers;
    for (int64_t i = 0; i < tensor.num_elements(); ++i) numbers.push_back(tensor.get_double(i));
    return numbers;
  }
  double activated(double x) const {
    using Kind = cuda::KernelActivation::Kind;
    switch (kernel_.activation.kind) {
      case Kind::kRelu: return std::max(x, 0.0);
      case Kind::kGelu: return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
      case Kind::kClip:
        return std::min(std::max(x, kernel_.activation.alpha), kernel_.activation.beta);
      default: return x;
    }
  }
  void compute() {
    const std::vector<double> a = numbers_of(a_), b = numbers_of(b_), bias = numbers_of(bias_),
                              d = numbers_of(d_);
    const auto by_k = static_cast<size_t>(p_.k + p_.gap), by_n = static_cast<size_t>(p_.n + p_.gap);
    const auto m = static_cast<size_t>(p_.m), n = static_cast<size_t>(p_.n);
    for (size_t i = 0; i < m; ++i) {
      for (size_t j = 0; j < n; ++j) {
        double sum = 0;
        for (size_t l = 0; l < static_cast<size_t>(p_.k); ++l) {
          sum += a[i * by_k + l] * b[j * by_k + l];
        }
        sum *= kernel_.alpha;
        if (kernel_.bias) sum += bias[j];
        if (kernel_.add) sum += d[i * by_n + j];
        expected_.push_back(activated(sum));
      }
    }
  }

  ProductProblem p_;
  Kernel kernel_;
  HostTensor a_, b_, d_, bias_;
  std::vector<uint64_t> sizes_;  // that are arguments
  std::vector<double> expected_;
};

// Prints, compiles, runs. "" or what is wrong.
template <class Kernel>
std::string check_product(const ProductProblem& problem, const Kernel& kernel) {
  const ProductCase<Kernel> product(problem, kernel);
  const auto source = product.source();
  if (!source.ok()) return source.status().to_string();
  use_device();
  auto loaded = LoadedKernel::load(*source);
  if (!loaded.ok()) return loaded.status().to_string() + "\n" + source->text;
  return product.run(**loaded);
}

}  // namespace kiln::emulator
