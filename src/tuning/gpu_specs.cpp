// GPUs to compile for where there is none: one per compute capability, from the makers' data
// sheets.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/status.h"
#include "tuning/device_spec.h"

namespace kiln {
namespace {

constexpr std::string_view kGpus = R"([
  {"name": "A100", "isa": "sm_80", "multiprocessors": 108, "shared_bytes_per_block": 166912,
   "l2_bytes": 41943040, "memory_bytes_per_second": 2039000000000},
  {"name": "A10", "isa": "sm_86", "multiprocessors": 72, "shared_bytes_per_block": 101376,
   "l2_bytes": 6291456, "memory_bytes_per_second": 600000000000},
  {"name": "L40S", "isa": "sm_89", "multiprocessors": 142, "shared_bytes_per_block": 101376,
   "l2_bytes": 100663296, "memory_bytes_per_second": 864000000000},
  {"name": "H100", "isa": "sm_90", "multiprocessors": 132, "shared_bytes_per_block": 232448,
   "l2_bytes": 52428800, "memory_bytes_per_second": 3350000000000},
  {"name": "B200", "isa": "sm_100", "multiprocessors": 148, "shared_bytes_per_block": 232448,
   "l2_bytes": 132120576, "memory_bytes_per_second": 8000000000000},
  {"name": "RTX 5090", "isa": "sm_120", "multiprocessors": 170, "shared_bytes_per_block": 101376,
   "l2_bytes": 100663296, "memory_bytes_per_second": 1792000000000}
])";

constexpr int kOldest = 80;  // copies and matrix instructions of the device headers

Status malformed(const Status& status) {
  return Status::error("K2010", "description of a GPU is malformed: " + status.message());
}

}  // namespace

Result<DeviceSpec> DeviceSpec::gpu_from_json(const Json& json) {
  DeviceSpec spec;
  spec.kind = DeviceKind::kCuda;
  auto number = [&](std::string_view name, auto& to) -> Status {
    using Number = std::remove_reference_t<decltype(to)>;
    auto value = json.int_at(name, 1, std::numeric_limits<Number>::max());
    if (!value.ok()) return malformed(value.status());
    to = static_cast<Number>(*value);
    return {};
  };
  auto isa = json.string_at("isa");
  if (!isa.ok()) return malformed(isa.status());
  spec.isa = *isa;
  const bool digits = spec.isa.size() > 3 && spec.isa.size() < 8 &&
                      std::all_of(spec.isa.begin() + 3, spec.isa.end(),
                                  [](char c) { return c >= '0' && c <= '9'; });
  if (!spec.isa.starts_with("sm_") || !digits) {
    return Status::error("K2010", "description of a GPU has no such isa: '" + spec.isa + "'",
                         "it is sm_ and the compute capability, as in sm_90");
  }
  if (spec.sm() < kOldest) {
    return Status::error("K2010", "a GPU that is too old: " + spec.isa,
                         "Kiln's kernels need sm_80 or later");
  }
  KILN_RETURN_IF_ERROR(number("multiprocessors", spec.multiprocessors));
  KILN_RETURN_IF_ERROR(number("shared_bytes_per_block", spec.shared_bytes_per_block));
  KILN_RETURN_IF_ERROR(number("l2_bytes", spec.l2_bytes));
  KILN_RETURN_IF_ERROR(number("memory_bytes_per_second", spec.memory_bytes_per_second));
  return spec;
}

Result<DeviceSpec> DeviceSpec::gpu(int sm) {
  KILN_ASSIGN_OR_RETURN(const Json gpus, parse_json(kGpus));
  std::string known;
  for (const Json& gpu : gpus.as_array()) {
    KILN_ASSIGN_OR_RETURN(DeviceSpec spec, gpu_from_json(gpu));
    if (spec.sm() == sm) return spec;
    known += (known.empty() ? "cuda:" : ", cuda:") + spec.isa;
  }
  return Status::error("K2010",
                       "no GPU of this compute capability is known: sm_" + std::to_string(sm),
                       "known: " + known);
}

}  // namespace kiln
