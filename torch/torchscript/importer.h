// The abstract interpreter behind import.h. One object imports one callee.
#pragma once

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/csrc/jit/ir/ir.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "torch/torchscript/import.h"
#include "torch/torchscript/shape_cache.h"
#include "torch/torchscript/values.h"

namespace kiln::torchscript {

using Stack = std::vector<c10::IValue>;
using Results = std::vector<c10::IValue>;

// A recorded run is inside `torch.autocast`; the state of the thread is put back at the end.
class AutocastRegion {
 public:
  AutocastRegion(c10::DeviceType device, bool enabled, c10::ScalarType dtype)
      : device_(device),
        enabled_(enabled),
        was_enabled_(at::autocast::is_autocast_enabled(device)),
        was_dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_dtype(device, dtype);
  }
  ~AutocastRegion() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, was_enabled_);
    at::autocast::set_autocast_dtype(device_, was_dtype_);
  }
  AutocastRegion(const AutocastRegion&) = delete;
  AutocastRegion& operator=(const AutocastRegion&) = delete;
  bool enabled() const { return enabled_; }

 private:
  c10::DeviceType device_;
  bool enabled_, was_enabled_;
  c10::ScalarType was_dtype_;
};

class Importer {
 public:
  // `required`: what sample points have to meet. `written`: constants of the code that are state.
  Importer(const ImportOptions& options, CaptureBuilder& capture, ShapeCache& shapes,
           std::vector<SizeCondition> required = {}, std::set<const c10::TensorImpl*> written = {})
      : options_(options),
        capture_(capture),
        shapes_(shapes),
        required_(std::move(required)),
        written_constants_(std::move(written)) {}
  ~Importer() {
    while (!autocast_.empty()) autocast_.pop_back();  // the inner region before the outer
  }

  ImportedProgram import(const Callee& callee, const Arguments& arguments);
  // Where the interpreter stopped: module path, function and line of source.
  const ImportFailure& failure() const { return failure_; }
  // Runs the callee on real tensors and notes the arguments of every call of a module's forward.
  ModuleCalls record(const Callee& callee, const Arguments& arguments);

 private:
  using Env = std::unordered_map<const torch::jit::Value*, c10::IValue>;
  struct Frame {
    std::string module_path;
    std::string function;
    std::string location;  // of the node that runs, in the user's code; "" inside torch's
  };
  using Slot = std::pair<const c10::ivalue::Object*, size_t>;
  struct Attribute {
    c10::IValue object, before, now;  // `before` as the module has it
    std::string path;
  };
  struct Replaced {
    at::Tensor before, now;
    std::string path;
  };

  // --- interpreter.cpp: functions, nodes and control flow
  Results run_function(torch::jit::Function& function, Stack inputs, std::string module_path);
  Results run_callee(const Callee& callee, Stack inputs);
  Results run_graph(const torch::jit::Graph& graph, Stack inputs);
  void run_block(const torch::jit::Block* block, Env& env);
  void run_node(torch::jit::Node* node, Env& env);
  Results evaluate(torch::jit::Node* node, Env& env);
  void run_if(torch::jit::Node* node, Env& env);
  void run_loop(torch::jit::Node* node, Env& env);
  bool decide(const c10::IValue& condition, torch::jit::Node* node);
  bool decide_by_raise(const SymbolicNumber::Relation& relation, torch::jit::Node* node);
  void demand(const std::string& relation, const DimExpr& left, const DimExpr& right,
              const std::string& text);
  Results call_method(const std::string& name, Stack inputs);
  const at::Tensor& own_constant(const at::Tensor& tensor);
  bool in_autocast() const;
  Results run_operator(torch::jit::Node* node, Stack inputs);
  static void run_jit(torch::jit::Node* node, Stack& stack);
  void count_step();
  CaptureOrigin origin() const;

  // --- operator_calls.cpp: what becomes of a call of an operator
  Results call_operator(torch::jit::Node* node, const c10::FunctionSchema& schema, Stack inputs);
  Results emit(const c10::OperatorHandle& op, Stack inputs);
  CaptureArg encode(const c10::IValue& value, const c10::TypePtr& type);
  CaptureMeta describe(const TensorInfo& info);
  c10::Device result_device(const Stack& inputs);

  // --- known_calls.cpp: calls on tensors whose elements are known
  Results run_known(torch::jit::Node* node, const c10::FunctionSchema& schema, const Stack& inputs);
  void prepare_known_writes(const std::vector<at::Tensor>& written, bool varies);
  std::vector<TensorInfo*> known_in_memory_of(const at::Tensor& tensor);

