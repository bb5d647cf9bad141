// What every oneDNN kernel of Kiln shares: post-ops, the rule that the library's own reference code
// is a refusal, and a primitive bound to concrete shapes that any number of threads may run.
//
// A primitive is made for the num_threads() in force when it is created, and runs on that many:
// oneDNN divides work and scratch memory then. Whoever keeps primitives has that number in the key.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/runtime/dnnl_memory.h"
#include "base/status.h"

struct dnnl_primitive;
struct dnnl_primitive_attr;
struct dnnl_primitive_desc;

namespace kiln {

struct DnnlApi;

// One step of the epilogue, applied to y in the order given before y is stored.
struct DnnlPostOp {
  enum class Kind {
    kRelu,
    kLeakyRelu,    // alpha: slope below 0
    kElu,          // alpha * (exp(y) - 1) below 0
    kGeluErf,
    kGeluTanh,
    kSilu,
    kHardswish,
    kHardsigmoid,
    kSigmoid,
    kTanh,
    kClip,         // min(max(y, alpha), beta)
    kLinear,       // alpha * y + beta
    kSum,          // y + alpha * (what the output buffer held before); once per primitive
    kAdd,          // y + tensor, and so on
    kSub,
    kMul,
    kDiv,
    kMax,
    kMin,
  };
  Kind kind = Kind::kRelu;
  float alpha = 0.0f;
  float beta = 0.0f;
  DnnlTensor tensor = {};  // of kAdd and below; the rank of the output, dims equal to its or 1

  bool has_tensor() const { return kind >= Kind::kAdd; }
};

// oneDNN's name of the chosen code ("brgconv_1x1:avx512_core"); is it its slow reference?
bool is_dnnl_reference(std::string_view implementation);

struct DnnlDeleter {
  void operator()(dnnl_primitive* primitive) const;
  void operator()(dnnl_primitive_attr* attr) const;
  void operator()(dnnl_primitive_desc* desc) const;
};
using DnnlAttr = std::unique_ptr<dnnl_primitive_attr, DnnlDeleter>;
using DnnlPrimitiveDesc = std::unique_ptr<dnnl_primitive_desc, DnnlDeleter>;

// Attributes of a primitive that writes `dst`: post-ops, scratchpad from the caller, fp32 kept as
// fp32 whatever the environment says. `order` is the storage order of dst (outermost first).
// Error K4601 for a post-op that does not fit dst.
Result<DnnlAttr> make_dnnl_attr(const std::vector<DnnlPostOp>& post_ops, const DnnlTensor& dst,
                                const std::vector<int>& order);

// While it lives, oneDNN calls made by this thread use `threads` threads (where oneDNN runs on
// OpenMP; other threading libraries are left alone). Descriptors must be made inside one as well.
class DnnlThreads {
 public:
  explicit DnnlThreads(const DnnlApi* api, int threads);
  ~DnnlThreads();
  DnnlThreads(const DnnlThreads&) = delete;
  DnnlThreads& operator=(const DnnlThreads&) = delete;

 private:
  const DnnlApi* api_;
  int previous_ = 0;  // 0: nothing to restore
};

// The Status for a oneDNN call that did not return success; `what` names it.
Status dnnl_failure(int dnnl_status, std::string_view what);

// The layout of an argument as the descriptor settled it; `query` is a dnnl_query_*_md.
Result<DnnlLayout> dnnl_query_layout(const DnnlPrimitiveDesc& desc, int query);
std::string dnnl_implementation(const DnnlPrimitiveDesc& desc);

// A primitive with its operands' layouts. run() is const and thread-safe and, except when more
// threads than ever before are inside at once, does not allocate (oneDNN itself may).
class DnnlPrimitive {
 public:
  struct Operand {
    int arg;  // DNNL_ARG_*
    DnnlLayout layout;
  };
  static constexpr size_t kMaxOperands = 24;

  static Result<std::unique_ptr<DnnlPrimitive>> create(DnnlPrimitiveDesc desc,
                                                       std::vector<Operand> operands);
  ~DnnlPrimitive();
  DnnlPrimitive(const DnnlPrimitive&) = delete;
  DnnlPrimitive& operator=(const DnnlPrimitive&) = delete;

  // `pointers`: one per operand of create(), in that order; `scratchpad`: scratchpad_bytes() bytes
  // that no other run uses meanwhile, 64-byte aligned, may be null if that is 0.
  // Error K4604 if oneDNN reports one.
  Status run(std::span<const void* const> pointers, void* scratchpad) const;

  const std::string& implementation() const { return implementation_; }
  size_t scratchpad_bytes() const { return scratchpad_bytes_; }

 private:
  struct Call;  // a stream and memory objects, used by one thread at a time
  DnnlPrimitive() = default;
  Result<std::unique_ptr<Call>> new_call() const;

  std::unique_ptr<dnnl_primitive, DnnlDeleter> primitive_;
  std::vector<Operand> operands_;  // the scratchpad last, if there is one
  std::string implementation_;
  size_t scratchpad_bytes_ = 0;
  int threads_ = 1;
  mutable std::array<std::atomic<Call*>, 16> idle_{};
};

// Appends the tensor operands of `post_ops` to `operands`, in their order.
Status append_post_op_operands(const std::vector<DnnlPostOp>& post_ops,
                               const std::vector<int>& order,
                               std::vector<DnnlPrimitive::Operand>& operands);

}  // namespace kiln
