// What an op is. One file of src/ops defines one op by filling an OpDef; printing, parsing,
// hashing, equality, saving, the conformance tests, the benchmark lines and docs/ops.md follow from
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/host_tensor.h"
#include "ir/attr.h"
#include "ir/graph.h"

namespace kiln {

// What passes may ask; they never list op names.
enum OpTrait : uint32_t {
  kNoTraits = 0,
  kElementwise = 1u << 0,  // result[i] depends on the operands at the broadcast of i only
  kView = 1u << 1,         // result is a rearrangement of operand 0 without arithmetic
  kReduction = 1u << 2,    // reduces axes of operand 0
  kRowwise = 1u << 3,      // reduces and comes back to the shape: softmax, norms
  kCommutative = 1u << 4,  // operands 0 and 1 may be swapped
  kCheap = 1u << 5,        // recomputing beats storing
  kEffect = 1u << 6,       // ordered, never merged or dropped (random, write, unknown)
  kAnchor = 1u << 7,       // the heavy op a fusion forms around: conv, matmul, attention
  kIdempotent = 1u << 8,   // f(f(x)) == f(x)
  kSource = 1u << 9,       // no tensor operands: constant, full, iota
  kUpdate = 1u << 10,      // result is operand 0 with some elements replaced
  kSensitive = 1u << 11,   // small errors of x grow, or the result outgrows 16 bits: exp, log, sums
};

// What infer() and verify() see. Absent optional operands are null.
struct OpContext {
  const OpDef* op = nullptr;
  std::vector<const Type*> operands;
  const std::vector<Attr>* attrs = nullptr;
  const std::vector<std::unique_ptr<Graph>>* bodies = nullptr;

  int num_operands() const { return static_cast<int>(operands.size()); }
  bool has(int i) const { return i < num_operands() && operands[static_cast<size_t>(i)]; }
  // Precondition: the operand is a tensor (checked by the framework for ops that declare so).
  const TensorType& tensor(int i) const { return operands[static_cast<size_t>(i)]->tensor(); }
  const Attr& attr(std::string_view field) const;
  bool get_bool(std::string_view f) const { return std::get<bool>(attr(f)); }
  int64_t get_int(std::string_view f) const { return std::get<int64_t>(attr(f)); }
  double get_float(std::string_view f) const { return std::get<double>(attr(f)); }
  const std::string& get_string(std::string_view f) const { return std::get<std::string>(attr(f)); }
  DType get_dtype(std::string_view f) const { return std::get<DType>(attr(f)); }
  const std::vector<int64_t>& get_ints(std::string_view f) const {
    return std::get<std::vector<int64_t>>(attr(f));
  }
  const DimExpr& get_dim(std::string_view f) const { return std::get<DimExpr>(attr(f)); }
  const std::vector<DimExpr>& get_dims(std::string_view f) const {
    return std::get<std::vector<DimExpr>>(attr(f));
  }
};

// What reference() sees: concrete operands, results to fill (already allocated with the inferred
// dtype and shape), and the values of the symbols for dims in attributes.
struct ReferenceContext {
  Node* node = nullptr;
  std::vector<const HostTensor*> operands;  // null where absent
  std::vector<HostTensor>* results = nullptr;
  const SymbolValues* symbols = nullptr;

