// cumsum and cumprod along one dim.
#pragma once

#include <cstdint>

#include "backends/cpu/kernels/dims.h"
#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

enum class ScanOp : uint8_t { kSum, kProd };

// dst[.., i, ..] = src[.., 0, ..] op ... op src[.., i, ..]. Both have `dtype` (torch promotes
// integers to i64 first; that cast is the caller's). Floats accumulate in double, as torch does on
// CPU.
struct ScanParams {
  ScanOp op = ScanOp::kSum;
  DType dtype = DType::kF32;
  int rank = 1;  // a 0-d tensor is given as rank 1, size 1
  int dim = 0;
  Dims sizes{}, src_strides{}, dst_strides{};  // elements; src may be dst

  Status validate() const;  // K4311
};

void scan(const ScanParams& params, const void* src, void* dst);

}  // namespace kiln::cpu
