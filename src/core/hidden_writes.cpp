#include "core/hidden_writes.h"

namespace kiln {

std::vector<size_t> hidden_writes(const Call& call) {
  // Positions that all three share: input, weight, bias, running_mean, running_var, training.
  constexpr size_t kRunningMean = 3, kRunningVar = 4, kTraining = 5;
  const bool normalises = call.name == "aten::batch_norm" ||
                          call.name == "aten::native_batch_norm" ||
                          call.name == "aten::instance_norm";
  if (!normalises || call.args.size() <= kTraining) return {};
  const bool* training = call.args[kTraining].get<bool>();
  if (training != nullptr && !*training) return {};
  std::vector<size_t> written;
  for (size_t i : {kRunningMean, kRunningVar}) {
    if (call.args[i].get<CallArg::Operand>() != nullptr) written.push_back(i);
  }
  return written;
}

}  // namespace kiln
