#include "tuning/device_spec.h"

#include <cstdlib>

#include "base/parallel_for.h"
#include "core/cpu_features.h"

namespace kiln {

std::string DeviceSpec::target() const {
  return (kind == DeviceKind::kCpu ? "cpu:" : "cuda:") + isa;
}

int DeviceSpec::sm() const {
  return kind == DeviceKind::kCuda && isa.starts_with("sm_") ? std::atoi(isa.c_str() + 3) : 0;
}

DeviceSpec DeviceSpec::host() {
  DeviceSpec spec;
  spec.isa = std::string(cpu_level_name(cpu_level()));
  spec.threads = num_threads();
  return spec;
}

}  // namespace kiln
