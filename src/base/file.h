// Files: read whole, mapped, and written so that a failure never harms the file that was there.
//
// Errors: K3001 cannot open or map, K3002 cannot read, K3003 cannot write or replace, K3004 not a
// regular file, K3005 larger than the caller's limit. The text names the path and the system's
// reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kiln {

// A read-only private mapping of a whole file. The pages come from the file when they are touched;
// another process that truncates the file meanwhile makes touching them a SIGBUS, as with any
// mapping, which is why Kiln replaces files by rename and never shortens them.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  // The same; nothing where there is no file of this name.
  static Result<std::optional<MappedFile>> open_if_there(const std::string& path);

  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::byte* data() const { return data_; }  // null when the file is empty
  size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole content; at most `max_bytes` (K3005 above). Reads pipes and /proc files as well.
Result<std::string> read_file(const std::string& path, size_t max_bytes = size_t{1} << 32);

// Replaces or creates the file at `path` with this content, by AtomicFile.
Status write_file(const std::string& path, std::string_view content);

// Where bytes are appended: a file, or a string.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // Appends. After an error every further call returns an error.
  virtual Status write(const void* data, size_t size) = 0;
  Status write(std::string_view text) { return write(text.data(), text.size()); }
  // How many bytes were appended.
  virtual uint64_t offset() const = 0;
};

// Appends to the caller's string, which must be empty at first.
class StringSink : public ByteSink {
 public:
  explicit StringSink(std::string& text) : text_(text) {}
  using ByteSink::write;
  Status write(const void* data, size_t size) override {
    text_.append(static_cast<const char*>(data), size);
    return {};
  }
  uint64_t offset() const override { return text_.size(); }

 private:
  std::string& text_;
};

// Writes a file under a temporary name in the same folder; commit() syncs it, renames it to
// `path` and syncs the folder. Until then, and whenever something fails, the old file stays as it
// was; an uncommitted temporary is removed. Follows symbolic links; an existing file's permission
// bits are kept.
class AtomicFile : public ByteSink {
 public:
  static Result<AtomicFile> create(const std::string& path);

  ~AtomicFile() override;
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;

  using ByteSink::write;
  Status write(const void* data, size_t size) override;
  // Overwrites bytes that were appended before, all of them below offset().
  Status write_at(uint64_t offset, const void* data, size_t size);
  uint64_t offset() const override { return written_ + buffer_.size(); }

  // Call once, last. Without `durable` nothing is synced: other processes see the whole file or the
  // old one all the same, but a power failure may leave the new name with other content.
  Status commit(bool durable = true);

 private:
  AtomicFile() = default;
  Status flush();
  Status fail(const char* action);
  void discard();

  std::string path_;       // as the user gave it, for messages
  std::string target_;     // symbolic links resolved
  std::string temporary_;  // empty when nothing is left to remove
  int fd_ = -1;
  uint64_t written_ = 0;  // bytes handed to the system
  std::string buffer_;    // bytes after those
  bool failed_ = false;
};

}  // namespace kiln
