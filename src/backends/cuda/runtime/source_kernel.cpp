#include "backends/cuda/runtime/source_kernel.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/device_runtime.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Result<std::string> bytes_of_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    const int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
    if (high < 0 || low < 0) break;
    bytes += static_cast<char>(high * 16 + low);
  }
  if (bytes.size() * 2 != hex.size()) {
    return Status::error("K3212", "literal is not hexadecimal");
  }
  return bytes;
}

Json IotaKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("scale", scale);
  json.set("offset", offset);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<IotaKernel> IotaKernel::from_json(const Json& params) {
  IotaKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.scale, params.double_at("scale"));
  KILN_ASSIGN_OR_RETURN(kernel.offset, params.double_at("offset"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  if (kernel.dtype == DType::kBool) {
    return Status::error("K3212", "iota kernel: no numbers of dtype bool");
  }
  return kernel;
}

Json LiteralKernel::to_json() const {
  Json json = Json::object();
  json.set("bytes", bytes);
  json.set("rank", rank);
  json.set("hex", hex);
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<LiteralKernel> LiteralKernel::from_json(const Json& params) {
  LiteralKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.bytes, params.int_at("bytes", 1, 8));
  KILN_ASSIGN_OR_RETURN(kernel.rank, params.int_at("rank", 0, kMaxViewRank));
  KILN_ASSIGN_OR_RETURN(kernel.hex, params.string_at("hex"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const size_t element = static_cast<size_t>(kernel.bytes) * 2;
  if ((kernel.bytes & (kernel.bytes - 1)) != 0 || kernel.hex.size() % element != 0 ||
      kernel.hex.size() > 2 * LiteralKernel::kMaxBytes) {
    return Status::error("K3212", "literal kernel: parameters do not fit each other");
  }
  return kernel;
}

namespace {

class IotaStep : public Step {
 public:
  IotaStep(StepKernel kernel, IotaKernel params, DimExpr start, DimExpr step)
      : kernel_(std::move(kernel)),
        params_(std::move(params)),
        start_(std::move(start)),
        step_(std::move(step)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views("cuda.iota", context));
    const ConcreteView& to = context.outputs[0];
    KILN_RETURN_IF_ERROR(check_rank("cuda.iota", to, 1));
    KILN_RETURN_IF_ERROR(check_dtype("cuda.iota", to, params_.dtype));
    KILN_ASSIGN_OR_RETURN(const int64_t start, start_.evaluate(*context.symbols));
    KILN_ASSIGN_OR_RETURN(const int64_t step, step_.evaluate(*context.symbols));
    std::vector<Argument> arguments{Argument::output(0)};
    KILN_RETURN_IF_ERROR(
        params_.sizes.bind(iota_sizes(to.dims[0], to.strides[0], start, step), &arguments));
    return bind_launch(kernel_, launch_blocks(kernel_, ceil_div(to.dims[0], kThreads), arguments),
                       context, "kiln:iota");
  }

 private:
  StepKernel kernel_;
  IotaKernel params_;
  DimExpr start_, step_;
};

Result<std::unique_ptr<Step>> make_iota(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 0, 0, 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, IotaKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(IotaKernel params, IotaKernel::from_json(*kernel.params));
  KILN_ASSIGN_OR_RETURN(const std::string start, desc.params.string_at("start"));
  KILN_ASSIGN_OR_RETURN(const std::string step, desc.params.string_at("step"));
  KILN_ASSIGN_OR_RETURN(DimExpr first, DimExpr::parse(start));
  KILN_ASSIGN_OR_RETURN(DimExpr distance, DimExpr::parse(step));
  return std::unique_ptr<Step>(
      new IotaStep(std::move(kernel), std::move(params), std::move(first), std::move(distance)));
}

Status check_literal(const ConcreteView& to, const std::string& bytes) {
  const size_t size = dtype_bytes(to.dtype);
  if (bytes.size() % size != 0 || static_cast<int64_t>(bytes.size() / size) != to.num_elements()) {
    return Status::error("K3242", "literal has another size than its view");
  }
  if (to.dtype == DType::kBool &&
      std::any_of(bytes.begin(), bytes.end(), [](char byte) { return byte != 0 && byte != 1; })) {
    return Status::error("K3242", "literal of dtype bool has other bytes than 0 and 1");
  }
  return {};
}

class LiteralStep : public Step {
 public:
  LiteralStep(StepKernel kernel, LiteralKernel params, std::string bytes)
      : kernel_(std::move(kernel)), params_(std::move(params)), bytes_(std::move(bytes)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views("cuda.literal", context));
    const ConcreteView& to = context.outputs[0];
    KILN_RETURN_IF_ERROR(check_rank("cuda.literal", to, static_cast<int>(params_.rank)));
    KILN_RETURN_IF_ERROR(check_literal(to, bytes_));
    if (static_cast<int64_t>(dtype_bytes(to.dtype)) != params_.bytes) {
      return Status::error("K3212", "literal kernel: made for elements of another size");
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&to}));
    std::vector<Argument> arguments{Argument::output(0)};
    KILN_RETURN_IF_ERROR(params_.sizes.bind(literal_sizes(to), &arguments));
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(to.num_elements(), kThreads), arguments),
                       context, "kiln:literal");
  }

 private:
  StepKernel kernel_;
  LiteralKernel params_;
  std::string bytes_;
};

