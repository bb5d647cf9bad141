// Damaged files: every truncation and every single bit, as they are and with hashes that fit again.
// A typed error or the right result; never a crash, a hang or an access out of bounds.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>

#include "unit/builder/small_files.h"

namespace kiln {
namespace {

using test::AlignedBytes;
using test::load_and_run;
using test::Outcome;
using test::small_files;
using test::SmallFile;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStride = 23;  // every 23rd bit, so that all positions in a byte occur
#else
constexpr size_t kStride = 1;
#endif

bool is_typed(const Status& status) {
  const std::string& code = status.code();
  return code.size() == 5 && code[0] == 'K' && code != "K9001";
}

// Runs `body(i, scratch copy)` for i = 0, kStride, ... < count on two threads.
void sweep(const SmallFile& file, size_t count,
           const std::function<void(size_t, AlignedBytes&)>& body) {
  std::atomic<size_t> next{0};
  auto work = [&] {
    AlignedBytes copy(file.bytes);
    for (size_t i = next.fetch_add(kStride); i < count; i = next.fetch_add(kStride)) body(i, copy);
  };
  std::thread other(work);
  work();
  other.join();
}

class Problems {
 public:
  void add(const std::string& text) {
    std::lock_guard lock(mutex_);
    if (++count_ <= 10) text_ += text + "\n";
  }
  ~Problems() { EXPECT_EQ(count_, 0) << text_; }

 private:
  std::mutex mutex_;
  int count_ = 0;
  std::string text_;
};

std::string show(const Outcome& outcome) {
  return outcome.status.ok() ? "ok" : outcome.status.to_string();
}

class DamagedFile : public testing::TestWithParam<size_t> {
 protected:
  const SmallFile& file() { return small_files()[GetParam()]; }
};

TEST_P(DamagedFile, UndamagedRuns) {
  const AlignedBytes bytes(file().bytes);
  const Outcome outcome = load_and_run(bytes.data, bytes.size, file());
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.to_string();
  EXPECT_EQ(outcome.outputs, file().outputs);
  // From memory at any address.
  AlignedBytes shifted(" " + file().bytes);
  EXPECT_EQ(load_and_run(shifted.data + 1, bytes.size, file()).outputs, file().outputs);
}

TEST_P(DamagedFile, Truncations) {
  Problems problems;
  sweep(file(), file().bytes.size(), [&](size_t size, AlignedBytes&) {
    // A copy of exactly that size, so that reading on is seen.
    const AlignedBytes copy(file().bytes.substr(0, size));
    const Outcome outcome = load_and_run(copy.data, size, file());
    if (!is_typed(outcome.status)) problems.add(std::to_string(size) + ": " + show(outcome));
  });
}

TEST_P(DamagedFile, BytesAppended) {
  for (const char* tail : {"x", "PK\5\6", "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"}) {
    const AlignedBytes copy(file().bytes + tail);
    EXPECT_TRUE(is_typed(load_and_run(copy.data, copy.size, file()).status));
  }
}

TEST_P(DamagedFile, SingleBits) {
  Problems problems;
  sweep(file(), file().bytes.size() * 8, [&](size_t bit, AlignedBytes& copy) {
    copy.data[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const Outcome outcome = load_and_run(copy.data, copy.size, file());
    copy.data[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const bool right = outcome.status.ok() && outcome.outputs == file().outputs;
    if (!right && !is_typed(outcome.status)) {
      problems.add("bit " + std::to_string(bit) + ": " + show(outcome));
    }
  });
}

// As a stranger would damage it: contents changed, all hashes right. Results may differ.
TEST_P(DamagedFile, SingleBitsWithHashesRecomputed) {
  Problems problems;
  std::atomic<int> ran{0}, refused{0};
  // KILN_DAMAGED_BIT=N: this one only, for debugging.
  const char* only = std::getenv("KILN_DAMAGED_BIT");
  sweep(file(), file().bytes.size() * 8, [&](size_t bit, AlignedBytes& copy) {
    if (only != nullptr && bit != std::strtoull(only, nullptr, 10)) return;
    using Clock = std::chrono::steady_clock;
    // Headers and directory are compared byte by byte; SingleBits has been there.
    copy.data[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const size_t end = copy.size - 22;
    const bool sane = std::memcmp(copy.data + end, file().bytes.data() + end, 22) == 0;
    bool headers_whole = sane;
    if (sane) {
      // Only contents may differ, or the hashes could not be found.
      headers_whole = Program::load(copy.data, copy.size, nullptr).status().code() != "K3103";
    }
    if (headers_whole) {
      test::recompute_hashes(copy.data, copy.size);
      const auto begin = Clock::now();
      const Outcome outcome = load_and_run(copy.data, copy.size, file());
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      (outcome.status.ok() ? ran : refused)++;
      if (!outcome.status.ok() && !is_typed(outcome.status)) {
        problems.add("bit " + std::to_string(bit) + ": " + show(outcome));
      }
      if (seconds > 5) problems.add("bit " + std::to_string(bit) + " takes too long");
    }
    std::memcpy(copy.data, file().bytes.data(), copy.size);
  });
  // Otherwise the hashes were not right and nothing was tested.
  if (only == nullptr) {
    EXPECT_GT(ran, static_cast<int>(500 / kStride));
    EXPECT_GT(refused, static_cast<int>(500 / kStride));
  }
}

INSTANTIATE_TEST_SUITE_P(Files, DamagedFile, testing::Range(size_t{0}, size_t{3}),
                         [](const auto& info) { return small_files()[info.param].name; });

}  // namespace
}  // namespace kiln
