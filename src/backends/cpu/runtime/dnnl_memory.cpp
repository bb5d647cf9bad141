#include "backends/cpu/runtime/dnnl_memory.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "backends/cpu/runtime/dnnl_api.h"
#include "backends/cpu/runtime/dnnl_table.h"
#include "base/check.h"

namespace kiln {
namespace {

std::optional<dnnl_data_type_t> dnnl_dtype(DType dtype) {
  switch (dtype) {
    case DType::kF32: return dnnl_f32;
    case DType::kF64: return dnnl_f64;
    case DType::kF16: return dnnl_f16;
    case DType::kBF16: return dnnl_bf16;
    case DType::kI8: return dnnl_s8;
    case DType::kU8: return dnnl_u8;
    case DType::kI32: return dnnl_s32;
    case DType::kI16:
    case DType::kI64:
    case DType::kBool: return std::nullopt;
  }
  return std::nullopt;
}

const char* dnnl_dtype_name(dnnl_data_type_t dtype) {
  switch (dtype) {
    case dnnl_f32: return "f32";
    case dnnl_f64: return "f64";
    case dnnl_f16: return "f16";
    case dnnl_bf16: return "bf16";
    case dnnl_s8: return "i8";
    case dnnl_u8: return "u8";
    case dnnl_s32: return "i32";
    default: return "?";
  }
}

std::vector<int64_t> strides_in_order(const std::vector<int64_t>& dims,
                                      const std::vector<int>& order) {
  std::vector<int64_t> strides(dims.size());
  int64_t next = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = next;
    next *= dims[order[i]];
  }
  return strides;
}

std::vector<int> logical_order(size_t rank) {
  std::vector<int> order(rank);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

Status check_dims(const std::vector<int64_t>& dims) {
  if (dims.empty() || dims.size() > DNNL_MAX_NDIMS) {
    return Status::error("K4601", "rank that oneDNN cannot take: " + std::to_string(dims.size()));
  }
  for (int64_t dim : dims) {
    if (dim < 1) {
      return Status::error("K4601", "dim that oneDNN cannot take: " + std::to_string(dim));
    }
  }
  return Status();
}

// Owns a descriptor just made by the library.
std::shared_ptr<const dnnl_memory_desc> own(const DnnlApi* api, dnnl_memory_desc_t desc) {
  return {desc, [api](const dnnl_memory_desc* d) {
            api->dnnl_memory_desc_destroy(const_cast<dnnl_memory_desc*>(d));
          }};
}

}  // namespace

DnnlTensor DnnlTensor::dense(std::vector<int64_t> dims, DType dtype) {
  std::vector<int64_t> strides = strides_in_order(dims, logical_order(dims.size()));
  return {dtype, std::move(dims), std::move(strides)};
}

DnnlTensor DnnlTensor::channels_last(std::vector<int64_t> dims, DType dtype) {
  std::vector<int> order = logical_order(dims.size());
  if (order.size() > 2) std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  std::vector<int64_t> strides = strides_in_order(dims, order);
  return {dtype, std::move(dims), std::move(strides)};
}

std::vector<int64_t> dnnl_canonical_strides(const DnnlTensor& tensor,
                                            const std::vector<int>& order) {
  KILN_CHECK_EQ(order.size(), tensor.dims.size());
  KILN_CHECK_EQ(tensor.strides.size(), tensor.dims.size());
  std::vector<int64_t> strides = tensor.strides;
  int64_t inner_extent = 1;  // elements from one index to the next of a dim outside those seen
  for (size_t i = order.size(); i-- > 0;) {
    const int d = order[i];
    if (tensor.dims[d] == 1) strides[d] = inner_extent;
    inner_extent = std::max(inner_extent, strides[d] * tensor.dims[d]);
  }
  return strides;
}

Result<DnnlLayout> DnnlLayout::strided(const DnnlTensor& tensor) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  KILN_RETURN_IF_ERROR(check_dims(tensor.dims));
  KILN_CHECK_EQ(tensor.strides.size(), tensor.dims.size());
  const auto dtype = dnnl_dtype(tensor.dtype);
  if (!dtype) {
    return Status::error("K4601", "dtype that oneDNN does not have: " +
                                      std::string(dtype_name(tensor.dtype)));
  }
  for (size_t d = 0; d < tensor.dims.size(); ++d) {
    // A stride of 0 repeats elements. oneDNN reads it as an undefined descriptor.
    if (tensor.strides[d] < 0 || (tensor.strides[d] == 0 && tensor.dims[d] > 1)) {
      return Status::error("K4601",
                           "stride that oneDNN cannot take: " + std::to_string(tensor.strides[d]));
    }
  }
  dnnl_dims_t dims{}, strides{};
  std::copy(tensor.dims.begin(), tensor.dims.end(), dims);
  const std::vector<int64_t> canonical =
      std::count(tensor.strides.begin(), tensor.strides.end(), 0)
          ? dnnl_canonical_strides(tensor, logical_order(tensor.dims.size()))
          : tensor.strides;
  std::copy(canonical.begin(), canonical.end(), strides);
  dnnl_memory_desc_t desc = nullptr;
  if (api->dnnl_memory_desc_create_with_strides(&desc, static_cast<int>(tensor.dims.size()), dims,
                                                *dtype, strides) != dnnl_success) {
    return Status::error("K4601", "strides that oneDNN cannot take");
  }
  DnnlLayout layout;
  layout.desc_ = own(api, desc);
  return layout;
}

