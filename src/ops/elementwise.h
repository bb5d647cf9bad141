// Elementwise functions of one and two operands: rows of a table, not files.
//
// A row states what differs between functions; infer, verify, reference, to_aten and samples are
// written once over rows. Both operands have the same dtype (importers insert casts); shapes
// broadcast by ops/broadcast.h.
#pragma once

#include <utility>
#include <vector>

#include "ops/dtype_class.h"

namespace kiln {

// What a scalar function sees beside its operands.
struct ScalarContext {
  DType dtype = DType::kF32;  // of the operands
  // The fields in order: numbers as they are, a string as 0 for the default and 1 for any other.
  std::vector<double> fields;
};

struct ElementwiseRow {
  const char* name;
  const char* formula;
  int arity;
  const char* aten_name;  // without "aten::"
  // With a name and fields: the overload that takes the fields, needed only where one is not at its
  // default; the plain overload takes none. Without a name, the fields are always given.
  const char* aten_overload;
  DTypeClass accepts;
  bool to_bool;            // result is bool, else of the operands' dtype
  uint32_t traits;         // beside kElementwise
  bool exact;              // fp32 arithmetic gives the correctly rounded result
  bool divides;            // an integer zero in operand 1 is an error at run time, as in torch
  OpSample::Fill fill[2];  // the domain that samples draw from
  // Float operands, computed in fp64 and rounded once to the dtype. Null: no float is accepted.
  double (*f64)(double x, double y, const ScalarContext& s);
  // Integer and bool operands; the result wraps to the dtype. Null: none is accepted.
  int64_t (*i64)(int64_t x, int64_t y, const ScalarContext& s);
  // Null: no fields. Fields follow the operands in the ATen call, in the same order.
  std::vector<FieldDef> (*fields)();
  // Conditions on the fields; may be null.
  Status (*verify)(const OpContext& ctx);
  // Field values other than the defaults that samples try; may be null.
  std::vector<AttrList> (*variants)();
  // A fixed last argument of the ATen call (alpha = 1, a rounding mode); may be null.
  CallArg (*last_argument)();
};

using SampleFunction = std::vector<OpSample> (*)();
void register_elementwise(const ElementwiseRow& row, SampleFunction samples);
std::vector<OpSample> elementwise_samples(const ElementwiseRow& row);

// Registers every row of a constexpr array at namespace scope.
template <const auto& kTable>
bool register_elementwise_table() {
  [&]<size_t... I>(std::index_sequence<I...>) {
    (register_elementwise(kTable[I], [] { return elementwise_samples(kTable[I]); }), ...);
  }
  (std::make_index_sequence<std::size(kTable)>());
  return true;
}

}  // namespace kiln
