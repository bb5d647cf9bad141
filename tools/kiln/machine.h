// What `kiln doctor` looks for on this machine. Every probe only looks: nothing is installed,
// started or changed.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace kiln::tool {

enum class Verdict {
  kOk,
  kNote,     // fine, and worth knowing
  kWarning,  // works, but slower or without a feature
  kProblem   // programs cannot run
};

struct Finding {
  std::string topic;  // "oneDNN"
  Verdict verdict = Verdict::kOk;
  std::string text;    // what was found
  std::string advice;  // what to do about it; empty when nothing is needed
  Json details;        // the same as values, for --json
};

Finding probe_versions();
Finding probe_cpu();
Finding probe_threads();
Finding probe_memory();
Finding probe_huge_pages();
Finding probe_onednn();
Finding probe_torch();
Finding probe_cuda();
// KILN_OPTIONS, KILN_LOGS and other variables that change what Kiln does.
Finding probe_environment();

}  // namespace kiln::tool
