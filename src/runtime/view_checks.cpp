#include "runtime/view_checks.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace kiln {
namespace {

// Larger sizes and strides cannot occur: the runtime refuses buffers beyond 2^46 bytes. Products of
// one with a small number stay far from overflow.
constexpr int64_t kMaxSize = int64_t{1} << 46;

Status refuse(std::string_view step, const std::string& what) {
  return Status::error("K3250", std::string(step) + ": " + what);
}

// An expanded input may have more elements than its slot, but not without bound.
bool countable(const ConcreteView& view) {
  int64_t count = 1;
  for (int64_t size : view.dims) {
    if (size < 0 || size > kMaxSize) return false;
    if (size > 0 && count > kMaxSize / size) return false;
    count *= std::max<int64_t>(size, 1);
  }
  return true;
}

// Enough, and true of every view that the compiler makes: ordered by stride, each dim steps over
// all that the dims below it reach.
bool distinct(const ConcreteView& view) {
  std::vector<std::pair<int64_t, int64_t>> dims;  // stride, size
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] > 1) dims.emplace_back(std::abs(view.strides[i]), view.dims[i]);
  }
  std::sort(dims.begin(), dims.end());
  int64_t reach = 0;
  for (const auto& [stride, size] : dims) {
    if (stride <= reach) return false;
    reach += stride * (size - 1);
  }
  return true;
}

void tame_strides(ConcreteView& view) {
  const bool empty = view.num_elements() == 0;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    int64_t& stride = view.strides[i];
    if ((empty || view.dims[i] <= 1) && (stride > kMaxSize || stride < -kMaxSize)) stride = 0;
  }
}

}  // namespace

Status check_counts(const StepDesc& desc, size_t min_inputs, size_t max_inputs, size_t outputs) {
  if (desc.inputs.size() >= min_inputs && desc.inputs.size() <= max_inputs &&
      desc.outputs.size() == outputs) {
    return {};
  }
  return refuse(desc.kind, "wrong number of operands, " + std::to_string(desc.inputs.size()) +
                               " in and " + std::to_string(desc.outputs.size()) + " out");
}

Status check_views(std::string_view step, BindContext& context) {
  for (std::vector<ConcreteView>* list : {&context.inputs, &context.outputs}) {
    for (ConcreteView& view : *list) {
      if (view.packed != nullptr) return refuse(step, "operand is packed");
      if (view.kind == SlotKind::kObject) return refuse(step, "operand is no tensor");
      if (view.rank() > kMaxViewRank) {
        return refuse(step, "operand has too many dims, " + std::to_string(view.rank()));
      }
      if (!countable(view)) return refuse(step, "operand is too large");
      tame_strides(view);
    }
  }
  for (const ConcreteView& view : context.outputs) {
    if (view.num_elements() > 0 && !distinct(view)) {
      return refuse(step, "two elements of an output share a place");
    }
  }
  return {};
}

Status check_dims(std::string_view step, const ConcreteView& view,
                  const std::vector<int64_t>& dims) {
  if (view.dims == dims) return {};
  std::string text;
  for (const std::vector<int64_t>* list : {&view.dims, &dims}) {
    text += text.empty() ? "[" : "] but [";
    for (size_t i = 0; i < list->size(); ++i) {
      text += (i == 0 ? "" : ",") + std::to_string((*list)[i]);
    }
  }
  return refuse(step, "operand has another shape, " + text + "]");
}

Status check_dtype(std::string_view step, const ConcreteView& view, DType dtype) {
  if (view.dtype == dtype) return {};
  return refuse(step, "operand has another dtype, " + std::string(dtype_name(view.dtype)) +
                          " but " + std::string(dtype_name(dtype)));
}

Status check_rank(std::string_view step, const ConcreteView& view, int rank) {
  if (view.rank() == rank) return {};
  return refuse(step, "operand has another rank, " + std::to_string(view.rank()) + " but " +
                          std::to_string(rank));
}

ByteSpan byte_span(const ConcreteView& view) {
  if (view.num_elements() == 0) return {};
  const auto bytes = static_cast<int64_t>(dtype_bytes(view.dtype));
  ByteSpan span{0, bytes};
  for (size_t i = 0; i < view.dims.size(); ++i) {
    const int64_t reach = (view.dims[i] - 1) * view.strides[i] * bytes;
    (reach < 0 ? span.low : span.high) += reach;
  }
  return span;
}

bool spans_overlap(const void* a, ByteSpan span_a, const void* b, ByteSpan span_b) {
  const auto base_a = reinterpret_cast<intptr_t>(a);
  const auto base_b = reinterpret_cast<intptr_t>(b);
  return span_a.low < span_a.high && span_b.low < span_b.high &&
         base_a + span_a.low < base_b + span_b.high && base_b + span_b.low < base_a + span_a.high;
}

}  // namespace kiln
