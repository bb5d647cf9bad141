#include "aten/weight_data.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

#include "core/dtype.h"

namespace kiln {

bool is_contiguous(const CaptureWeight& weight) {
  int64_t expected = 1;
  for (size_t i = weight.shape.size(); i-- > 0 && !weight.strides.empty();) {
    if (weight.shape[i] != 1 && weight.strides[i] != expected) return false;
    expected *= weight.shape[i];
  }
  return true;
}

MemorySpan span_of(const CaptureWeight& weight) {
  const auto element = static_cast<int64_t>(dtype_bytes(weight.dtype));
  int64_t low = 0, high = element, contiguous = element;
  for (size_t i = weight.shape.size(); i-- > 0;) {
    if (weight.shape[i] == 0) return {};
    const int64_t stride = weight.strides.empty() ? contiguous : weight.strides[i] * element;
    const int64_t reach = (weight.shape[i] - 1) * stride;
    (reach < 0 ? low : high) += reach;
    contiguous *= weight.shape[i];
  }
  const auto base = reinterpret_cast<uintptr_t>(weight.data);
  return {base + static_cast<uintptr_t>(low), base + static_cast<uintptr_t>(high)};
}

std::vector<int32_t> MemorySpans::add(const MemorySpan& span) {
  std::vector<int32_t> found;
  const auto number = static_cast<int32_t>(spans_.size());
  spans_.push_back(span);
  if (span.low >= span.high) return found;
  auto region = regions_.upper_bound(span.low);
  if (region != regions_.begin() && std::prev(region)->second.high > span.low) --region;
  uintptr_t low = span.low;
  Region joined{span.high, {}};
  while (region != regions_.end() && region->first < span.high) {
    std::vector<int32_t>& members = region->second.members;
    for (int32_t member : members) {
      if (spans_[static_cast<size_t>(member)].overlaps(span)) found.push_back(member);
    }
    low = std::min(low, region->first);
    joined.high = std::max(joined.high, region->second.high);
    if (joined.members.size() < members.size()) joined.members.swap(members);
    joined.members.insert(joined.members.end(), members.begin(), members.end());
    region = regions_.erase(region);
  }
  joined.members.push_back(number);
  regions_.emplace(low, std::move(joined));
  std::sort(found.begin(), found.end());
  return found;
}

WeightData borrow_or_copy(const CaptureWeight& weight, size_t bytes) {
  const size_t rank = weight.shape.size();
  if (is_contiguous(weight) || bytes == 0) return {weight.data, bytes, weight.owner};
  auto copy = std::make_shared<std::vector<std::byte>>(bytes);
  const size_t element = dtype_bytes(weight.dtype);
  const auto* source = static_cast<const std::byte*>(weight.data);
  std::vector<int64_t> index(rank, 0);
  for (size_t offset = 0; offset < bytes; offset += element) {
    int64_t at = 0;
    for (size_t i = 0; i < rank; ++i) at += index[i] * weight.strides[i];
    std::memcpy(copy->data() + offset, source + at * static_cast<int64_t>(element), element);
    for (size_t i = rank; i-- > 0;) {
      if (++index[i] < weight.shape[i]) break;
      index[i] = 0;
    }
  }
  const void* data = copy->data();
  return {data, bytes, std::move(copy)};
}

}  // namespace kiln
