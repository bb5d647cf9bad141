// "dnnl.matmul" and "dnnl.pack_matmul": matrix products by oneDNN. Params: dnnl_step_params.h.
//
// src [batch..., m, k], weights [batch..., k, n], dst [batch..., m, n], all of one rank, batch dims
// of src and weights dst's or 1; packed weights have no dims of their own.
#include <algorithm>
#include <mutex>
#include <utility>

#include "backends/cpu/runtime/dnnl_step_operands.h"
#include "backends/cpu/runtime/dnnl_step_params.h"
#include "base/parallel_for.h"
#include "runtime/step.h"

namespace kiln {
namespace {

Status bad(std::string what) { return Status::error("K3221", std::move(what)); }

class BoundMatmul : public BoundStep {
 public:
  std::unique_ptr<DnnlMatmul> matmul;
  std::unique_ptr<DnnlAdaptedWeights> adapted;  // null: the weights as they are
  size_t weights_bytes = 0;                     // of the adapted ones in scratch
  std::shared_ptr<void> zeros;                  // stands for both operands when k is 0
  size_t first_tensor = 2, num_tensors = 0;
  bool bias = false;

  size_t scratch_bytes() const override { return weights_bytes + matmul->scratchpad_bytes(); }

  Status run(const RunArgs& args) override {
    const void* src = zeros != nullptr ? zeros.get() : args.inputs[0];
    const void* weights = zeros != nullptr ? zeros.get() : args.inputs[1];
    if (adapted != nullptr) {
      KILN_ASSIGN_OR_RETURN(weights, adapted->get(weights, args.scratch));
    }
    const DnnlTensorPointers tensors(args.inputs, first_tensor, num_tensors);
    return matmul->run({src, weights, bias ? args.inputs[2] : nullptr, args.outputs[0],
                        tensors.span(), static_cast<char*>(args.scratch) + weights_bytes});
  }

  std::string implementation() const override {
    return "dnnl:" + matmul->implementation() + (adapted ? " (weights unpacked)" : "") +
           (zeros ? " (of nothing)" : "");
  }
};

class MatmulStep : public Step {
 public:
  MatmulStep(DnnlMatmulStepParams params, std::unique_ptr<DnnlMatmulPack> pack)
      : params_(std::move(params)), pack_(std::move(pack)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    const ScopedNumThreads scope(context.threads);
    const DType dtype = context.outputs[0].dtype;
    KILN_RETURN_IF_ERROR(check_dnnl_dtype(dtype));
    DnnlMatmulParams p;
    KILN_ASSIGN_OR_RETURN(p.dst, dnnl_operand(context.outputs[0], dtype));
    const size_t rank = p.dst.dims.size();
    if (rank < 2) return bad("matmul of rank " + std::to_string(rank));
    const int64_t n = p.dst.dims[rank - 1];
    p.bias = params_.bias;
    p.bias_dtype = dtype;

    auto bound = std::make_unique<BoundMatmul>();
    bound->bias = params_.bias;
    bound->first_tensor = params_.bias ? 3 : 2;
    if (params_.bias) KILN_RETURN_IF_ERROR(check_dnnl_bias(context.inputs[2], dtype, n));
    KILN_ASSIGN_OR_RETURN(
        p.post_ops, dnnl_bind_post_ops(params_.post_ops, context, bound->first_tensor, dtype));
    bound->num_tensors = context.inputs.size() - bound->first_tensor;

    if (pack_ == nullptr && is_empty_sum(context)) {
      KILN_RETURN_IF_ERROR(make_zeros(p, *bound));
    } else {
      KILN_ASSIGN_OR_RETURN(p.src, dnnl_operand(context.inputs[0], dtype));
      if (pack_ == nullptr) {
        KILN_ASSIGN_OR_RETURN(p.weights, dnnl_operand(context.inputs[1], dtype));
      } else {
        if (dtype != pack_->dtype) return bad("packed weights have another dtype");
        std::vector<int64_t> dims(rank, 1);
        dims[rank - 2] = pack_->k;
        dims[rank - 1] = pack_->n;
        p.weights = DnnlTensor::dense(std::move(dims), dtype);
      }
      KILN_RETURN_IF_ERROR(check_dims(p));
    }
    if (pack_ == nullptr) {
      KILN_ASSIGN_OR_RETURN(bound->matmul, create(p));
      return std::unique_ptr<BoundStep>(std::move(bound));
    }
    KILN_ASSIGN_OR_RETURN(const DnnlLayout layout, packed_layout());
    KILN_RETURN_IF_ERROR(check_packed_input(context.inputs[1], params_.pack, layout));
    auto matmul = DnnlMatmul::create(p, layout);
    const std::string code = matmul.ok() ? "" : matmul.status().code();
    if (code == "K4603" || code == "K4602" || code == "K4601") {
      // Rows that do not merge, say: the weights as a plain matrix serve every shape.
      KILN_ASSIGN_OR_RETURN(const DnnlLayout plain, DnnlLayout::strided(DnnlTensor::dense(
                                                        {pack_->k, pack_->n}, dtype)));
      KILN_ASSIGN_OR_RETURN(bound->adapted,
                            DnnlAdaptedWeights::make(layout, *context.inputs[1].packed, plain));
      bound->weights_bytes = dnnl_aligned(bound->adapted->scratch_bytes());
      matmul = create(p);
    }
    if (!matmul.ok()) return std::move(matmul).status();
    bound->matmul = std::move(matmul).value();
    return std::unique_ptr<BoundStep>(std::move(bound));
  }

