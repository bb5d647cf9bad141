#include "base/cache_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/build_id.h"
#include "base/crc32.h"
#include "base/file.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kKind = "program";

Hash128 key_of(int i) { return hash128("key " + std::to_string(i)); }

std::string bytes_of(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

class CacheFolderTest : public testing::Test {
 protected:
  CacheFolderTest() {
    std::string pattern = testing::TempDir() + "kiln_cache_XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    path_ = root_ + "/deep/kiln";
  }
  ~CacheFolderTest() override { fs::remove_all(root_); }

  CacheFolder open(uint64_t max_bytes = 0) {
    auto folder = CacheFolder::open(path_, max_bytes);
    EXPECT_TRUE(folder.ok()) << folder.status().to_string();
    return std::move(folder).value();
  }
  std::string file_of(const Hash128& key) const {
    return path_ + "/" + key.hex() + "." + std::string(kKind);
  }
  // The content, or the code of the error.
  static std::string read(const CacheFolder& folder, const Hash128& key) {
    const auto content = folder.get(key, kKind);
    return content.ok() ? std::string(content->bytes) : content.status().code();
  }
  // Written without sync, as another program would.
  static void write_raw(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  std::string root_, path_;
};

TEST_F(CacheFolderTest, KeepsWhatWasPut) {
  const CacheFolder folder = open();
  struct stat info;
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_EQ(folder.get(key_of(0), kKind).status().code(), "K3402");
  ASSERT_TRUE(folder.put(key_of(0), kKind, "abcd").ok());
  ASSERT_TRUE(folder.put(key_of(1), kKind, "").ok());
  EXPECT_EQ(read(folder, key_of(0)), "abcd");
  EXPECT_EQ(read(folder, key_of(1)), "");
  EXPECT_EQ(folder.get(key_of(0), "plan").status().code(), "K3402");
  ASSERT_TRUE(folder.put(key_of(0), kKind, "other").ok());
  const auto content = folder.get(key_of(0), kKind);
  EXPECT_EQ(content->bytes, "other");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(content->bytes.data()) % 64, 0u);
  EXPECT_EQ(folder.list()->size(), 2u);
}

TEST_F(CacheFolderTest, EveryDamageIsFound) {
  const CacheFolder folder = open();
  const std::string content = bytes_of(20000, 7);
  ASSERT_TRUE(folder.put(key_of(0), kKind, content).ok());
  const std::string path = file_of(key_of(0));
  const std::string whole = read_file(path).value();
  auto outcome = [&](const std::string& bytes) {
    write_raw(path, bytes);
    return read(folder, key_of(0));
  };
  ASSERT_EQ(outcome(whole), content);
  for (size_t size = 0; size < whole.size(); size += size < 256 ? 1 : 1024) {
    ASSERT_EQ(outcome(whole.substr(0, size)), "K3403") << size;
    ASSERT_FALSE(fs::exists(path)) << "a damaged entry stays";
  }
  ASSERT_EQ(outcome(whole + "x"), "K3403");
  std::mt19937 random(1);
  for (size_t i = 0; i < 2000 + CacheFolder::kHeaderBytes; ++i) {
    std::string flipped = whole;
    const size_t at = i < CacheFolder::kHeaderBytes ? i : random() % whole.size();
    flipped[at] = static_cast<char>(flipped[at] ^ (1 + random() % 255));
    const std::string code = outcome(flipped);
    ASSERT_TRUE(code == "K3403" || code == "K3404") << at << " " << code;
  }
  EXPECT_EQ(outcome(whole), content);
}

TEST_F(CacheFolderTest, AnEntryUnderAnotherNameIsNotThere) {
  const CacheFolder folder = open();
  ASSERT_TRUE(folder.put(key_of(0), kKind, "content").ok());
  fs::copy_file(file_of(key_of(0)), file_of(key_of(1)));
  EXPECT_EQ(read(folder, key_of(1)), "K3404");
  fs::copy_file(file_of(key_of(0)), path_ + "/" + key_of(0).hex() + ".plan");
  EXPECT_EQ(folder.get(key_of(0), "plan").status().code(), "K3404");
  // Another format, with a header that is right in itself.
  std::string bytes = read_file(file_of(key_of(0))).value();
  bytes[8] = 1;
  for (int i = 12; i < 16; ++i) bytes[i] = 0;
  const uint32_t checksum = crc32(bytes.data(), CacheFolder::kHeaderBytes);
  for (int i = 0; i < 4; ++i) bytes[12 + i] = static_cast<char>(checksum >> (8 * i));
  write_raw(file_of(key_of(0)), bytes);
  EXPECT_EQ(read(folder, key_of(0)), "K3404");
  EXPECT_EQ(folder.list()->size(), 0u);
}

TEST_F(CacheFolderTest, LeastRecentlyUsedEntriesGo) {
  const CacheFolder folder = open(3000);
  const std::string content(800, 'c');
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(folder.put(key_of(i), kKind, content).ok());
    const timespec old[2] = {{1000 + i, 0}, {1000 + i, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, file_of(key_of(i)).c_str(), old, 0), 0);
  }
  EXPECT_EQ(read(folder, key_of(0)), content);  // now the most recent one
  ASSERT_TRUE(folder.put(key_of(3), kKind, content).ok());
  EXPECT_EQ(folder.list()->size(), 3u);
  EXPECT_EQ(read(folder, key_of(1)), "K3402");
  EXPECT_EQ(read(folder, key_of(0)), content);
  ::usleep(30000);  // file systems keep time in ticks
  EXPECT_EQ(read(folder, key_of(2)), content);
  EXPECT_EQ(folder.prune(1000)->entries, 2);
  EXPECT_EQ(read(folder, key_of(2)), content);
  EXPECT_EQ(folder.prune(0)->bytes, content.size() + CacheFolder::kHeaderBytes);
  EXPECT_TRUE(folder.list()->empty());
}

