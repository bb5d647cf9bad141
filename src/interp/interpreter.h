// The reference executor: runs a graph node by node through each op's reference(), on concrete host
// tensors. It is the oracle of the tests and folds constants; it is never fast.
//
// Errors: K2501 an input does not fit its type, K2502 sizes cannot be evaluated or contradict each
// other, K2503 an op or a value cannot be interpreted (no reference, host object), K2504 more
// memory than the limit, and what references refuse. The origin names the node.
#pragma once

#include <vector>

#include "base/status.h"
#include "core/host_tensor.h"
#include "ir/module.h"

namespace kiln {

// Results of one node. `operands` are null where absent. Fused and other nodes with one body and no
// reference of their own run the body. Host scalars are tensors of rank 0.
Result<std::vector<HostTensor>> interpret(Node& node,
                                          const std::vector<const HostTensor*>& operands,
                                          const SymbolValues& symbols);

// Outputs of a graph.
Result<std::vector<HostTensor>> interpret(Graph& graph, const std::vector<HostTensor>& inputs,
                                          const std::vector<HostTensor>& constants,
                                          const SymbolValues& symbols);

// Outputs of the main graph, in order, written inputs and views included. `weights` is parallel to
// module.weights.
Result<std::vector<HostTensor>> interpret(Module& module, const std::vector<HostTensor>& inputs,
                                          const std::vector<HostTensor>& weights);

// The constants that the init graph computes from the weights.
Result<std::vector<HostTensor>> interpret_init(Module& module,
                                               const std::vector<HostTensor>& weights);

// The bytes of each weight as a tensor; K2505 when one has no data.
Result<std::vector<HostTensor>> read_weights(Module& module);

// The values of the symbols that the shapes of the inputs imply, checked against the ranges. Dims
// that are a lone symbol define it; all other dims must then agree.
Result<SymbolValues> bind_symbols(Module& module, const std::vector<HostTensor>& inputs);

}  // namespace kiln
