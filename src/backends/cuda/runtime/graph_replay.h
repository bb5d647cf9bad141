// CUDA graphs of a bound plan: spans of steps are recorded at the second run and replayed from then
// on. Memory of the context and constants lie where they lay; the addresses of inputs, outputs and
// results of host calls differ from run to run. Where kernels of Kiln alone use such a slot, their
// nodes get the new addresses; where a library's kernels do, the slot's contents are copied to and
// from a fixed place, from the first time on that its address differs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/runtime/driver.h"
#include "backends/cuda/runtime/launch.h"
#include "runtime/plan_replay.h"

namespace kiln::cuda {

class GraphReplay : public PlanReplay {
 public:
  GraphReplay(const Driver& driver, DeviceRuntime& device, const Plan& plan,
              const ShapePlan& shape);
  ~GraphReplay() override;
  Status run(RunBuffers& buffers) override;
  const ReplayReport& report() const override { return report_; }

 private:
  // A slot whose address may be another one at each run.
  struct External {
    int slot = -1;
    bool copy_in = false;  // when it is staged: something in it is read or kept
    bool written = false;
    std::string opaque;  // the step whose addresses cannot be changed; empty: there is none
    bool staged = false;
    void* recorded = nullptr;  // the address in the graph
  };
  struct Patch {
    CUgraphNode node = nullptr;
    size_t step = 0, launch = 0;
    std::vector<size_t> externals;  // of the span, that it uses
  };
  struct Span {
    size_t first = 0, last = 0;  // inclusive
    std::string plain;           // why it is not recorded
    std::vector<int> fixed;      // slots whose addresses stay
    std::vector<External> externals;
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    std::vector<void*> fixed_at;  // parallel to `fixed`
    void* scratch_at = nullptr;
    std::vector<Patch> patches;
  };

  void find_slots(Span& span);
  Status run_steps(const Span& span, RunBuffers& buffers);
  Status replay(Span& span, RunBuffers& buffers);
  bool must_record(Span& span, const RunBuffers& buffers);
  Status stage(Span& span, RunBuffers& buffers);
  Status record(Span& span, RunBuffers& buffers);
  Status record_steps(Span& span, RunBuffers& buffers);
  Status patch(Span& span, RunBuffers& buffers);
  void drop(Span& span);

  const Driver& driver_;
  DeviceRuntime& device_;
  const Plan& plan_;
  const ShapePlan& shape_;
  std::vector<Span> spans_;
  struct Staging {
    std::shared_ptr<void> memory;
    StreamHandle stream = nullptr;  // that it was made for
  };
  std::vector<Staging> staging_;   // per slot
  std::vector<void*> own_;         // per slot: the caller's address while staged
  StreamHandle stream_ = nullptr;  // of the last run
  bool warm_ = false;
  ReplayReport report_;
};

}  // namespace kiln::cuda
