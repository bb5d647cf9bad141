#include "torch/input_overlap.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace kiln {
namespace {

using Piece = std::pair<uintptr_t, uintptr_t>;  // bytes [first, second)

constexpr int64_t kMaxPieces = 1 << 14;

// The memory of a tensor as pieces without gaps, sorted. False: too many of them.
bool pieces_of(const at::Tensor& tensor, std::vector<Piece>& pieces) {
  const auto element = static_cast<int64_t>(tensor.element_size());
  // Dims by stride; those that continue one another are one.
  std::vector<std::pair<int64_t, int64_t>> dims;  // (stride in bytes, size)
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) > 1 && tensor.stride(d) != 0) {
      dims.emplace_back(tensor.stride(d) * element, tensor.size(d));
    }
  }
  std::sort(dims.begin(), dims.end());
  int64_t length = element, count = 1;
  std::vector<std::pair<int64_t, int64_t>> outer;
  for (const auto& [stride, size] : dims) {
    if (outer.empty() && stride <= length) {
      length += (size - 1) * stride;
    } else {
      outer.emplace_back(stride, size);
      count *= size;
      if (count > kMaxPieces) return false;
    }
  }
  const auto base = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  pieces.push_back({base, base + static_cast<uintptr_t>(length)});
  for (const auto& [stride, size] : outer) {
    const size_t known = pieces.size();
    for (int64_t i = 1; i < size; ++i) {
      const auto shift = static_cast<uintptr_t>(i * stride);
      for (size_t k = 0; k < known; ++k) {
        pieces.push_back({pieces[k].first + shift, pieces[k].second + shift});
      }
    }
  }
  std::sort(pieces.begin(), pieces.end());
  return true;
}

}  // namespace

bool share_elements(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0 || b.numel() == 0 || !a.has_storage() || !b.has_storage()) return false;
  if (a.storage().data() != b.storage().data()) {
    // Storages of their own may still lie over the same memory (from_numpy, from_blob).
    const auto low_a = reinterpret_cast<uintptr_t>(a.storage().data());
    const auto low_b = reinterpret_cast<uintptr_t>(b.storage().data());
    if (low_a >= low_b + b.storage().nbytes() || low_b >= low_a + a.storage().nbytes()) {
      return false;
    }
  }
  std::vector<Piece> first, second;
  if (!pieces_of(a, first) || !pieces_of(b, second)) return true;
  for (size_t i = 0, k = 0; i < first.size() && k < second.size();) {
    if (first[i].second <= second[k].first) {
      ++i;
    } else if (second[k].second <= first[i].first) {
      ++k;
    } else {
      return true;
    }
  }
  return false;
}

Status check_written_inputs(const EnginePlan& plan, const std::vector<at::Tensor>& inputs) {
  for (const PlanOutput& output : plan.outputs) {
    if (output.kind != PlanOutput::Kind::kWriteInput) continue;
    const auto written = static_cast<size_t>(output.target);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (i == written || !inputs[i].defined() || !inputs[written].defined() ||
          !share_elements(inputs[written], inputs[i])) {
        continue;
      }
      return Status::error("K4125",
                           "an input that the program writes shares memory with another one: '" +
                               plan.inputs[written].name + "' with '" + plan.inputs[i].name + "'",
                           "give one of them as a copy");
    }
  }
  return {};
}

}  // namespace kiln