  // --- views_in_place.cpp: operators that change how a tensor sees its memory
  std::optional<Results> view_in_place(const c10::OperatorHandle& op, const Stack& inputs);

  // --- operator_rewrites.cpp: operators that only TorchScript has
  bool rewrite(const c10::FunctionSchema& schema, Stack& inputs, c10::OperatorName& name);

  // --- tensor_queries.cpp: questions about tensors that are answered here
  std::optional<Results> query(const c10::FunctionSchema& schema, const Stack& inputs,
                               torch::jit::Node* node);
  std::optional<Results> element_query(const c10::FunctionSchema& schema, const Stack& inputs);

  // --- symbolic_numbers.cpp: arithmetic of sizes
  std::optional<c10::IValue> number_operator(const c10::FunctionSchema& schema,
                                             const Stack& inputs);
  std::optional<c10::IValue> arithmetic(const std::string& name, const std::vector<c10::IValue>& a);
  c10::IValue relate(const std::string& name, const SymbolicNumber::Size& a,
                     const SymbolicNumber::Size& b);
  std::optional<SymbolicNumber::Size> as_size(const c10::IValue& value);

  // --- tensors.cpp: the table of tensors, and operators at the sample points
  TensorInfo& info(const at::Tensor& tensor);
  int32_t handle(const at::Tensor& tensor);  // hands a weight or constant over where needed
  std::string constant_name();
  int32_t complex_constant(const at::Tensor& value, const TensorInfo& info);
  void ensure_metas(TensorInfo& info, const at::Tensor& tensor);
  c10::IValue at_point(const c10::IValue& value, size_t point, bool elements);
  bool uniform(const c10::IValue& value);
  at::Tensor add_tensor(std::vector<at::Tensor> metas, int32_t handle, c10::Device device);
  at::Tensor add_known(std::vector<at::Tensor> values, bool varies);
  bool share_memory(const at::Tensor& a, const at::Tensor& b);
  std::vector<Stack> evaluate_at_points(const c10::OperatorHandle& op, const Stack& inputs);
  Stack evaluate_without_data(const c10::OperatorHandle& op, const Stack& inputs, Stack stack,
                              bool by_values, bool large);
  Stack arguments_without_data(const c10::OperatorHandle& op, const Stack& inputs, size_t point,
                               const std::function<c10::IValue(const c10::IValue&)>& value_of);
  Points at_points(const DimExpr& expr) const;
  SymbolicNumber::Size dim_of(const TensorInfo& info, size_t dim) const;

  // --- size_limits.cpp: what holds at some sizes of a range only
  std::string text_at(size_t point) const;
  std::optional<Stack> arguments_at(const c10::OperatorHandle& op, const Stack& inputs,
                                    const SymbolValues& values);
  [[noreturn]] void raise_at_points(const c10::OperatorHandle& op, const Stack& inputs,
                                    const std::vector<std::optional<std::string>>& raised);
  bool holds_everywhere(const DimExpr& expr, const std::function<bool(int64_t)>& holds) const;
  size_t length_of_list(const c10::OperatorHandle& op, const Stack& inputs,
                        const std::vector<Stack>& at, size_t result);
  void keep_rank(const c10::OperatorHandle& op, const Stack& inputs);

  // --- shapes.cpp: sizes of results where those of the inputs vary
  std::optional<DimExpr> fit(const Points& at, const std::vector<SymbolicNumber::Size>& candidates,
                             const std::vector<bool>& counts) const;
  void fit_shape(TensorInfo& result, const Stack& inputs);
  void fit_strides(TensorInfo& result, const Stack& inputs);
  void adopt_inferred_shape(TensorInfo& result, const Stack& inputs);
  void fill_metas(TensorInfo& result) const;
  void demand_as_many_elements(const c10::FunctionSchema& schema, const Stack& inputs);

  // --- unbacked_sizes.cpp: sizes that only running the program tells
  DimExpr add_unbacked(const Points& at, int64_t max);
  bool is_unbacked(const DimExpr& expr) const;
  bool has_unbacked(const c10::IValue& value);
  c10::IValue as_unbacked(const c10::IValue& value);
  int32_t size_handle(const DimExpr& expr);
  void note_sizes(const at::Tensor& tensor, const TensorInfo& info);
  SymbolicNumber::Size count_in(const char* question, const at::Tensor& tensor, int64_t max);
  bool counts_elements(const c10::OperatorHandle& op, const Stack& inputs);
  std::vector<Stack> evaluate_counts(const c10::OperatorHandle& op, const Stack& inputs,
                                     Stack& counts);
  void check_small_counts(const c10::OperatorHandle& op, const Stack& inputs,
                          const std::vector<TensorInfo*>& results);

