// An AtenEmitter that records calls, so that tests can look at what to_aten() writes.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "core/host_tensor.h"
#include "ir/op_def.h"

namespace kiln {

class RecordingEmitter : public AtenEmitter {
 public:
  struct Record {
    std::string name, overload;
    std::vector<Arg> args;
    std::vector<Value*> results;
  };

  std::vector<Value*> call(std::string_view name, std::string_view overload, std::vector<Arg> args,
                           std::vector<Type> result_types) override {
    Record record{std::string(name), std::string(overload), std::move(args), {}};
    for (Type& type : result_types) record.results.push_back(made_.add_input(std::move(type)));
    records.push_back(record);
    return record.results;
  }

  std::vector<Record> records;

 private:
  Graph made_;  // owns the results
};

inline Json tensor_to_json(const HostTensor& tensor) {
  static const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (size_t i = 0; i < tensor.num_bytes(); ++i) {
    const auto byte = static_cast<unsigned>(tensor.bytes()[i]);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  Json json = Json::object();
  json.set("dtype", dtype_name(tensor.dtype()));
  json.set("shape", tensor.shape());
  json.set("hex", std::move(hex));
  return json;
}

inline Json tagged(const char* tag, Json value) {
  Json json = Json::object();
  json.set(tag, std::move(value));
  return json;
}

// Plain JSON where it can say it, else an object with one member: {"dtype": "f32"}, ...
inline Json call_arg_to_json(const CallArg& arg, const SymbolValues& symbols) {
  struct Visitor {
    const SymbolValues& symbols;
    Json operator()(const CallArg::None&) const { return Json(); }
    Json operator()(bool value) const { return value; }
    Json operator()(const DimExpr& dim) const {
      Result<int64_t> value = dim.evaluate(symbols);
      return value.ok() ? Json(value.value()) : Json(dim.to_string());
    }
    Json operator()(double value) const { return tagged("float", value); }
    Json operator()(const std::string& value) const { return value; }
    Json operator()(DType value) const { return tagged("dtype", dtype_name(value)); }
    Json operator()(const Device& value) const { return tagged("device", value.to_string()); }
    Json operator()(MemoryFormat value) const {
      return tagged("memory_format", memory_format_name(value));
    }
    Json operator()(const CallArg::Layout& value) const { return tagged("layout", value.name); }
    Json operator()(const CallArg::Operand& value) const { return tagged("operand", value.index); }
    Json operator()(const CallArg::List& list) const {
      Json json = Json::array();
      for (const CallArg& item : list) json.push_back(call_arg_to_json(item, symbols));
      return json;
    }
  };
  return std::visit(Visitor{symbols}, arg.value);
}

}  // namespace kiln
