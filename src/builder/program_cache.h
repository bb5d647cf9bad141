// Compiled programs on disk, so that the next process need not compile them again: docs/cache.md.
//
// An entry is what the phases make of a captured program, without weights; its key is the hash of
// everything that they read. The constants are computed anew (docs/decisions/013).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <kiln/builder.h>

#include "base/cache_folder.h"
#include "base/json.h"
#include "ir/module.h"
#include "runtime/plan.h"

namespace kiln {

class Backend;

// What compiling a captured program gives. The weights are the captured ones that the plan reads,
// in its order.
struct ProgramParts {
  EnginePlan plan;
  std::vector<Weight> weights;
  std::string report;  // JSON
  std::string simplified_ir, lowered_ir;
};

// The cache as one compilation uses it. Never fails: what is wrong stands in `notes`, and the
// program is compiled as if there were no cache.
class ProgramCache {
 public:
  // Off when the options or a debug switch say so.
  static ProgramCache open(const CaptureBuilder& capture, const BuildOptions& options,
                           const Backend& backend);

  bool usable() const { return folder_.has_value(); }
  // The program, with the weights of `module`, which loses them; else why not is noted.
  std::optional<ProgramParts> find(Module& module);
  void store(const ProgramParts& parts);

  // {"program": "hit" | "miss" | "off" | "unusable", "why", "key", "folder"}, for the report.
  Json report() const;

 private:
  std::optional<CacheFolder> folder_;
  Hash128 key_;
  std::string outcome_ = "off", why_;
};

}  // namespace kiln
