// What the printers write, as text, so that a change of a printer shows in review: one program for
// each form that they know. tests/unit/cuda_compile/printed/NAME.cu holds the kernels of a program.
//
// KILN_BLESS=1 build/release/bin/kiln_cuda_compile_test --gtest_filter='*PrintedKernels*' rewrites
// the files; read the difference before committing it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/compile/cuda_backend.h"
#include "backends/cuda/compile/kernel_family.h"
#include "base/file.h"
#include "builder/phases.h"
#include "ir/module.h"

namespace kiln::cuda_test {
namespace {

struct Printed {
  const char* name;
  const char* why;
  const char* program;  // IR; empty: `kernel` stands alone
  // Without a program: family and parameters.
  const char* family = "";
  const char* params = "";
};

constexpr Printed kPrinted[] = {
    {"points", "pointwise: broadcast operands, 16-bit storage, vectors of 128 bits", R"(
main(%x: f16[37,64], %scale: f16[64], %shift: f32[37,1]) {
  %0 = mul(%x, %scale) : f16[37,64]
  %1 = cast(%0) {dtype=f32} : f32[37,64]
  %2 = add(%1, %shift) : f32[37,64]
  %3 = relu(%2) : f32[37,64]
  return %3 {name="y"}
})"},
    {"points_of_symbols", "pointwise with sizes that are arguments", R"(symbols {
  n in [1, 1024]
  m in [1, 1024]
}
main(%x: f32[?n,?m], %y: f32[?m]) {
  %0 = sub(%x, %y) : f32[?n,?m]
  return %0 {name="y"}
})"},
    {"rows_by_lanes", "a row reduced by some lanes of a warp", R"(
main(%x: f32[4000,24]) {
  %0 = softmax(%x) {axis=1} : f32[4000,24]
  return %0 {name="y"}
})"},
    {"rows_by_block", "a row reduced by a block", R"(
main(%x: f16[20,4100]) {
  %0 = layer_norm(%x) {eps=0.1} : f16[20,4100]
  return %0 {name="y"}
})"},
    {"columns", "a reduction across what memory runs along", R"(
main(%x: f32[6,50,40]) {
  %0 = reduce_max(%x) {axes=[1]} : f32[6,40]
  return %0 {name="y"}
})"},
    {"columns_of_images", "means of channels-last images, which are stored in the same pass", R"(
main(%x: f16[32,14,14,480]) {
  %0 = hardswish(%x) : f16[32,14,14,480]
  %1 = reduce_mean(%0) {axes=[1,2]} : f16[32,480]
  return %0 {name="y"}, %1 {name="mean"}
})"},
    {"transpose", "points by way of shared memory", R"(
main(%x: f32[70,50], %y: f32[50,70]) {
  %0 = permute(%x) {order=[1,0]} : f32[50,70]
  %1 = add(%0, %y) : f32[50,70]
  return %1 {name="y"}
})"},
    {"gather", "rows of a table, with the report of an index out of range", R"(
main(%table: f16[100,48], %index: i64[7,9]) {
  %0 = embedding(%table, %index) : f16[7,9,48]
  return %0 {name="y"}
})"},
    {"depthwise", "a window of each channel by itself, in strips, with what follows", R"(
weights {
  %w0 = parameter "w" : f16[120,1,5,5]
  %w1 = parameter "b" : f16[120]
}
init {
  const %c0 = %w0 : f16[120,1,5,5]
  const %c1 = %w1 : f16[120]
}
main(%x: f16[32,28,28,120]) {
  %0 = permute(%x) {order=[0,3,1,2]} : f16[32,120,28,28]
  %1 = conv(%0, %c0, %c1) {stride=[1,1], padding=[2,2], groups=120} : f16[32,120,28,28]
  %2 = hardswish(%1) : f16[32,120,28,28]
  %3 = permute(%2) {order=[0,2,3,1]} : f16[32,28,28,120]
  return %3 {name="y"}
})"},
    {"direct_conv", "a first layer, with what follows", R"(
weights {
  %w0 = parameter "w" : f16[16,3,3,3]
  %w1 = parameter "b" : f16[16]
}
init {
  const %c0 = %w0 : f16[16,3,3,3]
  const %c1 = %w1 : f16[16]
}
main(%x: f16[32,3,224,224]) {
  %0 = conv(%x, %c0, %c1) {stride=[2,2], padding=[1,1]} : f16[32,16,112,112]
  %1 = hardswish(%0) : f16[32,16,112,112]
  %2 = permute(%1) {order=[0,2,3,1]} : f16[32,112,112,16]
  return %2 {name="y"}
})"},
    {"pad", "zeros beside few channels, written at once", R"(
main(%x: f16[2,3,64,64]) {
  %0 = max_pool(%x) {kernel=[2,2], stride=[2,2]} : f16[2,3,32,32]
  %1 = pad(%0) {low=[0,0,0,0], high=[0,5,0,0]} : f16[2,8,32,32]
  return %1 {name="y"}
})"},
    {"multistage_gemm", "a product of few tiles, a split depth and what follows it", "",
     "multistage_gemm",
     R"({"dtype": "f16", "rows": 64, "columns": 96, "warp_rows": 32, "warp_columns": 48,
"depth": 64, "stages": 3, "split": 2, "factor": 0.5, "bias": true, "add": true,
"activation": "gelu", "alpha": 0, "beta": 0, "four": true, "wide": false, "sizes": {"m": null,
"n": 3072, "k": 768, "am": 768, "bn": 768, "cm": 3072, "cn": 1, "h": 1, "dm": 3072, "dn": 1}})"},
    {"warpgroup_gemm", "a product of many tiles and what follows it", "", "warpgroup_gemm",
     R"({"dtype": "bf16", "row_blocks": 1, "columns": 192, "consumers": 2, "overlap": true,
 "stages": 4, "factor": 0.5, "bias": true, "add": true, "activation": "gelu", "alpha": 0, "beta": 0,
 "wide": false, "sizes": {"m": null, "n": null, "k": null, "am": null, "bn": null, "cm": null,
 "cn": null, "h": null, "dm": null, "dn": null}})"},
    {"warpgroup_attention", "all keys at once, a mask of keys, rows that are not known", "",
     "warpgroup_attention",
     R"({"dtype": "f16", "matrix": true, "warpgroup": true, "rows": 64, "once": true, "keys": 112,
 "head_dim": 64, "value_dim": 64, "causal": false, "scale": 0.125, "mask": true,
 "mask_dtype": "f16", "mask_of_columns": true, "mask_pairs": false, "q_eight": true,
 "k_eight": true, "v_eight": true, "o_eight": true, "wide": false, "sizes": {"batch": null,
 "heads": 12, "kv_heads": 12, "rows": null, "columns": 100, "q0": 230400, "q1": 64, "q2": 2304,
 "q3": 1, "k0": 230400, "k1": 64, "k2": 2304, "k3": 1, "v0": 230400, "v1": 64, "v2": 2304, "v3": 1,
 "o0": null, "o1": 64, "o2": 768, "o3": 1, "m0": 100, "m1": 0, "m2": 0, "m3": 1}})"},
    {"attention", "causal attention by warps with a mask of rows, operands that lie anyhow", "",
     "attention",
     R"({"dtype": "bf16", "matrix": true, "warpgroup": false, "rows": 128, "once": false,
 "keys": 64, "head_dim": 40, "value_dim": 20, "causal": true, "scale": 0.125, "mask": true,
 "mask_dtype": "bool", "mask_of_columns": false, "mask_pairs": false, "q_eight": true,
 "k_eight": true, "v_eight": false, "o_eight": false, "wide": true, "sizes": {"batch": null,
 "heads": 12, "kv_heads": 4, "rows": null, "columns": null, "q0": null, "q1": null, "q2": 40,
 "q3": 1, "k0": null, "k1": null, "k2": 40, "k3": 1, "v0": null, "v1": null, "v2": 20, "v3": 1,
 "o0": null, "o1": null, "o2": 20, "o3": 1, "m0": null, "m1": null, "m2": null, "m3": 1}})"},
    {"strided_copy", "the runtime's own copy", "", "strided_copy",
     R"({"element_bytes": 4, "rank": 3, "wide": false})"},
};

