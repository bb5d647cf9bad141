// Writes `.kiln` files (docs/engine_file.md).
#pragma once

#include <string>
#include <vector>

#include <kiln/builder.h>

#include "base/file.h"
#include "base/status.h"
#include "ir/module.h"
#include "runtime/native_code.h"
#include "runtime/plan.h"

namespace kiln {

struct EngineFile {
  std::string metadata;  // JSON object: input and output trees, options
  std::string report;    // JSON; times, hosts and paths are left out when it is written
  std::string graph;     // IR text after simplify
  std::vector<const EnginePlan*> plans;  // one per target
  // Machine code of the plans' kernels, parallel to them; empty: the file holds none.
  std::vector<NativeCode> code;
  std::vector<const Weight*> weights;    // in the order of EnginePlan::weights
  WeightPolicy weight_policy = WeightPolicy::kEmbed;
};

// The report without what differs from one build of the same program to the next.
Result<std::string> timeless_report(const std::string& report);

// Equal contents give equal bytes. Atomic: temporary name, fsync, rename. K30xx.
Status write_engine_file(const std::string& path, const EngineFile& file);
// The same bytes into a sink.
Status write_engine(const EngineFile& file, ByteSink& sink);
// The same bytes in memory.
Result<std::string> serialize_engine_file(const EngineFile& file);

}  // namespace kiln
