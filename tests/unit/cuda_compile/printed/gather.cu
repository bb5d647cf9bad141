// rows of a table, with the report of an index out of range
// | main(%table: f16[100,48], %index: i64[7,9]) {
// |   %0 = embedding(%table, %index) : f16[7,9,48]
// |   return %0 {name="y"}
// | }

// ---- index: index_128
#include "device/fault.h"

using Index = int32;

constexpr Index n0 = 7;
constexpr Index n1 = 9;
constexpr Index n2 = 6;
constexpr Index b0 = 54;
constexpr Index b1 = 6;
constexpr Index b2 = 1;
constexpr Index a0 = 0;
constexpr Index a1 = 0;
constexpr Index a2 = 1;
constexpr Index u0 = 6;
constexpr Index t0 = 100;
constexpr Index x0_0 = 9;
constexpr Index x0_1 = 1;
constexpr Index x0_2 = 0;

// One element a thread; what a bad index asks for is 0.
KILN_KERNEL(256) void index_128(In<uint32> table, In<int64> index0, Out<uint32> to, InOut<uint32> fault) {
  wait_for_previous(table, index0, to, fault);
  const Index i = static_cast<Index>(block_x() * 256 + thread_x());
  if (i >= n0 * n1 * n2) return;
  Index rest = i;
  const Index i2 = rest % n2;
  rest /= n2;
  const Index i1 = rest % n1;
  rest /= n1;
  const Index i0 = rest;
  bool valid = true;
  Index row = 0;
  int64 place0 = index0[0 + i0 * x0_0 + i1 * x0_1];
  valid = valid && place0 >= 0 && place0 < t0;
  if (valid) row += static_cast<Index>(place0) * u0;
  if (!valid) {
    report_fault(fault, kFaultIndex);
    store<4>(to + 4 * (i0 * b0 + i1 * b1 + i2 * b2), Pack<uint32, 4>{});
    return;
  }
  store<4>(to + 4 * (i0 * b0 + i1 * b1 + i2 * b2), load<4>(table + 4 * (row + 0 + i2 * a2)));
}