Result<std::string> printed(const Printed& of) {
  std::vector<KernelDesc> kernels;
  std::string head;
  if (of.family[0] != 0) {
    KILN_ASSIGN_OR_RETURN(Json params, parse_json(of.params));
    head = std::string(of.family) + " " + of.params + "\n";
    kernels.push_back({of.family, std::move(params)});
  } else {
    Build build;
    KILN_ASSIGN_OR_RETURN(build.module, parse_module(of.program));
    build.backend = cuda::make_cuda_backend(DeviceSpec::gpu(90).value());
    KILN_RETURN_IF_ERROR(run_lowering_phases(build));
    head = of.program;
    kernels = std::move(build.plan.kernels);
  }
  std::string text = "// " + std::string(of.why) + "\n";
  for (size_t begin = 0; begin < head.size();) {
    const size_t end = std::min(head.find('\n', begin), head.size());
    if (end > begin) text += "// | " + head.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  for (const KernelDesc& kernel : kernels) {
    KILN_ASSIGN_OR_RETURN(const cuda::KernelSource source, cuda::print_kernel(kernel));
    text += "\n// ---- " + kernel.family + ": " + source.entry + "\n" + source.text;
  }
  return text;
}

std::filesystem::path folder() { return KILN_TEST_SOURCE_DIR "/unit/cuda_compile/printed"; }

class PrintedKernels : public testing::TestWithParam<Printed> {};

TEST_P(PrintedKernels, AreAsReviewed) {
  const Result<std::string> actual = printed(GetParam());
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  const std::string path = folder() / (std::string(GetParam().name) + ".cu");
  if (const char* bless = std::getenv("KILN_BLESS"); bless != nullptr && *bless != 0) {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok() && file->write(*actual).ok() && file->commit().ok()) << path;
  }
  const Result<std::string> expected = read_file(path);
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  EXPECT_EQ(*actual, *expected) << "KILN_BLESS=1 rewrites " << path;
}

