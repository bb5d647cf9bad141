// Reads `.kiln` files: docs/engine_file.md. Everything is checked before use.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <kiln/program.h>

#include "base/json.h"
#include "runtime/engine.h"
#include "runtime/native_code.h"
#include "runtime/plan.h"

namespace kiln {

// The highest number this reader knows; it reads all from 1 on. A writer gives a file the lowest
// number whose readers take it for what it is (format_version_of in the writer).
inline constexpr int kFormatVersion = 3;

struct EngineContents {
  EnginePlan plan;                    // the best one that fits this machine
  std::vector<WeightBytes> weights;   // views into the file; no memory when it has no weights
  std::string metadata, report, graph;
  std::vector<std::string> targets;   // all that the file has plans for
  NativeCode code;                   // of the plan's kernels; nothing in most files
};

// `owner` keeps `bytes` alive. K3103, K3104 damaged; K3108 other format version; K3109 no plan for
// this machine; K31xx malformed parts; K5xxx why the device that all plans want is not there. Of
// several plans the one for the better device is taken, a GPU before the CPU. Not `to_run`: where
// none fits, the first one.
Result<EngineContents> read_engine_file(std::string_view bytes, std::shared_ptr<const void> owner,
                                        int device_index = 0, bool to_run = true);

// Puts the caller's weights over the file's. K3112 one that neither has; K3113..K3116 given ones
// that do not fit.
Status complete_weights(EngineContents& contents, const std::vector<WeightView>& given);

// Refuses host calls that are neither on the built-in list of harmless operators nor allowed.
// K3301 names the operator and the option.
Status check_host_calls(const EnginePlan& plan, const LoadOptions& options);

}  // namespace kiln