 private:
  static Result<std::unique_ptr<DnnlMatmul>> create(DnnlMatmulParams& p) {
    auto matmul = DnnlMatmul::create(p);
    if (matmul.ok() || matmul.status().code() != "K4602") return matmul;
    p.allow_reference = true;
    return DnnlMatmul::create(p);
  }

  static bool is_empty_sum(const BindContext& context) {
    const ConcreteView& src = context.inputs[0];
    const ConcreteView& weights = context.inputs[1];
    return src.rank() >= 2 && weights.rank() == src.rank() &&
           src.rank() == context.outputs[0].rank() && src.dims.back() == 0 &&
           weights.dims[weights.dims.size() - 2] == 0;
  }

  // A sum over nothing is 0: the product of a column and a row of zeros.
  static Status make_zeros(DnnlMatmulParams& p, BoundMatmul& bound) {
    const size_t rank = p.dst.dims.size();
    const DType dtype = p.dst.dtype;
    const int64_t m = p.dst.dims[rank - 2], n = p.dst.dims[rank - 1];
    std::vector<int64_t> column(rank, 1), row(rank, 1);
    column[rank - 2] = m;
    row[rank - 1] = n;
    int64_t batch = 1;
    for (size_t i = 0; i + 2 < rank; ++i) {
      column[i] = p.dst.dims[i];
      batch *= column[i];  // no more than the output has elements
    }
    p.src = DnnlTensor::dense(std::move(column), dtype);
    p.weights = DnnlTensor::dense(std::move(row), dtype);
    const size_t bytes = static_cast<size_t>(std::max(m * batch, n)) * dtype_bytes(dtype);
    bound.zeros = std::shared_ptr<void>(std::calloc(bytes, 1), std::free);
    if (bound.zeros == nullptr) return Status::error("K4501", "out of memory for zeros");
    return {};
  }

  static Status check_dims(const DnnlMatmulParams& p) {
    const size_t rank = p.dst.dims.size();
    const auto &s = p.src.dims, &w = p.weights.dims, &d = p.dst.dims;
    bool fits = s.size() == rank && w.size() == rank;
    fits = fits && s[rank - 2] == d[rank - 2] && s[rank - 1] == w[rank - 2] &&
           w[rank - 1] == d[rank - 1];
    for (size_t i = 0; fits && i + 2 < rank; ++i) {
      fits = (s[i] == d[i] || s[i] == 1) && (w[i] == d[i] || w[i] == 1) &&
             d[i] == std::max(s[i], w[i]);
    }
    return fits ? Status() : bad("operands of a matmul do not fit");
  }

