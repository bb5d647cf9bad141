// A program with more than 4 GiB of weights, written, loaded and run. The weights are zeros but at
// their ends, in memory and in the "file" alike, so neither takes room: reading untouched anonymous
// memory gives the zero page.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "backends/backend.h"
#include "builder/engine_writer.h"
#include "builder/phases.h"
#include "tuning/kernel_provider.h"

namespace kiln {
namespace {

// Address space without memory behind it.
class Sparse : public ByteSink {
 public:
  explicit Sparse(size_t bytes) : bytes_(bytes) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data_ = data == MAP_FAILED ? nullptr : static_cast<char*>(data);
    if (data_ != nullptr) madvise(data_, bytes, MADV_NOHUGEPAGE);
  }
  ~Sparse() override {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  Sparse(const Sparse&) = delete;
  Sparse& operator=(const Sparse&) = delete;
  char* data() const { return data_; }

  // Appends; zeros are there already.
  Status write(const void* data, size_t size) override {
    static const char kZeros[4096] = {};
    const auto* bytes = static_cast<const char*>(data);
    while (size > 0) {
      const size_t piece = std::min(size, sizeof kZeros);
      if (piece > bytes_ - used_) return Status::error("K3003", "no room");
      if (std::memcmp(bytes, kZeros, piece) != 0) std::memcpy(data_ + used_, bytes, piece);
      used_ += piece;
      bytes += piece;
      size -= piece;
    }
    return {};
  }
  uint64_t offset() const override { return used_; }

 private:
  size_t bytes_;
  char* data_ = nullptr;
  size_t used_ = 0;
};

constexpr int64_t kRows = (int64_t{1} << 28) + 16;  // of 4 floats: 4 GiB and 256 bytes

TEST(HugeWeights, WriteLoadAndRun) {
  Build build;
  auto parsed = parse_module(R"(weights {
  %w0 = parameter "table" : f32[268435472,4]
  %w1 = parameter "shift" : f32[4]
}
init {
  const %c0 = %w0 : f32[268435472,4] name "table"
  const %c1 = %w1 : f32[4] name "shift"
}
main(%ids: i64[2]) {
  %0 = embedding(%c0, %ids) : f32[2,4]
  %1 = add(%0, %c1) : f32[2,4]
  return %1 {name="y"}
})");
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  build.module = std::move(parsed).value();
  std::vector<Weight>& weights = build.module->weights;
  const size_t table_bytes = static_cast<size_t>(kRows) * 16;
  const Sparse table(table_bytes);
  ASSERT_NE(table.data(), nullptr);
  const float first[] = {1, 2, 3, 4}, last[] = {5, 6, 7, 8}, shift[] = {0.5f, 0.25f, 0, -1};
  std::memcpy(table.data(), first, sizeof first);
  std::memcpy(table.data() + table_bytes - sizeof last, last, sizeof last);
  weights[0].data = {table.data(), table_bytes, nullptr};
  weights[1].data = {shift, sizeof shift, nullptr};
  const Status compiled = run_phases(build, false);
  ASSERT_TRUE(compiled.ok()) << compiled.to_string();
  EngineFile file;
  file.report = "{}";
  file.graph = build.simplified_ir;
  file.plans = {&build.plan};
  for (const Weight& weight : weights) file.weights.push_back(&weight);
  Sparse written(table_bytes + (size_t{1} << 20));
  ASSERT_NE(written.data(), nullptr);
  ASSERT_TRUE(write_engine(file, written).ok());
  EXPECT_GT(written.offset(), uint64_t{1} << 32);

  auto program = Program::load(written.data(), written.offset(), nullptr);
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  int64_t ids[] = {kRows - 1, 0};
  float y[8] = {};
  const int64_t two[] = {2}, shape[] = {2, 4}, strides[] = {4, 1};
  const Status status = (*program)->create_context()->run(
      {{ids, DType::kI64, Device(), 1, two, nullptr}},
      {{y, DType::kF32, Device(), 2, shape, strides}});
  ASSERT_TRUE(status.ok()) << status.to_string();
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(y[i], last[i] + shift[i]);
    EXPECT_EQ(y[4 + i], first[i] + shift[i]);
  }
}

}  // namespace
}  // namespace kiln
