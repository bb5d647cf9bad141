// Sizes, indices and addresses of tile kernels as C++ text. The index of dim d is `i<d>`, element
// index of the group of points or of the row's item at hand; `v` is the lane within a group.
#pragma once

#include <optional>
#include <string>

#include "backends/cuda/compile/source_text.h"
#include "backends/cuda/runtime/tile_kernel.h"

namespace kiln::cuda {

class TileIndices {
 public:
  explicit TileIndices(const TileKernel& kernel) : kernel_(kernel) {}

  // "int32" or "int64": what indices are computed in.
  std::string type() const { return kernel_.schedule.wide ? "int64" : "int32"; }
  // A known size as a literal, another one as the argument that brings it.
  static std::string size(const TileKernel::Size& size);
  std::string extent(size_t dim) const { return size(kernel_.extents[dim]); }
  // Product of the steps of dims [begin, end), and its value where it is known. An empty dim makes
  // it zero.
  std::string step_count(size_t begin, size_t end, std::optional<int64_t>* known) const;
  std::string block() const;

  // Defines the indices of dims [begin, end) from the counter `counter`, the last dim running
  // fastest.
  void define(size_t begin, size_t end, std::string counter, SourceText& out) const;
  // Of a kernel that transposes: from the block's number `x` the indices of the outer dims, and
  // `tile_y` and `tile_x`, the first ones of the block's tile.
  void define_tile(SourceText& out) const;

  // The element of an access: of lane v, or the one that all lanes share. `more` is added to its
  // index.
  std::string element(const std::string& operand, size_t access, bool lane,
                      const std::string& more = "") const;
  // Where lane 0 reads or writes.
  std::string pointer(const std::string& operand, size_t access) const;

 private:
  std::optional<int64_t> known_steps(size_t dim) const;
  std::string steps(size_t dim) const;
  std::string quotient(const std::string& counter, size_t dim) const;
  std::string stride(size_t access, size_t dim) const;
  std::string offset(size_t access) const;
  std::string lane_offset(size_t access) const;

  const TileKernel& kernel_;
};

}  // namespace kiln::cuda