INSTANTIATE_TEST_SUITE_P(All, PrintedKernels, testing::ValuesIn(kPrinted),
                         [](const auto& of) { return std::string(of.param.name); });

// Launches overlap (runtime/launch.h): a kernel that did not wait would read what is not there yet.
TEST(PrintedKernelFiles, WaitBeforeTheyTouchMemory) {
  for (const auto& entry : std::filesystem::directory_iterator(folder())) {
    const Result<std::string> text = read_file(entry.path().string());
    ASSERT_TRUE(text.ok());
    size_t kernels = 0;
    for (size_t at = text->find("KERNEL("); at != std::string::npos;
         at = text->find("KERNEL(", at + 1)) {
      ++kernels;
      const size_t body = text->find(") {\n", at);
      const size_t wait = text->find("  wait_for_previous(", body);
      ASSERT_NE(wait, std::string::npos) << entry.path();
      // Constants and prefetches alone may stand before.
      const std::string before = text->substr(body + 4, wait - body - 4);
      EXPECT_EQ(before.find('['), std::string::npos) << entry.path() << ": " << before;
      EXPECT_EQ(before.find("load"), std::string::npos) << entry.path() << ": " << before;
    }
    EXPECT_GT(kernels, 0u) << entry.path();
  }
}

TEST(PrintedKernelFiles, BelongToAProgram) {
  std::set<std::string> names;
  for (const Printed& of : kPrinted) names.insert(std::string(of.name) + ".cu");
  for (const auto& entry : std::filesystem::directory_iterator(folder())) {
    EXPECT_TRUE(names.contains(entry.path().filename())) << entry.path();
  }
}

}  // namespace
}  // namespace kiln::cuda_test
