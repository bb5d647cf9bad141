#include "backends/cuda/runtime/gemm_kernel.h"

#include <utility>

#include "runtime/view_checks.h"

namespace kiln::cuda {

const char* gemm_form_name(GemmKernel::Form form) {
  constexpr const char* kNames[] = {"simt", "matrix", "rows"};
  return kNames[static_cast<size_t>(form)];
}

Json GemmKernel::to_json() const {
  Json json = Json::object();
  json.set("form", gemm_form_name(form));
  json.set("dtype", dtype_name(dtype));
  json.set("tile", tile);
  json.set("batch_rank", batch_rank);
  json.set("bias", bias);
  json.set("a_along", a_along);
  json.set("b_along", b_along);
  json.set("a_eight", a_eight);
  json.set("b_eight", b_eight);
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<GemmKernel> GemmKernel::from_json(const Json& params) {
  GemmKernel kernel;
  KILN_ASSIGN_OR_RETURN(const std::string form, params.string_at("form"));
  bool fits = false;
  for (const Form candidate : {Form::kSimt, Form::kMatrix, Form::kRows}) {
    if (form != gemm_form_name(candidate)) continue;
    kernel.form = candidate;
    fits = true;
  }
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.tile, params.int_at("tile", 1, 128));
  KILN_ASSIGN_OR_RETURN(kernel.batch_rank, params.int_at("batch_rank", 0, kMaxViewRank - 2));
  KILN_ASSIGN_OR_RETURN(kernel.bias, params.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(kernel.a_along, params.bool_at("a_along"));
  KILN_ASSIGN_OR_RETURN(kernel.b_along, params.bool_at("b_along"));
  KILN_ASSIGN_OR_RETURN(kernel.a_eight, params.bool_at("a_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.b_eight, params.bool_at("b_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const bool half = is_half(kernel.dtype);
  fits = fits && kernel.dtype != DType::kBool && (kernel.form != Form::kMatrix || half) &&
         (!(kernel.a_eight || kernel.b_eight) || half);
  if (kernel.form == Form::kRows) {
    const int64_t bytes = kernel.tile * static_cast<int64_t>(dtype_bytes(kernel.dtype));
    fits = fits && (kernel.tile & (kernel.tile - 1)) == 0 && bytes <= 16;
  } else {
    fits = fits && (kernel.tile == 64 || kernel.tile == 128);
  }
  if (!fits) return Status::error("K3212", "gemm kernel: parameters do not fit each other");
  return kernel;
}

namespace {

class GemmStep : public Step {
 public:
  GemmStep(StepKernel kernel, GemmKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& a = context.inputs[0];
    const ConcreteView& b = context.inputs[1];
    const ConcreteView& c = context.outputs[0];
    for (const ConcreteView* view : {&a, &b, &c}) {
      KILN_RETURN_IF_ERROR(check_dtype(kName, *view, params_.dtype));
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&a, &b, &c}));
    std::vector<Argument> arguments{Argument::input(0), Argument::input(1)};
    const ConcreteView* bias = nullptr;
    if (params_.bias) {
      bias = &context.inputs[2];
      KILN_RETURN_IF_ERROR(check_dtype(kName, *bias, params_.dtype));
      KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {bias}));
      arguments.push_back(Argument::input(2));
    }
    arguments.push_back(Argument::output(0));
    KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes, gemm_sizes(a, b, bias, c));
    if (c.rank() != params_.batch_rank + 2) {
      return Status::error("K3212", "gemm kernel: made for another rank");
    }
    const size_t a_depth = a.dims.size() - 1, b_depth = b.dims.size() - 2;
    const int64_t width = params_.form == GemmKernel::Form::kRows ? params_.tile : 1;
    if ((params_.a_eight && !takes_width(a, a_depth, 8)) ||
        (params_.b_eight && !takes_width(b, b_depth, 8)) || !takes_width(a, a_depth, width) ||
        !takes_width(b, b_depth, width)) {
      return Status::error("K3212", "gemm kernel: operands are not aligned as it needs them");
    }
    KILN_RETURN_IF_ERROR(params_.sizes.bind(sizes, &arguments));
    const int64_t m = c.dims[c.dims.size() - 2], n = c.dims.back();
    const int64_t batch = c.num_elements() == 0 ? 0 : c.num_elements() / m / n;
    if (params_.form == GemmKernel::Form::kRows) {
      if (m > GemmKernel::kFewRows) return Status::error("K3212", "gemm kernel: too many rows");
      return bind_launch(kernel_, launch_blocks(kernel_, batch * ceil_div(n, 8), arguments),
                         context, "kiln:gemm_rows");
    }
    const bool matrix = params_.form == GemmKernel::Form::kMatrix;
    const int64_t blocks = batch * ceil_div(m, params_.tile) * ceil_div(n, params_.tile);
    return bind_launch(kernel_,
                       launch_blocks(kernel_, blocks, arguments, matrix ? params_.tile * 2 : 256),
                       context, matrix ? "kiln:gemm_mma" : "kiln:gemm");
  }

 private:
  static constexpr std::string_view kName = "cuda.gemm";
  StepKernel kernel_;
  GemmKernel params_;
};

Result<std::unique_ptr<Step>> make_gemm(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, GemmKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(GemmKernel params, GemmKernel::from_json(*kernel.params));
  const size_t inputs = params.bias ? 3 : 2;
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  return std::unique_ptr<Step>(new GemmStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_gemm, "cuda.gemm", make_gemm);

}  // namespace
}  // namespace kiln::cuda
