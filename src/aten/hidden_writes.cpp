#include "aten/hidden_writes.h"

namespace kiln {
namespace {

// Positions shared by both: input, weight, bias, running_mean, running_var, training.
constexpr size_t kRunningMean = 3, kRunningVar = 4, kTraining = 5;

bool updates_statistics(const Call& call) {
  if (call.args.size() <= kTraining) return false;
  const bool* training = call.args[kTraining].get<bool>();
  const bool known = training != nullptr && !*training;
  return !known && (call.args[kRunningMean].get<CallArg::Operand>() != nullptr ||
                    call.args[kRunningVar].get<CallArg::Operand>() != nullptr);
}

}  // namespace

Result<std::string> expose_hidden_writes(Call& call, std::vector<Type>& results) {
  const bool native = call.name == "aten::native_batch_norm";
  const bool batch = native || call.name == "aten::batch_norm";
  const bool instance = call.name == "aten::instance_norm";
  if ((!batch && !instance) || !updates_statistics(call)) return std::string();
  if (instance) {
    return Status::error("K1304", "instance_norm updates running statistics",
                         "call model.eval() first");
  }
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