  const HostTensor& in(int i) const { return *operands[static_cast<size_t>(i)]; }
  bool has(int i) const {
    return i < static_cast<int>(operands.size()) && operands[static_cast<size_t>(i)];
  }
  HostTensor& out(int i = 0) const { return (*results)[static_cast<size_t>(i)]; }
  // Dims of an attribute with the symbols filled in.
  Result<std::vector<int64_t>> dims(std::string_view field) const;
  Result<int64_t> dim(std::string_view field) const;
};

// How to_aten() writes the calls that replace a node: it creates aten.call nodes before it.
class AtenEmitter {
 public:
  virtual ~AtenEmitter() = default;
  // Emits `name.overload(args)`; an argument that is a tensor is given as a Value*.
  struct Arg {
    std::variant<CallArg, Value*, std::vector<Value*>> value;
    Arg(Value* v) : value(v) {}                          // NOLINT(google-explicit-constructor)
    Arg(std::vector<Value*> v) : value(std::move(v)) {}  // NOLINT(google-explicit-constructor)
    template <typename T>
    Arg(T v) : value(CallArg(std::move(v))) {}  // NOLINT(google-explicit-constructor)
  };
  virtual std::vector<Value*> call(std::string_view name, std::string_view overload,
                                   std::vector<Arg> args, std::vector<Type> result_types) = 0;
};

// One generated test case of an op.
struct OpSample {
  std::string why;                            // the reason this case exists
  std::vector<std::optional<Type>> operands;  // concrete or symbolic; nullopt: absent
  AttrList attrs;
  // How operand values are drawn.
  enum class Fill : uint8_t {
    kNormal,
    kSmallIntegers,
    kPositive,
    kNonZero,
    kUnit,
    kIndices,
    kBool,
    kMask
  };
  std::vector<Fill> fill;            // per operand; missing: kNormal
  std::vector<int64_t> index_limit;  // for kIndices: values in [0, limit)
  double tolerance = 1e-5;           // relative to the rms of the reference; 0: bit-equal
};

struct OpDef {
  std::string name;     // "softmax"
  std::string formula;  // one line: "y[..., i] = exp(x[..., i]) / sum_j exp(x[..., j])"
  uint32_t traits = kNoTraits;
  int min_operands = 1;
  int max_operands = 1;                    // -1: any number
  std::vector<std::string> operand_names;  // for messages and docs; last one repeats
  std::vector<FieldDef> fields;
  // Operands from this one on may be f32 beside 16-bit ones before it; -1: none may.
  int f32_beside = -1;
  // False: every operand that is present must be a tensor (checked before infer() is asked).
  bool takes_any_type = false;

  // Result types from operand types and fields. K22xx refusals name the operand and the reason.
  Result<std::vector<Type>> (*infer)(const OpContext&) = nullptr;
  // Extra conditions that infer() does not already check; may be null.
  Status (*verify)(const OpContext&) = nullptr;
  // Naive loops, fp32 or fp64 accumulation.
  Status (*reference)(const ReferenceContext&) = nullptr;
  // Emits the ATen calls that compute the node and returns the values that replace its results.
  Result<std::vector<Value*>> (*to_aten)(Node&, AtenEmitter&) = nullptr;
  std::vector<OpSample> (*samples)() = nullptr;

  bool has(OpTrait trait) const { return (traits & trait) != 0; }
  int field_index(std::string_view field) const;  // -1 when unknown
};

// What infer() and verify() say of a node as it stands. Results without a device of their own take
// the device of the first tensor operand. K2201 wrong number of operands, K2213 operand is no
// tensor, or the op's own refusal; the message names the op.
Result<std::vector<Type>> infer_types(Node& node);
Status verify_op(Node& node);
// The same before there is a node.
Result<std::vector<Type>> infer_types(const OpContext& context);

// All ops, by name. Definition files register at start-up: `KILN_OP(softmax) { ...; return def; }`.
class OpRegistry {
 public:
  static OpRegistry& global();
  // A field without a default gets the zero of its kind. A second op of the same name, or a default
  // of another kind than the field's, is a bug.
  void add(OpDef def);
  const OpDef* find(std::string_view name) const;  // null when unknown
  const OpDef& get(std::string_view name) const;   // unknown is a bug
  std::vector<const OpDef*> all() const;           // sorted by name

 private:
  std::map<std::string, std::unique_ptr<OpDef>, std::less<>> ops_;
};

}  // namespace kiln

// Defines and registers an op: the body returns an OpDef (its name is set from the macro argument
// when left empty).
#define KILN_OP(op)                                              \
  static ::kiln::OpDef kiln_define_##op();                       \
  [[maybe_unused]] static const bool kiln_registered_##op = [] { \
    ::kiln::OpDef def = kiln_define_##op();                      \
    if (def.name.empty()) def.name = #op;                        \
    ::kiln::OpRegistry::global().add(std::move(def));            \
    return true;                                                 \
  }();                                                           \
  static ::kiln::OpDef kiln_define_##op()
