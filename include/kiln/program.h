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
class State;

// A weight of a program, under the user's name.
struct WeightInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// A value for a weight: contiguous, borrowed; `owner` keeps it alive. Where it lies on another
// device than the program, the program makes a copy.
struct WeightView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;
  Device device = {};
};

struct LoadOptions {
  int threads = 0;               // 0: the caller's setting (OMP_NUM_THREADS, torch's) at each run
  // Allow calls outside the built-in list of harmless operators, and use the machine code that the
  // file brings for its kernels (SaveOptions::native).
  bool trust = false;
  std::vector<std::string> allow_ops;  // further operators to allow ("mylib::op")
  Host* host = nullptr;          // executes fallback calls; null: programs without them only
  int device_index = 0;          // which GPU a program for one runs on
  bool cuda_graphs = true;       // replay what a run puts on a GPU where that can be recorded
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
  // Of outputs: a fresh tensor; what the run leaves in input `target` (the caller's tensor, or a
  // tensor of the state: inputs() and then state_infos() are counted); or a view of the memory of
  // input or output `target`.
  enum class Role { kResult, kWritesInput, kViewOfInput, kViewOfOutput } role = Role::kResult;
  int target = -1;
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

  const std::vector<TensorInfo>& inputs() const;  // the caller's; the state is not among them
  const std::vector<TensorInfo>& outputs() const;
  // The weights that it reads, each once, in a fixed order.
  const std::vector<WeightInfo>& weights() const;
  // Gives the named weights new values and computes again what depends on them; the others stay as
  // they are. The memory is borrowed: constants that are weights as they are read it in place, so
  // it must not change afterwards. Runs in other threads end with the old values; the next ones see
  // all the new ones. On error (K3113..K3116, K4501) nothing has changed.
  Status update_weights(const std::vector<WeightView>& weights);
  // The buffers that the program changes (KV caches, counters), under the model's names.
  const std::vector<TensorInfo>& state_infos() const;
  // Where inputs, outputs and state lie.
  Device device() const;
  // JSON texts stored beside the plan: the input/output trees, options, the build report.
  const std::string& metadata() const;
  const std::string& report_json() const;

  // One per thread that runs at the same time; they share weights and bound shapes. Each has a
  // state of its own, made at its first run, where none is given.
  std::unique_ptr<ExecutionContext> create_context();
  // Contexts of one state, of this program or of another one with tensors of the same names and
  // types (a prefill and a decode program), run one after the other.
  std::unique_ptr<ExecutionContext> create_context(std::shared_ptr<State> state);
  // A state with the initial values (of the weights as they are now). K4501.
  Result<std::shared_ptr<State>> create_state();
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

// What a program keeps from run to run. Any number of threads may use one state: runs and the
// methods here exclude each other.
class State {
 public:
  ~State();
  const std::vector<TensorInfo>& infos() const;
  // Copies a tensor out or in; `to` and `from` have its dtype and shape, any strides, and lie where
  // the state lies or on the host. K4116 for an unknown name, K4117 for another dtype, shape or
  // device.
  Status get(const std::string& name, const TensorView& to) const;
  Status set(const std::string& name, const TensorView& from);
  // The memory itself, contiguous, as long as the state lives. Whoever uses it sees to it that no
  // run of this state goes on meanwhile.
  Result<TensorView> view(const std::string& name);
  // Back to the initial values.
  Status reset();

  class Impl;
  explicit State(std::unique_ptr<Impl> impl);
  Impl* impl() { return impl_.get(); }

 private:
  std::unique_ptr<Impl> impl_;
};

// Scratch memory and position of one run at a time. Not for concurrent use.
//
// `inputs` below are those of Program::inputs(). Given with one view more for each of
// state_infos(), these are used in place of the context's state.
//
// A written input is written where it lies; when a run fails, it may hold some of the new elements,
// as after an eager call that raised. K4118 when elements of a written input share memory with each
// other or with another input.
class ExecutionContext {
 public:
  ~ExecutionContext();

  // On a GPU: runs put their work on this stream (a CUstream, which is a cudaStream_t) and do not
  // wait for it. Null is the default stream; so it is where none was set, except in a process with
  // torch (libkiln_torch), where it is torch's current one. The stream must live as long as the
  // context, or until a run on another one has begun. Runs of one context on different streams are
  // put in order. While somebody records a stream (cudaStreamBeginCapture), runs on it become part
  // of the recording; the context must then live as long as the graph, and work that it put on
  // another stream before must be done. On the CPU: no effect.
  void set_stream(void* stream);

  // Shapes of the outputs for these inputs. K4101..K4105: wrong number, dtype, rank or size of an
  // input, naming the input, the dim, the value and the range.
  Result<std::vector<TensorSpec>> infer_shapes(const std::vector<TensorView>& inputs);
  // Outputs are written where the views say; any strides. An output that is a view is copied there,
  // or left out where the view has no data; written inputs have none.
  Status run(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs);
  // Outputs are allocated by the caller's function and returned as views over its memory; those
  // that are views of inputs, state or other outputs are returned as such. K4115 when the strides
  // of an input cannot express the view. Shapes and strides live until the next run.
  Result<std::vector<TensorView>> run(const std::vector<TensorView>& inputs,
                                      const OutputAllocator& allocate);

  class Impl;
  explicit ExecutionContext(std::unique_ptr<Impl> impl);
  Impl* impl() { return impl_.get(); }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln
