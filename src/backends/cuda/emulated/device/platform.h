// The host's twin of backends/cuda/device/platform.h: the same vocabulary, with every access
// checked. A kernel's source compiles against either, as C++17, by the order of include folders.
//
// Pointers know what they may touch: In reads only, Out writes only, and every access is checked
// for bounds, alignment and races with other threads (tests/emulator). Elements of Out, InOut and
// Shared are stand-ins that convert to and from T; `T value = shared[i]` rather than `auto`.
#pragma once

#include "device/machine.h"
#include "device/numbers.h"

#define KILN_DEVICE inline
// The numbers are found in the namespace that the test's compiler puts around a source.
#define KILN_KERNEL(max_threads)                                           \
  constexpr int kiln_max_threads = (max_threads), kiln_cluster_blocks = 1; \
  static
#define KILN_RESTRICT
#define KILN_EXPECT(condition)                                                 \
  do {                                                                         \
    if (!(condition)) ::kiln_emulated::machine->fail("expected: " #condition); \
  } while (false)
#define KILN_UNROLL
#define KILN_UNROLL_BY(times)

// ---- memory -------------------------------------------------------------------------------------

namespace kiln_emulated {

template <class T>
T read(const Region* region, uint64 address) {
  T value;
  machine->read(region, reinterpret_cast<const void*>(address), &value, 1, sizeof(T));
  return value;
}

template <class T>
void write(const Region* region, uint64 address, const T& value) {
  machine->write(region, reinterpret_cast<void*>(address), &value, 1, sizeof(T));
}

// An element that may be written.
template <class T>
class Writable {
 public:
  Writable(uint64 address, const Region* region) : address_(address), region_(region) {}
  Writable(const Writable&) = default;
  void operator=(const T& value) const { write<T>(region_, address_, value); }
  void operator=(const Writable&) = delete;  // it cannot be read

 private:
  uint64 address_;
  const Region* region_;
};

// An element that may be read and written. No Writable itself: as such it would be assigned as an
// address, not as a value.
template <class T>
class Element {
 public:
  Element(uint64 address, const Region* region) : address_(address), region_(region) {}
  Element(const Element&) = default;
  operator T() const { return read<T>(region_, address_); }
  void operator=(const T& value) const { write<T>(region_, address_, value); }
  void operator=(const Element& other) const { *this = static_cast<T>(other); }

#define KILN_COMPOUND(op)                                   \
  template <class U>                                        \
  void operator op##=(const U& value) const {               \
    *this = static_cast<T>(static_cast<T>(*this) op value); \
  }
  KILN_COMPOUND(+)
  KILN_COMPOUND(-)
  KILN_COMPOUND(*)
  KILN_COMPOUND(/)
  KILN_COMPOUND(%)
  KILN_COMPOUND(&)
  KILN_COMPOUND(|)
  KILN_COMPOUND(^)
#undef KILN_COMPOUND

 private:
  uint64 address_;
  const Region* region_;
};

}  // namespace kiln_emulated

// Moves by elements; nothing is checked before an access.
#define KILN_POINTER_MOVES(Type)                                                                \
  Type operator+(int64 n) const { return Type(this->address_ + n * sizeof(T), this->region_); } \
  Type operator-(int64 n) const { return Type(this->address_ - n * sizeof(T), this->region_); } \
  Type& operator+=(int64 n) {                                                                   \
    this->address_ += n * sizeof(T);                                                            \
    return *this;                                                                               \
  }                                                                                             \
  Type& operator-=(int64 n) { return *this += -n; }                                             \
  Type& operator++() { return *this += 1; }

template <class T>
class In {
 public:
  using Type = T;
  In() = default;
  In(uint64 address, const kiln_emulated::Region* region) : address_(address), region_(region) {}
  KILN_POINTER_MOVES(In)
  T operator[](int64 i) const { return kiln_emulated::read<T>(region_, address_ + i * sizeof(T)); }
  T operator*() const { return (*this)[0]; }
  explicit operator bool() const { return address_ != 0; }
  uint64 address() const { return address_; }
  const kiln_emulated::Region* region() const { return region_; }

 protected:
  uint64 address_ = 0;
  const kiln_emulated::Region* region_ = nullptr;
};

template <class T>
class Out {
 public:
  Out() = default;
  Out(uint64 address, const kiln_emulated::Region* region) : address_(address), region_(region) {}
  KILN_POINTER_MOVES(Out)
  kiln_emulated::Writable<T> operator[](int64 i) const {
    return kiln_emulated::Writable<T>(address_ + i * sizeof(T), region_);
  }
  kiln_emulated::Writable<T> operator*() const { return (*this)[0]; }
  explicit operator bool() const { return address_ != 0; }
  uint64 address() const { return address_; }
  const kiln_emulated::Region* region() const { return region_; }

 private:
  uint64 address_ = 0;
  const kiln_emulated::Region* region_ = nullptr;
};

template <class T>
class InOut : public In<T> {
 public:
  using In<T>::In;
  KILN_POINTER_MOVES(InOut)
  kiln_emulated::Element<T> operator[](int64 i) const {
    return kiln_emulated::Element<T>(this->address_ + i * sizeof(T), this->region_);
  }
  kiln_emulated::Element<T> operator*() const { return (*this)[0]; }
  operator Out<T>() const { return Out<T>(this->address_, this->region_); }
};

// What KILN_SHARED and dynamic_shared give.
template <class T>
class Shared : public InOut<T> {
 public:
  using InOut<T>::InOut;
  KILN_POINTER_MOVES(Shared)
};
#undef KILN_POINTER_MOVES

// One array of `count` elements, shared by the block; `count` is a constant.
#define KILN_SHARED(T, name, count)                                                            \
  static ::kiln_emulated::SharedSite kiln_site_##name{#name, sizeof(T) * (count), 0, nullptr}; \
  const Shared<T> name = ::kiln_emulated::shared_array<T>(&kiln_site_##name)

namespace kiln_emulated {
template <class T>
Shared<T> shared_array(SharedSite* site) {
  const Region* region = machine->shared_array(site);
  return Shared<T>(reinterpret_cast<uint64>(region->begin), region);
}
}  // namespace kiln_emulated

template <class T>
KILN_DEVICE Shared<T> dynamic_shared(int32 byte_offset = 0) {
  const kiln_emulated::Region* region = kiln_emulated::machine->dynamic_shared();
  return Shared<T>(reinterpret_cast<uint64>(region->begin) + byte_offset, region);
}

// N elements that travel together, in one access of up to 128 bits where N * sizeof(T) allows.
template <class T, int N>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Pack {
  T at[N];
};
template <int N, class T>
KILN_DEVICE Pack<T, N> load(const In<T>& from) {
  Pack<T, N> value;
  kiln_emulated::machine->read(from.region(), reinterpret_cast<const void*>(from.address()),
                               value.at, N, sizeof(T));
  return value;
}
template <int N, class T>
KILN_DEVICE Pack<T, N> load_if(bool there, const In<T>& from) {
  return there ? load<N>(from) : Pack<T, N>{};
}
template <int N, class T>
KILN_DEVICE void store(const Out<T>& to, const Pack<T, N>& value) {
  kiln_emulated::machine->write(to.region(), reinterpret_cast<void*>(to.address()), value.at, N,
                                sizeof(T));
}
template <int N, class T>
KILN_DEVICE void store(const InOut<T>& to, const Pack<T, N>& value) {
  store<N>(Out<T>(to), value);
}

KILN_DEVICE void atomic_add(const InOut<float>& to, float value) {
  float* address = reinterpret_cast<float*>(to.address());
  kiln_emulated::machine->atomic(to.region(), address, sizeof(float));
  *address += value;
}
KILN_DEVICE void atomic_max(const InOut<int32>& to, int32 value) {
  int32* address = reinterpret_cast<int32*>(to.address());
  kiln_emulated::machine->atomic(to.region(), address, sizeof(int32));
  if (*address < value) *address = value;
}

// Fault word: any thread may store a code; zero means all is well.
KILN_DEVICE void report_fault(const InOut<uint32>& fault, uint32 code) {
  uint32* address = reinterpret_cast<uint32*>(fault.address());
  kiln_emulated::machine->atomic(fault.region(), address, sizeof(uint32));
  *address = code;
}

KILN_DEVICE float exp2_of(float x) {
  const float result = __builtin_exp2f(x);
  return result < 0x1p-126f ? 0.0f : result;
}

// ---- threads ------------------------------------------------------------------------------------

KILN_DEVICE int32 thread_x() { return kiln_emulated::machine->thread[0]; }
KILN_DEVICE int32 thread_y() { return kiln_emulated::machine->thread[1]; }
KILN_DEVICE int32 threads_x() { return kiln_emulated::machine->block_dim[0]; }
KILN_DEVICE int32 threads_y() { return kiln_emulated::machine->block_dim[1]; }
KILN_DEVICE int64 block_x() { return kiln_emulated::machine->block[0]; }
KILN_DEVICE int64 block_y() { return kiln_emulated::machine->block[1]; }
KILN_DEVICE int64 block_z() { return kiln_emulated::machine->block[2]; }
KILN_DEVICE int64 blocks_x() { return kiln_emulated::machine->grid_dim[0]; }
KILN_DEVICE int64 blocks_y() { return kiln_emulated::machine->grid_dim[1]; }

namespace kiln_emulated {
inline int32 one_dim_thread() {
  if (machine->block_dim[1] != 1 || machine->block_dim[2] != 1) {
    machine->fail("lane() or warp() in a block of more than one dim");
  }
  return machine->thread[0];
}
}  // namespace kiln_emulated

KILN_DEVICE int32 lane() { return kiln_emulated::one_dim_thread() & 31; }  // of blocks of one dim
KILN_DEVICE int32 warp() { return kiln_emulated::one_dim_thread() >> 5; }

// Kernels run one after the other here.
template <class... Pointers>
KILN_DEVICE void wait_for_previous(Pointers&...) {}
template <class T>
KILN_DEVICE void prefetch(In<T>) {}

// The place of the call tells barriers apart: all threads must wait at the same one.
#define KILN_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

KILN_DEVICE void barrier(KILN_PLACE) { kiln_emulated::machine->barrier(file, line); }
KILN_DEVICE void warp_barrier(KILN_PLACE) {
  kiln_emulated::machine->exchange(kiln_emulated::kWarpBarrier, nullptr, 0, file, line);
}

namespace kiln_emulated {
template <class T>
T from_lane(int op, const T& value, int lane, const char* file, int line) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  const auto* all = machine->exchange(op, &value, sizeof(T), file, line);
  T result;
  __builtin_memcpy(&result, all[lane], sizeof(T));
  return result;
}
// Of blocks of any dims.
inline int own_lane() {
  const Machine& m = *machine;
  return (m.thread[0] + m.block_dim[0] * (m.thread[1] + m.block_dim[1] * m.thread[2])) & 31;
}
}  // namespace kiln_emulated

