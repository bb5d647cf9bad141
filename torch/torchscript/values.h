// What the TorchScript importer computes with.
//
// Values are TorchScript's own (c10::IValue), so lists, dicts and objects alias as they do there.
// Two kinds stand for what only a call of the program knows:
//  - a tensor is a handle of the capture builder; which one, and what is known of it, says a table
//    by tensor. Its shape is that of tensors without data ("meta") at some sample points.
//  - a number is a SymbolicNumber inside a SymInt, SymFloat or SymBool.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/core/SymNodeImpl.h>

#include <exception>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <kiln/capture.h>

#include "core/dim.h"
#include "core/size_condition.h"

namespace kiln::torchscript {

// Sizes that vary have one value at each sample point. The first ones are in no simple relation:
// three tell an affine function from others. The rest are sizes at which operators tend to do
// otherwise - the ends of the ranges, 0, 1, 2 and their like -, and all that is concluded has to
// hold there too.
inline constexpr size_t kFitPoints = 3;
using Points = std::vector<int64_t>;

// The import cannot go on: something that only running the program reveals, or that the stream does
// not take. `reason` is for the report, `hint` says what the user can do.
struct Stop : std::exception {
  explicit Stop(std::string text, std::string advice = "")
      : reason(std::move(text)), hint(std::move(advice)) {}
  const char* what() const noexcept override { return reason.c_str(); }
  std::string reason, hint;
};

inline constexpr const char* kSparse =
    "a sparse tensor, whose parts PyTorch does not know without data";
inline constexpr const char* kSparseHint =
    "compute with dense tensors here, or compile the module instead of its TorchScript";
inline constexpr const char* kRealPartsHint =
    "compute with pairs of real numbers (torch.view_as_real), or take the complex tensor as an "
    "input";

// The program raises an exception for these arguments, as TorchScript does.
struct Raised : std::exception {
  explicit Raised(std::string text) : message(std::move(text)) {}
  const char* what() const noexcept override { return message.c_str(); }
  std::string message;
};

// The program demands something of its sizes that the sample points do not meet.
struct Resample : std::exception {
  explicit Resample(SizeCondition c) : condition(std::move(c)) {}
  const char* what() const noexcept override { return "other sample points are needed"; }
  SizeCondition condition;
};

// The program demands that these symbols are multiples of numbers.
struct Divide : std::exception {
  explicit Divide(std::map<std::string, int64_t> d) : divisors(std::move(d)) {}
  const char* what() const noexcept override { return "sizes have to be multiples"; }
  std::map<std::string, int64_t> divisors;
};

// The program raises an exception where this symbol is outside of `range`.
struct Narrow : std::exception {
  Narrow(std::string s, DimRange r, std::string text)
      : symbol(std::move(s)), range(r), reason(std::move(text)) {}
  const char* what() const noexcept override { return "a range is too wide"; }
  std::string symbol;
  DimRange range;
  std::string reason;
};

// The program writes a constant of its code whose elements were taken as known: it is state.
struct WritesConstant : std::exception {
  explicit WritesConstant(const c10::TensorImpl* t) : constant(t) {}
  const char* what() const noexcept override { return "a constant of the code is written"; }
  const c10::TensorImpl* constant;
};

// An error of the capture builder.
struct Failed : std::exception {
  explicit Failed(Status s) : status(std::move(s)) {}
  const char* what() const noexcept override { return "capture failed"; }
  Status status;
};

inline void check(Status status) {
  if (!status.ok()) throw Failed(std::move(status));
}
template <typename T>
T check(Result<T> result) {
  if (!result.ok()) throw Failed(std::move(result).status());
  return std::move(result).value();
}

// A number that the import does not know: a size, a result of a call, or a relation of sizes.
class SymbolicNumber final : public c10::SymNodeImpl {
 public:
  struct Size {
    DimExpr expr;
    Points at;
  };
  struct HostResult {
    int32_t handle;
    char kind;  // 'i', 'f' or 'b'
  };
  struct Relation {
    SizeRelation relation;
    DimExpr left, right;
  };
  using Value = std::variant<Size, HostResult, Relation>;
  explicit SymbolicNumber(Value v) : value(std::move(v)) {}

  bool is_int() override { return kind() == 'i'; }
  bool is_float() override { return kind() == 'f'; }
  bool is_bool() override { return kind() == 'b'; }
  // TorchScript's operators ask for the value where they have no other way: the import stops.
  int64_t guard_int(const char*, int64_t) override { throw Stop(unknown()); }
  bool guard_bool(const char*, int64_t) override { throw Stop(unknown()); }
  double guard_float(const char*, int64_t) override { throw Stop(unknown()); }
  c10::SymNode eq(const c10::SymNode&) override { throw Stop(unknown()); }
  c10::SymNode ne(const c10::SymNode&) override { throw Stop(unknown()); }
  std::string str() override;
  std::string unknown();

  const Value value;

 private:
  char kind() const {
    if (const auto* host = std::get_if<HostResult>(&value)) return host->kind;
    return std::holds_alternative<Size>(value) ? 'i' : 'b';
  }
};

// An integer where the size is the same at all calls.
c10::IValue size_value(const DimExpr& expr, const Points& at);
c10::IValue symbolic_value(SymbolicNumber::Value value);
// Null for a value that the import knows, and for all that is no number.
const SymbolicNumber* symbolic(const c10::IValue& value);
const SymbolicNumber::Size* symbolic_size(const c10::IValue& value);

// Of a tensor whose rank the values decide, as that of squeeze() of what a mask selects.
inline constexpr const char* kRankUnknown = "rank known only at run time";

struct TensorInfo {
  int32_t handle = -1;  // of the builder; -1: not handed over yet
  // Without data: one where all sample points agree, else one for each.
  std::vector<at::Tensor> metas;
  Shape dims, strides;  // empty where all sample points agree: they are those of the meta tensor
  std::string opaque;   // not empty: native code cannot hold it, and why
  c10::Device device = c10::kCPU;
  // Where the elements are known: the tensors with them, as `metas`.
  std::vector<at::Tensor> values;
  c10::IValue number;    // of a known tensor of rank 0: its element, where that is symbolic
  bool weight = false;   // of the module, or a constant of its code
  bool literal = false;  // a constant of the code whose elements are known
  bool given = false;    // by the caller
  at::Tensor keep;       // the tensor that is the key

  bool known() const { return !values.empty(); }
  bool uniform() const { return metas.size() <= 1 && values.size() <= 1; }
};

// Calls f with every tensor inside lists, tuples and dicts, in order.
void for_each_tensor(const c10::IValue& value, const std::function<void(const at::Tensor&)>& f);
bool contains_tensor(const c10::IValue& value);
bool contains_symbolic(const c10::IValue& value);

}  // namespace kiln::torchscript
