// Compiling captured programs. Links libkiln (which links libkiln_runtime).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <kiln/capture.h>
#include <kiln/program.h>
#include <kiln/status.h>

namespace kiln {

struct BuildOptions {
  int threads = 0;            // threads the program will run with; 0: the caller's setting at run
  bool strict = false;        // K2001 instead of any call left to PyTorch
  int min_block_size = 1;     // native runs of fewer ops go back to PyTorch
  std::string target;         // "" or "cpu": this machine
  std::string metadata;       // JSON object kept with the program: input and output trees, options
  std::string name;           // for dumps and messages
};

enum class WeightPolicy : uint8_t {
  kEmbed,    // the file holds the weights
  kExternal  // the file lists them with their hashes; whoever loads it gives the values
};

struct SaveOptions {
  WeightPolicy weights = WeightPolicy::kEmbed;
};

// A built program: can run here and be saved.
class CompiledProgram {
 public:
  ~CompiledProgram();

  // Runs the init graph on the captured weights. They are borrowed: constants that are weights as
  // they are take no memory.
  Result<std::shared_ptr<Program>> instantiate(const LoadOptions& options);
  // Writes a .kiln file; on failure an existing file stays as it was. K30xx.
  Status save(const std::string& path, const SaveOptions& options = {});
  // The bytes that save() would write.
  Result<std::string> serialize(const SaveOptions& options = {});
  // The report of the design's section 9: coverage, fallbacks, kernels, memory, times per phase.
  const std::string& report_json() const;
  // The IR after simplify ("simplified") or before lowering ("lowered"), as text.
  const std::string& ir(std::string_view stage) const;
  // Names of the weights in the order that weights() and update use.
  std::vector<std::string> weight_names() const;

  class Impl;
  explicit CompiledProgram(std::unique_ptr<Impl> impl);
  Impl* impl() { return impl_.get(); }

 private:
  std::unique_ptr<Impl> impl_;
};

// Compiles what was captured. K1xxx from the capture, K2xxx from the compiler.
Result<std::unique_ptr<CompiledProgram>> compile(CaptureBuilder& capture,
                                                 const BuildOptions& options);

// The coverage part of the report without building kernels.
Result<std::string> explain(CaptureBuilder& capture, const BuildOptions& options);

}  // namespace kiln
