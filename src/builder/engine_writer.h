// Writes `.kiln` files (docs/engine_file.md).
#pragma once

#include <string>
#include <vector>

#include <kiln/builder.h>

#include "base/status.h"
#include "ir/module.h"
#include "runtime/plan.h"

namespace kiln {

struct EngineFile {
  std::string metadata;  // JSON object: input and output trees, options
  std::string report;    // JSON; times, hosts and paths are left out when it is written
  std::string graph;     // IR text after simplify
  std::vector<const EnginePlan*> plans;  // one per target
  std::vector<const Weight*> weights;    // in the order of EnginePlan::weights
  WeightPolicy weight_policy = WeightPolicy::kEmbed;
};

// Equal contents give equal bytes. Atomic: temporary name, fsync, rename. K30xx.
Status write_engine_file(const std::string& path, const EngineFile& file);
// The same bytes in memory.
Result<std::string> serialize_engine_file(const EngineFile& file);

}  // namespace kiln
