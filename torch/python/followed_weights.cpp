#include "torch/python/followed_weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "base/status.h"
#include "torch/python/weight_tensor.h"

namespace kiln {

struct FollowedWeights::Entry {
  std::string name;
  at::Tensor tensor;
  uint32_t version = 0;

  // A counter that stays the same where torch has none.
  static uint32_t version_of(const at::Tensor& tensor) {
    if (tensor.is_inference()) return 0;
    return tensor.unsafeGetTensorImpl()->version_counter().current_version();
  }
  bool current() const { return version_of(tensor) == version; }
};

FollowedWeights::FollowedWeights() = default;
FollowedWeights::FollowedWeights(FollowedWeights&&) noexcept = default;
FollowedWeights& FollowedWeights::operator=(FollowedWeights&&) noexcept = default;
FollowedWeights::~FollowedWeights() = default;

Status FollowedWeights::add(const std::string& name, PyObject* object) {
  KILN_ASSIGN_OR_RETURN(at::Tensor tensor, weight_tensor(object, name));
  const uint32_t version = Entry::version_of(tensor);
  entries_.push_back({name, std::move(tensor), version});
  return {};
}

void FollowedWeights::merge(FollowedWeights newer) {
  std::set<std::string_view> names;
  for (const Entry& entry : newer.entries_) names.insert(entry.name);
  std::erase_if(entries_, [&](const Entry& entry) { return names.contains(entry.name); });
  names.clear();
  std::move(newer.entries_.begin(), newer.entries_.end(), std::back_inserter(entries_));
}

void FollowedWeights::keep(const std::vector<WeightInfo>& weights) {
  std::set<std::string_view> names;
  for (const WeightInfo& info : weights) names.insert(info.name);
  std::erase_if(entries_, [&](const Entry& entry) { return !names.contains(entry.name); });
}

bool FollowedWeights::current() const {
  return std::all_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return entry.current(); });
}

FollowedWeights FollowedWeights::changed() const {
  FollowedWeights result;
  for (const Entry& entry : entries_) {
    if (entry.current()) continue;
    result.entries_.push_back({entry.name, entry.tensor, Entry::version_of(entry.tensor)});
  }
  return result;
}

size_t FollowedWeights::size() const { return entries_.size(); }

std::vector<WeightView> FollowedWeights::views() const {
  std::vector<WeightView> views;
  for (const Entry& entry : entries_) views.push_back(weight_view(entry.tensor, entry.name));
  return views;
}

}  // namespace kiln
