#include "torch/torch_host.h"

#include <ATen/ATen.h>
#include <ATen/ScalarOps.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/jit_type.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <functional>
#include <sstream>

#include "base/status.h"
#include "core/hidden_writes.h"
#include "core/text.h"
#include "torch/dtype_conversion.h"
#include "torch/operand_checks.h"
#include "torch/schema_arguments.h"
#include "torch/torch_device.h"

namespace kiln {
namespace {

struct TorchObject : HostObject {
  c10::IValue value;
};

at::Tensor tensor_from(const HostOperand& operand) {
  if (operand.object != nullptr) return unwrap_object(*operand.object).toTensor();
  const TensorView& view = operand.view;
  const c10::Device device = to_torch_device(view.device);
  return at::for_blob(view.data, at::IntArrayRef(view.shape, static_cast<size_t>(view.rank)))
      .strides(at::IntArrayRef(view.strides, static_cast<size_t>(view.rank)))
      .options(at::TensorOptions().dtype(to_scalar_type(view.dtype)).device(device))
      .target_device(device)
      .make_tensor();
}

c10::IValue operand_value(const HostOperand& operand) {
  if (operand.object != nullptr) return unwrap_object(*operand.object);
  return tensor_from(operand);
}

// Converts arguments to what the schema wants. `dims` and `operands` may be null while preparing,
// when only constant arguments are converted.
class ArgumentConverter {
 public:
  const std::vector<HostOperand>* operands = nullptr;
  const std::vector<int64_t>* dims = nullptr;
  Device device;  // that a GPU among the arguments means
  size_t next_dim = 0;

  // True when the argument is the same at every call.
  static bool is_constant(const CallArg& arg) {
    if (arg.get<CallArg::Operand>() != nullptr) return false;
    if (const auto* expr = arg.get<DimExpr>()) return expr->is_constant();
    if (const auto* list = arg.get<CallArg::List>()) {
      for (const CallArg& item : *list) {
        if (!is_constant(item)) return false;
      }
    }
    return true;
  }

  c10::IValue convert(const CallArg& arg, const c10::TypePtr& wanted) {
    c10::TypePtr type = wanted;
    if (type->kind() == c10::TypeKind::OptionalType) {
      if (arg.is_none()) return c10::IValue();
      type = type->castRaw<c10::OptionalType>()->getElementType();
    }
    if (const auto* operand = arg.get<CallArg::Operand>()) {
      c10::IValue value = operand_value((*operands)[static_cast<size_t>(operand->index)]);
      return type->kind() == c10::TypeKind::TensorType ? as_tensor(std::move(value)) : value;
    }
    if (type->kind() == c10::TypeKind::TensorType) return as_tensor(convert_number(arg));
    if (const auto* list = arg.get<CallArg::List>()) return convert_list(*list, type);
    if (const auto* flag = arg.get<bool>()) {
      return type->kind() == c10::TypeKind::IntType ? c10::IValue(static_cast<int64_t>(*flag))
                                                    : c10::IValue(*flag);
    }
    if (const auto* expr = arg.get<DimExpr>()) {
      const int64_t value = expr->is_constant() ? expr->value() : (*dims)[next_dim++];
      if (type->kind() == c10::TypeKind::FloatType) return c10::IValue(static_cast<double>(value));
      if (type->kind() == c10::TypeKind::BoolType) return c10::IValue(value != 0);
      // One integer stands for a list of one, as in Python.
      if (type->kind() == c10::TypeKind::ListType) return c10::IValue(c10::List<int64_t>({value}));
      return c10::IValue(value);
    }
    if (const auto* number = arg.get<double>()) return c10::IValue(*number);
    if (const auto* text = arg.get<std::string>()) {
      if (type->kind() == c10::TypeKind::ScalarTypeType) return dtype_by_name(*text);
      if (type->kind() == c10::TypeKind::NumberType) return complex_number(*text);
      return c10::IValue(*text);
    }
    if (const auto* dtype = arg.get<DType>()) {
      return c10::IValue(static_cast<int64_t>(to_scalar_type(*dtype)));
    }
    if (const auto* named = arg.get<Device>()) {
      return c10::IValue(to_torch_device(named->kind == device.kind ? device : *named));
    }
    if (const auto* format = arg.get<MemoryFormat>()) {
      return c10::IValue(static_cast<int64_t>(to_torch(*format)));
    }
    if (const auto* layout = arg.get<CallArg::Layout>()) {
      TORCH_CHECK(layout->name == "strided", "layout is not strided: ", layout->name);
      return c10::IValue(static_cast<int64_t>(c10::kStrided));
    }
    return c10::IValue();
  }

