// Packing weights into oneDNN's blocked layouts, by Kiln's own copies.
//
// A blocked layout is a strided one with more dims: each blocked dim is cut into its outer part and
// its blocks. oneDNN's reorders from dense weights into such layouts are often its generic ones,
// several times slower than memory; these copies cannot fail, either.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backends/cpu/kernels/copy.h"
#include "backends/cpu/kernels/row_pack.h"
#include "backends/cpu/runtime/dnnl_memory.h"

namespace kiln {

class DnnlPack {
 public:
  // Ready for weights stored as `from` says. Nothing where the layout is not understood to the last
  // byte (opaque ones, such with compensation), has other dims, or another dtype.
  static std::optional<DnnlPack> make(const DnnlTensor& from, const DnnlLayout& to);

  // Writes all to.bytes() bytes, padding as zeros: what dnnl_copy() writes. Thread-safe.
  // `scale` is one factor for each element of dim `d`, for which can_scale(d).
  void run(const void* from, void* to, const float* scale = nullptr) const;
  // Does packing read the weights in such a way that elements of dim `d` can be multiplied by
  // factors of their own on the way?
  bool can_scale(size_t d) const { return rows_.has_value() && rows_dim_ == d; }

 private:
  struct Fill {
    int64_t offset = 0;  // elements
    int rank = 0;
    cpu::Dims sizes{}, strides{};
  };
  struct Part {
    int64_t from = 0, to = 0;  // elements
    cpu::CopyPlan copy;
  };
  struct Cut;
  static std::optional<cpu::RowPackParams> as_rows(const DnnlTensor& from,
                                                   const std::vector<Cut>& cuts, size_t rows);

  int element_bytes_ = 0;
  std::vector<Fill> fills_;  // before the rest
  std::vector<Part> parts_;
  std::optional<cpu::RowPackParams> rows_;  // instead of parts, where it applies
  size_t rows_dim_ = 0;
};

// A packing as a step runs it: by DnnlPack where that can, else by oneDNN.
class DnnlWeightsPacker {
 public:
  // With `scaled_dims` each element of the first so many dims taken together (one, or groups and
  // channels) has a factor, with which packing multiplies all that belongs to it. Only f32.
  DnnlWeightsPacker(const DnnlTensor& from, DnnlLayout to, size_t scaled_dims = 0);

  // `scale` is dense, null without scaled dims; `scratch` has scratch_bytes().
  Status run(const void* from, void* to, const float* scale = nullptr,
             void* scratch = nullptr) const;
  // Of weights that must be multiplied before they can be packed.
  size_t scratch_bytes() const;
  bool can_fail() const { return !pack_.has_value(); }
  std::string implementation() const;
  const DnnlLayout& layout() const { return to_; }

 private:
  DnnlTensor from_;  // as it is packed: in scratch when `multiply_first_`
  DnnlLayout to_;
  bool multiply_first_ = false;
  int64_t rows_ = 1, columns_ = 1;       // of what is multiplied first
  std::optional<cpu::CopyPlan> gather_;  // which makes it dense, if it is not
  std::optional<DnnlPack> pack_;
};

}  // namespace kiln
