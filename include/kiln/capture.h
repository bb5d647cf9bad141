// The one way into the compiler: a captured program as a stream of ATen calls.
//
// A front end (torch.export, torch.compile, TorchScript, a .pt2 file) declares symbols, inputs and
// weights, hands over each call in program order, and names the outputs. In-place calls, views and
// composites come as they were captured: the importer functionalises them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <kiln/status.h>
#include <kiln/tensor.h>

namespace kiln {

class Module;

// One argument of a captured call.
struct CaptureArg {
  struct None {};
  struct Value {  // a tensor or host scalar of the program, by handle
    int32_t handle = -1;
  };
  struct Expr {  // a symbolic integer: "s0*s1 + 4", "floordiv(s0, 8)", "mod(s0, 2)", "min(a, b)"
    std::string text;
  };
  struct MemoryFormat {  // "contiguous" | "preserve" | "channels_last" | "channels_last_3d"
    std::string name;
  };
  struct Layout {  // "strided", "sparse_coo", ...
    std::string name;
  };
  using List = std::vector<CaptureArg>;
  std::variant<None, bool, int64_t, double, std::string, Value, Expr, DType, Device, MemoryFormat,
               Layout, List>
      value;
};

// A size: an integer in text ("64") or a symbolic expression ("s0 + 1").
using CaptureDim = std::string;

// What capture knows of a tensor result. Results that native code cannot hold (complex, sparse,
// data-dependent shape) carry a description instead.
struct CaptureMeta {
  // `opaque` of a result that the operator does not give here: None or an undefined tensor.
  static constexpr const char* kNoTensor = "no tensor";
  DType dtype = DType::kF32;
  std::vector<CaptureDim> dims;
  std::vector<CaptureDim> strides;  // empty: contiguous
  std::string opaque;               // not empty: not a native tensor, and why
  std::optional<char> scalar;       // 'i', 'f', 'b': a host scalar result
};

struct CaptureOrigin {
  std::string module_path;  // "layer1.0.conv1"
  std::string location;     // "model.py:41"
};

// Bytes of a parameter, buffer or constant, borrowed: `owner` keeps them alive.
struct CaptureWeight {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // elements; empty: contiguous
  const void* data = nullptr;
  std::shared_ptr<const void> owner;
};

// The operators that the importer knows, as torch prints their schemas, sorted by name:
// "aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor".
std::vector<std::string> import_rule_schemas();

class CaptureBuilder {
 public:
  using Handle = int32_t;

  CaptureBuilder();
  ~CaptureBuilder();
  CaptureBuilder(const CaptureBuilder&) = delete;
  CaptureBuilder& operator=(const CaptureBuilder&) = delete;

  // Where the tensors of the program lie: the CPU unless said otherwise. Devices among arguments
  // that are of this kind mean the program's own. Call before any call().
  void device(DeviceKind kind);
  // A size symbol with the closed range of its values; max INT64_MAX: unbounded.
  Status symbol(std::string_view name, int64_t min, int64_t max);
  // What the program needs of its sizes beyond their ranges: `left` `relation` `right`, with
  // relation "eq", "ne", "lt", "le", "gt" or "ge". It is checked at run time; `text` says what
  // is asked of the caller. False where there is nothing to check, because the ranges of the
  // symbols, declared before, imply it; what they exclude is K1131.
  Result<bool> condition(std::string_view relation, const CaptureDim& left,
                         const CaptureDim& right, std::string_view text);
  Result<Handle> input(std::string_view name, const CaptureMeta& meta);
  // A non-tensor input that is the value of `expr` (a symbol); it is checked at run time.
  Result<Handle> scalar_input(std::string_view name, const CaptureMeta& meta,
                              std::string_view expr);
  // `kind`: "parameter", "buffer" or "constant". Tied weights: call once, use the handle again.
  Result<Handle> weight(std::string_view name, const CaptureWeight& weight, std::string_view kind);

  // `name` "aten::linear", `overload` "" or "Tensor", `args` all arguments in schema order with the
  // defaults filled in (trailing defaults may be left out), `results` one per result. Returns one
  // handle per result. A call that writes its first argument and returns it yields a fresh handle
  // to the same tensor. `schema` is the full schema text, empty for operators Kiln knows.
  Result<std::vector<Handle>> call(std::string_view name, std::string_view overload,
                                   const std::vector<CaptureArg>& args,
                                   const std::vector<CaptureMeta>& results,
                                   const CaptureOrigin& origin, std::string_view schema);

  // What is known by now of a tensor: of the result of a native call, the sizes that Kiln infers
  // itself. A front end that only estimates the sizes of results reads them here. Without strides.
  Result<CaptureMeta> describe(Handle value) const;

  // Whether a write of one of two tensors might be seen in the other.
  bool may_share_memory(Handle a, Handle b) const;
  // Whether a call wrote the memory that a tensor lies in.
  bool is_written(Handle value) const;

  Status output(Handle value, std::string_view name);
  // The program's caller sees `value` written into input `target` / the buffer named `target`.
  Status mutates_input(std::string_view target, Handle value);
  Status mutates_buffer(std::string_view target, Handle value);

  // What was captured, counted before any pass: one entry per call, in order.
  struct CallRecord {
    std::string op;  // "aten::linear"
    CaptureOrigin origin;
    bool native = false;
    bool executed_anyway = false;  // view or metadata call that computes nothing
    std::string code;              // reason code when not native
    std::string reason;
  };
  const std::vector<CallRecord>& records() const;

  // Ops (full or base names) and module paths that must stay in PyTorch. Call before any call().
  void keep_in_torch(std::vector<std::string> ops, std::vector<std::string> module_prefixes);

  // Forgets all that was handed over, but for what must stay in PyTorch.
  void restart();

  // Hash of all that was handed over so far, in order, but the bytes of weights: two captures with
  // one hash are imported alike, up to the values of their weights. 32 hexadecimal digits.
  std::string content_hash() const;

  // Finishes the import. The builder is empty afterwards.
  Result<std::unique_ptr<Module>> finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln
