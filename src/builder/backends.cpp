#include "builder/backends.h"

#include "backends/backend.h"
#include "backends/cpu/compile/cpu_backend.h"
#include "base/status.h"

namespace kiln {

Result<std::unique_ptr<Backend>> make_backend(const BuildOptions& options) {
  DeviceSpec device = DeviceSpec::host();
  if (options.threads > 0) device.threads = options.threads;
  if (options.target.empty() || options.target == "cpu" || options.target == device.target()) {
    KILN_RETURN_IF_ERROR(check_disabled_providers());
    return make_cpu_backend(device);
  }
  return Status::error("K2010", "unknown target: '" + options.target + "'",
                       "this build knows 'cpu' (here " + device.target() + ")");
}

}  // namespace kiln
