// "gemm": C = A B (+ bias), any dtype but bool, any strides, batches that broadcast.
//
// Views are a [batch..., m, k], b [batch..., k, n], perhaps bias [n], and c [batch..., m, n]. Sums
// are f32 for 16-bit floats, of the dtype for other floats, and int64 for integers, which wrap.
#pragma once

#include <string>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct GemmKernel {
  static constexpr const char* kFamily = "gemm";
  static constexpr int64_t kFewRows = 8;
  enum class Form : uint8_t {
    kSimt,    // a block a tile, products element by element
    kMatrix,  // the same by matrix instructions; 16-bit floats only
    kRows     // m is at most kFewRows: a warp a column of b, whose elements lie in a row
  };

  Form form = Form::kSimt;
  DType dtype = DType::kF32;
  int64_t tile = 64;  // 64 or 128; kRows: elements along depth in one access
  int64_t batch_rank = 0;
  bool bias = false;
  // Whether neighbours along k are neighbours in memory, and eight of them may be read as one.
  bool a_along = false, b_along = false, a_eight = false, b_eight = false;
  bool wide = true;
  KernelSizes sizes;

  Json to_json() const;
  static Result<GemmKernel> from_json(const Json& params);  // K3212
};
const char* gemm_form_name(GemmKernel::Form form);

// Strides of the batch dims of `view` among those of the result, 0 where it has one for all; K3245
// where batches do not broadcast.
template <class View>
Result<std::vector<SizeOf<View>>> batch_strides(const View& view, const View& result) {
  const size_t rank = result.dims.size() - 2, added = result.dims.size() - view.dims.size();
  std::vector<SizeOf<View>> strides(rank, SizeOf<View>(0));
  for (size_t i = 0; i + 2 < view.dims.size(); ++i) {
    if (is_one(view.dims[i])) continue;
    if (!(view.dims[i] == result.dims[added + i])) {
      return Status::error("K3245", "gemm: batch dims do not broadcast");
    }
    strides[added + i] = view.strides[i];
  }
  return strides;
}

// K3245 where shapes do not fit. `bias`: null without one.
template <class View>
Result<NamedSizes<SizeOf<View>>> gemm_sizes(const View& a, const View& b, const View* bias,
                                            const View& c) {
  const size_t ra = a.dims.size(), rb = b.dims.size(), rc = c.dims.size();
  const auto mismatch = [] { return Status::error("K3245", "gemm: sizes do not fit"); };
  if (ra < 2 || rb < 2 || rc < ra || rc < rb) return mismatch();
  if (!(a.dims[ra - 2] == c.dims[rc - 2]) || !(b.dims[rb - 2] == a.dims[ra - 1]) ||
      !(b.dims[rb - 1] == c.dims[rc - 1]) ||
      (bias != nullptr && (bias->dims.size() != 1 || !(bias->dims[0] == c.dims[rc - 1])))) {
    return mismatch();
  }
  NamedSizes<SizeOf<View>> sizes;
  sizes.add("m", c.dims[rc - 2]);
  sizes.add("n", c.dims[rc - 1]);
  sizes.add("k", a.dims[ra - 1]);
  sizes.add("am", a.strides[ra - 2]);
  sizes.add("ak", a.strides[ra - 1]);
  sizes.add("bk", b.strides[rb - 2]);
  sizes.add("bn", b.strides[rb - 1]);
  sizes.add("cm", c.strides[rc - 2]);
  sizes.add("cn", c.strides[rc - 1]);
  if (bias != nullptr) sizes.add("h", bias->strides[0]);
  KILN_ASSIGN_OR_RETURN(auto a_batch, batch_strides(a, c));
  KILN_ASSIGN_OR_RETURN(auto b_batch, batch_strides(b, c));
  for (size_t i = 0; i + 2 < rc; ++i) {
    const std::string n = std::to_string(i);
    sizes.add("q" + n, c.dims[i]);
    sizes.add("e" + n, a_batch[i], is_one(c.dims[i]));
    sizes.add("f" + n, b_batch[i], is_one(c.dims[i]));
    sizes.add("g" + n, c.strides[i]);
  }
  return sizes;
}

}  // namespace kiln::cuda