// Packed weights of earlier versions, whatever room there is.
TEST_F(CacheFolderTest, EntriesOfAnObsoleteKindGo) {
  const CacheFolder folder = open(uint64_t{1} << 30);
  const std::string old = path_ + "/" + key_of(0).hex() + ".constants";
  write_raw(old, bytes_of(5000, 1));
  EXPECT_EQ(folder.list()->size(), 1u);
  ASSERT_TRUE(folder.put(key_of(0), kKind, "content").ok());
  EXPECT_FALSE(fs::exists(old));
  EXPECT_EQ(read(folder, key_of(0)), "content");
}

TEST_F(CacheFolderTest, OnlyItsOwnFilesAreListedAndDeleted) {
  const CacheFolder folder = open();
  ASSERT_TRUE(folder.put(key_of(0), kKind, "content").ok());
  write_raw(path_ + "/notes.txt", "mine");
  write_raw(path_ + "/abc.program", "mine");
  const std::string fresh = file_of(key_of(1)) + ".tmp-1-2", old = file_of(key_of(1)) + ".tmp-3-4";
  write_raw(fresh, "half");
  write_raw(old, "half");
  const timespec hours_ago[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, old.c_str(), hours_ago, 0), 0);
  EXPECT_EQ(folder.list()->size(), 1u);
  EXPECT_EQ(folder.prune(0)->entries, 1);
  EXPECT_TRUE(fs::exists(path_ + "/notes.txt"));
  EXPECT_TRUE(fs::exists(path_ + "/abc.program"));
  EXPECT_TRUE(fs::exists(fresh));
  EXPECT_FALSE(fs::exists(old));
}

TEST_F(CacheFolderTest, FoldersThatOthersMayWriteAreRefused) {
  open();
  ASSERT_EQ(::chmod(path_.c_str(), 0770), 0);
  EXPECT_EQ(CacheFolder::open(path_, 0).status().code(), "K3401");
  write_raw(root_ + "/file", "");
  EXPECT_EQ(CacheFolder::open(root_ + "/file", 0).status().code(), "K3401");
  EXPECT_EQ(CacheFolder::open(root_ + "/file/below", 0).status().code(), "K3401");
  EXPECT_EQ(CacheFolder::open("/proc/kiln", 0).status().code(), "K3401");
  EXPECT_EQ(CacheFolder::open("", 0).status().code(), "K3401");
}

TEST_F(CacheFolderTest, CheckDeletesNothing) {
  const CacheFolder folder = open();
  ASSERT_TRUE(folder.put(key_of(0), kKind, "content").ok());
  const auto entry = folder.list().value()[0];
  EXPECT_TRUE(folder.check(entry).ok());
  std::string bytes = read_file(file_of(key_of(0))).value();
  bytes.back() ^= 1;
  write_raw(file_of(key_of(0)), bytes);
  EXPECT_EQ(folder.check(entry).code(), "K3403");
  EXPECT_TRUE(folder.remove(entry).ok());
  EXPECT_TRUE(folder.remove(entry).ok());
  EXPECT_EQ(folder.check(entry).code(), "K3001");
}

