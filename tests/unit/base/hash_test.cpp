#include "base/hash.h"

#include <gtest/gtest.h>

#include <string>

namespace kiln {
namespace {

TEST(Hash, KnownValues) {
  // Of the reference implementation, `xxhsum -H2`.
  EXPECT_EQ(hash128("").hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hash128("abc").hex(), "06b05ab6733a618578af5f94892f3950");
}

TEST(Hash, StreamEqualsWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 131 % 251);
  for (size_t cut : {0u, 1u, 63u, 240u, 241u, 1024u, 4999u}) {
    Hasher128 hasher;
    hasher.add_bytes(text.data(), cut).add_bytes(text.data() + cut, text.size() - cut);
    EXPECT_EQ(hasher.finish(), hash128(text)) << cut;
  }
}

TEST(Hash, TextCarriesItsLength) {
  const Hash128 a = Hasher128().add_text("ab").add_text("c").finish();
  const Hash128 b = Hasher128().add_text("a").add_text("bc").finish();
  EXPECT_NE(a, b);
  EXPECT_NE(Hasher128().add_double(0.0).finish(), Hasher128().add_double(-0.0).finish());
}

TEST(Hash, FinishDoesNotEnd) {
  Hasher128 hasher;
  hasher.add_int(1);
  const Hash128 one = hasher.finish();
  EXPECT_EQ(hasher.finish(), one);
  hasher.add_int(2);
  EXPECT_EQ(hasher.finish(), Hasher128().add_int(1).add_int(2).finish());
}

TEST(Hash, HexRoundTrips) {
  const Hash128 value = hash128("x");
  EXPECT_EQ(Hash128::from_hex(value.hex()), value);
  EXPECT_FALSE(Hash128::from_hex("").has_value());
  EXPECT_FALSE(Hash128::from_hex(value.hex() + "0").has_value());
  EXPECT_FALSE(Hash128::from_hex(std::string(31, '0') + "G").has_value());
  EXPECT_FALSE(Hash128::from_hex(std::string(31, '0') + "A").has_value());
}

TEST(Hash, EveryBitCounts) {
  std::string text(300, 'q');
  const Hash128 original = hash128(text);
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(hash128(text), original) << bit;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  }
}

}  // namespace
}  // namespace kiln
