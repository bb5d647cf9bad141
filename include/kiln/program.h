// Running compiled programs. No torch, no Python; links libkiln_runtime.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <kiln/status.h>
#include <kiln/tensor.h>

namespace kiln {

class Engine;  // a program's plan and constants
class Host;
class ExecutionContext;
class Program;

// A weight of a program, under the user's name.
struct WeightInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// A value for a weight: contiguous, borrowed; `owner` keeps it alive.
struct WeightView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;
};

struct LoadOptions {
  int threads = 0;               // 0: the caller's setting (OMP_NUM_THREADS, torch's) at each run
  bool trust = false;            // allow calls outside the built-in list of harmless operators
  std::vector<std::string> allow_ops;  // further operators to allow ("mylib::op")
  Host* host = nullptr;          // executes fallback calls; null: programs without them only
  // Values by name. A file that was saved without weights needs all of them; of a file that has
  // them, these replace the ones of their names.
  std::vector<WeightView> weights;
};

// One dim of an input or output: a fixed extent, or an expression over named symbols with a range.
struct DimInfo {
  std::string expression;  // "64", "s0", "s0 + 1"
  int64_t min = 0;
  int64_t max = 0;
};

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<DimInfo> dims;
  std::vector<int> order;  // memory order outermost first; empty: contiguous
};

// Gives memory for an output when run() needs it: `data` for `bytes` bytes, 64-byte aligned, alive
// until the caller is done with the output. Null refuses.
using OutputAllocator = std::function<void*(int output, const TensorSpec& spec, size_t bytes)>;

// A compiled program: immutable, shared by any number of threads.
class Program {
 public:
  // K3xxx for a missing, damaged or foreign file; K5xxx when this machine lacks what it needs;
  // K3112..K3116 when LoadOptions::weights and the program do not fit together.
  static Result<std::shared_ptr<Program>> load(const std::string& path, LoadOptions options = {});
  // As load(); `owner` keeps `bytes` alive as long as the program needs them (weights are not
  // copied).
  static Result<std::shared_ptr<Program>> load(const void* bytes, size_t size,
                                               std::shared_ptr<const void> owner,
                                               LoadOptions options = {});

  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  // The weights that it reads, each once, in a fixed order.
  const std::vector<WeightInfo>& weights() const;
  // Gives the named weights new values and computes again what depends on them; the others stay as
  // they are. The memory is borrowed: constants that are weights as they are read it in place, so
  // it must not change afterwards. Runs in other threads end with the old values; the next ones see
  // all the new ones. On error (K3113..K3116, K4501) nothing has changed.
  Status update_weights(const std::vector<WeightView>& weights);
  // JSON texts stored beside the plan: the input/output trees, options, the build report.
  const std::string& metadata() const;
  const std::string& report_json() const;

  // One per thread that runs at the same time; they share weights and bound shapes.
  std::unique_ptr<ExecutionContext> create_context();
  std::shared_ptr<Engine> engine() const { return engine_; }

  // For compilers: a program around an engine that was just built.
  static std::shared_ptr<Program> from_engine(std::shared_ptr<Engine> engine, std::string metadata,
                                              std::string report);
  ~Program();

 private:
  explicit Program(std::shared_ptr<Engine> engine);

  std::shared_ptr<Engine> engine_;
  struct Info;
  std::unique_ptr<Info> info_;
};

// Scratch memory and position of one run at a time. Not for concurrent use.
class ExecutionContext {
 public:
  ~ExecutionContext();

  // Shapes of the outputs for these inputs. K4101..K4105: wrong number, dtype, rank or size of an
  // input, naming the input, the dim, the value and the range.
  Result<std::vector<TensorSpec>> infer_shapes(const std::vector<TensorView>& inputs);
  // Outputs are written where the views say; any strides.
  Status run(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs);
  // Outputs are allocated by the caller's function and returned as views over its memory.
  Result<std::vector<TensorView>> run(const std::vector<TensorView>& inputs,
                                      const OutputAllocator& allocate);

  class Impl;
  explicit ExecutionContext(std::unique_ptr<Impl> impl);
  Impl* impl() { return impl_.get(); }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln
