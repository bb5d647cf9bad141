// Matrix products by oneDNN, with the elementwise nodes behind them as post-ops.
//
// A linear layer, or a product with a constant matrix, is one product of matrices: rows are all
// leading dims of src together. Anything else is a batched product of views as they are.
#include <algorithm>
#include <utility>

#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cpu/compile/dnnl_epilogue.h"
#include "base/check.h"
#include "base/parallel_for.h"
#include "fusion/buffer_reuse.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

// The product in terms of matrices.
struct Product {
  bool linear = false;
  bool flat = false;  // one product of matrices; weights are [k, n] or [n, k], nothing else
  bool transposed_a = false, transposed_b = false;
  DimExpr k, n;
};

bool leading_ones(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end() - 2,
                     [](const DimExpr& dim) { return dim.is_value(1); });
}

Product product_of(const Anchor& match) {
  Node& node = *match.anchor;
  Product p;
  const Shape& b = node.operand(1)->shape();
  p.linear = node.is("linear");
  p.transposed_a = !p.linear && node.get_bool("transpose_a");
  p.transposed_b = p.linear || node.get_bool("transpose_b");
  p.k = b[b.size() - (p.transposed_b ? 1 : 2)];
  p.n = b[b.size() - (p.transposed_b ? 2 : 1)];
  p.flat = p.linear || (match.outer(node.operand(1))->is_constant_argument() && leading_ones(b) &&
                        node.operand(0)->shape().size() >= b.size() && p.k.is_constant() &&
                        p.n.is_constant());
  return p;
}

// The view of an operand as [batch..., rows, columns] of `rank` dims, batch dims that repeat
// as 1.
PlanView matrix_view(PlanView view, bool transposed, size_t rank) {
  if (transposed) {
    const size_t last = view.dims.size() - 1;
    std::swap(view.dims[last], view.dims[last - 1]);
    std::swap(view.strides[last], view.strides[last - 1]);
  }
  const size_t missing = rank - view.dims.size();
  view.dims.insert(view.dims.begin(), missing, DimExpr(1));
  view.strides.insert(view.strides.begin(), missing, DimExpr(1));
  for (size_t i = 0; i + 2 < rank; ++i) {
    if (view.strides[i].is_value(0)) view.dims[i] = 1;
  }
  return view;
}

// Do consecutive elements of dim `dim` lie side by side?
bool is_unit(const PlanView& view, size_t dim) {
  return view.strides[dim].is_value(1) || view.dims[dim].is_value(1);
}

size_t channel_of(Node& anchor) {
  const auto rank = anchor.result()->shape().size();
  return rank - 1;
}

