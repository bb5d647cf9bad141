// How kernels are found for a node: providers in order of preference answer with tactics or with a
// refusal that has a name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "tuning/device_spec.h"

namespace kiln {

class EngineLowering;

// One way to compute a node. Tactics are made at build time and discarded after lowering.
class Tactic {
 public:
  virtual ~Tactic() = default;
  // "dnnl.conv", "attention", "tile": the first word of the kernels table in the report.
  virtual std::string name() const = 0;
  // How many of the body's epilogue nodes after the anchor this tactic computes; the caller splits
  // the rest off before lower(). Meaningless for nodes that are no fusion.
  virtual int absorbed() const { return 0; }
  // Emits the steps (and packing steps) that compute the results of `node`.
  virtual Status lower(Node& node, EngineLowering& lowering) = 0;
};

struct Refusal {
  std::string provider;
  std::string reason;  // "weights are not constant"
};

struct Candidates {
  std::vector<std::unique_ptr<Tactic>> tactics;  // best first
  std::vector<Refusal> refusals;
};

class KernelProvider {
 public:
  virtual ~KernelProvider() = default;
  virtual std::string_view name() const = 0;
  // Adds its tactics or one refusal. Nodes it was never meant for add nothing.
  virtual void candidates(Node& node, const DeviceSpec& device, Candidates& out) = 0;
};

}  // namespace kiln
