#include "backends/cpu/runtime/dnnl_pack.h"

#include <algorithm>
#include <array>
#include <utility>

#include "backends/cpu/runtime/dnnl_reorder.h"
#include "base/check.h"

namespace kiln {

// One dim of a tensor in a blocked layout.
struct DnnlPack::Cut {
  int64_t outer = 1, inner = 1;         // number of blocks, elements of each that are there
  int64_t outer_stride = 0;             // in the layout, of a block
  int64_t block = 1, inner_stride = 1;  // elements of a whole block; in the layout
};

// `rows` is the dim whose elements lie side by side in the layout, if the others are one run of
// memory in the source. Layouts of weights are like that: blocks of output channels, whose inputs
// lie side by side in PyTorch.
std::optional<cpu::RowPackParams> DnnlPack::as_rows(const DnnlTensor& from,
                                                    const std::vector<Cut>& cuts, size_t rows) {
  constexpr int64_t kLine = 16;
  if (dtype_bytes(from.dtype) != 4 || cuts[rows].inner_stride != 1 ||
      cuts[rows].block % kLine != 0 || cuts[rows].outer_stride % kLine != 0) {
    return std::nullopt;
  }
  std::vector<size_t> dims;  // of the run, innermost first
  int64_t columns = 1;
  for (size_t d = 0; d < from.dims.size(); ++d) {
    if (d != rows && from.dims[d] != 1) dims.push_back(d);
  }
  std::sort(dims.begin(), dims.end(),
            [&](size_t a, size_t b) { return from.strides[a] < from.strides[b]; });
  for (size_t d : dims) {
    if (from.strides[d] != columns) return std::nullopt;
    columns *= from.dims[d];
  }
  cpu::RowPackParams params{from.dims[rows], from.strides[rows], cuts[rows].block,
                            cuts[rows].outer_stride, {}};
  params.column_offsets.reserve(static_cast<size_t>(columns));
  std::vector<int64_t> index(dims.size(), 0);
  for (int64_t c = 0; c < columns; ++c) {
    int64_t offset = 0;
    for (size_t i = 0; i < dims.size(); ++i) {
      const Cut& cut = cuts[dims[i]];
      offset += index[i] / cut.block * cut.outer_stride + index[i] % cut.block * cut.inner_stride;
    }
    if (offset % kLine != 0) return std::nullopt;
    params.column_offsets.push_back(offset);
    for (size_t i = 0; i < dims.size() && ++index[i] == from.dims[dims[i]]; ++i) index[i] = 0;
  }
  return params;
}

std::optional<DnnlPack> DnnlPack::make(const DnnlTensor& from, const DnnlLayout& to) {
  const std::optional<DnnlBlocking> blocking = to.blocking();
  const size_t rank = from.dims.size();
  const size_t element = dtype_bytes(from.dtype);
  if (!blocking || blocking->dtype != from.dtype || blocking->dims != from.dims ||
      (element != 1 && element != 2 && element != 4 && element != 8)) {
    return std::nullopt;
  }
  // Cut into blocks, each dim at most once.
  std::vector<Cut> whole(rank);
  for (size_t d = 0; d < rank; ++d) {
    whole[d] = {blocking->padded_dims[d], 1, blocking->strides[d]};
  }
  int64_t stride = 1;
  for (size_t b = blocking->blocks.size(); b-- > 0;) {
    const auto [dim, size] = blocking->blocks[b];
    Cut& cut = whole[dim];
    if (cut.block != 1 || size < 1 || cut.outer % size != 0) return std::nullopt;
    cut.outer /= size;
    cut.block = cut.inner = size;
    cut.inner_stride = stride;
    stride *= size;
  }
  // Every byte must be one of these elements.
  int64_t elements = 1, reach = 1;
  for (const Cut& cut : whole) {
    elements *= cut.outer * cut.block;
    reach += (cut.outer - 1) * cut.outer_stride + (cut.block - 1) * cut.inner_stride;
  }
  if (elements != reach || static_cast<size_t>(elements) * element != to.bytes() ||
      2 * rank > cpu::kMaxRank) {
    return std::nullopt;
  }

  DnnlPack pack;
  pack.element_bytes_ = static_cast<int>(element);
  // A dim whose last block is not full: all that is in the last blocks becomes zero first; then the
  // full blocks and the last one are copied apart.
  std::vector<std::vector<std::pair<Cut, int64_t>>> cuts(rank);  // with the first block
  for (size_t d = 0; d < rank; ++d) {
    const Cut& cut = whole[d];
    const int64_t full = from.dims[d] / cut.block, rest = from.dims[d] % cut.block;
    if (cut.outer != full + (rest != 0 ? 1 : 0)) return std::nullopt;  // more padding than that
    if (full != 0) {
      cuts[d].push_back({cut, 0});
      cuts[d].back().first.outer = full;
    }
    if (rest == 0) continue;
    cuts[d].push_back({cut, full});
    cuts[d].back().first.outer = 1;
    cuts[d].back().first.inner = rest;
    Fill fill;
    fill.offset = full * cut.outer_stride;
    for (size_t e = 0; e < rank; ++e) {
      fill.sizes[fill.rank] = e == d ? 1 : whole[e].outer;
      fill.strides[fill.rank++] = whole[e].outer_stride;
      fill.sizes[fill.rank] = whole[e].block;
      fill.strides[fill.rank++] = whole[e].inner_stride;
    }
    pack.fills_.push_back(fill);
  }
  if (!blocking->blocks.empty()) {
    pack.rows_dim_ = blocking->blocks.back().dim;
    pack.rows_ = as_rows(from, whole, pack.rows_dim_);
    if (pack.rows_) return pack;
  }
  std::vector<size_t> choice(rank, 0);
  while (true) {
    Part part;
    cpu::CopyParams params;
    params.element_bytes = pack.element_bytes_;
    for (size_t d = 0; d < rank; ++d) {
      const auto& [cut, first] = cuts[d][choice[d]];
      part.from += first * cut.block * from.strides[d];
      part.to += first * cut.outer_stride;
      params.sizes[params.rank] = cut.outer;
      params.src_strides[params.rank] = cut.block * from.strides[d];
      params.dst_strides[params.rank++] = cut.outer_stride;
      params.sizes[params.rank] = cut.inner;
      params.src_strides[params.rank] = from.strides[d];
      params.dst_strides[params.rank++] = cut.inner_stride;
    }
    part.copy = cpu::CopyPlan(params);
    pack.parts_.push_back(part);
    size_t d = 0;
    while (d < rank && ++choice[d] == cuts[d].size()) choice[d++] = 0;
    if (d == rank) return pack;
  }
}

void DnnlPack::run(const void* from, void* to, const float* scale) const {
  static constexpr std::array<unsigned char, 16> kZero{};
  for (const Fill& fill : fills_) {
    cpu::fill_strided(element_bytes_, fill.rank, fill.sizes, fill.strides, kZero.data(),
                      static_cast<char*>(to) + fill.offset * element_bytes_);
  }
  if (rows_) cpu::pack_rows(*rows_, from, to, scale);
  for (const Part& part : parts_) {
    part.copy.run(static_cast<const char*>(from) + part.from * element_bytes_,
                  static_cast<char*>(to) + part.to * element_bytes_);
  }
}

DnnlWeightsPacker::DnnlWeightsPacker(const DnnlTensor& from, DnnlLayout to, size_t scaled_dims)
    : from_(from), to_(std::move(to)), pack_(DnnlPack::make(from_, to_)) {
  if (scaled_dims == 0) return;
  KILN_CHECK(from.dtype == DType::kF32 && scaled_dims < from.dims.size());
  for (size_t d = 0; d < from.dims.size(); ++d) {
    (d < scaled_dims ? rows_ : columns_) *= from.dims[d];
  }
  for (size_t d = 0; pack_ && d < scaled_dims; ++d) {
    if (from.dims[d] == rows_ && pack_->can_scale(d)) return;  // the other scaled dims are 1
  }
  multiply_first_ = true;
  from_ = DnnlTensor::dense(from.dims, from.dtype);
  pack_ = DnnlPack::make(from_, to_);
  if (from.strides == from_.strides) return;
  cpu::CopyParams copy;
  copy.element_bytes = static_cast<int>(dtype_bytes(from.dtype));
  copy.rank = static_cast<int>(from.dims.size());
  for (size_t d = 0; d < from.dims.size(); ++d) {
    copy.sizes[d] = from.dims[d];
    copy.src_strides[d] = from.strides[d];
    copy.dst_strides[d] = from_.strides[d];
  }
  gather_ = cpu::CopyPlan(copy);
}

size_t DnnlWeightsPacker::scratch_bytes() const {
  return multiply_first_ ? static_cast<size_t>(rows_ * columns_) * dtype_bytes(from_.dtype) : 0;
}

Status DnnlWeightsPacker::run(const void* from, void* to, const float* scale,
                              void* scratch) const {
  if (multiply_first_) {
    auto* multiplied = static_cast<float*>(scratch);
    if (gather_) gather_->run(from, multiplied);
    cpu::scale_rows(gather_ ? multiplied : static_cast<const float*>(from), scale, rows_, columns_,
                    multiplied);
    from = multiplied;
    scale = nullptr;
  }
  if (pack_) {
    pack_->run(from, to, scale);
    return {};
  }
  KILN_ASSIGN_OR_RETURN(const DnnlLayout plain, DnnlLayout::strided(from_));
  return dnnl_copy(plain, from, to_, to);
}

std::string DnnlWeightsPacker::implementation() const {
  return std::string(pack_ ? "kiln:" : "dnnl:") + (multiply_first_ ? "multiply, pack " : "pack ") +
         to_.to_string();
}

}  // namespace kiln
