#include "torch/operand_checks.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <limits>
#include <string>

namespace kiln {
namespace {

void expect_sizes(const at::Tensor& tensor, at::IntArrayRef sizes, const char* what) {
  TORCH_CHECK(tensor.defined() && tensor.sizes() == sizes, what, " must have sizes ", sizes,
              ", got ", tensor.sizes());
}

// lstm.input(input, hx[2], params, has_biases, num_layers, dropout, train, bidirectional,
// batch_first): oneDNN takes the weights to be as long as the hidden states say.
void check_lstm(const torch::jit::Stack& arguments) {
  const at::Tensor& input = arguments[0].toTensor();
  const std::vector<at::Tensor> states = arguments[1].toTensorVector();
  const std::vector<at::Tensor> weights = arguments[2].toTensorVector();
  const bool has_biases = arguments[3].toBool();
  const int64_t layers = arguments[4].toInt();
  const int64_t directions = arguments[7].toBool() ? 2 : 1;
  const bool batch_first = arguments[8].toBool();
  TORCH_CHECK(states.size() == 2 && input.dim() == 3 && states[0].dim() == 3 &&
                  states[1].dim() == 3,
              "an lstm takes a sequence and two states of 3 dims");
  const int64_t hidden = states[1].size(2), output = states[0].size(2);
  const int64_t batch = input.size(batch_first ? 0 : 1);
  TORCH_CHECK(layers > 0 && layers <= std::numeric_limits<int32_t>::max(), "number of layers");
  expect_sizes(states[0], {layers * directions, batch, output}, "hidden state");
  expect_sizes(states[1], {layers * directions, batch, hidden}, "cell state");
  const bool projects = output != hidden;
  const int64_t parts = 2 + (has_biases ? 2 : 0) + (projects ? 1 : 0);
  TORCH_CHECK(static_cast<int64_t>(weights.size()) == layers * directions * parts,
              "an lstm takes another number of weights");
  size_t next = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const int64_t width = layer == 0 ? input.size(2) : output * directions;
    for (int64_t direction = 0; direction < directions; ++direction) {
      expect_sizes(weights[next++], {4 * hidden, width}, "weight of the input");
      expect_sizes(weights[next++], {4 * hidden, output}, "weight of the hidden state");
      for (int bias = 0; has_biases && bias < 2; ++bias) {
        expect_sizes(weights[next++], {4 * hidden}, "bias");
      }
      if (projects) expect_sizes(weights[next++], {output, hidden}, "projection");
    }
  }
}

// _native_batch_norm_legit and native_batch_norm: input, weight, bias, running_mean, running_var,
// training.
void check_batch_norm(const torch::jit::Stack& arguments) {
  const at::Tensor& input = arguments[0].toTensor();
  TORCH_CHECK(input.dim() >= 2, "batch norm takes an input of at least 2 dims");
  const bool training = arguments[5].toBool();
  for (size_t i = 1; i < 5; ++i) {
    const bool absent = !arguments[i].isTensor() || !arguments[i].toTensor().defined();
    if (absent) {
      TORCH_CHECK(training || i < 3, "batch norm lacks running statistics");
      continue;
    }
    expect_sizes(arguments[i].toTensor(), {input.size(1)}, "vector of a batch norm");
  }
}

// TorchScript divides as the processor does, which stops the process where there is no result.
void check_division(const torch::jit::Stack& arguments) {
  const int64_t dividend = arguments[0].toInt(), divisor = arguments[1].toInt();
  TORCH_CHECK(divisor != 0, "integer division or modulo by zero");
  TORCH_CHECK(divisor != -1 || dividend != std::numeric_limits<int64_t>::min(),
              "the quotient exceeds 64 bits");
}

}  // namespace

OperandCheck operand_check(const c10::OperatorName& name) {
  const std::string& overload = name.overload_name;
  if (name.name == "aten::lstm" && overload == "input") return check_lstm;
  if (name.name == "aten::native_batch_norm" && overload.empty()) return check_batch_norm;
  if (name.name == "aten::_native_batch_norm_legit" && overload.empty()) return check_batch_norm;
  const bool divides = name.name == "aten::remainder" || name.name == "aten::floordiv";
  if (divides && overload == "int") return check_division;
  return nullptr;
}

}  // namespace kiln