// Has oneDNN a fast kernel, at representative sizes?
Status supported(const Anchor& match, const std::vector<DnnlEpilogueStep>& steps,
                 int threads) {
  Node& node = *match.anchor;
  const DType dtype = node.result()->dtype();
  KILN_RETURN_IF_ERROR(check_dnnl_serves(dtype));
  const Product product = product_of(match);
  const Shape& a = node.operand(0)->shape();
  const Shape& dst = node.result()->shape();
  if (has_empty_dim(a) || has_empty_dim(dst) || has_empty_dim(node.operand(1)->shape())) {
    return Status::error("K2411", "a size is 0");
  }
  if (dst.size() > 6) return Status::error("K2411", "more than 6 dims");
  const ScopedNumThreads scope(threads);
  DnnlMatmulParams p;
  std::vector<int64_t> dims;  // of the result
  bool packed = false;
  if (product.flat) {
    KILN_ASSIGN_OR_RETURN(const SymbolValues symbols,
                          representative_symbols({{DimExpr(1), product.k, product.n}}));
    KILN_ASSIGN_OR_RETURN(const int64_t k, product.k.evaluate(symbols));
    KILN_ASSIGN_OR_RETURN(const int64_t n, product.n.evaluate(symbols));
    dims = {DnnlMatmulPack::kRows, n};
    p.src = DnnlTensor::dense({DnnlMatmulPack::kRows, k}, dtype);
    p.weights = product.transposed_b ? DnnlTensor{dtype, {k, n}, {1, k}}
                                     : DnnlTensor::dense({k, n}, dtype);
    packed = match.outer(node.operand(1))->is_constant_argument();
  } else {
    const Shape& b = node.operand(1)->shape();
    KILN_ASSIGN_OR_RETURN(const SymbolValues symbols, representative_symbols({a, b, dst}));
    KILN_ASSIGN_OR_RETURN(dims, evaluate(dst, symbols));
    auto operand = [&](const Shape& shape, bool transposed, bool keep) -> Result<DnnlTensor> {
      KILN_ASSIGN_OR_RETURN(std::vector<int64_t> sizes, evaluate(shape, symbols));
      sizes.insert(sizes.begin(), dims.size() - sizes.size(), 1);
      DnnlTensor tensor = DnnlTensor::dense(std::move(sizes), dtype);
      if (!transposed) return tensor;
      std::swap(tensor.dims[dims.size() - 1], tensor.dims[dims.size() - 2]);
      if (!keep) return DnnlTensor::dense(tensor.dims, dtype);
      std::swap(tensor.strides[dims.size() - 1], tensor.strides[dims.size() - 2]);
      return tensor;
    };
    KILN_ASSIGN_OR_RETURN(p.src, operand(a, product.transposed_a, false));
    KILN_ASSIGN_OR_RETURN(p.weights, operand(b, product.transposed_b, true));
  }
  p.dst = DnnlTensor::dense(dims, dtype);
  p.bias = node.has_operand(2);
  p.bias_dtype = dtype;
  for (const DnnlEpilogueStep& step : steps) {
    DnnlPostOp op{step.op.kind, step.op.alpha, step.op.beta};
    if (step.tensor != nullptr) {
      op.tensor =
          DnnlTensor::dense(dnnl_tensor_dims(step.broadcast, dims, dims.size() - 1), dtype);
    }
    p.post_ops.push_back(std::move(op));
  }
  return packed ? DnnlMatmul::choose_weights_layout(p).status() : DnnlMatmul::supports(p);
}

class MatmulTactic : public Tactic {
 public:
  MatmulTactic(Anchor match, int threads) : match_(std::move(match)), threads_(threads) {}

  std::string name() const override { return "dnnl.matmul"; }
  int absorbed() const override { return static_cast<int>(match_.epilogue.size()); }

  Status lower(Node& node, EngineLowering& lowering) override {
    Node& anchor = *match_.anchor;
    const Product product = product_of(match_);
    const std::vector<DnnlEpilogueStep> steps =
        map_dnnl_epilogue(anchor, match_.epilogue, channel_of(anchor));
    const DType dtype = anchor.result()->dtype();
    StepDesc step{"dnnl.matmul", {}, {}, {}, node.origin.to_string(), match_.label()};
    DnnlMatmulStepParams params;
    params.bias = anchor.has_operand(2);
    params.post_ops = post_op_params(steps);

    // Shape of the product's result: [rows, n], or as it is.
    Shape dims = anchor.result()->shape();
    if (product.flat) {
      DimExpr rows = 1;
      for (size_t i = 0; i + 1 < dims.size(); ++i) rows *= dims[i];
      dims = {rows, product.n};
    }
    step.inputs.push_back(source(node, lowering, product, dims));
    KILN_RETURN_IF_ERROR(add_weights(node, lowering, product, dims, dtype, step, params));
    if (params.bias) {
      step.inputs.push_back(lowering.materialize(
          lowering.view(match_.outer(anchor.operand(2))), {}, node.origin));
    }
    for (const DnnlEpilogueStep& post_op : steps) {
      if (post_op.tensor == nullptr) continue;
      PlanView view =
          lowering.materialize(lowering.view(match_.outer(post_op.tensor)), {}, node.origin);
      view.dims = dnnl_tensor_dims(post_op.broadcast, dims, dims.size() - 1);
      view.strides = dense_strides(view.dims, {});
      step.inputs.push_back(std::move(view));
    }

    const PlanView place = lowering.allocate(node.result());
    PlanView target;
    const bool direct = reshape_view(place, dims, &target) && is_unit(target, dims.size() - 1);
    if (!direct) target = lowering.allocate_temp(dtype, dims);
    step.outputs.push_back(target);
    step.params = to_json(params);
    lowering.emit(std::move(step));
    if (!direct) {
      PlanView result;
      KILN_CHECK(reshape_view(target, place.dims, &result));
      lowering.emit({"copy", {result}, {place}, Json::object(), node.origin.to_string(), "copy"});
    }
    return {};
  }