  // --- module_state.cpp: attributes
  void name_state(const torch::jit::Module& root);
  std::string path_of(const c10::ivalue::Object& object) const;
  c10::IValue get_attribute(const c10::IValue& object, const std::string& name);
  void set_attribute(const c10::IValue& object, const std::string& name, c10::IValue value);
  c10::IValue private_copy(const c10::IValue& value, const std::string& path);
  void find_replaced(const c10::IValue& results);
  void check_shared(const Replaced& replaced, const c10::IValue& results);
  at::Tensor returned(const at::Tensor& tensor);
  at::Tensor cloned(const at::Tensor& tensor);
  void hand_over_writes();

  // --- signature.cpp: inputs, outputs and their description
  void declare_symbols(const Arguments& arguments);
  void choose_samples();
  void add_symbol(const std::string& name, const Points& at);
  std::optional<SymbolValues> sample(size_t point, const SymbolValues& fixed, int64_t tries) const;
  c10::IValue declare_input(const c10::IValue& value, const std::string& name,
                            const Arguments& arguments, Json& description);
  Json declare_output(const c10::IValue& value, const std::string& name);
  std::string metadata() const;

  const ImportOptions& options_;
  CaptureBuilder& capture_;
  ShapeCache& shapes_;
  const std::vector<SizeCondition> required_;
  const std::set<const c10::TensorImpl*> written_constants_;
  std::vector<Frame> frames_;
  const torch::jit::Node* node_ = nullptr;  // that runs
  bool stopped_ = false;
  ImportFailure failure_;
  ModuleCalls* record_ = nullptr;  // values are real tensors, and the module may be written
  std::unordered_map<const c10::TensorImpl*, at::Tensor> own_constants_;  // of a recorded run
  std::vector<std::unique_ptr<AutocastRegion>> autocast_;                 // that it is in
  int64_t steps_ = 0;
  std::set<std::string> notes_;
  std::vector<std::array<std::string, 4>> conditions_;
  std::vector<SizeCondition> demanded_;  // the same

  std::unordered_map<const c10::TensorImpl*, TensorInfo> tensors_;
  std::map<std::string, std::pair<at::Tensor, int32_t>> weights_;  // handed over, by name
  struct Named {
    std::string name, kind;
  };
  std::unordered_map<const c10::TensorImpl*, Named> state_names_;
  int next_constant_ = 0;

  std::unordered_map<const c10::ivalue::Object*, std::string> paths_;
  std::map<Slot, at::Tensor> tensor_slots_;                      // the tensors that the module has
  std::map<Slot, Attribute> attributes_;                         // that the program read or set
  std::unordered_map<const void*, c10::IValue> private_copies_;  // by the module's list or dict
  std::vector<Replaced> replaced_;  // where attributes hold another tensor in the end
  std::unordered_map<const c10::TensorImpl*, at::Tensor> returned_;  // copies of results
  std::set<const c10::ivalue::Object*> fresh_objects_;

  SymbolRanges symbols_;
  size_t points_ = kFitPoints;
  std::map<std::string, Points> samples_;  // values of the symbols
  std::vector<SymbolValues> values_at_;    // the same by point
  // Of these, the sizes that no expression is known for, with what is known of them.
  std::map<std::string, std::string> unknown_;
  int next_unknown_ = 0;
  std::set<std::string> unbacked_;  // of these, the sizes that only running tells
  struct SizeSource {
    at::Tensor tensor;
    int64_t dim;          // -1: all elements
    int32_t handle = -1;  // of the number, once it was asked for
  };
  std::map<std::string, SizeSource> size_sources_;      // by the text of the size
  std::map<int32_t, SymbolicNumber::Size> host_sizes_;  // of numbers read from tensors
  std::map<std::pair<std::string, const void*>, SymbolicNumber::Size> counts_;
  Json inputs_ = Json::array(), output_names_ = Json::array();
  Json input_tree_, output_tree_, parameters_ = Json::array();
};

}  // namespace kiln::torchscript
