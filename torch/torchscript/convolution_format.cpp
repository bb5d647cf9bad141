#include "torch/torchscript/convolution_format.h"

#include <ATen/ATen.h>
#include <ATen/native/ConvUtils.h>

#include <map>
#include <string>

namespace kiln::torchscript {
namespace {

// Positions of what the operators order differently; -1: not among the arguments.
struct ConvolutionArguments {
  int dilation, groups, output_padding;
  int transposed;  // -1: as the operator's name says
};

const ConvolutionArguments* arguments_of_convolution(const std::string& name) {
  static const ConvolutionArguments kForward{5, 6, -1, -1}, kTransposed{7, 6, 5, -1},
      kGeneral{5, 8, 7, 6};
  static const std::map<std::string, const ConvolutionArguments*> kOperators = {
      {"aten::conv2d", &kForward},
      {"aten::conv3d", &kForward},
      {"aten::_convolution_mode", &kForward},
      {"aten::conv_transpose2d", &kTransposed},
      {"aten::conv_transpose3d", &kTransposed},
      {"aten::convolution", &kGeneral},
      {"aten::_convolution", &kGeneral}};
  const auto found = kOperators.find(name);
  return found == kOperators.end() ? nullptr : found->second;
}

std::vector<c10::SymInt> sizes_of(const c10::IValue& value, int64_t count) {
  std::vector<c10::SymInt> result;
  if (value.isInt()) {
    result.emplace_back(value.toInt());
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef()) result.emplace_back(item.toInt());
  }
  if (result.size() == 1) result.resize(static_cast<size_t>(count), result[0]);
  return result;
}

// A tensor of the device that looks like the one without data. It has none either: nothing but its
// type and strides may be asked for.
at::Tensor shell(const at::Tensor& meta, c10::Device device) {
  return at::for_blob(nullptr, meta.sizes())
      .strides(meta.strides())
      .options(meta.options().device(device).requires_grad(false))
      .target_device(device)
      .make_tensor();
}

}  // namespace

at::Tensor in_convolution_format(const c10::FunctionSchema& schema,
                                 const std::vector<c10::IValue>& arguments, c10::Device device,
                                 const at::Tensor& result) {
  const ConvolutionArguments* at = arguments_of_convolution(schema.name());
  if (at == nullptr || !result.is_meta()) return result;
  const at::Tensor& weight = arguments[1].toTensor();
  const int64_t axes = weight.dim() - 2;  // of space
  if (axes != 2 && axes != 3) return result;
  const bool batched = result.dim() == weight.dim();
  const at::Tensor& given = arguments[0].toTensor();
  const at::Tensor input = shell(batched ? given : given.unsqueeze(0), device);
  const at::Tensor filter = shell(weight, device);
  std::optional<at::Tensor> bias;
  if (arguments[2].isTensor() && arguments[2].toTensor().defined()) {
    bias = shell(arguments[2].toTensor(), device);
  }
  auto list = [&](int i) { return arguments[static_cast<size_t>(i)]; };
  std::vector<c10::SymInt> padding = sizes_of(list(4), axes);
  // "same" or "valid": what is added around the input leaves its format as it is.
  if (padding.empty()) padding.assign(static_cast<size_t>(axes), 0);
  std::vector<c10::SymInt> output_padding(static_cast<size_t>(axes), 0);
  if (at->output_padding >= 0) output_padding = sizes_of(list(at->output_padding), axes);
  const bool transposed = at->transposed >= 0
                              ? list(at->transposed).toBool()
                              : schema.name().find("transpose") != std::string::npos;
  const at::native::ConvBackend backend = at::native::select_conv_backend(
      input, filter, bias, sizes_of(list(3), axes), padding, sizes_of(list(at->dilation), axes),
      transposed, output_padding, list(at->groups).toInt(), std::nullopt);
  const at::MemoryFormat format =
      at::native::_determine_backend_memory_format(input, filter, backend);
  if (format == at::MemoryFormat::Contiguous) return result;
  const at::Tensor dense = (batched ? result : result.unsqueeze(0)).contiguous(format);
  return batched ? dense : dense.squeeze(0);
}

}  // namespace kiln::torchscript
