#include "backends/cpu/runtime/dnnl_matmul.h"

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

Status check(const DnnlMatmulParams& p) {
  const size_t rank = p.dst.dims.size();
  KILN_CHECK_GE(rank, 2u);
  KILN_CHECK_EQ(p.src.dims.size(), rank);
  KILN_CHECK_EQ(p.weights.dims.size(), rank);
  const auto &s = p.src.dims, &w = p.weights.dims, &d = p.dst.dims;
  bool fits = s[rank - 2] == d[rank - 2] && s[rank - 1] == w[rank - 2];
  fits = fits && w[rank - 1] == d[rank - 1];
  for (size_t i = 0; i + 2 < rank; ++i) {
    fits = fits && d[i] == std::max(s[i], w[i]) && (s[i] == d[i] || s[i] == 1) &&
           (w[i] == d[i] || w[i] == 1);
  }
  return fits ? Status() : Status::error("K4601", "matmul whose dims do not fit");
}

// Can dims i and i + 1 of `t` be one, given that they are `outer` and `inner` long in the result?
bool mergeable(const DnnlTensor& t, size_t i, int64_t outer, int64_t inner) {
  const bool same = t.dims[i] == outer && t.dims[i + 1] == inner;
  if (outer == 1 || inner == 1) return same || (t.dims[i] == 1 && t.dims[i + 1] == 1);
  if (t.dims[i] == 1 && t.dims[i + 1] == 1) return true;
  return same && t.strides[i] == t.strides[i + 1] * t.dims[i + 1];
}

void merge(DnnlTensor& t, size_t i) {
  const bool inner_counts = t.dims[i + 1] > 1;
  t.dims[i + 1] *= t.dims[i];
  if (!inner_counts) t.strides[i + 1] = t.strides[i];
  t.dims.erase(t.dims.begin() + i);
  t.strides.erase(t.strides.begin() + i);
}

// Merges batch dims with each other, and with the rows where the weights have no batch, as far as
// the strides allow: oneDNN's kernels for plain matrices are its best.
DnnlMatmulParams merged(DnnlMatmulParams p) {
  for (size_t i = p.dst.dims.size() - 2; i-- > 0;) {
    const bool into_rows = i + 2 == p.dst.dims.size() - 1;
    const int64_t outer = p.dst.dims[i], inner = p.dst.dims[i + 1];
    bool can = mergeable(p.src, i, outer, inner) && mergeable(p.dst, i, outer, inner) &&
               (into_rows ? p.weights.dims[i] == 1 : mergeable(p.weights, i, outer, inner));
    for (const DnnlPostOp& op : p.post_ops) {
      can = can && (!op.has_tensor() || op.tensor.dims.size() != p.dst.dims.size() ||
                    mergeable(op.tensor, i, outer, inner));
    }
    if (!can) continue;
    for (DnnlPostOp& op : p.post_ops) {
      if (op.has_tensor() && op.tensor.dims.size() == p.dst.dims.size()) merge(op.tensor, i);
    }
    merge(p.src, i);
    merge(p.dst, i);
    if (into_rows) {
      p.weights.dims.erase(p.weights.dims.begin() + i);
      p.weights.strides.erase(p.weights.strides.begin() + i);
    } else {
      merge(p.weights, i);
    }
  }
  return p;
}

struct Problem {
  DnnlMatmulParams params;  // merged
  DnnlLayout src, bias, dst;
  DnnlAttr attr;
  std::vector<int> order;  // row-major
};

Result<DnnlLayout> row_major_layout(DnnlTensor tensor, const std::vector<int>& order) {
  tensor.strides = dnnl_canonical_strides(tensor, order);
  return DnnlLayout::strided(tensor);
}

Result<Problem> describe(const DnnlMatmulParams& params) {
  KILN_RETURN_IF_ERROR(check(params));
  Problem problem;
  problem.params = merged(params);
  const DnnlMatmulParams& p = problem.params;
  problem.order.resize(p.dst.dims.size());
  std::iota(problem.order.begin(), problem.order.end(), 0);
  KILN_ASSIGN_OR_RETURN(problem.src, row_major_layout(p.src, problem.order));
  KILN_ASSIGN_OR_RETURN(problem.dst, row_major_layout(p.dst, problem.order));
  if (p.bias) {
    std::vector<int64_t> dims(p.dst.dims.size(), 1);
    dims.back() = p.dst.dims.back();
    KILN_ASSIGN_OR_RETURN(problem.bias, DnnlLayout::strided(DnnlTensor::dense(dims, p.bias_dtype)));
  }
  KILN_ASSIGN_OR_RETURN(problem.attr, make_dnnl_attr(p.post_ops, p.dst, problem.order));
  return problem;
}

