// Padding in all of torch's modes, and roll.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/dims.h"
#include "base/status.h"

namespace kiln::cpu {

enum class PadMode : uint8_t {
  kConstant,   // a value outside
  kReflect,    // mirrored at the border element, which is not repeated; pads < size
  kReplicate,  // the border element outside
  kCircular    // continues at the other end
};

// dst has before[d] + sizes[d] + after[d] elements along d. Pads may be negative (crop), as in
// torch. roll by s along d is kCircular with before = s and after = -s, for any s.
struct PadParams {
  const char* op = "pad";  // for messages
  int element_bytes = 4;   // 1, 2, 4, 8 or 16
  PadMode mode = PadMode::kConstant;
  int rank = 0;
  Dims sizes{}, before{}, after{};    // sizes of src
  Dims src_strides{}, dst_strides{};  // elements; src and dst must not overlap

  Status validate() const;  // K4313: the pads do not fit the mode or leave a negative size; K4311
};

size_t pad_scratch_bytes(const PadParams& params);

// `value` has element_bytes bytes, for kConstant only.
void pad(const PadParams& params, const void* src, const void* value, void* dst, void* scratch);

}  // namespace kiln::cpu
