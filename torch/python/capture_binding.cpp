#include "torch/python/capture_binding.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <kiln/capture.h>

#include "core/dtype.h"
#include "torch/python/binding_status.h"
#include "torch/python/script_import.h"
#include "torch/python/weight_tensor.h"

namespace nb = nanobind;

namespace kiln {

DType dtype_of(const std::string& name) {
  const auto dtype = dtype_from_name(name);
  if (!dtype) raise(Status::error("K1108", "unknown dtype: " + name));
  return *dtype;
}

namespace {

CaptureDim dim_text(nb::handle dim) {
  if (nb::isinstance<nb::int_>(dim)) return std::to_string(nb::cast<int64_t>(dim));
  return nb::cast<std::string>(dim);
}

std::vector<CaptureDim> dim_texts(nb::handle dims) {
  std::vector<CaptureDim> result;
  for (nb::handle dim : nb::cast<nb::list>(dims)) result.push_back(dim_text(dim));
  return result;
}

char scalar_code(const std::string& kind) {
  return kind == "i64" ? 'i' : kind == "f64" ? 'f' : 'b';
}

// ("f32", dims, strides) | ("scalar", kind) | ("opaque", why)
CaptureMeta meta_of(nb::handle value) {
  const auto tuple = nb::cast<nb::tuple>(value);
  const auto first = nb::cast<std::string>(tuple[0]);
  CaptureMeta meta;
  if (first == "scalar") {
    meta.scalar = scalar_code(nb::cast<std::string>(tuple[1]));
  } else if (first == "opaque") {
    meta.opaque = nb::cast<std::string>(tuple[1]);
  } else {
    meta.dtype = dtype_of(first);
    meta.dims = dim_texts(tuple[1]);
    if (!tuple[2].is_none()) meta.strides = dim_texts(tuple[2]);
  }
  return meta;
}

Device device_of(const std::string& name) {
  Device device;
  if (name.rfind("cuda", 0) == 0) {
    device.kind = DeviceKind::kCuda;
    if (name.size() > 5) device.index = std::stoi(name.substr(5));
  } else if (name != "cpu") {
    raise(Status::error("K1109", "unknown device: " + name));
  }
  return device;
}

CaptureArg arg_of(nb::handle value) {
  CaptureArg arg;
  if (value.is_none()) return arg;
  if (PyBool_Check(value.ptr())) {
    arg.value = value.is(nb::bool_(true));
  } else if (PyLong_Check(value.ptr())) {
    arg.value = nb::cast<int64_t>(value);
  } else if (PyFloat_Check(value.ptr())) {
    arg.value = nb::cast<double>(value);
  } else if (nb::isinstance<nb::str>(value)) {
    arg.value = nb::cast<std::string>(value);
  } else if (nb::isinstance<nb::list>(value)) {
    CaptureArg::List list;
    for (nb::handle item : nb::cast<nb::list>(value)) list.push_back(arg_of(item));
    arg.value = std::move(list);
  } else {
    const auto tuple = nb::cast<nb::tuple>(value);
    const auto tag = nb::cast<std::string>(tuple[0]);
    if (tag == "v") {
      arg.value = CaptureArg::Value{nb::cast<int32_t>(tuple[1])};
    } else if (tag == "e") {
      arg.value = CaptureArg::Expr{nb::cast<std::string>(tuple[1])};
    } else if (tag == "dtype") {
      arg.value = dtype_of(nb::cast<std::string>(tuple[1]));
    } else if (tag == "device") {
      arg.value = device_of(nb::cast<std::string>(tuple[1]));
    } else if (tag == "layout") {
      arg.value = CaptureArg::Layout{nb::cast<std::string>(tuple[1])};
    } else if (tag == "memory_format") {
      arg.value = CaptureArg::MemoryFormat{nb::cast<std::string>(tuple[1])};
    } else {
      raise(Status::error("K1110", "unknown encoding of an argument: " + tag));
    }
  }
  return arg;
}

using Handle = CaptureBuilder::Handle;

std::vector<Handle> capture_call(CaptureBuilder& cap, const std::string& name,
                                 const std::string& overload, nb::list args, nb::list results,
                                 nb::tuple origin, const std::string& schema) {
  std::vector<CaptureArg> arguments;
  for (nb::handle arg : args) arguments.push_back(arg_of(arg));
  std::vector<CaptureMeta> metas;
  for (nb::handle result : results) metas.push_back(meta_of(result));
  const CaptureOrigin place{nb::cast<std::string>(origin[0]), nb::cast<std::string>(origin[1])};
  return check(cap.call(name, overload, arguments, metas, place, schema));
}

std::vector<ScriptSymbol> symbols_of(nb::list symbols) {
  std::vector<ScriptSymbol> ranges;
  for (nb::handle symbol : symbols) {
    const auto row = nb::cast<nb::tuple>(symbol);
    ranges.push_back(
        {nb::cast<std::string>(row[0]), nb::cast<int64_t>(row[1]), nb::cast<int64_t>(row[2])});
  }
  return ranges;
}

// Imports a TorchScript method into the builder: {metadata, weights, conditions, notes}; with
// `partial`, where it stopped instead of K1145: {stopped: (module path, function, place, reason,
// hint)}.
nb::dict capture_script(CaptureBuilder& cap, nb::handle script, const std::string& method,
                        bool hooks, nb::tuple args, nb::dict kwargs, nb::list dims,
                        nb::list symbols, const std::string& home, const std::string& kind,
                        bool partial) {
  const std::vector<ScriptSymbol> ranges = symbols_of(symbols);
  ScriptFailure failure;
  auto result_or = import_script(script.ptr(), method, hooks, args.ptr(), kwargs.ptr(), dims.ptr(),
                                 ranges, home, device_of(kind).kind, cap, &failure);
  nb::dict result;
  if (partial && !result_or.ok() && result_or.status().code() == "K1145") {
    result["stopped"] = nb::make_tuple(failure.module_path, failure.function, failure.location,
                                       failure.reason, failure.hint);
    return result;
  }
  ScriptImport imported = check(std::move(result_or));
  nb::list weights, conditions;
  for (auto& [name, tensor] : imported.weights) {
    weights.append(nb::make_tuple(name, nb::steal(tensor)));
  }
  for (const auto& [relation, left, right, text] : imported.conditions) {
    conditions.append(nb::make_tuple(relation, left, right, text));
  }
  result["metadata"] = imported.metadata;
  result["weights"] = weights;
  result["conditions"] = conditions;
  result["notes"] = nb::cast(imported.notes);
  return result;
}

}  // namespace

void bind_capture(nb::module_& m) {
  m.def("import_rule_schemas", &import_rule_schemas,
        "Schemas of the operators that the importer knows, sorted by name.");

  m.def("find_script_parts",
        [](nb::handle script, nb::tuple args, nb::dict kwargs, nb::list dims, nb::list symbols,
           nb::tuple stopped, std::vector<std::string> torch_executed_modules,
           int64_t min_block_size, nb::handle build) {
          const auto text = [&](size_t i) { return nb::cast<std::string>(stopped[i]); };
          PyObject* parts = check(find_script_parts(
              script.ptr(), args.ptr(), kwargs.ptr(), dims.ptr(), symbols_of(symbols),
              {text(0), text(1), text(2), text(3), ""},
              {std::move(torch_executed_modules), min_block_size}, build.ptr()));
          if (parts == nullptr) throw nb::python_error();
          return nb::steal(parts);
        });
  m.def("kept_script_calls", [](nb::handle script, const std::vector<std::string>& compiled) {
    return nb::steal(check(kept_script_calls(script.ptr(), compiled)));
  });
  m.def("script_operators_without_rule", [](nb::handle script, const std::string& method) {
    return check(script_operators_without_rule(script.ptr(), method));
  });
  m.def("replace_script_submodules", [](nb::handle script, nb::dict replacements) {
    return nb::steal(check(replace_script_submodules(script.ptr(), replacements.ptr())));
  });

  nb::class_<CaptureBuilder>(m, "CaptureBuilder",
                             "A captured program as a stream of calls; see frontends/protocol.py.")
      .def(nb::init<>())
      .def("symbol", [](CaptureBuilder& cap, const std::string& name, int64_t min,
                        int64_t max) { check(cap.symbol(name, min, max)); })
      .def("condition",
           [](CaptureBuilder& cap, const std::string& relation, const std::string& left,
              const std::string& right, const std::string& text) {
             return check(cap.condition(relation, left, right, text));
           })
      .def(
          "input",
          [](CaptureBuilder& cap, const std::string& name, const std::string& dtype, nb::list dims,
             nb::object strides) {
            CaptureMeta meta;
            meta.dtype = dtype_of(dtype);
            meta.dims = dim_texts(dims);
            if (!strides.is_none()) meta.strides = dim_texts(strides);
            return check(cap.input(name, meta));
          },
          nb::arg(), nb::arg(), nb::arg(), nb::arg().none())
      .def("object_input",
           [](CaptureBuilder& cap, const std::string& name, const std::string& why, nb::list dims) {
             CaptureMeta meta;
             meta.opaque = why;
             meta.dims = dim_texts(dims);
             return check(cap.input(name, meta));
           })
      .def(
          "scalar_input",
          [](CaptureBuilder& cap, const std::string& name, const std::string& kind,
             std::optional<std::string> expr) {
            CaptureMeta meta;
            meta.scalar = scalar_code(kind);
            return check(cap.scalar_input(name, meta, expr.value_or("")));
          },
          nb::arg(), nb::arg(), nb::arg().none())
      .def("weight",
           [](CaptureBuilder& cap, const std::string& name, nb::handle tensor,
              const std::string& kind) {
             return check(cap.weight(name, check(borrow_tensor(tensor.ptr(), name)), kind));
           })
      .def("call", capture_call)
      .def("script", capture_script)
      .def("output",
           [](CaptureBuilder& cap, nb::tuple value, const std::string& name) {
             check(cap.output(nb::cast<Handle>(value[1]), name));
           })
      .def("mutation",
           [](CaptureBuilder& cap, const std::string& kind, const std::string& target,
              Handle value) {
             check(kind == "buffer" ? cap.mutates_buffer(target, value)
                                    : cap.mutates_input(target, value));
           })
      .def("device",
           [](CaptureBuilder& cap, const std::string& kind) { cap.device(device_of(kind).kind); })
      .def("keep_in_torch",
           [](CaptureBuilder& cap, std::vector<std::string> ops, std::vector<std::string> modules) {
             cap.keep_in_torch(std::move(ops), std::move(modules));
           })
      .def("records", [](CaptureBuilder& cap) {
        nb::list list;
        for (const auto& record : cap.records()) {
          nb::dict row;
          row["op"] = record.op;
          row["module_path"] = record.origin.module_path;
          row["location"] = record.origin.location;
          row["native"] = record.native;
          row["code"] = record.code;
          row["reason"] = record.reason;
          list.append(row);
        }
        return list;
      });
}

}  // namespace kiln
