// Operators that only TorchScript has, in terms of ATen's.
#include "torch/torchscript/importer.h"
#include "torch/torchscript/operator_schema.h"

namespace kiln::torchscript {

// The operator and its arguments in place of those given; false for an operator of ATen.
bool Importer::rewrite(const c10::FunctionSchema& schema, Stack& in, c10::OperatorName& name) {
  const std::string full = full_name(name);
  auto becomes = [&](const char* base, const char* overload, Stack inputs) {
    name = c10::OperatorName(base, overload);
    in = std::move(inputs);
    return true;
  };
  auto dtype_of_input = [&]() -> c10::IValue {
    TensorInfo& t = info(in[0].toTensor());
    ensure_metas(t, in[0].toTensor());
    return static_cast<int64_t>(t.metas[0].scalar_type());
  };
  const c10::IValue none;
  if (full == "aten::to.prim_dtype") {
    return becomes("aten::to", "dtype",
                   {in[0], in[1].isNone() ? dtype_of_input() : in[1], in[2], in[3], none});
  }
  if (full == "aten::to.prim_other") {
    return becomes("aten::to", "dtype", {in[0], dtype_of_input(), in[1], in[2], none});
  }
  if (full == "aten::to.prim_Device") {
    const c10::IValue dtype = in[2].isNone() ? dtype_of_input() : in[2];
    if (in[1].isNone()) return becomes("aten::to", "dtype", {in[0], dtype, in[3], in[4], none});
    return becomes("aten::to", "device", {in[0], in[1], dtype, in[3], in[4], none});
  }
  if (full == "aten::cpu" || full == "aten::cuda") {
    const c10::Device device(full == "aten::cpu" ? c10::kCPU : c10::kCUDA);
    return becomes("aten::to", "device", {in[0], device, dtype_of_input(), false, false, none});
  }
  if (full == "aten::as_tensor") {
    const c10::IValue dtype = in[1].isNone() ? dtype_of_input() : in[1];
    if (in[2].isNone()) return becomes("aten::to", "dtype", {in[0], dtype, false, false, none});
    return becomes("aten::to", "device", {in[0], in[2], dtype, false, false, none});
  }
  if (full == "aten::_convolution.deprecated") {  // without the last argument
    Stack inputs = in;
    inputs.emplace_back(true);
    return becomes("aten::_convolution", "", std::move(inputs));
  }
  if (full == "aten::narrow.Tensor") {
    if (const auto start = as_size(in[2])) {
      return becomes("aten::narrow", "", {in[0], in[1], size_value(start->expr, start->at), in[3]});
    }
  }
  if (full == "prim::data") return becomes("aten::detach", "", {in[0]});
  if (full == "aten::copy_.Tensor") return becomes("aten::copy_", "", {in[0], in[1], false});
  if (full == "aten::copy_.int" || full == "aten::copy_.float") {
    return becomes("aten::fill_", "Scalar", {in[0], in[1]});
  }
  if (full == "aten::split" && in.size() == 3 && in[0].isTensor()) {
    return becomes("aten::split_with_sizes", "", in);
  }
  if (name.overload_name == "Tensor_hacked_twin" || name.overload_name == "hacked_twin") {
    c10::impl::GenericList indices(c10::OptionalType::ofTensor());
    for (const c10::IValue& index : in[1].toListRef()) indices.push_back(index);
    Stack inputs = in;
    inputs[1] = indices;
    const bool reads = name.overload_name == "Tensor_hacked_twin";
    return becomes(schema.name().c_str(), reads ? "Tensor" : "", inputs);
  }
  return false;
}

}  // namespace kiln::torchscript
