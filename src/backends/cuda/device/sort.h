// Keys: unsigned numbers in the order that a sort has for values. All NaN are equal and largest,
// the two zeros are equal.
#pragma once

#include "device/element.h"

KILN_DEVICE uint32 bits_of(float x) {
  union {
    float number;
    uint32 bits;
  } both;
  both.number = x;
  return both.bits;
}
KILN_DEVICE uint64 bits_of(double x) {
  union {
    double number;
    uint64 bits;
  } both;
  both.number = x;
  return both.bits;
}

// Of IEEE numbers: negative ones are reversed, the others come after them.
KILN_DEVICE uint32 sort_key(float x) {
  if (x != x) return 0xffffffffu;
  const uint32 bits = bits_of(x == 0.0f ? 0.0f : x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
KILN_DEVICE uint64 sort_key(double x) {
  if (x != x) return 0xffffffffffffffffull;
  const uint64 bits = bits_of(x == 0.0 ? 0.0 : x);
  return bits & 0x8000000000000000ull ? ~bits : bits | 0x8000000000000000ull;
}
KILN_DEVICE uint32 sort_key(f16 x) { return sort_key(to_float(x)); }
KILN_DEVICE uint32 sort_key(bf16 x) { return sort_key(to_float(x)); }
KILN_DEVICE uint32 sort_key(bool x) { return x ? 1u : 0u; }
KILN_DEVICE uint32 sort_key(uint8 x) { return x; }
KILN_DEVICE uint32 sort_key(int8 x) { return static_cast<uint32>(x + 128); }
KILN_DEVICE uint32 sort_key(int16 x) { return static_cast<uint32>(x + 32768); }
KILN_DEVICE uint32 sort_key(int32 x) { return static_cast<uint32>(x) ^ 0x80000000u; }
KILN_DEVICE uint64 sort_key(int64 x) { return static_cast<uint64>(x) ^ 0x8000000000000000ull; }

// Whether (key, place) a stands before b; places differ.
template <class Key>
KILN_DEVICE bool stands_before(Key key_a, uint32 place_a, Key key_b, uint32 place_b) {
  return key_a < key_b || (key_a == key_b && place_a < place_b);
}

// Sorts `Count` (a power of two) pairs in shared memory with a block of 256 threads: Batcher's
// bitonic network (1968).
template <int32 Count, class Key>
KILN_DEVICE void sort_block(Shared<Key> keys, Shared<uint32> places) {
  for (int32 size = 2; size <= Count; size *= 2) {
    for (int32 distance = size / 2; distance > 0; distance /= 2) {
      barrier();
      for (int32 pair = thread_x(); pair < Count / 2; pair += 256) {
        const int32 low = pair / distance * 2 * distance + pair % distance;
        const int32 high = low + distance;
        const bool up = (low & size) == 0;
        const Key key_low = keys[low], key_high = keys[high];
        const uint32 place_low = places[low], place_high = places[high];
        if (stands_before(key_high, place_high, key_low, place_low) == up) {
          keys[low] = key_high;
          keys[high] = key_low;
          places[low] = place_high;
          places[high] = place_low;
        }
      }
    }
  }
  barrier();
}