// All 32 lanes take part.
template <class T>
KILN_DEVICE T shuffle(T value, int32 from_lane, KILN_PLACE) {
  return kiln_emulated::from_lane<T>(kiln_emulated::kShuffle, value, from_lane & 31, file, line);
}
template <class T>
KILN_DEVICE T shuffle_xor(T value, int32 mask, KILN_PLACE) {
  if (mask < 0 || mask > 31) kiln_emulated::machine->fail("an exchange with no lane of the warp");
  return kiln_emulated::from_lane<T>(kiln_emulated::kShuffleXor, value,
                                     kiln_emulated::own_lane() ^ mask, file, line);
}
template <class T>
KILN_DEVICE T shuffle_up(T value, int32 delta, KILN_PLACE) {
  const int32 from = kiln_emulated::own_lane() - delta;
  return kiln_emulated::from_lane<T>(kiln_emulated::kShuffleUp, value,
                                     from < 0 ? kiln_emulated::own_lane() : from, file, line);
}
template <class T>
KILN_DEVICE T shuffle_down(T value, int32 delta, KILN_PLACE) {
  const int32 from = kiln_emulated::own_lane() + delta;
  return kiln_emulated::from_lane<T>(kiln_emulated::kShuffleDown, value,
                                     from > 31 ? kiln_emulated::own_lane() : from, file, line);
}
KILN_DEVICE uint32 vote_ballot(bool value, KILN_PLACE) {
  const auto* all = kiln_emulated::machine->exchange(kiln_emulated::kBallot, &value, 1, file, line);
  uint32 bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<uint32>(all[i][0] != 0) << i;
  return bits;
}
KILN_DEVICE bool vote_any(bool value, KILN_PLACE) {
  const auto* all = kiln_emulated::machine->exchange(kiln_emulated::kVote, &value, 1, file, line);
  for (int i = 0; i < 32; ++i) {
    if (all[i][0] != 0) return true;
  }
  return false;
}
#undef KILN_PLACE

// ---- how the emulator starts a kernel -----------------------------------------------------------

namespace kiln_emulated {

template <class T>
struct ParameterOf {
  static constexpr ParameterType type{kValue, sizeof(T), 0};
  static T take(const Parameter& parameter) {
    T value;
    __builtin_memcpy(&value, parameter.bytes, sizeof(T));
    return value;
  }
};
template <class P, int access_>
struct PointerParameter {
  static constexpr ParameterType type{access_, 8, sizeof(typename P::Type)};
  static P take(const Parameter& parameter) {
    uint64 address;
    __builtin_memcpy(&address, parameter.bytes, sizeof(address));
    return P(address, parameter.region);
  }
};
template <class T>
struct ParameterOf<In<T>> : PointerParameter<In<T>, kIn> {};
template <class T>
struct ParameterOf<InOut<T>> : PointerParameter<InOut<T>, kInOut> {};
template <class T>
struct ParameterOf<Out<T>> {
  static constexpr ParameterType type{kOut, 8, sizeof(T)};
  static Out<T> take(const Parameter& parameter) {
    uint64 address;
    __builtin_memcpy(&address, parameter.bytes, sizeof(address));
    return Out<T>(address, parameter.region);
  }
};

template <auto kernel>
struct Thunk;
template <class... A, void (*kernel)(A...)>
struct Thunk<kernel> {
  struct Call {
    Call(A... arguments) { kernel(arguments...); }
  };
  template <class T>
  static T take(const Parameter*& next) {
    return ParameterOf<T>::take(*next++);
  }
  static void run([[maybe_unused]] const Parameter* next) {
    Call{take<A>(next)...};  // braces: from left to right
  }
  static constexpr ParameterType types[sizeof...(A) + 1] = {ParameterOf<A>::type...};
  static constexpr Kernel describe(const char* name, int max_threads, int cluster_blocks) {
    return {name, run, max_threads, cluster_blocks, static_cast<int>(sizeof...(A)), types};
  }
};

}  // namespace kiln_emulated
