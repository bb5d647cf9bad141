#include "ops/window.h"

#include <algorithm>

#include "ops/operand_checks.h"

namespace kiln {

namespace {

std::vector<int64_t> filled(const std::vector<int64_t>& field, int rank, int64_t otherwise) {
  return field.empty() ? std::vector<int64_t>(static_cast<size_t>(rank), otherwise) : field;
}

// One entry per axis or none, each at least `min`.
Status check_ints(const OpContext& context, std::string_view field, int rank, int64_t min) {
  const std::vector<int64_t>& values = context.get_ints(field);
  if (!values.empty() && static_cast<int>(values.size()) != rank) {
    return refuse(context, "K2205",
                  "field has not one entry per spatial axis, '" + std::string(field) + "', axes " +
                      std::to_string(rank));
  }
  for (int64_t value : values) {
    // The upper bound keeps every product with a size below 2^63.
    if (value < min || value > (int64_t{1} << 31)) {
      return refuse(
          context, "K2205",
          "entry out of range in field '" + std::string(field) + "': " + std::to_string(value));
    }
  }
  return {};
}

template <typename Fields>
Window conv_window_of(Fields& fields, std::vector<int64_t> kernel) {
  Window window;
  const int rank = static_cast<int>(kernel.size());
  window.kernel = std::move(kernel);
  window.stride = filled(fields.get_ints("stride"), rank, 1);
  window.padding_low = filled(fields.get_ints("padding"), rank, 0);
  const auto& high = fields.get_ints("padding_high");
  window.padding_high = high.empty() ? window.padding_low : high;
  window.dilation = filled(fields.get_ints("dilation"), rank, 1);
  return window;
}

template <typename Fields>
Window pool_window_of(Fields& fields, bool dilated) {
  Window window;
  window.kernel = fields.get_ints("kernel");
  const int rank = window.rank();
  const auto& stride = fields.get_ints("stride");
  window.stride = stride.empty() ? window.kernel : stride;
  window.padding_low = filled(fields.get_ints("padding"), rank, 0);
  window.padding_high = window.padding_low;
  window.dilation = dilated ? filled(fields.get_ints("dilation"), rank, 1)
                            : std::vector<int64_t>(static_cast<size_t>(rank), 1);
  return window;
}

int64_t floor_div(int64_t a, int64_t b) {
  return a / b - ((a % b != 0 && ((a < 0) != (b < 0))) ? 1 : 0);
}

}  // namespace

Window conv_window(Node& node) {
  const Shape& weight = node.operand(1)->shape();
  std::vector<int64_t> kernel;
  for (size_t i = 2; i < weight.size(); ++i) kernel.push_back(weight[i].value());
  return conv_window_of(node, std::move(kernel));
}

Window pool_window(Node& node) {
  return pool_window_of(node, node.op->field_index("dilation") >= 0);
}

Result<Window> infer_conv_window(const OpContext& context) {
  const Shape& weight = context.tensor(1).shape;
  std::vector<int64_t> kernel;
  for (size_t i = 2; i < weight.size(); ++i) {
    if (!weight[i].is_constant() || weight[i].value() < 1) {
      return refuse(context, "K2204",
                    "kernel size is not a positive constant, " + weight[i].to_string());
    }
    kernel.push_back(weight[i].value());
  }
  const int rank = static_cast<int>(kernel.size());
  KILN_RETURN_IF_ERROR(check_ints(context, "stride", rank, 1));
  KILN_RETURN_IF_ERROR(check_ints(context, "padding", rank, 0));
  KILN_RETURN_IF_ERROR(check_ints(context, "padding_high", rank, 0));
  KILN_RETURN_IF_ERROR(check_ints(context, "dilation", rank, 1));
  return conv_window_of(context, std::move(kernel));
}

Result<Window> infer_pool_window(const OpContext& context) {
  const int rank = static_cast<int>(context.get_ints("kernel").size());
  if (rank < 1 || rank > 3) {
    return refuse(context, "K2205", "kernel has not one to three axes, " + std::to_string(rank));
  }
  const bool dilated = context.op->field_index("dilation") >= 0;
  KILN_RETURN_IF_ERROR(check_ints(context, "kernel", rank, 1));
  KILN_RETURN_IF_ERROR(check_ints(context, "stride", rank, 1));
  KILN_RETURN_IF_ERROR(check_ints(context, "padding", rank, 0));
  if (dilated) KILN_RETURN_IF_ERROR(check_ints(context, "dilation", rank, 1));
  Window window = pool_window_of(context, dilated);
  for (int axis = 0; axis < rank; ++axis) {
    const auto i = static_cast<size_t>(axis);
    if (window.padding_low[i] > window.kernel[i] / 2) {
      return refuse(context, "K2205",
                    "padding is more than half the kernel, axis " + std::to_string(axis));
    }
  }
  return window;
}

DimExpr window_output(const DimExpr& input, const Window& window, int axis) {
  const auto i = static_cast<size_t>(axis);
  const DimExpr span =
      input + DimExpr(window.padding_low[i] + window.padding_high[i] - window.extent(axis));
  return DimExpr::floordiv(span, window.stride[i]) + 1;
}

DimExpr window_output_ceil(const DimExpr& input, const Window& window, int axis) {
  const auto i = static_cast<size_t>(axis);
  const int64_t low = window.padding_low[i];
  const int64_t stride = window.stride[i];
  const DimExpr span = input + DimExpr(low + window.padding_high[i] - window.extent(axis));
  const DimExpr rounded_up = DimExpr::floordiv(span + DimExpr(stride - 1), stride) + 1;
  const DimExpr starts_inside = DimExpr::floordiv(input + DimExpr(low - 1), stride) + 1;
  return DimExpr::min(rounded_up, starts_inside);
}

Result<Shape> window_outputs(const OpContext& context, const Window& window, bool ceil_mode) {
  const Shape& x = context.tensor(0).shape;
  Shape result;
  for (int axis = 0; axis < window.rank(); ++axis) {
    const DimExpr& input = x[x.size() - static_cast<size_t>(window.rank() - axis)];
    const DimExpr output =
        ceil_mode ? window_output_ceil(input, window, axis) : window_output(input, window, axis);
    if (output.is_constant() && output.value() < 1) {
      return refuse(context, "K2204",
                    "window is larger than the padded input, axis " + std::to_string(axis) +
                        ", size " + input.to_string());
    }
    result.push_back(output);
  }
  return result;
}

TapRange taps_inside(const Window& window, int axis, int64_t output, int64_t input_size) {
  const auto i = static_cast<size_t>(axis);
  TapRange range;
  range.start = output * window.stride[i] - window.padding_low[i];
  const int64_t dilation = window.dilation[i];
  range.first_tap = std::max<int64_t>(0, -floor_div(range.start, dilation));
  range.last_tap =
      std::min(window.kernel[i], floor_div(input_size - 1 - range.start, dilation) + 1);
  range.last_tap = std::max(range.last_tap, range.first_tap);
  return range;
}

}  // namespace kiln
