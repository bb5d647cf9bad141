// kiln._native: the capture builder, compilation and programs for Python. No torch header here but
// through native_program.h's plain interface.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <kiln/builder.h>
#include <kiln/capture.h>
#include <kiln/program.h>

#include "base/check.h"
#include "core/cpu_features.h"
#include "core/dtype.h"
#include "runtime/engine.h"
#include "torch/load_options.h"
#include "torch/python/graph_call.h"
#include "torch/python/native_program.h"
#include "torch/python/script_object.h"
#include "torch/python/weight_tensor.h"
#include "torch/torch_host.h"

namespace nb = nanobind;

namespace kiln {
namespace {

// Thrown inside bindings, with Python's error already set.
void raise(const Status& status) {
  set_python_error(status);
  throw nb::python_error();
}

void check(const Status& status) {
  if (!status.ok()) raise(status);
}

template <typename T>
T check(Result<T> result) {
  if (!result.ok()) raise(result.status());
  return std::move(result).value();
}

// Runs the body without the GIL; internal errors become Python's.
template <typename F>
auto compute(F&& body) -> decltype(body()) {
  try {
    nb::gil_scoped_release release;
    return body();
  } catch (const InternalError& error) {
    return Status::error("K9001", error.what(), "this is a bug in kiln");
  } catch (const std::bad_alloc&) {
    return Status::error("K4501", "out of memory");
  }
}

DType dtype_of(const std::string& name) {
  const auto dtype = dtype_from_name(name);
  if (!dtype) raise(Status::error("K1108", "unknown dtype: " + name));
  return *dtype;
}

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

void bind_capture(nb::module_& m) {
  m.def("import_rule_schemas", &import_rule_schemas,
        "Schemas of the operators that the importer knows, sorted by name.");

  nb::class_<CaptureBuilder>(m, "CaptureBuilder",
                             "A captured program as a stream of calls; see frontends/protocol.py.")
      .def(nb::init<>())
      .def("symbol", [](CaptureBuilder& cap, const std::string& name, int64_t min,
                        int64_t max) { check(cap.symbol(name, min, max)); })
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
           [](CaptureBuilder& cap, const std::string& name, const std::string& why) {
             CaptureMeta meta;
             meta.opaque = why;
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

BuildOptions build_options(int threads, bool strict, int min_block_size, const std::string& target,
                           const std::string& metadata, const std::string& name) {
  BuildOptions options;
  options.threads = threads;
  options.strict = strict;
  options.min_block_size = min_block_size;
  options.target = target;
  options.metadata = metadata;
  options.name = name;
  return options;
}

nb::list infos(const std::vector<TensorInfo>& tensors) {
  nb::list list;
  for (const TensorInfo& info : tensors) {
    nb::dict row;
    row["name"] = info.name;
    row["dtype"] = std::string(dtype_name(info.dtype));
    nb::list dims;
    for (const DimInfo& dim : info.dims)
      dims.append(nb::make_tuple(dim.expression, dim.min, dim.max));
    row["dims"] = dims;
    list.append(row);
  }
  return list;
}

const char* kind_name(PlanOutput::Kind kind) {
  switch (kind) {
    case PlanOutput::Kind::kResult: return "result";
    case PlanOutput::Kind::kWriteInput: return "write_input";
    case PlanOutput::Kind::kViewOfInput: return "view_of_input";
    case PlanOutput::Kind::kViewOfOutput: return "view_of_output";
  }
  return "";
}

// Where the inputs and results stand: what a caller needs who does not go through run().
nb::dict signature_of(NativeProgram& program) {
  const EnginePlan& plan = program.program().engine()->plan();
  nb::list inputs, outputs;
  for (const TensorSignature& input : plan.inputs) {
    nb::dict row;
    row["name"] = input.name;
    row["is_object"] = input.is_object;
    row["written"] = false;
    inputs.append(row);
  }
  for (const PlanOutput& output : plan.outputs) {
    nb::dict row;
    row["name"] = output.signature.name;
    row["is_object"] = output.signature.is_object;
    row["kind"] = kind_name(output.kind);
    row["target"] = output.target;
    nb::list views;
    for (const ViewOp& op : output.view) {
      nb::list sizes;
      for (const DimExpr& arg : op.args) sizes.append(arg.to_string());
      views.append(nb::make_tuple(std::string(view_op_name(op.kind)), sizes));
    }
    row["view"] = views;
    row["order"] = output.signature.order;
    outputs.append(row);
    if (output.kind == PlanOutput::Kind::kWriteInput) inputs[output.target]["written"] = true;
  }
  nb::dict result;
  result["inputs"] = inputs;
  result["outputs"] = outputs;
  return result;
}

FollowedWeights followed(nb::dict tensors) {
  FollowedWeights weights;
  for (const auto& [name, tensor] : tensors) {
    check(weights.add(nb::cast<std::string>(name), tensor.ptr()));
  }
  return weights;
}

LoadOptions load_options(int threads, bool trust, std::vector<std::string> allow_ops,
                         const FollowedWeights& weights) {
  LoadOptions options;
  options.threads = threads;
  options.trust = trust;
  options.allow_ops = std::move(allow_ops);
  options.weights = weights.views();
  options.host = torch_host();
  return options;
}

// Keeps a Python object alive; may be let go by a thread that does not hold the GIL.
std::shared_ptr<const void> keep_alive(nb::handle object) {
  object.inc_ref();
  return {object.ptr(), [](const void* p) {
            if (!nb::is_alive()) return;
            nb::gil_scoped_acquire gil;
            Py_DECREF(static_cast<PyObject*>(const_cast<void*>(p)));
          }};
}

nb::object call_program(NativeProgram& program, nb::handle inputs) {
  PyObject* results = program.run(inputs.ptr());
  if (results == nullptr) throw nb::python_error();
  return nb::steal(results);
}

struct LoadScope {
  LoadOptions options;
  std::unique_ptr<ScopedLoadOptions> active;
};

SaveOptions save_options(bool external_weights) {
  return {external_weights ? WeightPolicy::kExternal : WeightPolicy::kEmbed};
}

void bind_program(nb::module_& m) {
  nb::class_<NativeProgram>(m, "NativeProgram", "A program ready to run; thread-safe.")
      .def("run", call_program, "List of inputs -> list of outputs.")
      .def("__call__", call_program)
      .def("inputs", [](NativeProgram& p) { return infos(p.program().inputs()); })
      .def(
          "states", [](NativeProgram& p) { return infos(p.program().state_infos()); },
          "What the program keeps from call to call; run() takes it after the inputs.")
      .def(
          "initial_state",
          [](NativeProgram& p) {
            PyObject* list = p.initial_state();
            if (list == nullptr) throw nb::python_error();
            return nb::steal(list);
          },
          "New tensors with the initial values of states().")
      .def("outputs", [](NativeProgram& p) { return infos(p.program().outputs()); })
      .def("signature", signature_of,
           "{inputs: [{name, is_object, written}], outputs: [{name, is_object, kind, target, "
           "order}]}")
      .def(
          "script_object",
          [](NativeProgram& p, nb::handle program, const std::vector<std::string>& names,
             nb::list weights) {
            return nb::steal(check(
                wrap_in_script_object(p.runner(), program.ptr(), names, weights.ptr())));
          },
          nb::arg("program"), nb::arg("names"), nb::arg("weights"),
          "The program as a torch.ScriptObject, to be saved as these tensors.")
      .def("metadata", [](NativeProgram& p) { return p.program().metadata(); })
      .def("report_json", [](NativeProgram& p) { return p.program().report_json(); })
      .def(
          "weights",
          [](NativeProgram& p) {
            nb::list list;
            for (const WeightInfo& info : p.program().weights()) {
              list.append(nb::make_tuple(info.name, std::string(dtype_name(info.dtype)),
                                         nb::tuple(nb::cast(info.shape))));
            }
            return list;
          },
          "The weights that the program reads: (name, dtype, shape).")
      .def(
          "update_weights",
          [](NativeProgram& p, nb::dict weights) {
            check(p.update_weights(followed(weights)));
          },
          nb::arg("weights"), "New tensors for the named weights, borrowed and followed.")
      .def(
          "bindings_made", [](NativeProgram& p) { return p.program().engine()->bindings_made(); },
          "Distinct shapes (and thread counts) prepared so far.")
      .def(
          "packed_bytes",
          [](NativeProgram& p) { return p.program().engine()->constants()->owned_bytes; },
          "Bytes of constants that are not borrowed weights.")
      .def(
          "shared_bytes",
          [](NativeProgram& p) { return p.program().engine()->constants()->shared_bytes; },
          "Of packed_bytes, what other programs of the process held already.")
      .def(
          "constant_addresses",
          [](NativeProgram& p) {
            std::vector<uintptr_t> addresses;
            for (const ConstantData& constant : p.program().engine()->constants()->constants) {
              addresses.push_back(reinterpret_cast<uintptr_t>(constant.data));
            }
            return addresses;
          },
          "Where the constants lie, for tests.")
      .def(
          "time_run",
          [](NativeProgram& p, nb::handle inputs, int64_t repeats) {
            const auto times = p.time_run(inputs.ptr(), repeats);
            if (times.first < 0) throw nb::python_error();
            return times;
          },
          "Median seconds of (C++ run with preallocated outputs, allocation of the outputs).")
      .def("profile", [](NativeProgram& p, nb::handle inputs, int64_t repeats) {
        std::string rows = p.profile(inputs.ptr(), repeats);
        if (rows.empty()) throw nb::python_error();
        return rows;
      });
  nb::class_<CompiledProgram>(m, "CompiledProgram", "A built program: instantiate() and save().")
      .def("instantiate",
           [](CompiledProgram& p, int threads, nb::dict weights) {
             LoadOptions options;
             options.threads = threads;
             options.host = torch_host();
             FollowedWeights tensors = followed(weights);
             auto program = check(compute([&] { return p.instantiate(options); }));
             return std::make_unique<NativeProgram>(std::move(program), std::move(tensors));
           },
           nb::arg("threads") = 0, nb::arg("weights") = nb::dict(),
           "`weights`: the captured tensors by name, to be followed when they change in place.")
      .def(
          "update_weights",
          [](CompiledProgram& p, nb::dict weights) {
            const std::vector<WeightView> views = followed(weights).views();
            check(compute([&] { return p.update_weights(views); }));
          },
          nb::arg("weights"), "Values for save() and serialize(), borrowed.")
      .def(
          "save",
          [](CompiledProgram& p, const std::string& path, bool external_weights) {
            check(compute([&] { return p.save(path, save_options(external_weights)); }));
          },
          nb::arg("path"), nb::arg("external_weights") = false)
      .def(
          "serialize",
          [](CompiledProgram& p, bool external_weights) {
            const std::string bytes =
                check(compute([&] { return p.serialize(save_options(external_weights)); }));
            return nb::bytes(bytes.data(), bytes.size());
          },
          nb::arg("external_weights") = false, "What save() would write.")
      .def("report_json", [](CompiledProgram& p) { return p.report_json(); })
      .def("ir", [](CompiledProgram& p, const std::string& stage) { return p.ir(stage); })
      .def("weight_names", &CompiledProgram::weight_names);
}

void bind_graph_call(nb::module_& m) {
  nb::class_<FrozenArguments>(m, "FrozenArguments",
                              "Tensors of a graph whose values belong to a program.")
      .def(
          "__init__",
          [](FrozenArguments* self, std::vector<size_t> positions, nb::tuple tensors) {
            new (self) FrozenArguments(std::move(positions), tensors.ptr());
          },
          nb::arg("positions"), nb::arg("tensors"))
      .def("current", [](FrozenArguments& f, nb::list a) { return f.current(a.ptr()); })
      .def("changed", [](FrozenArguments& f, nb::list a) { return f.changed(a.ptr()); });
  // Weak references: what a slow call leads to may want to bind, and must not make a cycle.
  nb::class_<GraphCall>(m, "GraphCall", nb::is_weak_referenceable(),
                        "Calls a program as long as its frozen arguments are current.")
      .def("__init__", [](GraphCall* self, nb::callable slow) { new (self) GraphCall(slow.ptr()); })
      .def(
          "bind",
          [](GraphCall& self, nb::object frozen, std::vector<size_t> dynamic, nb::object program) {
            self.bind(nb::cast<FrozenArguments*>(frozen), std::move(dynamic),
                      nb::cast<NativeProgram*>(program), nb::make_tuple(frozen, program).ptr());
          },
          nb::arg("frozen"), nb::arg("dynamic"), nb::arg("program"))
      .def("__call__", [](GraphCall& self, nb::args arguments) {
        PyObject* results = self.call(arguments.ptr());
        if (results == nullptr) throw nb::python_error();
        return nb::steal(results);
      });
}

// Programs inside torch's own files.
void bind_script_objects(nb::module_& m) {
  m.def(
      "program_of",
      [](nb::handle object) {
        return std::make_unique<NativeProgram>(check(unwrap_script_object(object.ptr())));
      },
      nb::arg("object"), "The program in a torch.ScriptObject of class kiln.Program.");
  nb::class_<LoadScope>(m, "LoadScope", "A context manager: how this thread loads programs.")
      .def(
          "__init__",
          [](LoadScope* scope, int threads, bool trust, std::vector<std::string> allow_ops) {
            new (scope) LoadScope();
            scope->options.threads = threads;
            scope->options.trust = trust;
            scope->options.allow_ops = std::move(allow_ops);
          },
          nb::arg("threads") = 0, nb::arg("trust") = false,
          nb::arg("allow_ops") = std::vector<std::string>())
      .def("__enter__",
           [](LoadScope& scope) {
             scope.active = std::make_unique<ScopedLoadOptions>(scope.options);
           })
      .def("__exit__", [](LoadScope& scope, nb::args) { scope.active.reset(); });
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Kiln's compiler and runtime for Python.";
  nb::set_leak_warnings(false);
  bind_capture(m);
  bind_program(m);
  bind_graph_call(m);
  m.def("set_error_class", [](nb::handle cls) { set_error_class(cls.ptr()); });
  m.def(
      "compile",
      [](CaptureBuilder& cap, int threads, bool strict, int min_block_size,
         const std::string& target, const std::string& metadata, const std::string& name,
         bool cache) {
        BuildOptions options =
            build_options(threads, strict, min_block_size, target, metadata, name);
        if (cache) {
          options.cache_dir = default_cache_dir();
          options.cache_bytes = check(default_cache_bytes());
        }
        return check(compute([&] { return compile(cap, options); }));
      },
      nb::arg("capture"), nb::arg("threads") = 0, nb::arg("strict") = false,
      nb::arg("min_block_size") = 1, nb::arg("target") = "", nb::arg("metadata") = "{}",
      nb::arg("name") = "", nb::arg("cache") = false);
  m.def(
      "explain",
      [](CaptureBuilder& cap, bool strict, int min_block_size, const std::string& target) {
        const BuildOptions options = build_options(0, strict, min_block_size, target, "{}", "");
        return check(compute([&] { return explain(cap, options); }));
      },
      nb::arg("capture"), nb::arg("strict") = false, nb::arg("min_block_size") = 1,
      nb::arg("target") = "");
  m.def(
      "load",
      [](const std::string& path, int threads, bool trust, std::vector<std::string> allow_ops,
         nb::dict weights) {
        FollowedWeights tensors = followed(weights);
        const LoadOptions options = load_options(threads, trust, std::move(allow_ops), tensors);
        auto program = check(compute([&] { return Program::load(path, options); }));
        return std::make_unique<NativeProgram>(std::move(program), std::move(tensors));
      },
      nb::arg("path"), nb::arg("threads") = 0, nb::arg("trust") = false,
      nb::arg("allow_ops") = std::vector<std::string>(), nb::arg("weights") = nb::dict());
  m.def(
      "load_bytes",
      [](nb::bytes data, int threads, bool trust, std::vector<std::string> allow_ops,
         nb::dict weights) {
        FollowedWeights tensors = followed(weights);
        const LoadOptions options = load_options(threads, trust, std::move(allow_ops), tensors);
        const char* bytes = data.c_str();
        const size_t size = data.size();
        auto owner = keep_alive(data);
        auto program =
            check(compute([&] { return Program::load(bytes, size, std::move(owner), options); }));
        return std::make_unique<NativeProgram>(std::move(program), std::move(tensors));
      },
      nb::arg("data"), nb::arg("threads") = 0, nb::arg("trust") = false,
      nb::arg("allow_ops") = std::vector<std::string>(), nb::arg("weights") = nb::dict());
  bind_script_objects(m);
  m.def("cpu_level", [] { return std::string(cpu_level_name(cpu_level())); });
}

}  // namespace kiln
