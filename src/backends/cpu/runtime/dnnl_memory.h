// How tensors are described to oneDNN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "core/dtype.h"

struct dnnl_memory_desc;  // oneDNN's own, opaque

namespace kiln {

// A strided tensor: what a step knows of its operand. Strides are in elements and not negative;
// an offset is added to the pointer by the caller. All dims are at least 1.
struct DnnlTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;

  // Row-major, and channels-last (dim 1 innermost).
  static DnnlTensor dense(std::vector<int64_t> dims, DType dtype = DType::kF32);
  static DnnlTensor channels_last(std::vector<int64_t> dims, DType dtype = DType::kF32);
};

// The strides that `tensor` would have if the dims of size 1, whose strides mean nothing, were
// part of a tensor stored in `order` (outermost first). oneDNN compares them when it looks for a
// kernel, so a caller's arbitrary numbers there would cost the fast one.
std::vector<int64_t> dnnl_canonical_strides(const DnnlTensor& tensor,
                                            const std::vector<int>& order);

// A layout in which elements lie one by one: dims cut into blocks, and the blocks' strides.
struct DnnlBlocking {
  DType dtype = DType::kF32;
  std::vector<int64_t> dims, padded_dims;
  std::vector<int64_t> strides;  // of each dim's blocks, or of its elements when it has none
  struct Block {
    size_t dim = 0;
    int64_t size = 0;
  };
  std::vector<Block> blocks;  // outermost first, the elements of the last one side by side
};

// An immutable memory descriptor of oneDNN: strided, or a blocked layout that the library chose.
// Cheap to copy, shared between threads.
class DnnlLayout {
 public:
  DnnlLayout() = default;  // empty: "the library chooses"

  // Errors: K4601 for a dtype, rank or stride that oneDNN cannot take, K51xx without the library.
  static Result<DnnlLayout> strided(const DnnlTensor& tensor);
  // "The library chooses" for a tensor of these dims, to be given to a primitive descriptor.
  static Result<DnnlLayout> chosen_by_library(const std::vector<int64_t>& dims, DType dtype);
  // Takes a copy of a descriptor that some oneDNN object owns.
  static Result<DnnlLayout> copy_of(const dnnl_memory_desc* desc);

  bool empty() const { return desc_ == nullptr; }
  size_t bytes() const;  // of a buffer in this layout, padding included; 0 when empty
  // As oneDNN's tags: "f32[64,256,1,1] Acdb16a".
  std::string to_string() const;
  bool operator==(const DnnlLayout& other) const;
  // How the elements lie, where that is all there is to the layout; bytes() may still be more.
  std::optional<DnnlBlocking> blocking() const;
  // The same elements seen with another shape (adding or removing leading ones, say).
  // Error K4601 when the layout does not allow it.
  Result<DnnlLayout> reshaped(const std::vector<int64_t>& dims) const;

  const dnnl_memory_desc* get() const { return desc_.get(); }

 private:
  std::shared_ptr<const dnnl_memory_desc> desc_;
};

}  // namespace kiln
