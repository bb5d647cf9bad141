// Small engine files for the tests of readers: made once, kept in memory.
#pragma once

#include <string>
#include <vector>

#include <kiln/program.h>

namespace kiln::test {

struct SmallFile {
  std::string name;
  std::string bytes;
  // An input set that the program takes, contiguous f32, and its results.
  struct Input {
    std::vector<int64_t> shape;
    std::vector<float> data;
  };
  std::vector<Input> inputs;
  std::vector<std::vector<float>> outputs;
};

const std::vector<SmallFile>& small_files();

// Bytes of memory that starts at a multiple of 64, as mapped files do.
struct AlignedBytes {
  explicit AlignedBytes(const std::string& text);
  ~AlignedBytes();
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  char* data = nullptr;
  size_t size = 0;
};

// Loads and runs on the file's inputs. The outputs' memory is exactly as large as asked for.
struct Outcome {
  Status status;  // of loading, else of running
  bool loaded = false;
  std::vector<std::vector<float>> outputs;
};
Outcome load_and_run(const char* data, size_t size, const SmallFile& file);

// Sets the checksums of every entry, and the hashes of kiln.json where it lists them, to what the
// contents have now.
void recompute_hashes(char* data, size_t size);

}  // namespace kiln::test
