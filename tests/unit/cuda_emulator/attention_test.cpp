// Attention by matrix instructions, by warps (device/matrix_attention.h) and by warpgroups
// (device/warpgroup_attention.h), against sums in double: every tiling, edges, masks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "backends/cuda/compile/attention_choice.h"
#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/attention_kernel.h"
#include "emulator/kernel_run.h"
#include "interp/random_data.h"

namespace kiln::emulator {
namespace {

using cuda::AttentionKernel;
using cuda::AttentionTiling;

enum class Mask { kNone, kOfColumns, kOfRows };

struct Problem {
  int64_t rows = 64, columns = 64, head_dim = 64, value_dim = 64;
  Mask mask = Mask::kNone;
  bool baked = true;  // sizes in the source, or arguments of the kernel
  int64_t batch = 1, heads = 2, kv_heads = 1;
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<uint8_t> bytes_of(const HostTensor& tensor) {
  std::vector<uint8_t> bytes(tensor.num_bytes());
  std::memcpy(bytes.data(), tensor.bytes(), bytes.size());
  return bytes;
}

// Every third key is masked, and all of query 1's; of the others, some numbers are added.
void fill_mask(HostTensor& mask, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < mask.num_elements(); ++i) {
    const int64_t row = i / columns % rows, column = i % columns;
    const bool out = column % 3 == 1 || (rows > 1 && row == 1);
    if (mask.dtype() == DType::kBool) {
      mask.set_int(i, out ? 0 : 1);
    } else {
      mask.set_double(i, out ? -kInfinity : static_cast<double>(column % 5) * 0.25);
    }
  }
}

// "" or what is wrong.
std::string check(const Problem& p, AttentionKernel kernel) {
  const DType dtype = kernel.dtype;
  kernel.matrix = true;
  kernel.head_dim = p.head_dim;
  kernel.value_dim = p.value_dim;
  kernel.once = p.baked && p.columns <= kernel.tiling.keys;
  kernel.mask = p.mask != Mask::kNone;
  kernel.mask_of_columns = p.mask == Mask::kOfColumns;
  kernel.mask_pairs = p.mask == Mask::kOfRows && p.baked && p.columns % 2 == 0;
  kernel.q_eight = kernel.k_eight = p.head_dim % 8 == 0;
  kernel.v_eight = kernel.o_eight = p.value_dim % 8 == 0;
  const auto random = [&](int64_t heads, int64_t length, int64_t dim, uint64_t seed) {
    return random_data(dtype, {p.batch, heads, length, dim}, DataKind::kNormal, seed);
  };
  const HostTensor q = random(p.heads, p.rows, p.head_dim, 1);
  const HostTensor k = random(p.kv_heads, p.columns, p.head_dim, 2);
  const HostTensor v = random(p.kv_heads, p.columns, p.value_dim, 3);
  HostTensor out(dtype, {p.batch, p.heads, p.rows, p.value_dim});
  const int64_t mask_rows = p.mask == Mask::kOfRows ? p.rows : 1;
  HostTensor mask(kernel.mask_dtype, {p.batch, 1, mask_rows, p.columns});
  fill_mask(mask, mask_rows, p.columns);

  cuda::NamedSizes<DimExpr> sizes;
  std::vector<uint64_t> values;
  const auto size = [&](const std::string& name, int64_t value, bool always = false) {
    const bool baked = p.baked || always;
    sizes.add(name, baked ? DimExpr(value) : DimExpr::symbol("s" + name));
    if (!baked) values.push_back(static_cast<uint64_t>(value));
  };
  size("batch", p.batch);
  size("heads", p.heads);
  size("kv_heads", p.kv_heads);
  size("rows", p.rows);
  size("columns", p.columns);
  const auto strides = [&](const std::string& name, const HostTensor& of) {
    for (int i = 0; i < 4; ++i) {
      int64_t stride = 1;
      for (int after = i + 1; after < 4; ++after) stride *= of.size(after);
      size(name + std::to_string(i), stride);
    }
  };
  strides("q", q);
  strides("k", k);
  strides("v", v);
  strides("o", out);
  if (kernel.mask) {
    size("m0", mask_rows * p.columns);
    size("m1", 0);
    size("m2", p.mask == Mask::kOfRows ? p.columns : 0, p.mask == Mask::kOfColumns);
    size("m3", 1);
  }
  kernel.sizes = cuda::KernelSizes(sizes);
  auto source = cuda::print_kernel({kernel.family(), kernel.to_json()});
  if (!source.ok()) return source.status().to_string();
  use_device();
  auto loaded = LoadedKernel::load(*source);
  if (!loaded.ok()) return loaded.status().to_string() + "\n" + source->text;
  const Buffer at_q(bytes_of(q)), at_k(bytes_of(k)), at_v(bytes_of(v)), at_mask(bytes_of(mask));
  const Buffer at_out(std::vector<uint8_t>(out.num_bytes(), 0));
  std::vector<uint64_t> arguments{at_q.address(), at_k.address(), at_v.address()};
  if (kernel.mask) arguments.push_back(at_mask.address());
  arguments.push_back(at_out.address());
  arguments.insert(arguments.end(), values.begin(), values.end());
  Shape shape;
  shape.grid[0] = p.batch * p.heads * cuda::ceil_div(p.rows, kernel.rows());
  shape.block[0] = static_cast<int>(kernel.threads());
  shape.shared_bytes = kernel.shared_bytes();
  const std::string report = (*loaded)->launch(shape, arguments);
  if (!report.empty()) return report;
  std::memcpy(out.bytes(), at_out.data(), out.num_bytes());

  const double tolerance = dtype == DType::kF16 ? 3e-3 : 2e-2;
  for (int64_t head = 0; head < p.batch * p.heads; ++head) {
    const int64_t b = head / p.heads;
    const int64_t kv = b * p.kv_heads + head % p.heads / (p.heads / p.kv_heads);
    for (int64_t i = 0; i < p.rows; ++i) {
      std::vector<double> terms;
      double max = -kInfinity, total = 0;
      for (int64_t j = 0; j < p.columns; ++j) {
        double sum = 0;
        for (int64_t d = 0; d < p.head_dim; ++d) {
          sum += q.get_double((head * p.rows + i) * p.head_dim + d) *
                 k.get_double((kv * p.columns + j) * p.head_dim + d);
        }
        sum *= kernel.scale;
        if (kernel.mask) {
          const int64_t at = (b * mask_rows + (mask_rows > 1 ? i : 0)) * p.columns + j;
          if (kernel.mask_dtype != DType::kBool) {
            sum += mask.get_double(at);
          } else if (mask.get_int(at) == 0) {
            sum = -kInfinity;
          }
        }
        if (kernel.causal && j > i) sum = -kInfinity;
        terms.push_back(sum);
        max = std::max(max, sum);
      }
      for (double& term : terms) total += term = max == -kInfinity ? 0 : std::exp(term - max);
      for (int64_t e = 0; e < p.value_dim; ++e) {
        double sum = 0;
        for (int64_t j = 0; j < p.columns; ++j) {
          sum +=
              terms[static_cast<size_t>(j)] * v.get_double((kv * p.columns + j) * p.value_dim + e);
        }
        const double expected = total == 0 ? 0 : sum / total;
        const double actual = out.get_double((head * p.rows + i) * p.value_dim + e);
        if (!(std::fabs(actual - expected) <= tolerance * (1 + std::fabs(expected)))) {
          return "head " + std::to_string(head) + ", row " + std::to_string(i) + ", column " +
                 std::to_string(e) + ": " + std::to_string(actual) + ", expected " +
                 std::to_string(expected);
        }
      }
    }
  }
  return {};
}

AttentionKernel tiled(const AttentionTiling& tiling) {
  AttentionKernel kernel;
  kernel.dtype = DType::kF16;
  kernel.mask_dtype = DType::kF16;
  kernel.scale = 0.125;
  kernel.tiling = tiling;
  return kernel;
}

TEST(Attention, TilingsAtTheirEdges) {
  // All keys at once: in as many parts as there can be.
  for (const AttentionTiling& tiling : {AttentionTiling{true, 64, 16},
                                        {true, 128, 112},
                                        {true, 64, 240},
                                        {true, 128, 208},
                                        {false, 64, 208},
                                        {false, 128, 48}}) {
    for (const int64_t rows : {tiling.rows + 3, tiling.rows - 59}) {
      EXPECT_EQ(check({rows, tiling.keys - 11}, tiled(tiling)), "") << tiling.to_string();
    }
  }
  for (const AttentionTiling& tiling :
       {AttentionTiling{true, 64, 64}, {true, 128, 128}, {false, 64, 128}, {false, 128, 64}}) {
    EXPECT_EQ(check({tiling.rows + 3, tiling.keys + 5}, tiled(tiling)), "") << tiling.to_string();
  }
}

constexpr AttentionTiling kByWarps{false, 64, 64}, kByWarpgroups{true, 64, 64};
constexpr AttentionTiling kAll[] = {kByWarps, kByWarpgroups, {true, 128, 128}};

TEST(Attention, HeadsOfAnySize) {
  for (const AttentionTiling& tiling : kAll) {
    for (const auto& [head, value] : {std::pair{8, 40}, {72, 64}, {64, 128}}) {
      const int64_t columns = value == 64 ? 50 : 135;
      EXPECT_EQ(check({70, columns, head, value}, tiled(tiling)), "")
          << tiling.to_string() << " " << head << " " << value;
    }
  }
  for (const auto& [head, value] : {std::pair{12, 7}, {5, 64}, {64, 9}}) {
    EXPECT_EQ(check({20, 70, head, value}, tiled(kByWarps)), "") << head << " " << value;
    EXPECT_EQ(check({20, 60, head, value}, tiled(kByWarps)), "") << head << " " << value;
  }
}

TEST(Attention, Causal) {
  for (const AttentionTiling& tiling : kAll) {
    AttentionKernel kernel = tiled(tiling);
    kernel.causal = true;
    for (const auto& [rows, columns] : {std::pair{64, 64}, {200, 200}, {70, 150}, {150, 70}}) {
      EXPECT_EQ(check({rows, columns}, kernel), "")
          << tiling.to_string() << " " << rows << " " << columns;
    }
    EXPECT_EQ(check({150, 150, 64, 64, Mask::kOfColumns, false}, kernel), "");
  }
}

TEST(Attention, Masks) {
  for (const AttentionTiling& tiling : kAll) {
    for (const Mask mask : {Mask::kOfColumns, Mask::kOfRows}) {
      for (const DType dtype : {DType::kF16, DType::kBool, DType::kF32}) {
        AttentionKernel kernel = tiled(tiling);
        kernel.mask_dtype = dtype;
        // All keys at once, or sizes as arguments and two times of keys.
        const bool once = (mask == Mask::kOfRows) == (dtype == DType::kF16);
        EXPECT_EQ(check({70, once ? 52 : 141, 16, 16, mask, once, 2}, kernel), "")
            << tiling.to_string() << " " << dtype_name(dtype) << " " << once;
      }
    }
  }
}

TEST(Attention, OtherNumbers) {
  for (const AttentionTiling& tiling : kAll) {
    AttentionKernel kernel = tiled(tiling);
    kernel.dtype = kernel.mask_dtype = DType::kBF16;
    EXPECT_EQ(check({70, 60, 64, 64, Mask::kNone, false}, kernel), "") << tiling.to_string();
    // Without any key, zeros.
    EXPECT_EQ(check({70, 0, 64, 64, Mask::kNone, false}, kernel), "") << tiling.to_string();
    kernel.wide = false;
    kernel.scale = -0.5;  // the largest product is not the largest score
    EXPECT_EQ(check({70, 60}, kernel), "") << tiling.to_string();
    EXPECT_EQ(check({70, 260, 64, 64, Mask::kNone, true, 2, 4, 2}, kernel), "")
        << tiling.to_string();
  }
}

TEST(Attention, ParametersThatDoNotFitAreRefused) {
  AttentionKernel good = tiled(kByWarpgroups);
  good.matrix = true;
  good.head_dim = good.value_dim = 64;
  good.q_eight = good.k_eight = good.v_eight = good.o_eight = true;
  EXPECT_TRUE(AttentionKernel::from_json(good.to_json()).ok());
  const auto refused = [&](auto&& change) {
    AttentionKernel kernel = good;
    change(kernel);
    return AttentionKernel::from_json(kernel.to_json()).status().code() == "K3212";
  };
  EXPECT_TRUE(refused([](auto& k) { k.tiling.rows = 96; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.keys = 40; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.keys = 256; }));
  EXPECT_TRUE(refused([](auto& k) { k.head_dim = 136; }));
  EXPECT_TRUE(refused([](auto& k) { k.q_eight = false; }));
  EXPECT_TRUE(refused([](auto& k) { k.once = true; }));  // the number of keys is not known
  EXPECT_TRUE(refused([](auto& k) { k.mask = k.mask_of_columns = true; }));
  EXPECT_TRUE(refused([](auto& k) { k.mask = k.mask_pairs = true; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling = {false, 64, 192}; }));
  // One family's description is not the other's.
  EXPECT_FALSE(cuda::print_kernel({AttentionKernel::kFamily, good.to_json()}).ok());
}

}  // namespace
}  // namespace kiln::emulator
