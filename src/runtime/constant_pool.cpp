#include "runtime/constant_pool.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace kiln {
namespace {

// Tells nearly all different constants apart at no cost: 64 places of 64 bytes.
Hash128 sample(const ConstantData& constant) {
  constexpr size_t kPlaces = 64, kPlaceBytes = 64;
  Hasher128 hasher;
  hasher.add_text(constant.format).add_int(static_cast<int64_t>(constant.bytes));
  const auto* data = static_cast<const char*>(constant.data);
  if (constant.bytes <= kPlaces * kPlaceBytes) {
    hasher.add_bytes(data, constant.bytes);
    return hasher.finish();
  }
  const size_t last = constant.bytes - kPlaceBytes;
  for (size_t i = 0; i < kPlaces; ++i) {
    hasher.add_bytes(data + last / (kPlaces - 1) * i, kPlaceBytes);
  }
  return hasher.finish();
}

}  // namespace

ConstantPool& ConstantPool::global() {
  static auto* pool = new ConstantPool();  // outlives every program
  return *pool;
}

ConstantData ConstantPool::intern(const ConstantData& fresh) {
  if (fresh.bytes == 0) return fresh;
  const Hash128 key = sample(fresh);
  std::lock_guard lock(mutex_);
  const auto [begin, end] = entries_.equal_range(key);
  for (auto it = begin; it != end; ++it) {
    const Entry& entry = it->second;
    std::shared_ptr<void> owner = entry.owner.lock();
    if (owner == nullptr || entry.bytes != fresh.bytes || entry.format != fresh.format) continue;
    if (entry.data != fresh.data && std::memcmp(entry.data, fresh.data, fresh.bytes) != 0) continue;
    return {entry.data, entry.bytes, entry.format, std::move(owner)};
  }
  if (entries_.size() >= sweep_at_) sweep();
  entries_.emplace(key, Entry{fresh.data, fresh.bytes, fresh.format, fresh.owner});
  return fresh;
}

void ConstantPool::withdraw(const std::vector<const ConstantData*>& constants) {
  std::set<const void*> places;
  for (const ConstantData* constant : constants) places.insert(constant->data);
  std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const auto& entry) { return places.contains(entry.second.data); });
}

size_t ConstantPool::size() {
  std::lock_guard lock(mutex_);
  sweep();
  return entries_.size();
}

// Under mutex_.
void ConstantPool::sweep() {
  std::erase_if(entries_, [](const auto& entry) { return entry.second.owner.expired(); });
  sweep_at_ = std::max<size_t>(64, 2 * entries_.size());
}

}  // namespace kiln
