// What the handles of programs hold.
#pragma once

#include <memory>
#include <vector>

#include <kiln/c_api.h>
#include <kiln/program.h>

namespace kiln::capi {

// TensorInfos in C's form. The texts are those of the TensorInfos.
class InfoTable {
 public:
  explicit InfoTable(const std::vector<TensorInfo>& infos);
  const kiln_tensor_info* get(size_t* count) const;

 private:
  std::vector<std::vector<kiln_dim_info>> dims_;
  std::vector<kiln_tensor_info> infos_;
};

}  // namespace kiln::capi

struct kiln_program {
  explicit kiln_program(std::shared_ptr<kiln::Program> made);

  std::shared_ptr<kiln::Program> program;
  kiln::capi::InfoTable inputs, outputs, states;
  std::vector<kiln_weight_info> weights;
};

struct kiln_state {
  std::shared_ptr<kiln::State> state;
};
