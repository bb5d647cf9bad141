// The eight phases from captured IR to an engine plan, and what they note for the report.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <kiln/builder.h>
#include <kiln/capture.h>

#include "base/json.h"
#include "ir/module.h"
#include "passes/backend_support.h"
#include "passes/pass_manager.h"
#include "runtime/plan.h"

namespace kiln {

class Backend;
class Tactic;

// One compilation. Phases run in the order of phases.cpp; each leaves its results here.
struct Build {
  std::unique_ptr<Module> module;
  std::vector<CaptureBuilder::CallRecord> records;
  BuildOptions options;
  std::unique_ptr<Backend> backend;

  PassContext context;
  FallbackLog fallbacks;
  PrecisionLog precision;

  std::string simplified_ir, lowered_ir;  // text of the module at these points
  struct KernelChoice {
    std::string kernel;  // tactic name
    std::string label;   // ops it computes
    Origin origin;
    DType dtype = DType::kF32;  // that it computes on
    std::vector<std::string> refusals;  // "provider: reason" of those asked before
  };
  std::vector<KernelChoice> kernels;
  std::map<Node*, std::unique_ptr<Tactic>> tactics;
  EnginePlan plan;
  std::vector<std::pair<std::string, double>> seconds;  // per phase, in order
  std::vector<PassTiming> pass_timings;
};

// Runs of native work between calls to PyTorch: in the plan once there is one, else in the graph.
int count_segments(Build& build);

// Runs phases 1 to 4 (coverage is known) or all eight, for build.backend, which must be set. They
// see the names and types of weights, never their bytes: plans are kept for other values (see
// program_cache.h).
Status run_phases(Build& build, bool coverage_only);

// Phases 5 to 8 alone, on build.module as it is, for build.backend, which must be set. For tests of
// backends and tools.
Status run_lowering_phases(Build& build);

// The report as JSON; see docs/report.md.
Json make_report(Build& build);

}  // namespace kiln
