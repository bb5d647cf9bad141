// Import rules: how one ATen operator becomes IR. One rule each, in the file of its family.
//
//   static void softmax(ImportCall& call) {
//     call.result(call.emit("softmax", {call.cast_to(call.tensor(0), call.dtype_or(2, ...))},
//                           {{"axis", call.axis(1, rank)}}));
//   }
//   KILN_ATEN_RULE(softmax, "aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> "
//                           "Tensor");
//
// A rule that cannot express the call says so with refuse(); the call then stays an aten.call. The
// same happens, with the op's own reason, when an op's infer() refuses, and when the result's dtype
// or shape is not the one that was captured. Nodes of a refused rule are removed again.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aten/schema.h"
#include "ir/module.h"

namespace kiln {

// What torch's kernels compute elements of `stored` in when one operator takes several steps: f32
// for 16-bit floats, so that nothing is rounded or overflows in between.
inline DType computing_dtype(DType stored) {
  return is_float(stored) && dtype_bytes(stored) == 2 ? DType::kF32 : stored;
}

// The call a rule looks at. Asking for an argument of the wrong kind, or for a node whose op does
// not take its operands, refuses the call and leaves the rule at once, so rules need no error
// handling of their own.
class ImportCall {
 public:
  // Thrown by refuse(), caught by run_import_rule(); the reason is in refusal().
  struct Refused {};

  // Arguments, by position in the schema; defaults are filled in. An operand is a Value.
  struct Argument {
    CallArg arg;  // Operand indices refer to `values`
    std::vector<Value*> values;
  };
  ImportCall(Module& module, const Schema& schema, std::vector<CallArg> args,
             std::vector<Value*> values, std::vector<Type> captured, Origin origin);

  // --- arguments
  const CallArg& arg(int i) { return args_[static_cast<size_t>(i)]; }
  bool is_none(int i) { return arg(i).is_none(); }
  bool is_tensor(int i) { return arg(i).get<CallArg::Operand>() != nullptr; }
  Value* tensor(int i);
  Value* tensor_or_null(int i);          // null for None
  std::vector<Value*> tensors(int i);    // a list; None entries are null
  DimExpr dim(int i);                    // int or SymInt
  std::vector<DimExpr> dims(int i);      // int[] or SymInt[]; one int stands for a list of one
  int64_t integer(int i);                // refuses symbolic values
  std::vector<int64_t> integers(int i);  // refuses symbolic values
  // integers(), one value repeated to `count`.
  std::vector<int64_t> integers(int i, int count);
  bool boolean(int i);
  double number(int i);         // Scalar or float
  bool is_float_number(int i);  // the Scalar was written as a float
  std::string text(int i);
  std::optional<DType> dtype(int i);  // None: empty
  DType dtype_or(int i, DType otherwise) { return dtype(i).value_or(otherwise); }
  // A dim number, wrapped to [0, rank); rank 0 counts as 1.
  int64_t axis(int i, int rank);
  std::vector<int64_t> axes(int i, int rank);  // None or empty: all
  static int64_t wrap_axis(int64_t axis, int rank);

  // --- what capture saw
  int num_results() { return static_cast<int>(captured_.size()); }
  const Type& captured(int i = 0) { return captured_[static_cast<size_t>(i)]; }
  DType captured_dtype(int i = 0);
  const Schema& schema() { return schema_; }
  Module& module() { return module_; }

  // --- building
  // First result of a new node; null operands are absent ones. An op's refusal refuses the call.
  Value* emit(std::string_view op, std::vector<Value*> operands, AttrList attrs = {});
  Node* emit_node(std::string_view op, std::vector<Value*> operands, AttrList attrs = {});
  // A 0-d constant of the dtype.
  Value* scalar(double value, DType dtype);
  Value* scalar_int(int64_t value, DType dtype);
  // Argument i as a tensor of `dtype`: a tensor is cast, a Scalar becomes a 0-d constant. A
  // symbolic Scalar becomes iota-like `full` of the expression.
  Value* operand(int i, DType dtype);
  Value* cast(Value* value, DType dtype);     // the value itself when it has the dtype
  Value* reshape(Value* value, Shape shape);  // the value itself when it has the shape
  // torch's type promotion over the tensor, tensor list and Scalar arguments given (by position).
  DType promoted(const std::vector<int>& arguments);
  // promoted(), integers and bool become the default float.
  DType promoted_float(const std::vector<int>& arguments);

  // --- answers
  // Null: a result that the rule does not compute; only right where nothing can read it.
  void result(Value* value) {
    results_.push_back(value);
    fresh_.push_back(false);
  }
  // A result with memory of its own although it may be an operand or a view of one.
  void fresh_result(Value* value) {
    results_.push_back(value);
    fresh_.push_back(true);
  }
  [[noreturn]] void refuse(std::string reason, std::string_view code = "K1301");

  // For the importer.
  const Status& refusal() { return refusal_; }
  const std::vector<Value*>& results() { return results_; }
  bool is_fresh(size_t result) { return fresh_[result]; }
  const std::vector<Node*>& created() { return created_; }
  void set_refusal(Status refusal) { refusal_ = std::move(refusal); }

 private:
  const std::string& argument_name(int i) { return schema_.arguments[static_cast<size_t>(i)].name; }

  Module& module_;
  const Schema& schema_;
  std::vector<CallArg> args_;
  std::vector<Value*> values_;
  std::vector<Type> captured_;
  Origin origin_;
  Status refusal_;
  std::vector<Value*> results_;
  std::vector<bool> fresh_;
  std::vector<Node*> created_;
};

struct ImportRule {
  Schema schema;
  void (*run)(ImportCall&) = nullptr;
};

// Rules by full name ("aten::softmax.int").
class ImportRules {
 public:
  static ImportRules& global();
  void add(std::string_view schema, void (*run)(ImportCall&));
  const ImportRule* find(std::string_view full_name) const;
  std::vector<const ImportRule*> all() const;  // sorted by name

 private:
  std::map<std::string, ImportRule, std::less<>> rules_;
};

#define KILN_ATEN_RULE(function, ...)                                            \
  [[maybe_unused]] static const bool KILN_CONCAT(kiln_rule_, __COUNTER__) = [] { \
    ::kiln::ImportRules::global().add(__VA_ARGS__, function);                    \
    return true;                                                                 \
  }()

}  // namespace kiln
