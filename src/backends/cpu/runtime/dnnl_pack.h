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
  void run(const void* from, void* to) const;

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
};

// A packing as a step runs it: by DnnlPack where that can, else by oneDNN.
class DnnlWeightsPacker {
 public:
  DnnlWeightsPacker(const DnnlTensor& from, DnnlLayout to);

  Status run(const void* from, void* to) const;
  bool can_fail() const { return !pack_.has_value(); }
  std::string implementation() const;
  const DnnlLayout& layout() const { return to_; }

 private:
  DnnlTensor from_;
  DnnlLayout to_;
  std::optional<DnnlPack> pack_;
};

}  // namespace kiln
