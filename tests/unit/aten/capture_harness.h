// Drives CaptureBuilder as a front end does, and runs what it built on the reference executor.
#pragma once

#include <gtest/gtest.h>
#include <kiln/capture.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "interp/interpreter.h"
#include "ir/module.h"
#include "ir/op_def.h"

namespace kiln::test {

// ---- arguments and results of calls

using Handle = CaptureBuilder::Handle;

inline CaptureArg v(Handle handle) { return {CaptureArg::Value{handle}}; }
inline CaptureArg none() { return {}; }
inline CaptureArg flag(bool value) { return {value}; }
inline CaptureArg num(int64_t value) { return {value}; }
inline CaptureArg real(double value) { return {value}; }
inline CaptureArg str(std::string value) { return {std::move(value)}; }
inline CaptureArg expr(std::string text) { return {CaptureArg::Expr{std::move(text)}}; }
inline CaptureArg dtype(DType value) { return {value}; }
inline CaptureArg list(std::vector<CaptureArg> items) { return {std::move(items)}; }
inline CaptureArg nums(std::initializer_list<int64_t> values) {
  CaptureArg::List items;
  for (int64_t value : values) items.push_back(num(value));
  return {std::move(items)};
}

inline CaptureMeta meta(std::vector<CaptureDim> dims, DType dtype = DType::kF32,
                        std::vector<CaptureDim> strides = {}) {
  CaptureMeta result;
  result.dtype = dtype;
  result.dims = std::move(dims);
  result.strides = std::move(strides);
  return result;
}
inline CaptureMeta opaque(std::string why) {
  CaptureMeta result;
  result.opaque = std::move(why);
  return result;
}

// ---- data

template <typename T>
HostTensor tensor_of(DType dtype, std::vector<int64_t> shape, const std::vector<T>& data) {
  HostTensor result(dtype, std::move(shape));
  EXPECT_EQ(result.num_elements(), static_cast<int64_t>(data.size()));
  for (size_t i = 0; i < data.size(); ++i) {
    result.set_double(static_cast<int64_t>(i), static_cast<double>(data[i]));
  }
  return result;
}
inline HostTensor f32(std::vector<int64_t> shape, const std::vector<double>& data) {
  return tensor_of(DType::kF32, std::move(shape), data);
}
inline HostTensor i64(std::vector<int64_t> shape, const std::vector<double>& data) {
  return tensor_of(DType::kI64, std::move(shape), data);
}
inline HostTensor boolean(std::vector<int64_t> shape, const std::vector<double>& data) {
  return tensor_of(DType::kBool, std::move(shape), data);
}
// 0, 1, 2, ...
inline HostTensor counting(std::vector<int64_t> shape) {
  HostTensor result(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < result.num_elements(); ++i) {
    result.set_double(i, static_cast<double>(i));
  }
  return result;
}

inline std::vector<double> values(const HostTensor& tensor) {
  std::vector<double> result;
  for (int64_t i = 0; i < tensor.num_elements(); ++i) result.push_back(tensor.get_double(i));
  return result;
}

// ---- a captured program

class Program {
 public:
  CaptureBuilder builder;

  void symbol(const std::string& name, int64_t min, int64_t max) {
    const Status status = builder.symbol(name, min, max);
    EXPECT_TRUE(status.ok()) << status.to_string();
  }
  Handle input(const std::string& name, const CaptureMeta& meta) {
    auto handle = builder.input(name, meta);
    EXPECT_TRUE(handle.ok()) << handle.status().to_string();
    return handle.ok() ? *handle : -1;
  }
  // Keeps the data alive.
  Handle weight(const std::string& name, HostTensor data, const std::string& kind = "parameter") {
    auto owner = std::make_shared<HostTensor>(std::move(data));
    CaptureWeight weight;
    weight.dtype = owner->dtype();
    weight.shape = owner->shape();
    weight.data = owner->bytes();
    weight.owner = owner;
    auto handle = builder.weight(name, weight, kind);
    EXPECT_TRUE(handle.ok()) << handle.status().to_string();
    return handle.ok() ? *handle : -1;
  }
  // "aten::softmax.int": the overload follows the last dot.
  std::vector<Handle> calls(const std::string& full_name, const std::vector<CaptureArg>& args,
                            const std::vector<CaptureMeta>& results,
                            const std::string& schema = "") {
    const size_t dot = full_name.rfind('.');
    const std::string name = full_name.substr(0, dot);
    const std::string overload = dot == std::string::npos ? "" : full_name.substr(dot + 1);
    auto handles = builder.call(name, overload, args, results, {"block.0", "model.py:7"}, schema);
    EXPECT_TRUE(handles.ok()) << handles.status().to_string();
    if (handles.ok()) return *handles;
    return std::vector<Handle>(results.size(), -1);
  }
  Handle call(const std::string& full_name, const std::vector<CaptureArg>& args,
              const CaptureMeta& result, const std::string& schema = "") {
    return calls(full_name, args, {result}, schema)[0];
  }
  void output(Handle handle, const std::string& name = "y") {
    const Status status = builder.output(handle, name);
    EXPECT_TRUE(status.ok()) << status.to_string();
  }

  const CaptureBuilder::CallRecord& last_record() { return builder.records().back(); }
  bool all_native() {
    return std::all_of(builder.records().begin(), builder.records().end(),
                       [](const auto& record) { return record.native; });
  }

  Module& finish() {
    if (module_ != nullptr) return *module_;
    auto module = builder.finish();
    EXPECT_TRUE(module.ok()) << module.status().to_string();
    module_ = module.ok() ? std::move(*module) : std::make_unique<Module>();
    const Status status = verify(*module_);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return *module_;
  }
  // Outputs and written inputs, in the order of Module::outputs.
  std::vector<HostTensor> run(const std::vector<HostTensor>& inputs) {
    Module& module = finish();
    auto weights = read_weights(module);
    EXPECT_TRUE(weights.ok()) << weights.status().to_string();
    if (!weights.ok()) return {};
    auto outputs = interpret(module, inputs, *weights);
    EXPECT_TRUE(outputs.ok()) << outputs.status().to_string();
    return outputs.ok() ? *outputs : std::vector<HostTensor>();
  }
  int count(std::string_view op) {
    int result = 0;
    for (const auto& node : finish().main.nodes()) result += node->is(op);
    return result;
  }

 private:
  std::unique_ptr<Module> module_;
};

}  // namespace kiln::test