// A constant operand as the matrix that it is.
Result<DnnlTensor> weights_matrix(const DnnlTensor& weights) {
  const size_t batch = weights.dims.size() - 2;
  for (size_t i = 0; i < batch; ++i) {
    if (weights.dims[i] != 1) {
      return Status::error("K4601", "matmul weights with a batch cannot be packed: " +
                                        std::to_string(weights.dims[i]));
    }
  }
  return DnnlTensor{weights.dtype,
                    {weights.dims.begin() + batch, weights.dims.end()},
                    {weights.strides.begin() + batch, weights.strides.end()}};
}

Result<DnnlPrimitiveDesc> select(const Problem& problem, const DnnlLayout& weights, bool packed) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  const DnnlThreads threads(api, num_threads());
  dnnl_primitive_desc_t raw = nullptr;
  const int s = api->dnnl_matmul_primitive_desc_create(&raw, api->engine, problem.src.get(),
                                                       weights.get(), problem.bias.get(),
                                                       problem.dst.get(), problem.attr.get());
  if (s != dnnl_success) {
    if (packed && s == dnnl_unimplemented) {
      return Status::error("K4603", "packed weights that oneDNN cannot use at this shape: " +
                                        weights.to_string());
    }
    return dnnl_failure(s, "this matmul");
  }
  DnnlPrimitiveDesc desc(raw);
  const std::string name = dnnl_implementation(desc);
  if (is_dnnl_reference(name) && !problem.params.allow_reference) {
    if (packed) {
      return Status::error("K4603", "packed weights that only oneDNN's reference takes at this "
                                    "shape: " + name + ", " + weights.to_string());
    }
    return Status::error("K4602", "oneDNN has only its reference for this matmul: " + name);
  }
  return desc;
}

}  // namespace

Result<DnnlLayout> DnnlMatmul::choose_weights_layout(const DnnlMatmulParams& params) {
  KILN_ASSIGN_OR_RETURN(const Problem problem, describe(params));
  const DnnlTensor& weights = problem.params.weights;
  if (weights.dims.size() != 2) {
    return Status::error("K4601", "matmul whose batch does not merge with its rows cannot have "
                                  "packed weights");
  }
  KILN_ASSIGN_OR_RETURN(const DnnlLayout any,
                        DnnlLayout::chosen_by_library(weights.dims, weights.dtype));
  KILN_ASSIGN_OR_RETURN(const DnnlPrimitiveDesc desc, select(problem, any, false));
  return dnnl_query_layout(desc, dnnl_query_weights_md);
}

Result<DnnlWeightsPacker> DnnlMatmul::packer(const DnnlMatmulParams& params,
                                             const DnnlLayout& layout) {
  KILN_ASSIGN_OR_RETURN(const DnnlTensor matrix, weights_matrix(params.weights));
  return DnnlWeightsPacker(matrix, layout);
}

Status DnnlMatmul::supports(const DnnlMatmulParams& params) {
  KILN_ASSIGN_OR_RETURN(const Problem problem, describe(params));
  KILN_ASSIGN_OR_RETURN(const DnnlLayout weights,
                        row_major_layout(problem.params.weights, problem.order));
  return select(problem, weights, false).status();
}

Result<std::unique_ptr<DnnlMatmul>> DnnlMatmul::create(const DnnlMatmulParams& params,
                                                       const DnnlLayout& weights) {
  KILN_ASSIGN_OR_RETURN(const Problem problem, describe(params));
  DnnlLayout weights_layout = weights;
  if (weights.empty()) {
    KILN_ASSIGN_OR_RETURN(weights_layout, row_major_layout(problem.params.weights, problem.order));
  } else if (problem.params.weights.dims.size() > 2) {
    KILN_ASSIGN_OR_RETURN(weights_layout, weights.reshaped(problem.params.weights.dims));
  }
  KILN_ASSIGN_OR_RETURN(DnnlPrimitiveDesc desc, select(problem, weights_layout, !weights.empty()));
  std::unique_ptr<DnnlMatmul> matmul(new DnnlMatmul);
  matmul->bias_ = params.bias;
  std::vector<DnnlPrimitive::Operand> operands{{DNNL_ARG_SRC, problem.src},
                                               {DNNL_ARG_WEIGHTS, weights_layout},
                                               {DNNL_ARG_DST, problem.dst}};
  if (params.bias) operands.push_back({DNNL_ARG_BIAS, problem.bias});
  KILN_RETURN_IF_ERROR(append_post_op_operands(problem.params.post_ops, problem.order, operands));
  KILN_ASSIGN_OR_RETURN(matmul->primitive_,
                        DnnlPrimitive::create(std::move(desc), std::move(operands)));
  return matmul;
}

Status DnnlMatmul::run(const Args& args) const {
  std::array<const void*, DnnlPrimitive::kMaxOperands> pointers;
  size_t n = 0;
  pointers[n++] = args.src;
  pointers[n++] = args.weights;
  pointers[n++] = args.dst;
  if (bias_) pointers[n++] = args.bias;
  KILN_CHECK_LE(n + args.post_op_tensors.size(), pointers.size());
  for (const void* tensor : args.post_op_tensors) pointers[n++] = tensor;
  return primitive_->run({pointers.data(), n}, args.scratchpad);
}

}  // namespace kiln
