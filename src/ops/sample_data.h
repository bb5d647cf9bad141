// Turns an OpSample into data: values for its symbols and its operands.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ir/op_def.h"

namespace kiln {

// Fills, by dtype:
//   kNormal         floats: standard normal; integers: [-9, 9], unsigned [0, 18]
//   kSmallIntegers  [-4, 4], unsigned [0, 8], also in float dtypes, where sums stay exact
//   kPositive       floats: [0.5, 4); integers: [1, 8]
//   kNonZero        floats: (-4, -0.5] and [0.5, 4); integers: [-4, 4] without 0, unsigned [1, 8]
//   kUnit           floats: (-1, 1); integers: {-1, 0, 1}, unsigned {0, 1}
//   kIndices        integers in [0, limit)
//   kBool           0 or 1
//   kMask           0 or, as masks that are added have it, the lowest number of the float dtype
// A bool tensor holds 0 and 1 under every fill.
struct SampleData {
  SymbolValues symbols;
  std::vector<std::optional<HostTensor>> operands;  // as in the sample; nullopt: absent

  // Pointers as ReferenceContext::operands wants them.
  std::vector<const HostTensor*> pointers() const;
};

// The same seed gives the same bits on every machine. Symbols take small distinct values, in the
// order of their names. Fails when a shape cannot be evaluated (K2101) or is negative (K4201).
Result<SampleData> make_sample_data(const OpSample& sample, uint64_t seed);

// One tensor of a concrete shape. `index_limit` serves kIndices.
HostTensor random_tensor(DType dtype, std::vector<int64_t> shape, OpSample::Fill fill,
                         int64_t index_limit, uint64_t seed);

// A graph with one node of `op` over fresh inputs; its outputs are the node's results. The node is
// the graph's last.
struct SampleGraph {
  std::unique_ptr<Graph> graph;
  Node* node = nullptr;
};
Result<SampleGraph> make_sample_graph(const OpDef& op, const OpSample& sample);

// Runs op.reference over the data: allocates results of the inferred types, then computes.
Result<std::vector<HostTensor>> run_reference(Node& node, const SampleData& data);

}  // namespace kiln
