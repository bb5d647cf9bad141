// The ordered lists of passes. Why a pass stands where it does is said next to it.
#include "passes/pass_manager.h"

namespace kiln {

const std::vector<NamedPipeline>& named_pipelines() {
  static const std::vector<NamedPipeline> pipelines = {};
  return pipelines;
}

}  // namespace kiln
