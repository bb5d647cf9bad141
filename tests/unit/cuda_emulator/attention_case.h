// Attention of 16-bit matrices by one of Kiln's kernels of matrix instructions, launched by itself,
// against sums in double: what the tests of these kernels have in common.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/attention_kernel.h"
#include "emulator/kernel_run.h"
#include "interp/random_data.h"

namespace kiln::emulator {

enum class MaskOf { kNone, kColumns, kRows };

struct AttentionProblem {
  int64_t rows = 64, columns = 64, head_dim = 64, value_dim = 64;
  MaskOf mask = MaskOf::kNone;
  bool baked = true;  // sizes in the source, or arguments of the kernel
  int64_t batch = 1, heads = 2, kv_heads = 1;
};

class AttentionCase {
 public:
  AttentionCase(const AttentionProblem& problem, cuda::AttentionKernel kernel)
      : p_(problem),
        kernel_(completed(std::move(kernel), p_)),
        q_(matrices(p_.heads, p_.rows, p_.head_dim, 1)),
        k_(matrices(p_.kv_heads, p_.columns, p_.head_dim, 2)),
        v_(matrices(p_.kv_heads, p_.columns, p_.value_dim, 3)),
        out_(kernel_.dtype, {p_.batch, p_.heads, p_.rows, p_.value_dim}),
        mask_(kernel_.mask_dtype, {p_.batch, 1, mask_rows(), p_.columns}) {
    spread_scores();
    fill_mask();
    add_sizes();
    compute();
  }

  Result<cuda::KernelSource> source() const {
    return cuda::print_kernel({kernel_.family(), kernel_.to_json()});
  }

  // "" or what is wrong.
  std::string run(LoadedKernel& loaded) const {
    const Buffer q(bytes_of(q_)), k(bytes_of(k_)), v(bytes_of(v_)), mask(bytes_of(mask_));
    const Buffer at_out(std::vector<uint8_t>(out_.num_bytes(), 0));
    std::vector<uint64_t> arguments{q.address(), k.address(), v.address()};
    if (kernel_.mask) arguments.push_back(mask.address());
    arguments.push_back(at_out.address());
    arguments.insert(arguments.end(), values_.begin(), values_.end());
    Shape shape;
    shape.grid[0] = p_.batch * p_.heads * cuda::ceil_div(p_.rows, kernel_.rows());
    shape.block[0] = static_cast<int>(kernel_.threads());
    shape.shared_bytes = kernel_.shared_bytes();
    const std::string report = loaded.launch(shape, arguments);
    if (!report.empty()) return report;
    HostTensor out(kernel_.dtype, {p_.batch, p_.heads, p_.rows, p_.value_dim});
    std::memcpy(out.bytes(), at_out.data(), out.num_bytes());
    const double tolerance = kernel_.dtype == DType::kF16 ? 3e-3 : 2e-2;
    for (int64_t i = 0; i < out.num_elements(); ++i) {
      const double expected = expected_[static_cast<size_t>(i)], actual = out.get_double(i);
      if (!(std::fabs(actual - expected) <= tolerance * (1 + std::fabs(expected)))) {
        const int64_t row = i / p_.value_dim;
        return "head " + std::to_string(row / p_.rows) + ", row " +
               std::to_string(row % p_.rows) + ", column " + std::to_string(i % p_.value_dim) +
               ": " + std::to_string(actual) + ", expected " + std::to_string(expected);
      }
    }
    return {};
  }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  static cuda::AttentionKernel completed(cuda::AttentionKernel kernel, const AttentionProblem& p) {
    kernel.matrix = true;
    kernel.head_dim = p.head_dim;
    kernel.value_dim = p.value_dim;
    kernel.once = p.baked && p.columns <= kernel.tiling.keys;
    kernel.mask = p.mask != MaskOf::kNone;
    kernel.mask_of_columns = p.mask == MaskOf::kColumns;
    kernel.mask_pairs = p.mask == MaskOf::kRows && p.baked && p.columns % 2 == 0;
    kernel.q_eight = kernel.k_eight = p.head_dim % 8 == 0;
    kernel.v_eight = kernel.o_eight = p.value_dim % 8 == 0;
    return kernel;
  }
  HostTensor matrices(int64_t heads, int64_t length, int64_t dim, uint64_t seed) const {
    return random_data(kernel_.dtype, {p_.batch, heads, length, dim}, DataKind::kNormal, seed);
  }
  int64_t mask_rows() const { return p_.mask == MaskOf::kRows ? p_.rows : 1; }
  static std::vector<uint8_t> bytes_of(const HostTensor& tensor) {
    std::vector<uint8_t> bytes(tensor.num_bytes());
    std::memcpy(bytes.data(), tensor.bytes(), bytes.size());
    return bytes;
  }

