#include "backends/cpu/runtime/dnnl_conv.h"

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

// What a primitive descriptor is made from.
struct Problem {
  DnnlLayout src, bias, dst;
  DnnlAttr attr;
  std::vector<int> order;  // channels-last
  dnnl_dims_t stride{}, dilation{}, begin{}, end{};
};

std::vector<int> channels_last_order(size_t rank) {
  std::vector<int> order(rank);
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return order;
}

Result<DnnlLayout> activation_layout(DnnlTensor tensor, const std::vector<int>& order) {
  tensor.strides = dnnl_canonical_strides(tensor, order);
  return DnnlLayout::strided(tensor);
}

Status check(const DnnlConvParams& p) {
  const size_t rank = p.src.dims.size();
  if (rank < 3 || rank > 5) {
    return Status::error("K4601", "convolution of a rank that oneDNN does not have: " +
                                      std::to_string(rank));
  }
  KILN_CHECK_EQ(p.weights.dims.size(), rank);
  KILN_CHECK_EQ(p.dst.dims.size(), rank);
  for (const auto* list : {&p.stride, &p.dilation, &p.padding_begin, &p.padding_end}) {
    KILN_CHECK_EQ(list->size(), rank - 2);
  }
  const int64_t in = p.src.dims[1], out = p.dst.dims[1];
  const int64_t first = p.transposed ? in : out, second = p.transposed ? out : in;
  if (p.groups < 1 || in % p.groups != 0 || out % p.groups != 0 || p.weights.dims[0] != first ||
      p.weights.dims[1] * p.groups != second) {
    return Status::error("K4601", "convolution whose channels do not fit: in " +
                                      std::to_string(in) + ", out " + std::to_string(out) +
                                      ", groups " + std::to_string(p.groups) + ", weights " +
                                      std::to_string(p.weights.dims[0]) + " x " +
                                      std::to_string(p.weights.dims[1]));
  }
  return Status();
}

// PyTorch's weights under oneDNN's dims: [groups,] out, in, kernel.
DnnlTensor weights_as_onednn(const DnnlConvParams& p) {
  const DnnlTensor& w = p.weights;
  DnnlTensor result{w.dtype, w.dims, w.strides};
  result.dims[0] = w.dims[0] / p.groups;
  if (p.transposed) {
    std::swap(result.dims[0], result.dims[1]);
    std::swap(result.strides[0], result.strides[1]);
  }
  if (p.groups > 1) {
    result.dims.insert(result.dims.begin(), p.groups);
    result.strides.insert(result.strides.begin(), w.dims[0] / p.groups * w.strides[0]);
  }
  return result;
}

Result<Problem> describe(const DnnlConvParams& p) {
  KILN_RETURN_IF_ERROR(check(p));
  Problem problem;
  problem.order = channels_last_order(p.src.dims.size());
  KILN_ASSIGN_OR_RETURN(problem.src, activation_layout(p.src, problem.order));
  KILN_ASSIGN_OR_RETURN(problem.dst, activation_layout(p.dst, problem.order));
  if (p.bias) {
    KILN_ASSIGN_OR_RETURN(problem.bias,
                          DnnlLayout::strided(DnnlTensor::dense({p.dst.dims[1]}, p.bias_dtype)));
  }
  KILN_ASSIGN_OR_RETURN(problem.attr, make_dnnl_attr(p.post_ops, p.dst, problem.order));
  std::copy(p.stride.begin(), p.stride.end(), problem.stride);
  std::transform(p.dilation.begin(), p.dilation.end(), problem.dilation,
                 [](int64_t d) { return d - 1; });  // oneDNN counts the gaps
  std::copy(p.padding_begin.begin(), p.padding_begin.end(), problem.begin);
  std::copy(p.padding_end.begin(), p.padding_end.end(), problem.end);
  return problem;
}

