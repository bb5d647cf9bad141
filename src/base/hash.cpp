#include "base/hash.h"

#include <bit>

// Everything inline in this one file: no library to link, and the same code on every distribution.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kiln {
namespace {

static_assert(std::endian::native == std::endian::little, "integers are hashed as they lie");

Hash128 from_xxh(XXH128_hash_t value) { return {value.high64, value.low64}; }

void append_hex(std::string& text, uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[(value >> shift) & 15];
}

bool parse_hex(std::string_view text, uint64_t& value) {
  value = 0;
  for (char c : text) {
    unsigned digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else {
      return false;
    }
    value = value << 4 | digit;
  }
  return true;
}

}  // namespace

std::string Hash128::hex() const {
  std::string text;
  text.reserve(32);
  append_hex(text, high);
  append_hex(text, low);
  return text;
}

std::optional<Hash128> Hash128::from_hex(std::string_view text) {
  Hash128 value;
  if (text.size() != 32 || !parse_hex(text.substr(0, 16), value.high) ||
      !parse_hex(text.substr(16), value.low)) {
    return std::nullopt;
  }
  return value;
}

Hash128 hash128(const void* data, size_t size) { return from_xxh(XXH3_128bits(data, size)); }

struct Hasher128::State {
  XXH3_state_t xxh;  // aligned to 64 bytes; C++17's new respects it
};

Hasher128::Hasher128() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh); }
Hasher128::~Hasher128() = default;
Hasher128::Hasher128(Hasher128&&) noexcept = default;
Hasher128& Hasher128::operator=(Hasher128&&) noexcept = default;

Hasher128& Hasher128::add_bytes(const void* data, size_t size) {
  if (size != 0) XXH3_128bits_update(&state_->xxh, data, size);
  return *this;
}

Hasher128& Hasher128::add_int(int64_t value) { return add_bytes(&value, sizeof value); }

Hasher128& Hasher128::add_double(double value) { return add_int(std::bit_cast<int64_t>(value)); }

Hasher128& Hasher128::add_text(std::string_view text) {
  add_int(static_cast<int64_t>(text.size()));
  return add_bytes(text.data(), text.size());
}

Hasher128& Hasher128::add_hash(const Hash128& value) {
  add_int(static_cast<int64_t>(value.high));
  return add_int(static_cast<int64_t>(value.low));
}

Hash128 Hasher128::finish() const { return from_xxh(XXH3_128bits_digest(&state_->xxh)); }

}  // namespace kiln
