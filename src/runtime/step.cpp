#include "runtime/step.h"

#include "base/check.h"

namespace kiln {

int64_t ConcreteView::num_elements() const {
  int64_t total = 1;
  bool overflow = false;
  for (int64_t extent : dims) {
    if (extent == 0) return 0;
    overflow = __builtin_mul_overflow(total, extent, &total) || overflow;
  }
  return overflow ? INT64_MAX : total;
}

bool ConcreteView::is_contiguous() const {
  int64_t expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] == 1) continue;
    if (strides[i] != expected) return false;
    expected *= dims[i];
  }
  return true;
}

bool ConcreteView::in_bounds() const {
  if (packed != nullptr) return true;
  bool empty = false;
  for (int64_t extent : dims) {
    if (extent < 0) return false;
    empty = empty || extent == 0;
  }
  if (empty) return true;
  __int128 low = offset, high = offset;
  for (size_t i = 0; i < dims.size(); ++i) {
    const __int128 span = static_cast<__int128>(dims[i] - 1) * strides[i];
    // Beyond 2^62 nothing can be in bounds, and the sums below cannot overflow.
    if (span > (__int128{1} << 62) || span < -(__int128{1} << 62)) return false;
    (span < 0 ? low : high) += span;
  }
  return low >= 0 && high < slot_elements;
}

Status BoundStep::run_part(const RunArgs&, int) {
  KILN_CHECK_MSG(false, "step has no parts: " + implementation());
}

size_t BoundStep::packed_bytes(int) const { return 0; }

std::string BoundStep::packed_format(int) const { return {}; }

StepRegistry& StepRegistry::global() {
  static StepRegistry registry;
  return registry;
}

void StepRegistry::add(std::string_view kind, StepFactory factory) {
  const bool inserted = factories_.emplace(kind, factory).second;
  KILN_CHECK_MSG(inserted, "two steps have the same kind: " + std::string(kind));
}

Result<std::unique_ptr<Step>> StepRegistry::create(const StepDesc& desc,
                                                   const StepEnvironment& env) const {
  auto found = factories_.find(desc.kind);
  if (found == factories_.end()) {
    return Status::error("K3201", "unknown kind of step: '" + desc.kind + "'",
                         "the file may come from a newer version of kiln");
  }
  auto step = found->second(desc, env);
  if (!step.ok()) return std::move(step).status().at(desc.kind + " " + desc.origin);
  return step;
}

}  // namespace kiln
