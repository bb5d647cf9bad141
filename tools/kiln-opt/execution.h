// Executes two versions of a module on the reference executor with the same data and compares.
#pragma once

#include <map>
#include <string>

#include "base/status.h"
#include "interp/random_data.h"
#include "ir/module.h"

namespace kiln {

// What data an input or a weight gets; by its name.
struct DataRule {
  DataKind kind = DataKind::kNormal;
  int64_t limit = 1;  // for kIndices
};

struct ExecutionRules {
  std::map<std::string, DataRule, std::less<>> data;
  double tolerance = 1e-5;       // rms of the difference over rms of the original; 0: bit-equal
  bool trivial_outputs = false;  // outputs may be zero everywhere
};

// OK when all outputs agree, at typical sizes and at the smallest ones that the ranges allow.
// K9101 outputs differ, K9102 outputs carry no information (zero or not finite everywhere), K9103
// `original` cannot be executed, K9104 `changed` cannot.
Status compare_by_execution(Module& original, Module& changed, const ExecutionRules& rules);

}  // namespace kiln
