#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

namespace kiln {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = testing::TempDir() + "kiln_file_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  size_t files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  std::string folder_;
};

TEST_F(FileTest, WritesReadsMaps) {
  const std::string content("a\0b\nc", 5);
  ASSERT_TRUE(write_file(path("f"), content).ok());
  EXPECT_EQ(read_file(path("f")).value(), content);
  Result<MappedFile> mapped = MappedFile::open(path("f"));
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped->text(), content);
  MappedFile moved = std::move(mapped).value();
  EXPECT_EQ(moved.text(), content);
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, EmptyFile) {
  ASSERT_TRUE(write_file(path("f"), "").ok());
  EXPECT_EQ(read_file(path("f")).value(), "");
  EXPECT_EQ(MappedFile::open(path("f")).value().size(), 0u);
}

TEST_F(FileTest, ReadsFilesWithoutASize) {
  EXPECT_NE(read_file("/proc/self/status").value().find("Pid:"), std::string::npos);
}

TEST_F(FileTest, TypedErrors) {
  EXPECT_EQ(read_file(path("none")).status().code(), "K3001");
  EXPECT_EQ(MappedFile::open(path("none")).status().code(), "K3001");
  EXPECT_FALSE(MappedFile::open_if_there(path("none")).value().has_value());
  EXPECT_EQ(read_file(folder_).status().code(), "K3004");
  EXPECT_EQ(MappedFile::open(folder_).status().code(), "K3004");
  EXPECT_EQ(MappedFile::open("/dev/null").status().code(), "K3004");
  EXPECT_EQ(write_file(folder_, "x").code(), "K3004");
  EXPECT_EQ(write_file(path("no/such/folder"), "x").code(), "K3003");
  EXPECT_EQ(write_file("", "x").code(), "K3003");
  ASSERT_TRUE(write_file(path("f"), "12345").ok());
  EXPECT_EQ(read_file(path("f"), 4).status().code(), "K3005");
  EXPECT_EQ(read_file(path("f"), 5).value(), "12345");
  const Status status = read_file(path("none")).status();
  EXPECT_EQ(status.message(), "cannot open file: " + path("none") + ": no such file or directory");
}

TEST_F(FileTest, UncommittedFileLeavesTheOldOne) {
  ASSERT_TRUE(write_file(path("f"), "old").ok());
  {
    AtomicFile file = AtomicFile::create(path("f")).value();
    ASSERT_TRUE(file.write(std::string(1 << 20, 'x')).ok());
    EXPECT_EQ(files(), 2u);
    EXPECT_EQ(read_file(path("f")).value(), "old");
  }
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(read_file(path("f")).value(), "old");
}

TEST_F(FileTest, FullDiskLeavesTheOldFile) {
  ASSERT_TRUE(write_file(path("f"), "old").ok());
  // A limit on file size fails writes as a full disk does.
  rlimit saved;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &saved), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{1 << 20, saved.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  const Status status = write_file(path("f"), std::string(4 << 20, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &saved), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), "K3003");
  EXPECT_EQ(read_file(path("f")).value(), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, ErrorsStay) {
  AtomicFile file = AtomicFile::create(path("f")).value();
  ASSERT_TRUE(file.commit().ok());
  EXPECT_EQ(file.write("x").code(), "K3003");
  EXPECT_EQ(file.commit().code(), "K3003");
  EXPECT_EQ(read_file(path("f")).value(), "");
}

TEST_F(FileTest, OffsetsAndOverwriting) {
  AtomicFile file = AtomicFile::create(path("f")).value();
  ASSERT_TRUE(file.write("0123456789").ok());
  EXPECT_EQ(file.offset(), 10u);
  ASSERT_TRUE(file.write_at(2, "ab", 2).ok());
  const std::string large(1 << 20, 'z');
  ASSERT_TRUE(file.write(large).ok());
  ASSERT_TRUE(file.write("end").ok());
  EXPECT_EQ(file.offset(), 13u + large.size());
  ASSERT_TRUE(file.write_at(0, "X", 1).ok());
  AtomicFile moved = std::move(file);
  ASSERT_TRUE(moved.commit().ok());
  EXPECT_EQ(read_file(path("f")).value(), "X1ab456789" + large + "end");
}

TEST_F(FileTest, KeepsPermissionsAndFollowsLinks) {
  ASSERT_TRUE(write_file(path("real"), "old").ok());
  ASSERT_EQ(::chmod(path("real").c_str(), 0640), 0);
  ASSERT_EQ(::symlink("real", path("link").c_str()), 0);
  ASSERT_TRUE(write_file(path("link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_file(path("real")).value(), "new");
  struct stat info;
  ASSERT_EQ(::stat(path("real").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
  // A link to nothing yet makes the file it names.
  ASSERT_EQ(::symlink("later", path("dangling").c_str()), 0);
  ASSERT_TRUE(write_file(path("dangling"), "there").ok());
  EXPECT_EQ(read_file(path("later")).value(), "there");
}

TEST_F(FileTest, FolderWithoutRights) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ASSERT_EQ(::chmod(folder_.c_str(), 0555), 0);
  EXPECT_EQ(write_file(path("f"), "x").code(), "K3003");
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
}

}  // namespace
}  // namespace kiln