Result<DnnlLayout> DnnlLayout::chosen_by_library(const std::vector<int64_t>& dims, DType dtype) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  KILN_RETURN_IF_ERROR(check_dims(dims));
  const auto type = dnnl_dtype(dtype);
  if (!type) {
    return Status::error("K4601",
                         "dtype that oneDNN does not have: " + std::string(dtype_name(dtype)));
  }
  dnnl_dims_t c_dims{};
  std::copy(dims.begin(), dims.end(), c_dims);
  dnnl_memory_desc_t desc = nullptr;
  if (api->dnnl_memory_desc_create_with_tag(&desc, static_cast<int>(dims.size()), c_dims, *type,
                                            dnnl_format_tag_any) != dnnl_success) {
    return Status::error("K4601", "dims that oneDNN cannot take");
  }
  DnnlLayout layout;
  layout.desc_ = own(api, desc);
  return layout;
}

Result<DnnlLayout> DnnlLayout::copy_of(const dnnl_memory_desc* source) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  dnnl_memory_desc_t desc = nullptr;
  if (api->dnnl_memory_desc_clone(&desc, source) != dnnl_success) {
    return Status::error("K4604", "oneDNN could not copy a memory descriptor");
  }
  DnnlLayout layout;
  layout.desc_ = own(api, desc);
  return layout;
}

size_t DnnlLayout::bytes() const {
  if (empty()) return 0;
  return (*dnnl_api())->dnnl_memory_desc_get_size(get());
}

bool DnnlLayout::operator==(const DnnlLayout& other) const {
  if (empty() || other.empty()) return empty() == other.empty();
  return (*dnnl_api())->dnnl_memory_desc_equal(get(), other.get()) != 0;
}

Result<DnnlLayout> DnnlLayout::reshaped(const std::vector<int64_t>& dims) const {
  KILN_CHECK(!empty());
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  KILN_RETURN_IF_ERROR(check_dims(dims));
  dnnl_dims_t c_dims{};
  std::copy(dims.begin(), dims.end(), c_dims);
  dnnl_memory_desc_t desc = nullptr;
  if (api->dnnl_memory_desc_reshape(&desc, get(), static_cast<int>(dims.size()), c_dims) !=
      dnnl_success) {
    return Status::error("K4601", "layout that cannot be reshaped: " + to_string());
  }
  DnnlLayout layout;
  layout.desc_ = own(api, desc);
  return layout;
}

