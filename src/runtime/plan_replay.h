// Running a bound plan again with less work for the host than starting every step: a device records
// what the steps put on a stream and replays it (CUDA graphs). Belongs to one context, whose
// buffers it remembers; DeviceRuntime::make_replay.
#pragma once

#include <string>
#include <vector>

#include <kiln/status.h>

#include "runtime/plan_run.h"

namespace kiln {

// What was done, for reports and tests.
struct ReplayReport {
  int64_t recordings = 0;  // spans that were recorded, those that had to be recorded again included
  int64_t replays = 0;     // of spans
  int64_t plain_runs = 0;  // of the whole plan, step by step
  int64_t patches = 0;     // kernels whose addresses were changed between replays
  struct Span {
    int first = 0, last = 0;  // in ShapePlan::steps, inclusive
    std::string plain;        // why its steps are started one by one; empty: they are replayed
  };
  std::vector<Span> spans;
  // Slots whose memory is copied to and from a fixed place around a replay, and the step that asks
  // for it.
  struct Staged {
    int slot = 0;
    std::string reason;
  };
  std::vector<Staged> staged;
};

class PlanReplay {
 public:
  virtual ~PlanReplay() = default;
  // As run_plan(). The first run of a binding is one step by step; so are those on a stream that
  // somebody else is recording.
  virtual Status run(RunBuffers& buffers) = 0;
  virtual const ReplayReport& report() const = 0;
};

}  // namespace kiln