// One copy from the host's memory; the view is dense.
class BoundHostLiteral : public BoundStep {
 public:
  BoundHostLiteral(DeviceRuntime* device, std::string bytes)
      : device_(device), bytes_(std::move(bytes)) {}
  Status run(const RunArgs& args) override {
    return device_->copy(args.outputs[0], bytes_.data(), bytes_.size(), args.stream);
  }
  std::string implementation() const override { return "kiln:host_literal"; }

 private:
  DeviceRuntime* device_;
  std::string bytes_;
};

class HostLiteralStep : public Step {
 public:
  HostLiteralStep(DeviceRuntime* device, std::string bytes)
      : device_(device), bytes_(std::move(bytes)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views("cuda.host_literal", context));
    KILN_RETURN_IF_ERROR(check_literal(context.outputs[0], bytes_));
    if (!context.outputs[0].is_contiguous()) {
      return Status::error("K3242", "literal from the host needs a contiguous view");
    }
    return std::unique_ptr<BoundStep>(new BoundHostLiteral(device_, bytes_));
  }

 private:
  DeviceRuntime* device_;
  std::string bytes_;
};

Result<std::unique_ptr<Step>> make_literal(const StepDesc& desc,
                                           const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 0, 0, 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, LiteralKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(LiteralKernel params, LiteralKernel::from_json(*kernel.params));
  KILN_ASSIGN_OR_RETURN(std::string bytes, bytes_of_hex(params.hex));
  return std::unique_ptr<Step>(
      new LiteralStep(std::move(kernel), std::move(params), std::move(bytes)));
}

Result<std::unique_ptr<Step>> make_host_literal(const StepDesc& desc,
                                                const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 0, 0, 1));
  KILN_RETURN_IF_ERROR(kernel_code(environment).status());
  KILN_ASSIGN_OR_RETURN(const std::string hex, desc.params.string_at("hex"));
  KILN_ASSIGN_OR_RETURN(std::string bytes, bytes_of_hex(hex));
  return std::unique_ptr<Step>(new HostLiteralStep(environment.device, std::move(bytes)));
}

KILN_STEP(cuda_iota, "cuda.iota", make_iota);
KILN_STEP(cuda_literal, "cuda.literal", make_literal);
KILN_STEP(cuda_host_literal, "cuda.host_literal", make_host_literal);

}  // namespace
}  // namespace kiln::cuda
