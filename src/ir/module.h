// A whole program in IR: the main graph, the init graph that computes constants from weights, the
// weights by handle, the symbols and the signature.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/size_condition.h"
#include "core/view_chain.h"
#include "ir/graph.h"

namespace kiln {

// Bytes of one weight: contiguous, borrowed from a tensor of the user or from a mapped file.
struct WeightData {
  const void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;  // keeps `data` alive
};

enum class WeightKind : uint8_t { kParameter, kBuffer, kConstant };

struct Weight {
  std::string name;  // the user's name ("layer1.0.conv1.weight")
  TensorType type;   // concrete shape
  WeightKind kind = WeightKind::kParameter;
  WeightData data;           // may be absent in text tests
  // Hex of the content's hash128 when the program may depend on the value itself, as it does on a
  // constant, which capture may have read: such a weight cannot be replaced. Whoever makes the
  // program depend on the value of another weight sets it. Empty: any content will do.
  std::string content_hash;
};

// What an input is for.
struct InputSpec {
  std::string name;
  enum class Kind : uint8_t { kUser, kState } kind = Kind::kUser;
  // Memory order seen at capture, outermost first; empty: contiguous. Inputs with any strides are
  // taken at run time; this one costs no copy.
  std::vector<int> order;
  // Of an integer that is no tensor: its value in terms of size symbols, which it may determine.
  std::optional<DimExpr> number = std::nullopt;
  // kState: name of the weight with the initial contents; empty: zeros.
  std::string initial = {};
  // What its strides must be, because capture decided by them what is written; empty: any.
  Shape strides = {};
  // Of a tensor that only the host understands: its sizes; empty: nothing is known of them.
  Shape sizes = {};
};

// What an output is: design section 4, "explicit at the border".
struct OutputSpec {
  enum class Kind : uint8_t {
    kResult,       // a fresh tensor
    kWriteInput,   // its value is written into input `target`
    kViewOfInput,  // an alias of input `target`, seen through `view` (when all is written)
    kViewOfOutput  // an alias of output `target`, which is a kResult, seen through `view`
  } kind = Kind::kResult;
  int target = -1;
  std::string name;
  std::vector<int>
      order;  // memory order of the fresh tensor, as seen at capture; empty: contiguous
  ViewChain view = {};

  // Does running the program compute it? Views are taken of what there is then.
  bool is_computed() const { return kind == Kind::kResult || kind == Kind::kWriteInput; }
  bool operator==(const OutputSpec&) const = default;
};

class Module {
 public:
  Graph main;
  // Inputs: weights, in order. Outputs: main.constants(), in order.
  Graph init;
  std::vector<Weight> weights;  // parallel to init.inputs()
  SymbolRanges symbols;
  std::vector<SizeCondition> conditions;  // what the program needs of its sizes beyond the ranges
  // Where the captured tensors lie; calls that ask for this device ask for nothing. Import only.
  DeviceKind device = DeviceKind::kCpu;
  std::vector<InputSpec> inputs;    // parallel to main.inputs()
  std::vector<OutputSpec> outputs;  // parallel to main.outputs()

  // Adds a weight and its argument in the init graph.
  Value* add_weight(Weight weight);
  // The constant of the main graph that equals `init_value`; made on first use.
  Value* constant_for(Value* init_value);
  // Inverse: the init value behind a constant of main.
  Value* init_value(Value* constant);
  // Drops constants without uses, then dead init nodes and weights that neither the init graph
  // nor the state uses. True when there were any.
  bool prune();
  std::unique_ptr<Module> clone();
};

// Text form (docs/ir.md): print(parse(t)) == t for printed text; numbering is by position.
std::string print(Module& module);
std::string print(Graph& graph);  // body only, arguments named
// K2310 (with line and column) for text that is no module; types of nodes are taken as written, so
// verify() comes next.
Result<std::unique_ptr<Module>> parse_module(std::string_view text);
// The inverse of print(Graph&).
Result<std::unique_ptr<Graph>> parse_graph(std::string_view text);

// Structure, types, dominance, signature consistency, every node by its op. First problem found,
// with the node's text and origin. Shapes and dtypes are inferred again and compared; layouts are
// not, because they are chosen. K2401 structure, K2402 types, K2403 signature.
Status verify(Module& module);
Status verify(Graph& graph);  // one graph with its bodies

// Content hash of a graph (ops, attrs, types, structure; not names or origins), hex.
std::string fingerprint(Graph& graph);
std::string fingerprint(Module& module);

}  // namespace kiln
