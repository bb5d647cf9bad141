#include "aten/hidden_writes.h"

#include "core/hidden_writes.h"

namespace kiln {

Result<std::string> expose_hidden_writes(Call& call, std::vector<Type>& results) {
  if (hidden_writes(call).empty()) return std::string();
  if (call.name == "aten::instance_norm") {
    return std::string(
        "aten::instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!)? running_mean, "
        "Tensor(b!)? running_var, bool use_input_stats, float momentum, float eps, "
        "bool cudnn_enabled) -> Tensor");
  }
  const bool native = call.name == "aten::native_batch_norm";
  call.name = "aten::_native_batch_norm_legit";
  call.args.resize(8);  // without cudnn_enabled
  if (!native) {
    results.emplace_back(HostObjectType{"mean of the batch"});
    results.emplace_back(HostObjectType{"deviation of the batch"});
  }
  return std::string(
      "aten::_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, "
      "Tensor(a!) running_mean, Tensor(b!) running_var, bool training, float momentum, float eps) "
      "-> (Tensor, Tensor, Tensor)");
}

}  // namespace kiln
