// The host's twin of backends/cuda/device/wgmma.h. A product is computed as late as it can be, by
// the wait for its group, from what shared memory holds then; until then d holds NaN. Each thread
// computes its own part; sums are in double within a product, so that they do not depend on an
// order.
#pragma once

#include "device/async_barrier.h"

#define KILN_WARPGROUPS
#define KILN_SOLE_KERNEL(max_threads) KILN_KERNEL(max_threads)

struct MatrixDescriptor {
  const kiln_emulated::Region* region;
  uint64 address;

  MatrixDescriptor moved(int32 bytes) const {
    if (bytes % 16 != 0) kiln_emulated::machine->fail("a matrix moved by no multiple of 16 bytes");
    return {region, address + bytes};
  }
  // An element, where the copy engine puts it.
  template <class T>
  float at(int32 row, int32 column) const {
    uint64 from = address + row * 128 + column * 2;
    from ^= (from >> 7 & 7) << 4;
    if (from < reinterpret_cast<uint64>(region->begin) ||
        from + 2 > reinterpret_cast<uint64>(region->end)) {
      kiln_emulated::machine->fail("a product reads outside of the shared memory");
    }
    T value;
    __builtin_memcpy(&value, reinterpret_cast<const void*>(from), 2);
    return to_float(value);
  }
};
template <class T>
KILN_DEVICE MatrixDescriptor describe_matrix(const Shared<T>& matrix) {
  if (matrix.address() % 1024 != 0) {
    kiln_emulated::machine->fail("a matrix for products begins at no multiple of 1024 bytes");
  }
  return {matrix.region(), matrix.address()};
}

KILN_DEVICE void show_to_products() {}

template <int32 kRegisters>
KILN_DEVICE void take_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256, "registers");
}
template <int32 kRegisters>
KILN_DEVICE void give_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256, "registers");
}

class WarpgroupProducts {
 public:
  void begin() { begun_ = true; }
  template <class T, int32 kSums>
  void start(T, float (&d)[kSums], MatrixDescriptor a, MatrixDescriptor b, bool accumulate) {
    static_assert(kSums == 8 || kSums == 16 || (kSums % 32 == 0 && kSums <= 128), "columns");
    Product& product = add(d, b, accumulate);
    product.a = a;
    product.compute = &compute<T, kSums>;
  }
  template <class T>
  void start_transposed(T, float (&d)[32], const uint32 (&a)[4], MatrixDescriptor b,
                        bool accumulate) {
    Product& product = add(d, b, accumulate);
    product.compute = &compute_transposed<T>;
    // The rows of this thread's sums, which four lanes have.
    const int32 first = kiln_emulated::own_lane() / 4 * 4;
    for (int32 t = 0; t < 4; ++t) {
      for (int32 i = 0; i < 4; ++i) {
        const uint32 word = shuffle(a[i], first + t);
        for (int32 c = 0; c < 2; ++c) {
          T value;
          value.bits = static_cast<uint16>(word >> (16 * c));
          product.left[i % 2][2 * t + c + i / 2 * 8] = to_float(value);
        }
      }
    }
  }
  void commit() {
    ++group_;
    begun_ = false;
  }
  template <int32 kPending>
  void wait() {
    // Who was told that the operands are free may overwrite them before the products read them.
    kiln_emulated::machine->let_others_go_on();
    int32 left = 0;
    for (int32 i = 0; i < count_; ++i) {
      const Product& each = products_[i];
      if (each.group + kPending >= group_) {
        products_[left++] = each;
        continue;
      }
      each.compute(each);
      each.target->ready = each.target->d;
    }
    count_ = left;
    // The lanes of a warp are done together: one may tell others for all of them.
    vote_any(false);
    for (int32 i = 0; i < count_; ++i) products_[i].target->ready = nullptr;
  }
  template <int32 kSums>
  void done(float (&d)[kSums]) {
    for (Target& each : targets_) {
      if (each.d != d) continue;
      if (each.ready == nullptr) kiln_emulated::machine->fail("sums used before a wait for them");
      __builtin_memcpy(d, each.sums, sizeof(d));
      each = Target{};
      return;
    }
    kiln_emulated::machine->fail("done() of sums that no product goes to");
  }

 private:
  struct Target {
    float* d = nullptr;
    float* ready = nullptr;
    float sums[128];
  };
  struct Product {
    Target* target;
    MatrixDescriptor b;
    bool accumulate;
    int32 group;
    void (*compute)(const Product& product);
    MatrixDescriptor a;
    float left[2][16];  // or these
  };

  template <int32 kSums>
  Product& add(float (&d)[kSums], const MatrixDescriptor& b, bool accumulate) {
    if (!begun_) kiln_emulated::machine->fail("products without begin()");
    if (count_ == kMost) kiln_emulated::machine->fail("too many products are under way");
    Target* target = nullptr;
    for (Target& each : targets_) {
      if (each.d == d) target = &each;
    }
    if (target == nullptr) {
      for (Target& each : targets_) {
        if (each.d == nullptr) target = &each;
      }
      if (target == nullptr) kiln_emulated::machine->fail("too many sums are under way");
      target->d = d;
      __builtin_memcpy(target->sums, d, sizeof(d));
    }
    for (float& sum : d) sum = __builtin_nanf("");
    products_[count_] = {target, b, accumulate, group_, nullptr, {}, {}};
    return products_[count_++];
  }

  template <class T, int32 kSums>
  static void compute(const Product& product) {
    const int32 lane = kiln_emulated::own_lane(), g = lane / 4, t = lane % 4;
    float left[2][16];
    for (int32 i = 0; i < 2; ++i) {
      for (int32 k = 0; k < 16; ++k) left[i][k] = product.a.at<T>(warp() % 4 * 16 + g + i * 8, k);
    }
    for (int32 j = 0; j < kSums / 4; ++j) {
      for (int32 c = 0; c < 2; ++c) {
        float right[16];
        for (int32 k = 0; k < 16; ++k) right[k] = product.b.at<T>(8 * j + 2 * t + c, k);
        add_products(product, left, right, 4 * j + c);
      }
    }
  }
  template <class T>
  static void compute_transposed(const Product& product) {
    const int32 t = kiln_emulated::own_lane() % 4;
    for (int32 j = 0; j < 8; ++j) {
      for (int32 c = 0; c < 2; ++c) {
        float right[16];
        for (int32 k = 0; k < 16; ++k) right[k] = product.b.at<T>(k, 8 * j + 2 * t + c);
        add_products(product, product.left, right, 4 * j + c);
      }
    }
  }
  // To sums `at` and at + 2, of two rows of the left matrix.
  static void add_products(const Product& product, const float (&left)[2][16],
                           const float (&right)[16], int32 at) {
    for (int32 i = 0; i < 2; ++i) {
      float& sum = product.target->sums[at + 2 * i];
      double exact = product.accumulate ? sum : 0.0f;
      for (int32 k = 0; k < 16; ++k) exact += static_cast<double>(left[i][k]) * right[k];
      sum = static_cast<float>(exact);
    }
  }

  static constexpr int32 kMost = 32, kTargets = 4;
  Product products_[kMost];
  Target targets_[kTargets];
  int32 count_ = 0, group_ = 0;
  bool begun_ = false;
};