 private:
  // A number where the schema wants a tensor: it promotes as a Python number does.
  static c10::IValue as_tensor(c10::IValue value) {
    if (!value.isScalar()) return value;
    at::Tensor tensor = c10::scalar_to_tensor(value.toScalar());
    tensor.unsafeGetTensorImpl()->set_wrapped_number(true);
    return tensor;
  }

  c10::IValue convert_number(const CallArg& arg) {
    if (const auto* flag = arg.get<bool>()) return *flag;
    if (const auto* number = arg.get<double>()) return *number;
    if (const auto* expr = arg.get<DimExpr>()) {
      return expr->is_constant() ? expr->value() : (*dims)[next_dim++];
    }
    if (const auto* text = arg.get<std::string>()) return complex_number(*text);
    return c10::IValue();
  }

  // "torch.complex(1.5, -2.0)"
  static c10::IValue complex_number(const std::string& text) {
    double real = 0, imaginary = 0;
    TextCursor cursor(text);
    TORCH_CHECK(cursor.accept("torch.complex(") && cursor.number(&real) && cursor.accept(",") &&
                    cursor.number(&imaginary) && cursor.accept(")") && cursor.at_end(),
                "no number: ", text);
    return c10::complex<double>(real, imaginary);
  }

  // A type that Kiln has not goes by torch's name: "torch.complex64".
  static c10::IValue dtype_by_name(std::string_view name) {
    constexpr std::string_view kPrefix = "torch.";
    const auto& types = c10::getStringToDtypeMap();
    const auto found = name.starts_with(kPrefix)
                           ? types.find(std::string(name.substr(kPrefix.size())))
                           : types.end();
    TORCH_CHECK(found != types.end(), "pytorch has no such dtype: ", name);
    return static_cast<int64_t>(found->second);
  }

  static c10::MemoryFormat to_torch(MemoryFormat format) {
    switch (format) {
      case MemoryFormat::kContiguous: return c10::MemoryFormat::Contiguous;
      case MemoryFormat::kPreserve: return c10::MemoryFormat::Preserve;
      case MemoryFormat::kChannelsLast: return c10::MemoryFormat::ChannelsLast;
      case MemoryFormat::kChannelsLast3d: return c10::MemoryFormat::ChannelsLast3d;
    }
    return c10::MemoryFormat::Contiguous;
  }

  c10::IValue convert_list(const CallArg::List& list, const c10::TypePtr& type) {
    TORCH_CHECK(type->kind() == c10::TypeKind::ListType, "list given for ", type->str());
    const c10::TypePtr element = type->castRaw<c10::ListType>()->getElementType();
    c10::impl::GenericList result(element);
    result.reserve(list.size());
    for (const CallArg& item : list) result.push_back(convert(item, element));
    return c10::IValue(std::move(result));
  }
};

bool overlaps(const at::Tensor& a, const at::Tensor& b) {
  if (!a.has_storage() || !b.has_storage()) return false;
  const auto* a_begin = static_cast<const char*>(a.storage().data());
  const auto* b_begin = static_cast<const char*>(b.storage().data());
  if (a_begin == nullptr || b_begin == nullptr) return false;
  return a_begin < b_begin + b.storage().nbytes() && b_begin < a_begin + a.storage().nbytes();
}

bool has_strides(const at::Tensor& tensor, const std::vector<int64_t>& strides) {
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) != 1 && tensor.stride(d) != strides[static_cast<size_t>(d)]) return false;
  }
  return true;
}

void append_values(const c10::IValue& value, std::vector<c10::IValue>& out) {
  if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) out.emplace_back(tensor);
  } else {
    out.push_back(value);
  }
}

struct TorchOperator {
  const c10::FunctionSchema* schema;  // lives as long as the operator
  std::function<void(torch::jit::Stack&)> call;
};

