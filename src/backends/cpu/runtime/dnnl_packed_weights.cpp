#include "backends/cpu/runtime/dnnl_packed_weights.h"

#include <cstdlib>
#include <utility>

#include "backends/cpu/runtime/dnnl_reorder.h"

namespace kiln {

void DnnlPackedWeights::FreeDeleter::operator()(void* memory) const { std::free(memory); }

Result<const void*> DnnlPackedWeights::in_layout(const DnnlLayout& wanted) {
  if (wanted == layout_) return packed_;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Copy& copy : copies_) {
    if (copy.layout == wanted) return static_cast<const void*>(copy.memory.get());
  }
  constexpr size_t kAlign = 64;
  const size_t bytes = (wanted.bytes() + kAlign - 1) / kAlign * kAlign;
  Copy copy{wanted, std::unique_ptr<void, FreeDeleter>(std::aligned_alloc(kAlign, bytes))};
  if (copy.memory == nullptr) {
    return Status::error("K4501", "out of memory for repacked weights, bytes: " +
                                      std::to_string(bytes));
  }
  KILN_RETURN_IF_ERROR(dnnl_copy(layout_, packed_, wanted, copy.memory.get()));
  copies_.push_back(std::move(copy));
  return static_cast<const void*>(copies_.back().memory.get());
}

size_t DnnlPackedWeights::extra_bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  size_t bytes = 0;
  for (const Copy& copy : copies_) bytes += copy.layout.bytes();
  return bytes;
}

}  // namespace kiln
