#include "tuning/device_spec.h"

#include "base/parallel_for.h"
#include "core/cpu_features.h"

namespace kiln {

std::string DeviceSpec::target() const {
  return (kind == DeviceKind::kCpu ? "cpu:" : "cuda:") + isa;
}

DeviceSpec DeviceSpec::host() {
  DeviceSpec spec;
  spec.isa = std::string(cpu_level_name(cpu_level()));
  spec.threads = num_threads();
  return spec;
}

}  // namespace kiln
