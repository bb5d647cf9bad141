// Kernels' sources to host code that the emulator runs: g++ with the emulated device headers, many
// kernels to one library, each distinct kernel once. Libraries stay on disk, keyed by the text, the
// headers and the compiler, so that a test's next run compiles only what has changed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/kernel_compiler.h"
#include "emulator/execution.h"

namespace kiln::emulator {

struct CompileCounts {
  int kernels = 0;   // asked for
  int distinct = 0;  // of those, not seen before in this process
  int compiled = 0;  // of those, not on disk
  double seconds = 0;
};

// A kernel in a file of its own, as assembly.
struct Alone {
  std::string stem;      // path without its suffix
  std::string assembly;  // "": it does not compile
  std::string entry;
};

class HostCompiler {
 public:
  // In KILN_EMULATOR_CACHE, or below the build folder.
  HostCompiler();
  explicit HostCompiler(std::string folder) : folder_(std::move(folder)) {}

  // Images for cuModuleLoadData, parallel to `sources`. K5306 with the compiler's log and the
  // entry's name when a source does not compile; the others are compiled all the same.
  Result<std::vector<cuda::CompiledKernel>> compile(const std::vector<cuda::KernelSource>& sources);
  const CompileCounts& counts() const { return counts_; }

  // In two halves and without the cache, for variants of a kernel that run once: equal assembly is
  // an equal kernel. forget_alone() deletes their files.
  Result<std::vector<Alone>> assemble(const std::vector<cuda::KernelSource>& sources);
  Result<std::vector<cuda::CompiledKernel>> link(const std::vector<Alone>& kernels);
  // Which of `others` become the same optimised code as `source`, against emulator/plain. They do
  // the same in every launch, or, if `every_launch` is given, in every launch of that shape. The
  // sources must contain their headers, but for the platform's.
  Result<std::vector<bool>> equivalent(const cuda::KernelSource& source,
                                       const std::vector<cuda::KernelSource>& others,
                                       const std::optional<Shape>& every_launch);
  void forget_alone();

 private:
  std::string folder_;
  CompileCounts counts_;
  Status build(const std::vector<const cuda::KernelSource*>& sources,
               const std::vector<std::string>& keys, const std::string& folder);
  Result<std::vector<Alone>> assemble(const std::vector<std::string>& texts,
                                      const std::vector<std::string>& compiler);

  std::map<std::string, std::string> images_;  // by key
  int alone_ = 0;                              // how many there were
  std::map<std::string, std::string> logs_;    // of those that do not compile
};

}  // namespace kiln::emulator