// An operator of the dispatcher, or one of TorchScript's on numbers alone ("aten::mul.int"), which
// the dispatcher does not know.
std::optional<TorchOperator> find_operator(const c10::OperatorName& name) {
  if (const auto found = c10::Dispatcher::singleton().findSchema(name)) {
    return TorchOperator{&found->schema(),
                         [op = *found](torch::jit::Stack& stack) { op.callBoxed(&stack); }};
  }
  const auto scripted = torch::jit::findOperatorFor(name);
  if (scripted == nullptr) return {};
  const c10::FunctionSchema& schema = scripted->schema();
  if (!std::all_of(schema.arguments().begin(), schema.arguments().end(), is_number) ||
      !std::all_of(schema.returns().begin(), schema.returns().end(), is_number)) {
    return {};
  }
  return TorchOperator{&schema, [scripted, run = scripted->getOperation()](
                                    torch::jit::Stack& stack) mutable { run(stack); }};
}

class TorchCall : public HostCall {
 public:
  TorchCall(TorchOperator op, Call call, int num_results, const Device& device)
      : op_(std::move(op)), call_(std::move(call)), num_results_(num_results), device_(device) {
    const auto& arguments = op_.schema->arguments();
    check_ = operand_check(op_.schema->operator_name());
    const std::vector<size_t> hidden = hidden_writes(call_);
    ArgumentConverter converter;
    converter.device = device_;
    for (size_t i = 0; i < call_.args.size(); ++i) {
      written_.push_back(is_written(arguments[i]) ||
                         std::find(hidden.begin(), hidden.end(), i) != hidden.end());
      constant_.push_back(ArgumentConverter::is_constant(call_.args[i]));
      prepared_.push_back(constant_.back()
                              ? converter.convert(call_.args[i], arguments[i].real_type())
                              : c10::IValue());
      // A call without operands takes torch's default device where it names none.
      if (arguments[i].name() == "device" && prepared_.back().isNone() && makes_tensor()) {
        prepared_.back() = to_torch_device(device_);
      }
    }
  }

  Status run(const std::vector<HostOperand>& operands, const std::vector<int64_t>& dims,
             const std::vector<HostExpected>& expected, void* stream,
             std::vector<std::shared_ptr<HostObject>>& results) override {
    try {
      const ScopedTorchStream scope(device_, stream);
      return run_unguarded(operands, dims, expected, results);
    } catch (const c10::Error& error) {
      return Status::error(
          "K4304", std::string("pytorch operator failed: ") + error.what_without_backtrace());
    } catch (const std::exception& error) {
      return Status::error("K4304", std::string("pytorch operator failed: ") + error.what());
    }
  }