Result<DnnlPrimitiveDesc> select(const DnnlConvParams& p, const Problem& problem,
                                 const DnnlLayout& given) {
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  DnnlLayout weights = given;
  if (given.empty()) {
    KILN_ASSIGN_OR_RETURN(
        weights, DnnlLayout::chosen_by_library(weights_as_onednn(p).dims, p.weights.dtype));
  }
  const char* what = p.transposed ? "this transposed convolution" : "this convolution";
  const DnnlThreads threads(api, num_threads());
  dnnl_primitive_desc_t raw = nullptr;
  const int s =
      p.transposed
          ? api->dnnl_deconvolution_forward_primitive_desc_create(
                &raw, api->engine, dnnl_forward_inference, dnnl_deconvolution_direct,
                problem.src.get(), weights.get(), problem.bias.get(), problem.dst.get(),
                problem.stride, problem.dilation, problem.begin, problem.end, problem.attr.get())
          : api->dnnl_convolution_forward_primitive_desc_create(
                &raw, api->engine, dnnl_forward_inference, dnnl_convolution_direct,
                problem.src.get(), weights.get(), problem.bias.get(), problem.dst.get(),
                problem.stride, problem.dilation, problem.begin, problem.end, problem.attr.get());
  if (s != dnnl_success) {
    if (!given.empty() && s == dnnl_unimplemented) {
      return Status::error("K4603", "packed weights that oneDNN cannot use at this shape: " +
                                        given.to_string());
    }
    return dnnl_failure(s, what);
  }
  DnnlPrimitiveDesc desc(raw);
  const std::string name = dnnl_implementation(desc);
  if (is_dnnl_reference(name) && !p.allow_reference) {
    if (!given.empty()) {
      return Status::error("K4603", "packed weights that only oneDNN's reference takes at this "
                                    "shape: " + name + ", " + given.to_string());
    }
    return Status::error("K4602", "oneDNN has only its reference for " + std::string(what) + ": " +
                                      name);
  }
  return desc;
}

}  // namespace

Result<DnnlLayout> DnnlConv::choose_weights_layout(const DnnlConvParams& params) {
  KILN_ASSIGN_OR_RETURN(const Problem problem, describe(params));
  KILN_ASSIGN_OR_RETURN(const DnnlPrimitiveDesc desc, select(params, problem, {}));
  return dnnl_query_layout(desc, dnnl_query_weights_md);
}

Result<DnnlWeightsPacker> DnnlConv::packer(const DnnlConvParams& params,
                                           const DnnlLayout& layout, bool scaled) {
  KILN_RETURN_IF_ERROR(check(params));
  if (scaled && (params.transposed || params.weights.dtype != DType::kF32)) {
    return Status::error("K4601", "no packing with factors for these weights");
  }
  const size_t scaled_dims = params.groups > 1 ? 2 : 1;  // of weights_as_onednn()
  return DnnlWeightsPacker(weights_as_onednn(params), layout, scaled ? scaled_dims : 0);
}

Result<DnnlLayout> DnnlConv::plain_weights_layout(const DnnlConvParams& params) {
  KILN_RETURN_IF_ERROR(check(params));
  return DnnlLayout::strided(weights_as_onednn(params));
}

Result<std::unique_ptr<DnnlConv>> DnnlConv::create(const DnnlConvParams& params,
                                                   const DnnlLayout& weights) {
  KILN_ASSIGN_OR_RETURN(const Problem problem, describe(params));
  KILN_ASSIGN_OR_RETURN(DnnlPrimitiveDesc desc, select(params, problem, weights));
  std::unique_ptr<DnnlConv> conv(new DnnlConv);
  KILN_ASSIGN_OR_RETURN(conv->weights_layout_, dnnl_query_layout(desc, dnnl_query_weights_md));
  conv->bias_ = params.bias;
  std::vector<DnnlPrimitive::Operand> operands{{DNNL_ARG_SRC, problem.src},
                                               {DNNL_ARG_WEIGHTS, conv->weights_layout_},
                                               {DNNL_ARG_DST, problem.dst}};
  if (params.bias) operands.push_back({DNNL_ARG_BIAS, problem.bias});
  KILN_RETURN_IF_ERROR(append_post_op_operands(params.post_ops, problem.order, operands));
  KILN_ASSIGN_OR_RETURN(conv->primitive_,
                        DnnlPrimitive::create(std::move(desc), std::move(operands)));
  return conv;
}

Result<std::unique_ptr<DnnlConv>> DnnlConv::create_preferring(const DnnlConvParams& params,
                                                              const DnnlLayout& weights) {
  auto conv = create(params, weights);
  if (conv.ok() || conv.status().code() != "K4603") return conv;
  return create(params);
}

Status DnnlConv::run(const Args& args) const {
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
