// What the legalize and partition passes ask of the backend and of the user, and what they leave
// behind for the report. Given to passes as services of the PassContext.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "core/dtype.h"
#include "ir/graph.h"

namespace kiln {

class BackendSupport {
 public:
  virtual ~BackendSupport() = default;
  // Ok when some kernel computes the node as it stands, alone; else K2412 with every provider's
  // reason.
  virtual Status supports(Node& node) = 0;
};

// Nodes that went back to PyTorch, in the order in which that was decided.
struct FallbackLog {
  struct Entry {
    std::string op;    // of the IR: "softmax"
    std::string aten;  // the calls that took its place: "aten::softmax.int"
    std::string code;
    std::string reason;
    Origin origin;
  };
  std::vector<Entry> entries;
};

struct PartitionInfo {
  int segments = 0;  // native runs between calls of PyTorch
  int aten_calls = 0;
};

struct BuildWishes {
  int min_block_size = 1;  // native runs of fewer ops go back to PyTorch
};

// The 16-bit float dtypes that may take the place of f32, the preferred one first; empty: none.
struct PrecisionWishes {
  std::vector<DType> storage;
};

// What became of the wish, and of 16-bit nodes that no kernel computes as they stand.
struct PrecisionLog {
  std::optional<DType> storage;  // the dtype that was taken
  struct Entry {
    std::string op;
    DType stored = DType::kF32;  // the dtype that the node has, or was to have
    std::string reason;          // why it computes in f32
    Origin origin;
  };
  std::vector<Entry> stays;  // f32 nodes that were not lowered, beside those that were
  std::vector<Entry> wide;   // 16-bit nodes that compute in f32
};

}  // namespace kiln