 private:
  Status run_unguarded(const std::vector<HostOperand>& operands, const std::vector<int64_t>& dims,
                       const std::vector<HostExpected>& expected,
                       std::vector<std::shared_ptr<HostObject>>& results) {
    const at::NoGradGuard no_grad;
    // A captured call has its casts written out; the caller's autocast adds none.
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    ArgumentConverter converter;
    converter.operands = &operands;
    converter.dims = &dims;
    converter.device = device_;
    torch::jit::Stack stack;
    std::vector<c10::IValue> written;
    std::vector<at::Tensor> borrowed;  // memory of the program that results must not share
    const auto& arguments = op_.schema->arguments();
    for (size_t i = 0; i < call_.args.size(); ++i) {
      c10::IValue value =
          constant_[i] ? prepared_[i] : converter.convert(call_.args[i], arguments[i].real_type());
      if (written_[i]) {
        value = copy_written(value, written);
      } else if (!constant_[i]) {
        std::vector<c10::IValue> tensors;
        append_values(value, tensors);
        for (const c10::IValue& tensor : tensors) {
          if (tensor.isTensor() && tensor.toTensor().defined())
            borrowed.push_back(tensor.toTensor());
        }
      }
      stack.push_back(std::move(value));
    }
    if (check_ != nullptr) check_(stack);
    op_.call(stack);
    std::vector<c10::IValue> values;
    for (const c10::IValue& value : stack) append_values(value, values);
    for (c10::IValue& value : written) values.push_back(std::move(value));
    if (static_cast<int>(values.size()) != num_results_) {
      return Status::error("K4302", "operator gave another number of results than at capture: " +
                                        std::to_string(values.size()) + ", expected " +
                                        std::to_string(num_results_));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i].isTensor()) {
        at::Tensor tensor = values[i].toTensor();
        if (!expected[i].is_object) {
          KILN_RETURN_IF_ERROR(check(tensor, expected[i].spec, i));
        }
        const bool shared = std::any_of(borrowed.begin(), borrowed.end(),
                                        [&](const at::Tensor& t) { return overlaps(tensor, t); });
        if (!expected[i].is_object && !has_strides(tensor, expected[i].spec.strides)) {
          at::Tensor dense =
              at::empty_strided(tensor.sizes(), expected[i].spec.strides, tensor.options());
          dense.copy_(tensor);
          tensor = dense;
        } else if (shared) {
          tensor = expected[i].is_object
                       ? tensor.clone()
                       : at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options())
                             .copy_(tensor);
        }
        values[i] = tensor;
      }
      results.push_back(wrap_in_object(values[i]));
    }
    return {};
  }

  // What the operator writes instead of the program's tensors; each is a result, in order.
  static c10::IValue copy_written(const c10::IValue& value, std::vector<c10::IValue>& written) {
    if (value.isTensor()) return written.emplace_back(value.toTensor().clone());
    if (!value.isList()) return value;  // None
    c10::impl::GenericList copies(value.toList().elementType());
    for (const c10::IValue& item : value.toListRef()) {
      copies.push_back(copy_written(item, written));
    }
    return c10::IValue(std::move(copies));
  }

  // Has the call no tensor to take its device from?
  bool makes_tensor() const {
    return std::all_of(call_.args.begin(), call_.args.end(), [](const CallArg& arg) {
      const auto* list = arg.get<CallArg::List>();
      return arg.get<CallArg::Operand>() == nullptr &&
             (list == nullptr || std::all_of(list->begin(), list->end(), [](const CallArg& item) {
                return item.get<CallArg::Operand>() == nullptr;
              }));
    });
  }

  Status check(const at::Tensor& tensor, const TensorSpec& spec, size_t index) const {
    const auto dtype = from_scalar_type(tensor.scalar_type());
    if (tensor.defined() && dtype && *dtype == spec.dtype &&
        from_torch(tensor.device()) == std::optional<Device>(device_) &&
        tensor.layout() == c10::kStrided && tensor.sizes() == at::IntArrayRef(spec.shape)) {
      return {};
    }
    std::ostringstream shape;
    shape << tensor.sizes() << " " << tensor.scalar_type() << " " << tensor.device();
    return Status::error("K4302",
                         "operator gave another dtype, device or shape than at capture: "
                         "result " +
                             std::to_string(index) + " is " + shape.str());
  }

  TorchOperator op_;
  Call call_;
  int num_results_;
  Device device_;
  OperandCheck check_ = nullptr;  // of an operator that does not check itself
  std::vector<bool> written_;     // by the operator, which gets a copy
  std::vector<bool> constant_;
  std::vector<c10::IValue> prepared_;
};

class TorchHost : public Host {
 public:
  std::string name() const override { return "torch"; }

  Result<std::unique_ptr<HostCall>> prepare(const Call& call, int num_results,
                                            const Device& device) override {
    auto op = find_operator({call.name, call.overload});
    if (!op) {
      return Status::error("K4301", "pytorch has no such operator: " + call.full_name(),
                           "import the library that defines it first");
    }
    if (call.args.size() != op->schema->arguments().size()) {
      return Status::error(
          "K4301", "operator has another number of arguments than at capture: " + call.full_name());
    }
    try {
      return std::unique_ptr<HostCall>(new TorchCall(*std::move(op), call, num_results, device));
    } catch (const c10::Error& error) {
      return Status::error("K4301", "arguments do not fit the operator: " + call.full_name() +
                                        ": " + error.what_without_backtrace());
    }
  }
};

}  // namespace

Host* torch_host() {
  static TorchHost* host = new TorchHost();
  return host;
}

std::shared_ptr<HostObject> wrap_in_object(const c10::IValue& value) {
  auto object = std::make_shared<TorchObject>();
  object->value = value;
  if (value.isTensor() && value.toTensor().defined()) {
    const at::Tensor& tensor = object->value.toTensor();
    const auto dtype = from_scalar_type(tensor.scalar_type());
    const auto device = from_torch(tensor.device());
    if (dtype && device && tensor.layout() == c10::kStrided && !tensor.is_conj() &&
        !tensor.is_neg() && !tensor.is_nested() && tensor.has_storage()) {
      object->view = {tensor.data_ptr(),
                      *dtype,
                      *device,
                      static_cast<int>(tensor.dim()),
                      tensor.sizes().data(),
                      tensor.strides().data()};
    }
  }
  return object;
}

const c10::IValue& unwrap_object(const HostObject& object) {
  return static_cast<const TorchObject&>(object).value;
}

}  // namespace kiln