 private:
  // The first operand with rows that oneDNN reads as they lie, or a copy that has them.
  PlanView source(Node& node, EngineLowering& lowering, const Product& product,
                  const Shape& dims) {
    PlanView view = lowering.view(match_.outer(match_.anchor->operand(0)));
    if (!product.flat) {
      view = matrix_view(std::move(view), product.transposed_a, dims.size());
      const PlanView other = matrix_view(lowering.view(match_.outer(match_.anchor->operand(1))),
                                         product.transposed_b, dims.size());
      // oneDNN wants each batch of the result in an operand.
      for (size_t i = 0; i + 2 < dims.size(); ++i) {
        if (!view.dims[i].is_value(1) || !other.dims[i].is_value(1)) continue;
        view.dims[i] = dims[i];
        if (!dims[i].is_value(1)) view.strides[i] = 0;
      }
      if (is_unit(view, dims.size() - 1) && !repeats(view)) return view;
      return lowering.materialize(view, {}, node.origin);
    }
    if (view.dims.size() == 1) {
      view.dims.insert(view.dims.begin(), DimExpr(1));
      view.strides.insert(view.strides.begin(), view.dims[1] * view.strides[0]);
    }
    if (product.transposed_a) view = matrix_view(std::move(view), true, view.dims.size());
    const Shape flat = {dims[0], product.k};
    PlanView result;
    if (reshape_view(view, flat, &result) && is_unit(result, 1) && !repeats(result)) return result;
    KILN_CHECK(reshape_view(lowering.materialize(view, {}, node.origin), flat, &result));
    return result;
  }

  Status add_weights(Node& node, EngineLowering& lowering, const Product& product,
                     const Shape& dims, DType dtype, StepDesc& step,
                     DnnlMatmulStepParams& params) {
    Value* weights = match_.outer(match_.anchor->operand(1));
    if (product.flat && lowering.is_constant(weights)) {
      DnnlMatmulPack pack;
      pack.k = product.k.value();
      pack.n = product.n.value();
      pack.transposed = product.transposed_b;
      pack.dtype = dtype;
      pack.threads = threads_;
      params.pack = to_json(pack);
      step.inputs.push_back(
          lowering.pack({weights}, "dnnl.pack_matmul", params.pack, node.origin));
      return {};
    }
    PlanView view = matrix_view(lowering.view(weights), product.transposed_b, dims.size());
    const size_t last = dims.size() - 1;
    if ((!is_unit(view, last) && !is_unit(view, last - 1)) || repeats(view)) {
      view = lowering.materialize(view, {}, node.origin);
    }
    step.inputs.push_back(std::move(view));
    return {};
  }

  Anchor match_;
  int threads_;
};

class MatmulProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "dnnl.matmul"; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    Anchor match;
    if (!find_anchor(node, {"linear", "matmul"}, &match)) return;
    Status why;
    const int length = longest_dnnl_epilogue(
        *match.anchor, match.epilogue, channel_of(*match.anchor),
        [&](const auto& steps) { return supported(match, steps, device.threads); }, &why);
    if (length == static_cast<int>(match.epilogue.size())) {
      out.tactics.push_back(std::make_unique<MatmulTactic>(std::move(match), device.threads));
    } else if (length >= 0) {
      out.refusals.push_back({"dnnl.matmul", "no post-op for " +
                                                 std::string(match.epilogue[static_cast<size_t>(
                                                     length)]->op_name())});
    } else {
      out.refusals.push_back({"dnnl.matmul", why.message()});
    }
  }
};

}  // namespace

int dnnl_matmul_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) {
  Anchor match;
  match.node = match.anchor = &anchor;
  Status why;
  return std::max(0, longest_dnnl_epilogue(
                         anchor, epilogue, channel_of(anchor),
                         [&](const auto& steps) {
                           return supported(match, steps, num_threads());
                         },
                         &why));
}

std::unique_ptr<KernelProvider> make_dnnl_matmul_provider() {
  return std::make_unique<MatmulProvider>();
}

}  // namespace kiln
