// 128-bit content hashes (XXH3-128 of xxHash, https://github.com/Cyan4973/xxHash, seed 0). They
// find equal contents and damage; they do not resist somebody who forges them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kiln {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;

  auto operator<=>(const Hash128&) const = default;
  // 32 lower-case hexadecimal digits, high half first; the same text on every machine.
  std::string hex() const;
  // The inverse of hex(); nothing for any other text.
  static std::optional<Hash128> from_hex(std::string_view text);
};

Hash128 hash128(const void* data, size_t size);
inline Hash128 hash128(std::string_view text) { return hash128(text.data(), text.size()); }

// Hashes a sequence of parts. Raw bytes run together: add_bytes("ab"), add_bytes("c") equals
// add_bytes("abc") and hash128("abc"). The typed adders cannot be confused with each other in that
// way: text carries its length, numbers have 8 bytes, little endian.
class Hasher128 {
 public:
  Hasher128();
  ~Hasher128();
  Hasher128(Hasher128&&) noexcept;
  Hasher128& operator=(Hasher128&&) noexcept;

  Hasher128& add_bytes(const void* data, size_t size);
  Hasher128& add_text(std::string_view text);
  Hasher128& add_int(int64_t value);
  Hasher128& add_double(double value);  // by bit pattern: 0.0 and -0.0 differ
  Hasher128& add_hash(const Hash128& value);

  // The hash of all that was added so far; adding may go on.
  Hash128 finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kiln

template <>
struct std::hash<kiln::Hash128> {
  size_t operator()(const kiln::Hash128& value) const noexcept {
    return static_cast<size_t>(value.low ^ value.high);
  }
};
