// Steps without inputs. "iota": y[i] = offset + scale * (start + i * step); params start and step
// (expressions), scale and offset (1 and 0 for integers). "literal": params bytes, the elements of
// a contiguous tensor as hexadecimal digits.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/kernels/copy.h"
#include "backends/cpu/kernels/element.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

class BoundIota : public BoundStep {
 public:
  BoundIota(const ConcreteView& target, int64_t start, int64_t step, double scale, double offset)
      : dtype_(target.dtype),
        length_(target.dims[0]),
        stride_(target.strides[0]),
        start_(start),
        step_(step),
        scale_(scale),
        offset_(offset) {}

  Status run(const RunArgs& args) override {
    cpu::with_dtype(dtype_, [&]<class T>(T) {
      T* to = static_cast<T*>(args.outputs[0]);
      // Unsigned: numbers wrap as torch's do.
      uint64_t at = static_cast<uint64_t>(start_);
      for (int64_t i = 0; i < length_; ++i, at += static_cast<uint64_t>(step_)) {
        const auto number = static_cast<int64_t>(at);
        if constexpr (std::is_integral_v<T>) {
          to[i * stride_] = static_cast<T>(number);
        } else if constexpr (std::is_same_v<T, double>) {
          to[i * stride_] = offset_ + scale_ * static_cast<double>(number);
        } else {
          to[i * stride_] =
              static_cast<T>(static_cast<float>(offset_ + scale_ * static_cast<double>(number)));
        }
      }
    });
    return {};
  }
  std::string implementation() const override { return "kiln:iota"; }

 private:
  DType dtype_;
  int64_t length_, stride_, start_, step_;
  double scale_, offset_;
};

class IotaStep : public Step {
 public:
  IotaStep(DimExpr start, DimExpr step, double scale, double offset)
      : start_(std::move(start)), step_(std::move(step)), scale_(scale), offset_(offset) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views("iota", context));
    KILN_RETURN_IF_ERROR(cpu::check_rank("iota", context.outputs[0], 1));
    if (context.outputs[0].dtype == DType::kBool) {
      return Status::error("K3242", "iota: no numbers of dtype bool");
    }
    KILN_ASSIGN_OR_RETURN(const int64_t start, start_.evaluate(*context.symbols));
    KILN_ASSIGN_OR_RETURN(const int64_t step, step_.evaluate(*context.symbols));
    return std::unique_ptr<BoundStep>(
        new BoundIota(context.outputs[0], start, step, scale_, offset_));
  }

 private:
  DimExpr start_, step_;
  double scale_, offset_;
};

class BoundLiteral : public BoundStep {
 public:
  BoundLiteral(const cpu::CopyParams& params, std::vector<uint8_t> bytes)
      : plan_(params), bytes_(std::move(bytes)) {}
  Status run(const RunArgs& args) override {
    plan_.run(bytes_.data(), args.outputs[0]);
    return {};
  }
  std::string implementation() const override { return "kiln:literal"; }

 private:
  cpu::CopyPlan plan_;
  std::vector<uint8_t> bytes_;  // as aligned as operator new
};

class LiteralStep : public Step {
 public:
  explicit LiteralStep(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views("literal", context));
    const ConcreteView& target = context.outputs[0];
    const size_t size = dtype_bytes(target.dtype);
    if (bytes_.size() % size != 0 ||
        static_cast<int64_t>(bytes_.size() / size) != target.num_elements()) {
      return Status::error("K3242", "literal has another size than its view");
    }
    if (target.dtype == DType::kBool &&
        std::any_of(bytes_.begin(), bytes_.end(), [](uint8_t byte) { return byte > 1; })) {
      return Status::error("K3242", "literal of dtype bool has other bytes than 0 and 1");
    }
    cpu::CopyParams p;
    p.element_bytes = static_cast<int>(size);
    p.rank = target.rank();
    p.sizes = cpu::to_dims(target.dims);
    p.dst_strides = cpu::to_dims(target.strides);
    int64_t stride = 1;
    for (int i = p.rank - 1; i >= 0; --i) {
      p.src_strides[static_cast<size_t>(i)] = stride;
      stride *= p.sizes[static_cast<size_t>(i)];
    }
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundLiteral(p, bytes_));
  }

 private:
  std::vector<uint8_t> bytes_;
};

Result<std::unique_ptr<Step>> make_iota(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 0, 0, 1));
  KILN_ASSIGN_OR_RETURN(const std::string start, desc.params.string_at("start"));
  KILN_ASSIGN_OR_RETURN(const std::string step, desc.params.string_at("step"));
  KILN_ASSIGN_OR_RETURN(const double scale, desc.params.double_at("scale"));
  KILN_ASSIGN_OR_RETURN(const double offset, desc.params.double_at("offset"));
  KILN_ASSIGN_OR_RETURN(DimExpr first, DimExpr::parse(start));
  KILN_ASSIGN_OR_RETURN(DimExpr distance, DimExpr::parse(step));
  return std::unique_ptr<Step>(
      new IotaStep(std::move(first), std::move(distance), scale, offset));
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

Result<std::unique_ptr<Step>> make_literal(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 0, 0, 1));
  KILN_ASSIGN_OR_RETURN(const std::string hex, desc.params.string_at("bytes"));
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    const int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
    if (high < 0 || low < 0) break;
    bytes.push_back(static_cast<uint8_t>(high * 16 + low));
  }
  if (bytes.size() * 2 != hex.size()) {
    return Status::error("K3242", "literal is not hexadecimal");
  }
  return std::unique_ptr<Step>(new LiteralStep(std::move(bytes)));
}

KILN_STEP(iota, "iota", make_iota);
KILN_STEP(literal, "literal", make_literal);

}  // namespace
}  // namespace kiln
