#include "ops/normalization.h"

#include <cmath>

#include "ops/axes.h"
#include "ops/dtype_class.h"
#include "ops/operand_checks.h"

namespace kiln {

Status check_parameters(const OpContext& ctx, int first, int last, const Shape& shape) {
  const DType x = ctx.tensor(0).dtype;
  int seen = -1;
  for (int i = first; i <= last; ++i) {
    if (!ctx.has(i)) continue;
    const DType dtype = ctx.tensor(i).dtype;
    const bool mixed = dtype == DType::kF32 && dtype_bytes(x) == 2 && is_float(x);
    if (dtype != x && !mixed)
      return refuse(ctx, "K2203",
                    "dtype of " + operand_name(ctx, i) +
                        " must be that of x, or f32 beside a 16-bit x, is " +
                        std::string(dtype_name(dtype)));
    if (seen >= 0) KILN_RETURN_IF_ERROR(check_same_dtype(ctx, i, seen));
    seen = i;
    KILN_RETURN_IF_ERROR(check_shape(ctx, i, shape));
  }
  return {};
}

Status check_eps(const OpContext& ctx) {
  const double eps = ctx.get_float("eps");
  if (std::isfinite(eps) && eps >= 0) return {};
  return refuse(ctx, "K2205", "eps must be finite and not negative, is " + std::to_string(eps));
}

Moments moments_of(const HostTensor& x, int64_t begin, int64_t count, double eps) {
  Moments m;
  for (int64_t i = 0; i < count; ++i) m.mean += x.get_double(begin + i);
  m.mean /= static_cast<double>(count);
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = x.get_double(begin + i) - m.mean;
    squares += d * d;
  }
  m.inverse_deviation = 1 / std::sqrt(squares / static_cast<double>(count) + eps);
  return m;
}

}  // namespace kiln
