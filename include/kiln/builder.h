// Compiling captured programs. Links libkiln (which links libkiln_runtime).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <kiln/capture.h>
#include <kiln/program.h>
#include <kiln/status.h>
#include <kiln/tensor.h>

namespace kiln {

struct EnginePlan;

struct BuildOptions {
  int threads = 0;            // threads the program will run with; 0: the caller's setting at run
  bool strict = false;        // K2001 instead of any call left to PyTorch
  int min_block_size = 1;     // native runs of fewer ops go back to PyTorch
  // What to compile for: "" or "cpu", this machine; "cuda", the GPU of this machine; "cuda:sm_90"
  // or "sm_90", a GPU that need not be here; the path of a JSON file that describes one
  // (docs/gpu.md).
  std::string target;
  int device_index = 0;       // of "cuda": which GPU
  // 16-bit float dtypes that may take the place of f32 (docs/precision.md), the preferred one
  // first: the one in which this machine has kernels for most of the program is taken. Empty: the
  // model's own dtypes.
  std::vector<DType> precisions;
  bool allow_tf32 = false;    // f32 products on a GPU may round their operands to TF32
  bool tune = false;          // libraries' kernels are timed when a shape is first run
  std::string metadata;       // JSON object kept with the program: input and output trees, options
  std::string name;           // for dumps and messages
  // Folder of compiled programs that compile() looks into first and adds to (docs/cache.md); empty:
  // none. Nothing that is wrong with it fails a compilation; the report says what it did.
  std::string cache_dir;
  uint64_t cache_bytes = 0;   // the folder is kept below this size; 0: no limit
};

// Where Kiln's front doors keep compiled programs: $KILN_CACHE_DIR, $XDG_CACHE_HOME/kiln or
// ~/.cache/kiln; empty when none of these is set.
std::string default_cache_dir();
// $KILN_CACHE_SIZE ("500M", "20G", "0" for no limit), else 8 GiB. K1009 when it is no size.
Result<uint64_t> default_cache_bytes();

enum class WeightPolicy : uint8_t {
  kEmbed,    // the file holds the weights
  kExternal  // the file lists them with their hashes; whoever loads it gives the values
};

struct SaveOptions {
  WeightPolicy weights = WeightPolicy::kEmbed;
  // Compiles the kernels of a program for a GPU and puts their machine code into the file, for that
  // GPU and later ones of its major compute capability. Whoever loads it with LoadOptions::trust
  // needs neither libkiln nor NVRTC. K2011 for a program that has no such code, K5305, K5306.
  bool native = false;
};

// A built program: can run here and be saved.
class CompiledProgram {
 public:
  ~CompiledProgram();

  // Runs the init graph on the captured weights. They are borrowed: constants that are weights as
  // they are take no memory.
  Result<std::shared_ptr<Program>> instantiate(const LoadOptions& options);
  // Values for save(), serialize() and instantiate() in place of the captured ones of these names;
  // borrowed. K3113..K3116, and then nothing has changed.
  Status update_weights(const std::vector<WeightView>& weights);
  // Writes a .kiln file; on failure an existing file stays as it was. K30xx; SaveOptions.
  Status save(const std::string& path, const SaveOptions& options = {});
  // "cpu:avx512", "cuda:sm_90": what it was compiled for.
  const std::string& target() const;
  const EnginePlan& plan() const;
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

// Compiles what was captured, or finds it compiled in options.cache_dir. K1xxx from the capture,
// K2xxx from the compiler.
Result<std::unique_ptr<CompiledProgram>> compile(CaptureBuilder& capture,
                                                 const BuildOptions& options);

// The coverage part of the report without building kernels.
Result<std::string> explain(CaptureBuilder& capture, const BuildOptions& options);

}  // namespace kiln
