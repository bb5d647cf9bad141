// Kernels of family "tile": a tile program with a schedule, as the printer writes it
// (backends/cuda/ compile/tile_printer.h) and the step "cuda.tile" launches it.
//
// The description holds the program in a canonical form (dims of one element left out, dims that
// run together merged, the innermost dim the one that memory runs along) and every size that is
// known when compiling; the others, written "n0", "n1", ..., are arguments of the kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/cuda/runtime/launch.h"
#include "base/json.h"
#include "base/status.h"
#include "runtime/tile_code.h"

namespace kiln::cuda {

struct TileSchedule {
  enum class Kind : uint8_t {
    kPoints,     // no rows: a thread takes `unroll` groups of `vector` points along the last dim
    kTranspose,  // no rows: a block takes 32 x 32 points of the last two dims; what lies along the
                 // last but one passes through shared memory
    kRows,       // `row_threads` threads share a row and take groups of `vector` points along it
    kColumns  // as kRows, where memory runs along the last dim outside of the row: a thread takes
              // `vector` rows side by side, and `row_threads` threads share each
  } kind = Kind::kPoints;
  int vector = 1;       // 1, 2, 4, 8 or 16
  int unroll = 1;       // kPoints
  int threads = 256;    // of a block
  int row_threads = 0;  // kRows, kColumns
  // kRows, kColumns: a thread keeps its part of the row in registers, all sizes of the row being
  // known. Without it the row is read again for each pass.
  bool held = false;
  bool tail = false;  // kPoints of one dim: its size may be no multiple of `vector`
  bool wide = false;  // indices have 64 bits

  bool operator==(const TileSchedule&) const = default;
};
inline constexpr int kTransposeTile = 32;
inline constexpr int kMaxTileArguments = 40;  // sizes and divisors
// Without `wide`: no index and no offset reaches this, threads past the end included.
inline constexpr int64_t kNarrowLimit = (int64_t{1} << 31) - (int64_t{1} << 22);

struct TileKernel {
  // A number, or the kernel's argument `argument`. Equal arguments are equal at all sizes.
  struct Size {
    int64_t value = 0;
    int argument = -1;
    Size() = default;
    Size(int64_t number) : value(number) {}  // NOLINT(google-explicit-constructor)
    static Size of_argument(int number);
    bool known() const { return argument < 0; }
    bool is(int64_t number) const { return known() && value == number; }
    bool operator==(const Size&) const = default;
  };
  struct Axis {
    Size size, stride;
    bool operator==(const Axis&) const = default;
  };
  struct Access {
    Size offset;
    std::vector<Size> strides;
    std::vector<Axis> axes;
    bool operator==(const Access&) const = default;
  };

  std::string name;  // "add_relu_f16": an identifier, the entry's name
  TileCode code;
  std::vector<Size> extents;
  std::vector<Access> accesses;  // one per memory instruction
  TileSchedule schedule;
  // Inputs that may share memory with an output.
  std::vector<int> in_place;

  Json to_json() const;
  // K3212 when anything is malformed or does not fit together; the code is verified.
  static Result<TileKernel> from_json(const Json& json);

  int rank() const { return code.rank; }
  int outer_rank() const { return code.rank - code.row_rank; }
  // The dim along which vectors run; -1: the program has no dims.
  int vector_dim() const;
  // Does access `i` read or write `vector` elements at once?
  bool is_vector_access(size_t i) const;
  // Elements that such an access of `dtype` must be aligned to: 128 bits at most.
  int64_t alignment(DType dtype) const;
  bool may_fault() const;  // has the argument `fault`

  // Arguments after the operands and the fault word: sizes, as wide as indices.
  int argument_count() const;
  // Steps that the kernel's counters make along a dim: its extent, in vectors along the dim of
  // vectors, in tiles along the last two of kTranspose.
  int64_t step_size(size_t dim) const;
  // Dims by whose steps the kernel divides counters and whose extents are arguments: with 32-bit
  // indices each has two arguments more, "multiply" and "shift" (device/index.h), after the others.
  std::vector<size_t> divisors() const;
};

// Fits `binding` (sizes of the operands included) to the kernel: known sizes are as described,
// every access lies inside its operand, vectors are aligned, indices have enough bits. K3212,
// K4402, K4403. `alignments`: bytes that the address of each input, then each output, is a multiple
// of.
Status check_binding(const TileKernel& kernel, const TileBinding& binding,
                     const std::vector<int64_t>& alignments);
// The arguments after the operands and the fault word, from a binding that fits.
std::vector<Argument> size_arguments(const TileKernel& kernel, const TileBinding& binding);
// Blocks of a launch; 0: nothing to do.
int64_t block_count(const TileKernel& kernel, const TileBinding& binding);

// n / d == (((n * multiply) >> 32) + n) >> shift for 0 <= n < 2^31 (Granlund and Montgomery,
// "Division by Invariant Integers using Multiplication").
struct FastDivisor {
  uint32_t multiply = 0;
  int32_t shift = 0;
};
FastDivisor fast_divisor(int64_t divisor);  // 1 <= divisor < 2^31

}  // namespace kiln::cuda