  // Asked of the library once in the life of the step.
  Result<DnnlLayout> packed_layout() const {
    std::lock_guard lock(mutex_);
    if (layout_.empty()) {
      KILN_ASSIGN_OR_RETURN(layout_, pack_->layout());
    }
    return layout_;
  }

  DnnlMatmulStepParams params_;
  std::unique_ptr<DnnlMatmulPack> pack_;
  mutable std::mutex mutex_;
  mutable DnnlLayout layout_;
};

class BoundPackMatmul : public BoundStep {
 public:
  BoundPackMatmul(DnnlWeightsPacker packer, std::string format)
      : packer_(std::move(packer)), format_(std::move(format)) {}

  Status run(const RunArgs& args) override {
    return packer_.run(args.inputs[0], args.outputs[0]);
  }
  bool can_fail() const override { return packer_.can_fail(); }
  std::string implementation() const override { return packer_.implementation(); }
  size_t packed_bytes(int) const override { return packer_.layout().bytes(); }
  std::string packed_format(int) const override { return format_; }

 private:
  DnnlWeightsPacker packer_;
  std::string format_;
};

class PackMatmulStep : public Step {
 public:
  PackMatmulStep(const DnnlMatmulPack& pack, std::string format)
      : pack_(pack), format_(std::move(format)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    KILN_RETURN_IF_ERROR(check_packed_output(context));
    KILN_ASSIGN_OR_RETURN(DnnlMatmulParams p, pack_.problem());
    KILN_ASSIGN_OR_RETURN(p.weights, dnnl_operand(context.inputs[0], pack_.dtype));
    DnnlTensor& w = p.weights;
    while (w.dims.size() > 2 && w.dims[0] == 1) {
      w.dims.erase(w.dims.begin());
      w.strides.erase(w.strides.begin());
    }
    if (w.dims.size() == 2 && pack_.transposed) {
      std::swap(w.dims[0], w.dims[1]);
      std::swap(w.strides[0], w.strides[1]);
    }
    if (w.dims != std::vector<int64_t>{pack_.k, pack_.n}) {
      return bad("weights to pack have another shape");
    }
    KILN_ASSIGN_OR_RETURN(const DnnlLayout layout, pack_.layout());
    KILN_ASSIGN_OR_RETURN(DnnlWeightsPacker packer, DnnlMatmul::packer(p, layout));
    return std::unique_ptr<BoundStep>(new BoundPackMatmul(std::move(packer), format_));
  }

 private:
  DnnlMatmulPack pack_;
  std::string format_;
};

Result<std::unique_ptr<Step>> make_matmul(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(DnnlMatmulStepParams params, dnnl_matmul_params_from_json(desc.params));
  if (desc.inputs.size() < (params.bias ? 3u : 2u) || desc.outputs.size() != 1) {
    return bad("matmul with a wrong number of operands");
  }
  std::unique_ptr<DnnlMatmulPack> pack;
  if (!params.pack.is_null()) {
    KILN_ASSIGN_OR_RETURN(DnnlMatmulPack parsed, dnnl_matmul_pack_from_json(params.pack));
    pack = std::make_unique<DnnlMatmulPack>(parsed);
  }
  return std::unique_ptr<Step>(new MatmulStep(std::move(params), std::move(pack)));
}

Result<std::unique_ptr<Step>> make_pack_matmul(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(const DnnlMatmulPack pack, dnnl_matmul_pack_from_json(desc.params));
  if (desc.inputs.size() != 1 || desc.outputs.size() != 1) {
    return bad("packing step with a wrong number of operands");
  }
  return std::unique_ptr<Step>(new PackMatmulStep(pack, desc.params.dump()));
}

KILN_STEP(dnnl_matmul, "dnnl.matmul", make_matmul);
KILN_STEP(dnnl_pack_matmul, "dnnl.pack_matmul", make_pack_matmul);

}  // namespace
}  // namespace kiln