// 500 writers die in the middle of what they do; whoever reads sees whole entries or none.
TEST_F(CacheFolderTest, KilledWritersLeaveNoCorruptEntry) {
  constexpr int kWriters = 4, kKills = 500, kKeys = 6;
  std::vector<std::string> contents;
  for (int i = 0; i < kKeys; ++i) {
    contents.push_back(bytes_of(10000 + static_cast<size_t>(i) * 60000, static_cast<unsigned>(i)));
  }
  const CacheFolder folder = open(600000);  // not all fit, so that eviction runs as well
  // 1: another process's entry was damaged or wrong.
  auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    while (true) {
      const int i = static_cast<int>(random() % kKeys);
      const auto found = folder.get(key_of(i), kKind);
      if (found.ok() ? found->bytes != contents[static_cast<size_t>(i)]
                     : found.status().code() == "K3403" || found.status().code() == "K3404") {
        ::_exit(1);
      }
      [[maybe_unused]] const Status put =
          folder.put(key_of(i), kKind, contents[static_cast<size_t>(i)]);
    }
  };
  std::vector<pid_t> writers;
  unsigned seed = 0;
  auto start = [&]() -> pid_t {
    const pid_t pid = ::fork();
    if (pid == 0) work(seed);
    ++seed;
    return pid;
  };
  for (int i = 0; i < kWriters; ++i) writers.push_back(start());
  std::mt19937 random(99);
  int hits = 0, wrong = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    ::usleep(static_cast<useconds_t>(random() % 6000));
    pid_t& victim = writers[random() % kWriters];
    ::kill(victim, SIGKILL);
    int status = 0;
    ::waitpid(victim, &status, 0);
    if (WIFEXITED(status)) ++wrong;  // it had found a bad entry before
    victim = start();
    const int i = static_cast<int>(random() % kKeys);
    const auto found = folder.get(key_of(i), kKind);
    if (found.ok()) {
      ++hits;
      if (found->bytes != contents[static_cast<size_t>(i)]) ++wrong;
    } else if (found.status().code() != "K3402") {
      ++wrong;
      ADD_FAILURE() << found.status().to_string();
    }
  }
  for (pid_t writer : writers) {
    ::kill(writer, SIGKILL);
    int status = 0;
    ::waitpid(writer, &status, 0);
    if (WIFEXITED(status)) ++wrong;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(hits, 20);
  const auto entries = folder.list();
  ASSERT_TRUE(entries.ok());
  for (const auto& entry : *entries) {
    EXPECT_TRUE(folder.check(entry).ok()) << entry.name;
  }
  // What the killed left behind does not stay for ever.
  for (const auto& file : fs::directory_iterator(path_)) {
    const timespec hours_ago[2] = {{1000, 0}, {1000, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, file.path().c_str(), hours_ago, 0), 0);
  }
  ASSERT_TRUE(folder.prune(0).ok());
  EXPECT_TRUE(fs::is_empty(path_));
}

TEST(ByteSize, ParsesUnits) {
  EXPECT_EQ(parse_byte_size("0").value(), 0u);
  EXPECT_EQ(parse_byte_size("123").value(), 123u);
  EXPECT_EQ(parse_byte_size("64K").value(), 65536u);
  EXPECT_EQ(parse_byte_size("20G").value(), uint64_t{20} << 30);
  for (const char* text : {"", "G", "-1", "1.5G", "1g", "1GB", "9999999999999999",
                           "9999999T"}) {
    EXPECT_EQ(parse_byte_size(text).status().code(), "K1009") << text;
  }
}

TEST(BuildId, NamesTheObjectThatHoldsAnAddress) {
  static int here;
  const std::string mine = build_id(&here);
  EXPECT_EQ(mine, build_id(reinterpret_cast<const void*>(&key_of)));
  EXPECT_GE(mine.size(), 16u);
  const std::string libc = build_id(reinterpret_cast<const void*>(&::waitpid));
  EXPECT_NE(libc, "");
  EXPECT_NE(libc, mine);
  EXPECT_EQ(build_id(nullptr), "");
  EXPECT_EQ(file_identity("/nowhere/at/all"), "");
  EXPECT_NE(file_identity("/proc/self/exe"), "");
}

}  // namespace
}  // namespace kiln
