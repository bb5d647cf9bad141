#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <random>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace kiln {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;

Status system_error(std::string_view code, const std::string& what, const std::string& path,
                    int error) {
  std::string reason = std::generic_category().message(error);
  if (!reason.empty() && reason[0] >= 'A' && reason[0] <= 'Z') reason[0] += 'a' - 'A';
  return Status::error(code, what + ": " + path + ": " + reason);
}

// Closes a file descriptor when it leaves scope.
class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int open_retrying(const char* path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = ::open(path, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// Writes all, at the given offset. errno tells why when false.
bool write_all(int fd, const char* data, size_t size, uint64_t offset) {
  while (size > 0) {
    const size_t chunk = std::min<size_t>(size, size_t{1} << 30);
    const ssize_t count = ::pwrite(fd, data, chunk, static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    data += count;
    offset += static_cast<uint64_t>(count);
    size -= static_cast<size_t>(count);
  }
  return true;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Follows the links of a path whose last component may not exist yet.
std::string resolve_links(std::string path) {
  char buffer[PATH_MAX];
  for (int hops = 0; hops < 40; ++hops) {
    const ssize_t length = ::readlink(path.c_str(), buffer, sizeof buffer);
    if (length <= 0 || length == static_cast<ssize_t>(sizeof buffer)) break;
    std::string link(buffer, static_cast<size_t>(length));
    path = link[0] == '/' ? link : folder_of(path) + "/" + link;
  }
  return path;
}

std::string temporary_name(const std::string& target) {
  static std::atomic<uint64_t> counter{std::random_device{}()};
  return target + ".tmp-" + std::to_string(::getpid()) + "-" +
         std::to_string(counter.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  KILN_ASSIGN_OR_RETURN(std::optional<MappedFile> file, open_if_there(path));
  if (!file) return system_error("K3001", "cannot open file", path, ENOENT);
  return *std::move(file);
}

Result<std::optional<MappedFile>> MappedFile::open_if_there(const std::string& path) {
  // O_NONBLOCK: opening a pipe by mistake must not wait for its other end.
  ScopedFd fd(open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK));
  if (fd.get() < 0) {
    if (errno == ENOENT) return std::optional<MappedFile>();
    return system_error("K3001", "cannot open file", path, errno);
  }
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return system_error("K3001", "cannot open file", path, errno);
  if (!S_ISREG(info.st_mode)) return Status::error("K3004", "not a regular file: " + path);
  MappedFile file;
  file.size_ = static_cast<size_t>(info.st_size);
  if (file.size_ == 0) return std::optional(std::move(file));
  void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    file.size_ = 0;
    return system_error("K3001", "cannot map file", path, error);
  }
  file.data_ = static_cast<const std::byte*>(data);
  return std::optional(std::move(file));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  ScopedFd fd(open_retrying(path.c_str(), O_RDONLY));
  if (fd.get() < 0) return system_error("K3001", "cannot open file", path, errno);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return system_error("K3001", "cannot open file", path, errno);
  if (S_ISDIR(info.st_mode)) return Status::error("K3004", "not a regular file: " + path);
  std::string content;
  if (S_ISREG(info.st_mode)) {
    if (static_cast<uint64_t>(info.st_size) > max_bytes) {
      return Status::error("K3005", "file too large: " + path + ": " +
                                        std::to_string(info.st_size) + " bytes, limit " +
                                        std::to_string(max_bytes));
    }
    content.reserve(static_cast<size_t>(info.st_size) + 1);
  }
  // The size above is a hint only: the file may grow, and files of /proc say 0.
  size_t used = 0;
  while (true) {
    if (used == content.size()) content.resize(std::max(content.capacity(), used + 65536));
    const ssize_t count = ::read(fd.get(), content.data() + used, content.size() - used);
    if (count < 0) {
      if (errno == EINTR) continue;
      return system_error("K3002", "cannot read file", path, errno);
    }
    if (count == 0) break;
    used += static_cast<size_t>(count);
    if (used > max_bytes) {
      return Status::error("K3005",
                           "file too large: " + path + ": limit " + std::to_string(max_bytes));
    }
  }
  content.resize(used);
  return content;
}

Status write_file(const std::string& path, std::string_view content) {
  KILN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  KILN_RETURN_IF_ERROR(file.write(content));
  return file.commit();
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  AtomicFile file;
  file.path_ = path;
  file.target_ = resolve_links(path);
  struct stat old;
  const bool exists = ::stat(file.target_.c_str(), &old) == 0;
  if (exists && !S_ISREG(old.st_mode)) {
    return Status::error("K3004", "cannot write file: not a regular file: " + path);
  }
  if (exists && ::access(file.target_.c_str(), W_OK) != 0) {
    // Rename would replace it all the same; a file that its owner made read-only stays.
    return system_error("K3003", "cannot write file", path, errno);
  }
  do {
    file.temporary_ = temporary_name(file.target_);
    file.fd_ = open_retrying(file.temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0666);
  } while (file.fd_ < 0 && errno == EEXIST);
  if (file.fd_ < 0) {
    const int error = errno;
    file.temporary_.clear();
    return system_error("K3003", "cannot write file", path, error);
  }
  // Failing to keep unusual permissions (a file of another owner) does not lose data; go on.
  if (exists && ::fchmod(file.fd_, old.st_mode & 07777) != 0) errno = 0;
  return file;
}

AtomicFile::~AtomicFile() { discard(); }

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)),
      written_(other.written_),
      buffer_(std::exchange(other.buffer_, {})),
      failed_(std::exchange(other.failed_, true)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  path_ = std::move(other.path_);
  target_ = std::move(other.target_);
  temporary_ = std::exchange(other.temporary_, {});
  fd_ = std::exchange(other.fd_, -1);
  written_ = other.written_;
  buffer_ = std::exchange(other.buffer_, {});
  failed_ = std::exchange(other.failed_, true);
  return *this;
}

void AtomicFile::discard() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

Status AtomicFile::fail(const char* action) {
  const int error = errno;
  failed_ = true;
  discard();
  return system_error("K3003", action, path_, error);
}

Status AtomicFile::flush() {
  if (failed_) return Status::error("K3003", "cannot write file after an earlier error: " + path_);
  if (!write_all(fd_, buffer_.data(), buffer_.size(), written_)) return fail("cannot write file");
  written_ += buffer_.size();
  buffer_.clear();
  return {};
}

Status AtomicFile::write(const void* data, size_t size) {
  if (failed_) return flush();
  if (buffer_.size() + size <= kBufferBytes) {
    buffer_.append(static_cast<const char*>(data), size);
    return {};
  }
  KILN_RETURN_IF_ERROR(flush());
  if (!write_all(fd_, static_cast<const char*>(data), size, written_)) {
    return fail("cannot write file");
  }
  written_ += size;
  return {};
}

Status AtomicFile::write_at(uint64_t offset, const void* data, size_t size) {
  KILN_CHECK_LE(size, this->offset());
  KILN_CHECK_LE(offset, this->offset() - size);
  KILN_RETURN_IF_ERROR(flush());
  if (!write_all(fd_, static_cast<const char*>(data), size, offset)) {
    return fail("cannot write file");
  }
  return {};
}

Status AtomicFile::commit(bool durable) {
  KILN_RETURN_IF_ERROR(flush());
  if (durable && ::fsync(fd_) != 0) return fail("cannot sync file");
  // Some network file systems report a failed write only here.
  if (::close(std::exchange(fd_, -1)) != 0) return fail("cannot close file");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) return fail("cannot replace file");
  temporary_.clear();
  failed_ = true;  // nothing may be written any more
  if (!durable) return {};
  // The content is in place; a folder that cannot be synced (no read permission, some network file
  // systems) only delays when the new name becomes durable.
  ScopedFd folder(open_retrying(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY));
  if (folder.get() >= 0 && ::fsync(folder.get()) != 0 && errno == EIO) {
    return system_error("K3003", "cannot sync folder of file", path_, errno);
  }
  return {};
}

}  // namespace kiln