std::optional<DnnlBlocking> DnnlLayout::blocking() const {
  if (empty()) return std::nullopt;
  const DnnlApi* api = *dnnl_api();
  auto query = [&](dnnl_query_t what, void* result) {
    return api->dnnl_memory_desc_query(get(), what, result) == dnnl_success;
  };
  dnnl_format_kind_t kind = dnnl_format_kind_undef;
  dnnl_data_type_t type = dnnl_data_type_undef;
  int rank = 0, blocks = 0;
  dnnl_dim_t offset = 0;
  dnnl_dims_t *dims = nullptr, *padded = nullptr, *padding = nullptr, *strides = nullptr,
              *sizes = nullptr, *indices = nullptr;
  if (!query(dnnl_query_format_kind, &kind) || kind != dnnl_blocked ||
      !query(dnnl_query_data_type, &type) || !query(dnnl_query_ndims_s32, &rank) ||
      !query(dnnl_query_submemory_offset_s64, &offset) || offset != 0 ||
      !query(dnnl_query_dims, &dims) || !query(dnnl_query_padded_dims, &padded) ||
      !query(dnnl_query_padded_offsets, &padding) || !query(dnnl_query_strides, &strides) ||
      !query(dnnl_query_inner_nblks_s32, &blocks) ||
      (blocks > 0 && (!query(dnnl_query_inner_blks, &sizes) ||
                      !query(dnnl_query_inner_idxs, &indices)))) {
    return std::nullopt;
  }
  DnnlBlocking result;
  const auto known = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16,
                      DType::kI8,  DType::kU8,  DType::kI32};
  const auto* found = std::find_if(known.begin(), known.end(),
                                   [&](DType dtype) { return dnnl_dtype(dtype) == type; });
  if (found == known.end()) return std::nullopt;
  result.dtype = *found;
  for (int d = 0; d < rank; ++d) {
    if ((*padding)[d] != 0) return std::nullopt;  // elements before the first one
    result.dims.push_back((*dims)[d]);
    result.padded_dims.push_back((*padded)[d]);
    result.strides.push_back((*strides)[d]);
  }
  for (int b = 0; b < blocks; ++b) {
    result.blocks.push_back({static_cast<size_t>((*indices)[b]), (*sizes)[b]});
  }
  return result;
}

std::string DnnlLayout::to_string() const {
  if (empty()) return "empty";
  const DnnlApi* api = *dnnl_api();
  auto query = [&](dnnl_query_t what, void* result) {
    return api->dnnl_memory_desc_query(get(), what, result) == dnnl_success;
  };
  int rank = 0, blocks = 0;
  dnnl_data_type_t dtype = dnnl_data_type_undef;
  dnnl_dims_t *dims = nullptr, *strides = nullptr, *block_sizes = nullptr, *block_dims = nullptr;
  if (!query(dnnl_query_ndims_s32, &rank) || !query(dnnl_query_dims, &dims) ||
      !query(dnnl_query_data_type, &dtype)) {
    return "unknown";
  }
  std::string text = std::string(dnnl_dtype_name(dtype)) + "[";
  for (int d = 0; d < rank; ++d) text += (d ? "," : "") + std::to_string((*dims)[d]);
  text += "] ";
  dnnl_format_kind_t kind = dnnl_format_kind_undef;
  if (!query(dnnl_query_format_kind, &kind) || kind == dnnl_format_kind_any) return text + "any";
  if (kind != dnnl_blocked || !query(dnnl_query_strides, &strides) ||
      !query(dnnl_query_inner_nblks_s32, &blocks) ||
      (blocks > 0 && (!query(dnnl_query_inner_blks, &block_sizes) ||
                      !query(dnnl_query_inner_idxs, &block_dims)))) {
    return text + "opaque";
  }
  std::vector<int> order = logical_order(rank);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return (*strides)[a] > (*strides)[b]; });
  std::vector<bool> blocked(rank, false);
  for (int b = 0; b < blocks; ++b) blocked[(*block_dims)[b]] = true;
  for (int d : order) text += static_cast<char>((blocked[d] ? 'A' : 'a') + d);
  for (int b = 0; b < blocks; ++b) {
    text += std::to_string((*block_sizes)[b]) + static_cast<char>('a' + (*block_dims)[b]);
  }
  return text;
}

}  // namespace kiln