  // The scores of every fourth query are so far apart that only differences to the largest one have
  // powers. Those of another fourth are all below 0, which the score of a row of zeros is not.
  void spread_scores() {
    for (int64_t i = 0; i < q_.num_elements(); ++i) {
      const int64_t row = i / p_.head_dim % p_.rows;
      if (row % 4 == 3) q_.set_double(i, q_.get_double(i) * 64);
      if (row % 4 == 2 && i % p_.head_dim == 0) q_.set_double(i, kernel_.scale > 0 ? -8 : 8);
    }
    for (int64_t i = 0; i < k_.num_elements(); i += p_.head_dim) k_.set_double(i, 4);
  }
  // Every third key is masked, and all of query 1's; of the others, some numbers are added.
  void fill_mask() {
    for (int64_t i = 0; i < mask_.num_elements(); ++i) {
      const int64_t row = i / p_.columns % mask_rows(), column = i % p_.columns;
      const bool out = column % 3 == 1 || (mask_rows() > 1 && row == 1);
      if (mask_.dtype() == DType::kBool) {
        mask_.set_int(i, out ? 0 : 1);
      } else {
        mask_.set_double(i, out ? -kInfinity : static_cast<double>(column % 5) * 0.25);
      }
    }
  }

  void add_sizes() {
    cuda::NamedSizes<DimExpr> sizes;
    const auto size = [&](const std::string& name, int64_t value, bool always = false) {
      const bool baked = p_.baked || always;
      sizes.add(name, baked ? DimExpr(value) : DimExpr::symbol("s" + name));
      if (!baked) values_.push_back(static_cast<uint64_t>(value));
    };
    size("batch", p_.batch);
    size("heads", p_.heads);
    size("kv_heads", p_.kv_heads);
    size("rows", p_.rows);
    size("columns", p_.columns);
    const auto strides = [&](const std::string& name, const HostTensor& of) {
      for (int i = 0; i < 4; ++i) {
        int64_t stride = 1;
        for (int after = i + 1; after < 4; ++after) stride *= of.size(after);
        size(name + std::to_string(i), stride);
      }
    };
    strides("q", q_);
    strides("k", k_);
    strides("v", v_);
    strides("o", out_);
    if (kernel_.mask) {
      size("m0", mask_rows() * p_.columns);
      size("m1", 0);
      size("m2", p_.mask == MaskOf::kRows ? p_.columns : 0, p_.mask == MaskOf::kColumns);
      size("m3", 1);
    }
    kernel_.sizes = cuda::KernelSizes(sizes);
  }

  // Of a head of all batches, row i and column j.
  double score(int64_t head, int64_t kv, int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t d = 0; d < p_.head_dim; ++d) {
      sum += q_.get_double((head * p_.rows + i) * p_.head_dim + d) *
             k_.get_double((kv * p_.columns + j) * p_.head_dim + d);
    }
    sum *= kernel_.scale;
    if (kernel_.mask) {
      const int64_t row = head / p_.heads * mask_rows() + (mask_rows() > 1 ? i : 0);
      const int64_t at = row * p_.columns + j;
      if (kernel_.mask_dtype != DType::kBool) {
        sum += mask_.get_double(at);
      } else if (mask_.get_int(at) == 0) {
        sum = -kInfinity;
      }
    }
    return kernel_.causal && j > i ? -kInfinity : sum;
  }
  void compute() {
    for (int64_t head = 0; head < p_.batch * p_.heads; ++head) {
      const int64_t kv = head / p_.heads * p_.kv_heads +
                         head % p_.heads / (p_.heads / p_.kv_heads);
      for (int64_t i = 0; i < p_.rows; ++i) {
        std::vector<double> terms;
        double max = -kInfinity, total = 0;
        for (int64_t j = 0; j < p_.columns; ++j) {
          terms.push_back(score(head, kv, i, j));
          max = std::max(max, terms.back());
        }
        for (double& term : terms) total += term = max == -kInfinity ? 0 : std::exp(term - max);
        for (int64_t e = 0; e < p_.value_dim; ++e) {
          double sum = 0;
          for (int64_t j = 0; j < p_.columns; ++j) {
            sum += terms[static_cast<size_t>(j)] *
                   v_.get_double((kv * p_.columns + j) * p_.value_dim + e);
          }
          expected_.push_back(total == 0 ? 0 : sum / total);
        }
      }
    }
  }

  AttentionProblem p_;
  cuda::AttentionKernel kernel_;
  HostTensor q_, k_, v_, out_, mask_;
  std::vector<uint64_t> values_;  // sizes that are arguments
  std::vector<double> expected_;
};

}  // namespace kiln::emulator
