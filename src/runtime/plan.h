// What a compiled program is at run time: slots (buffers) and a flat list of steps over views of
// them. Produced by the compiler (builder), stored in files, checked and bound by the runtime.
//
// Sizes, strides and offsets are expressions over the program's symbols; the runtime evaluates them
// once per concrete shape (see shape_plan.h). Lifetimes are not stored: the runtime derives them
// from the order of the steps, so a damaged file cannot make two live buffers overlap.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "core/dim.h"
#include "core/dtype.h"
#include "core/size_condition.h"
#include "core/view_chain.h"

namespace kiln {

enum class SlotKind : uint8_t {
  kInput,   // memory of the caller (or a staging copy when its strides differ from `dims`/`order`)
  kOutput,  // memory of the caller; a fresh tensor
  kConstant,  // result of the init plan, kept for the life of the program
  kTemp,      // arena memory of the execution context
  kHost,      // memory owned by a result of a host call; known dtype and dims
  kObject     // opaque result of a host call: only host steps and outputs may use it
};

struct Slot {
  SlotKind kind = SlotKind::kTemp;
  DType dtype = DType::kF32;
  // Size of the buffer in elements (kInput, kOutput, kTemp, kHost, plain kConstant).
  DimExpr num_elements;
  // Position in the signature for kInput and kOutput, in EnginePlan::constants for kConstant.
  int index = -1;
  // Opaque bytes whose size and format only the packing step knows: a kOutput of `init`, and the
  // kConstant of `main` that refers to it.
  bool packed = false;
};

// A strided window of a slot. Element (i0, i1, ...) is at offset + sum(i_k * strides[k]).
struct PlanView {
  int slot = -1;
  Shape dims;
  std::vector<DimExpr> strides;  // elements
  DimExpr offset;                // elements
};

struct StepDesc {
  std::string kind;  // registered name: "dnnl.conv", "tile", "attention", "host.call", ...
  std::vector<PlanView> inputs;
  std::vector<PlanView> outputs;
  Json params;         // meaning per kind; checked when the step is created
  std::string origin;  // module path and location for messages and profiles
  std::string label;   // what it computes in IR terms: "conv+add+relu"
};

struct Plan {
  std::vector<Slot> slots;
  std::vector<StepDesc> steps;
};

// Input or output of the program as the caller sees it.
struct TensorSignature {
  std::string name;
  DType dtype = DType::kF32;
  Shape dims;              // of an object: its sizes, if anything is known of them
  std::vector<int> order;  // memory order outermost first; empty: contiguous
  bool is_object = false;  // only PyTorch understands it (slot kind kObject)
  // Of an object input that is an integer: its value. A view of rank 1 brings it, as its extent.
  std::optional<DimExpr> number = std::nullopt;
  // Of an object output that is a number: kI64, kF64 or kBool.
  std::optional<DType> scalar = std::nullopt;
  // An input that holds what the program keeps from run to run (a buffer that it changes); these
  // come after the caller's own inputs. `initial` is the weight with its first contents, -1: zeros.
  bool is_state = false;
  int initial = -1;
  // What the strides of an input must be: other ones mean another program. Empty: any will do.
  Shape strides = {};
};

struct PlanOutput {
  TensorSignature signature;
  // kWriteInput: what the steps leave in the memory of input `target`. The views are taken of the
  // memory of input `target`, or of result `target`, after the run.
  enum class Kind : uint8_t {
    kResult,
    kWriteInput,
    kViewOfInput,
    kViewOfOutput
  } kind = Kind::kResult;
  int target = -1;
  ViewChain view = {};  // of the two kinds of views
};

struct WeightSignature {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> dims;
  // The compiler or the capture may have read the value: the plan is right for this content only
  // (hex of its hash128). Empty: any content will do.
  std::string fixed_hash{};
};

// Device code that steps launch. A plan holds no code: who runs it makes the code from the
// parameters (DeviceRuntime::load_code), or takes a trusted file's (runtime/native_code.h).
struct KernelDesc {
  std::string family;  // who prints it: "tile", "transpose", ...
  Json params;         // meaning per family; checked when it is printed and when a step uses it
};

// A plan for one target plus everything needed to run it.
struct EnginePlan {
  std::string target;  // "cpu:avx512", "cuda:sm_90"
  SymbolRanges symbols;
  std::vector<SizeCondition> conditions;  // of the symbols, beyond their ranges
  std::vector<WeightSignature> weights;  // inputs of `init`, by position
  std::vector<TensorSignature> inputs;   // inputs of `main`, by position
  std::vector<PlanOutput> outputs;       // outputs of `main`, by position
  // Runs once at load and on weight updates. Its kInput slots are weights (borrowed, contiguous),
  // its kOutput slots are results that are kept.
  Plan init;
  // Constant i of `main` is slot constants[i] of `init`: a weight as it is, or a kept result.
  std::vector<int> constants;
  Plan main;
  std::vector<KernelDesc> kernels;  // each once; steps name them by position
};

// Structure only: slot indices, kinds, ranks, every slot written before it is read, signature
// positions used once. What a step demands of its views is checked by the step. K31xx.
Status verify(const EnginePlan& plan);

Json to_json(const EnginePlan& plan);
Result<EnginePlan> engine_plan_from_json(const Json& json);

}  // namespace kiln
