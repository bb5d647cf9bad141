#include "backends/cpu/runtime/dnnl_pool.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <utility>

#include "backends/cpu/runtime/dnnl_api.h"
#include "backends/cpu/runtime/dnnl_table.h"
#include "base/check.h"
#include "base/parallel_for.h"

namespace kiln {
namespace {

dnnl_alg_kind_t algorithm_of(DnnlPoolParams::Kind kind) {
  switch (kind) {
    case DnnlPoolParams::Kind::kMax: return dnnl_pooling_max;
    case DnnlPoolParams::Kind::kAverage: return dnnl_pooling_avg_exclude_padding;
    case DnnlPoolParams::Kind::kAverageWithPadding: return dnnl_pooling_avg_include_padding;
  }
  return dnnl_alg_kind_undef;
}

// What a primitive is made from.
struct Selected {
  DnnlPrimitiveDesc desc;
  DnnlLayout src, dst;
  std::vector<int> order;
};

Result<Selected> select(const DnnlPoolParams& p) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  const size_t rank = p.src.dims.size();
  if (rank < 3 || rank > 5) {
    return Status::error("K4601",
                         "pooling of a rank that oneDNN does not have: " + std::to_string(rank));
  }
  KILN_CHECK_EQ(p.dst.dims.size(), rank);
  dnnl_dims_t kernel{}, stride{}, dilation{}, begin{}, end{};
  const std::pair<const std::vector<int64_t>*, int64_t*> lists[] = {
      {&p.kernel, kernel}, {&p.stride, stride}, {&p.dilation, dilation},
      {&p.padding_begin, begin}, {&p.padding_end, end}};
  for (const auto& [from, to] : lists) {
    KILN_CHECK_EQ(from->size(), rank - 2);
    std::copy(from->begin(), from->end(), to);
  }
  for (size_t i = 0; i < rank - 2; ++i) dilation[i] -= 1;  // oneDNN counts the gaps

  std::vector<int> order(rank);
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  DnnlTensor src = p.src, dst = p.dst;
  src.strides = dnnl_canonical_strides(src, order);
  dst.strides = dnnl_canonical_strides(dst, order);
  KILN_ASSIGN_OR_RETURN(const DnnlLayout src_layout, DnnlLayout::strided(src));
  KILN_ASSIGN_OR_RETURN(const DnnlLayout dst_layout, DnnlLayout::strided(dst));
  KILN_ASSIGN_OR_RETURN(const DnnlAttr attr, make_dnnl_attr(p.post_ops, dst, order));

  const DnnlThreads threads(api, num_threads());
  dnnl_primitive_desc_t raw = nullptr;
  if (int s = api->dnnl_pooling_forward_primitive_desc_create(
          &raw, api->engine, dnnl_forward_inference, algorithm_of(p.kind), src_layout.get(),
          dst_layout.get(), stride, kernel, dilation, begin, end, attr.get());
      s != dnnl_success) {
    return dnnl_failure(s, "this pooling");
  }
  DnnlPrimitiveDesc desc(raw);
  const std::string name = dnnl_implementation(desc);
  if (is_dnnl_reference(name) && !p.allow_reference) {
    return Status::error("K4602", "oneDNN has only its reference for this pooling: " + name);
  }
  return Selected{std::move(desc), src_layout, dst_layout, std::move(order)};
}

}  // namespace

Status DnnlPool::supports(const DnnlPoolParams& params) { return select(params).status(); }

Result<std::unique_ptr<DnnlPool>> DnnlPool::create(const DnnlPoolParams& params) {
  KILN_ASSIGN_OR_RETURN(Selected selected, select(params));
  std::vector<DnnlPrimitive::Operand> operands{{DNNL_ARG_SRC, selected.src},
                                               {DNNL_ARG_DST, selected.dst}};
  KILN_RETURN_IF_ERROR(append_post_op_operands(params.post_ops, selected.order, operands));
  KILN_ASSIGN_OR_RETURN(std::unique_ptr<DnnlPrimitive> primitive,
                        DnnlPrimitive::create(std::move(selected.desc), std::move(operands)));
  return std::unique_ptr<DnnlPool>(new DnnlPool(std::move(primitive)));
}

Status DnnlPool::run(const Args& args) const {
  std::array<const void*, DnnlPrimitive::kMaxOperands> pointers;
  size_t n = 0;
  pointers[n++] = args.src;
  pointers[n++] = args.dst;
  KILN_CHECK_LE(n + args.post_op_tensors.size(), pointers.size());
  for (const void* tensor : args.post_op_tensors) pointers[n++] = tensor;
  return primitive_->run({pointers.data(), n}, args.scratchpad);
}

}  // namespace kiln
