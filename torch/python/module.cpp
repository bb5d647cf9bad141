// kiln._native: the capture builder, compilation and programs for Python. No torch header here but
// through native_program.h's plain interface.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include <kiln/builder.h>
#include <kiln/capture.h>
#include <kiln/program.h>

#include "base/check.h"
#include "core/cpu_features.h"
#include "core/dtype.h"
#include "runtime/engine.h"
#include "runtime/program_info.h"
#include "torch/load_options.h"
#include "torch/python/binding_status.h"
#include "torch/python/capture_binding.h"
#include "torch/python/graph_call.h"
#include "torch/python/native_program.h"
#include "torch/python/operator_call.h"
#include "torch/python/script_object.h"
#include "torch/torch_host.h"

namespace nb = nanobind;

namespace kiln {
namespace {

BuildOptions build_options(int threads, bool strict, int min_block_size, const std::string& target,
                           int device_index, const std::vector<std::string>& precisions,
                           bool allow_tf32, bool tune,
                           const std::string& metadata, const std::string& name) {
  BuildOptions options;
  options.allow_tf32 = allow_tf32;
  options.tune = tune;
  options.threads = threads;
  options.strict = strict;
  options.min_block_size = min_block_size;
  options.target = target;
  options.device_index = device_index;
  for (const std::string& precision : precisions) {
    options.precisions.push_back(dtype_of(precision));
  }
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
nb::dict signature_of(const EnginePlan& plan) {
  nb::list inputs, outputs;
  for (const TensorSignature& input : plan.inputs) {
    nb::dict row;
    row["name"] = input.name;
    row["is_number"] = input.number.has_value();
    row["written"] = false;
    inputs.append(row);
  }
  for (const PlanOutput& output : plan.outputs) {
    nb::dict row;
    row["name"] = output.signature.name;
    row["is_object"] = output.signature.is_object;
    row["number"] = nb::none();
    if (output.signature.scalar) row["number"] = std::string(dtype_name(*output.signature.scalar));
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

nb::list weight_rows(const std::vector<WeightInfo>& weights) {
  nb::list list;
  for (const WeightInfo& info : weights) {
    list.append(nb::make_tuple(info.name, std::string(dtype_name(info.dtype)),
                               nb::tuple(nb::cast(info.shape))));
  }
  return list;
}

FollowedWeights followed(nb::dict tensors) {
  FollowedWeights weights;
  for (const auto& [name, tensor] : tensors) {
    check(weights.add(nb::cast<std::string>(name), tensor.ptr()));
  }
  return weights;
}

LoadOptions load_options(int threads, bool trust, std::vector<std::string> allow_ops,
                         int device_index, bool cuda_graphs, const FollowedWeights& weights) {
  LoadOptions options;
  options.threads = threads;
  options.trust = trust;
  options.allow_ops = std::move(allow_ops);
  options.weights = weights.views();
  options.host = torch_host();
  options.device_index = device_index;
  options.cuda_graphs = cuda_graphs;
  return options;
}

// Of tensors that were captured, those on a GPU, for a program on one: what was captured of them is
// a copy on the CPU.
std::vector<WeightView> weights_on_gpu(const CompiledProgram& program,
                                       const FollowedWeights& tensors) {
  std::vector<WeightView> views;
  if (!program.target().starts_with("cuda:")) return views;
  const std::vector<std::string> names = program.weight_names();
  for (WeightView& view : tensors.views()) {
    if (view.device.kind == DeviceKind::kCpu) continue;
    if (std::find(names.begin(), names.end(), view.name) == names.end()) continue;
    views.push_back(std::move(view));
  }
  return views;
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

SaveOptions save_options(bool external_weights, bool native) {
  return {external_weights ? WeightPolicy::kExternal : WeightPolicy::kEmbed, native};
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
      .def(
          "signature", [](NativeProgram& p) { return signature_of(p.program().engine()->plan()); },
           "{inputs: [{name, is_number, written}], outputs: [{name, is_object, number, kind, "
           "target, view, order}]}; `number` is the dtype of a result that is a number.")
      .def(
          "script_object",
          [](NativeProgram& p, nb::handle program, const std::vector<std::string>& names,
             nb::list weights) {
            return nb::steal(check(
                wrap_in_script_object(p.runner(), program.ptr(), names, weights.ptr())));
          },
          nb::arg("program"), nb::arg("names"), nb::arg("weights"),
          "The program as a torch.ScriptObject, to be saved as these tensors.")
      .def("replays", &NativeProgram::replays, "What was recorded and replayed on a GPU: JSON.")
      .def("device", [](NativeProgram& p) { return p.program().device().to_string(); })
      .def("metadata", [](NativeProgram& p) { return p.program().metadata(); })
      .def("report_json", [](NativeProgram& p) { return p.program().report_json(); })
      .def(
          "weights",
          [](NativeProgram& p) { return weight_rows(p.program().weights()); },
          "The weights that the program reads: (name, dtype, shape).")
      .def(
          "update_weights",
          [](NativeProgram& p, nb::dict weights) {
            check(p.update_weights(followed(weights)));
          },
          nb::arg("weights"), "New tensors for the named weights, borrowed and followed.")
      .def(
          "follow_weights", [](NativeProgram& p) { check(p.follow_weights()); },
          "Takes in weights that were changed in place, as run() does: for runs by other ways.")
      .def(
          "bindings_made", [](NativeProgram& p) { return p.program().engine()->bindings_made(); },
          "Distinct shapes (and thread counts) prepared so far.")
      .def(
          "packed_bytes",
          [](NativeProgram& p) { return p.program().engine()->constants()->owned_bytes; },
          "Bytes of constants that are not borrowed weights.")
      .def(
          "working_bytes", &NativeProgram::working_bytes,
          "Bytes of values in between and of workspaces, of all contexts.")
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
           [](CompiledProgram& p, int threads, nb::dict weights, int device_index,
              bool cuda_graphs) {
             LoadOptions options;
             options.threads = threads;
             options.host = torch_host();
             options.device_index = device_index;
             options.cuda_graphs = cuda_graphs;
             FollowedWeights tensors = followed(weights);
             options.weights = weights_on_gpu(p, tensors);
             auto program = check(compute([&] { return p.instantiate(options); }));
             return std::make_unique<NativeProgram>(std::move(program), std::move(tensors));
           },
           nb::arg("threads") = 0, nb::arg("weights") = nb::dict(), nb::arg("device_index") = 0,
           nb::arg("cuda_graphs") = true,
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
          [](CompiledProgram& p, const std::string& path, bool external_weights, bool native) {
            const SaveOptions options = save_options(external_weights, native);
            check(compute([&] { return p.save(path, options); }));
          },
          nb::arg("path"), nb::arg("external_weights") = false, nb::arg("native") = false)
      .def(
          "serialize",
          [](CompiledProgram& p, bool external_weights, bool native) {
            const SaveOptions options = save_options(external_weights, native);
            const std::string bytes = check(compute([&] { return p.serialize(options); }));
            return nb::bytes(bytes.data(), bytes.size());
          },
          nb::arg("external_weights") = false, nb::arg("native") = false,
          "What save() would write.")
      .def("target", [](CompiledProgram& p) { return p.target(); })
      .def("inputs", [](CompiledProgram& p) { return infos(describe(p.plan()).inputs); })
      .def("outputs", [](CompiledProgram& p) { return infos(describe(p.plan()).outputs); })
      .def("states", [](CompiledProgram& p) { return infos(describe(p.plan()).state); })
      .def("weights", [](CompiledProgram& p) { return weight_rows(describe(p.plan()).weights); })
      .def("signature", [](CompiledProgram& p) { return signature_of(p.plan()); })
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
  m.def(
      "script_module",
      [](nb::handle object, nb::list state) {
        return nb::steal(check(script_module_of(object.ptr(), state.ptr())));
      },
      nb::arg("object"), nb::arg("state"),
      "The program in a torch.ScriptObject as a torch._C.ScriptModule with these buffers.");
  m.def(
      "script_program",
      [](nb::handle module) {
        const auto found = check(program_of_script_module(module.ptr()));
        return nb::make_tuple(nb::steal(found.first), nb::steal(found.second));
      },
      nb::arg("module"), "(torch.ScriptObject, buffers) of a torch._C.ScriptModule.");
  nb::class_<LoadScope>(m, "LoadScope", "A context manager: how this thread loads programs.")
      .def(
          "__init__",
          [](LoadScope* scope, int threads, bool trust, std::vector<std::string> allow_ops,
             int device_index, bool cuda_graphs) {
            new (scope) LoadScope();
            scope->options.device_index = device_index;
            scope->options.cuda_graphs = cuda_graphs;
            scope->options.threads = threads;
            scope->options.trust = trust;
            scope->options.allow_ops = std::move(allow_ops);
          },
          nb::arg("threads") = 0, nb::arg("trust") = false,
          nb::arg("allow_ops") = std::vector<std::string>(), nb::arg("device_index") = 0,
          nb::arg("cuda_graphs") = true)
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
      "quick_operator_call",
      [](const std::string& name, nb::handle original) {
        PyObject* function = quick_operator_call(name.c_str(), original.ptr());
        if (function == nullptr) throw nb::python_error();
        return nb::steal(function);
      },
      nb::arg("name"), nb::arg("original"), "See operator_call.h.");
  m.def(
      "compile",
      [](CaptureBuilder& cap, int threads, bool strict, int min_block_size,
         const std::string& target, int device_index, const std::vector<std::string>& precisions,
         bool allow_tf32, bool tune, const std::string& metadata, const std::string& name,
         bool cache) {
        BuildOptions options = build_options(threads, strict, min_block_size, target, device_index,
                                             precisions, allow_tf32, tune, metadata, name);
        if (cache) {
          options.cache_dir = default_cache_dir();
          options.cache_bytes = check(default_cache_bytes());
        }
        return check(compute([&] { return compile(cap, options); }));
      },
      nb::arg("capture"), nb::arg("threads") = 0, nb::arg("strict") = false,
      nb::arg("min_block_size") = 1, nb::arg("target") = "", nb::arg("device_index") = 0,
      nb::arg("precisions") = std::vector<std::string>(), nb::arg("allow_tf32") = false,
      nb::arg("tune") = false, nb::arg("metadata") = "{}",
      nb::arg("name") = "", nb::arg("cache") = false);
  m.def(
      "explain",
      [](CaptureBuilder& cap, int threads, bool strict, int min_block_size,
         const std::string& target, int device_index, const std::vector<std::string>& precisions,
         bool allow_tf32, bool tune) {
        const BuildOptions options =
            build_options(threads, strict, min_block_size, target, device_index, precisions,
                          allow_tf32, tune, "{}", "");
        return check(compute([&] { return explain(cap, options); }));
      },
      nb::arg("capture"), nb::arg("threads") = 0, nb::arg("strict") = false,
      nb::arg("min_block_size") = 1, nb::arg("target") = "", nb::arg("device_index") = 0,
      nb::arg("precisions") = std::vector<std::string>(), nb::arg("allow_tf32") = false,
      nb::arg("tune") = false);
  m.def(
      "load",
      [](const std::string& path, int threads, bool trust, std::vector<std::string> allow_ops,
         nb::dict weights, int device_index, bool cuda_graphs) {
        FollowedWeights tensors = followed(weights);
        const LoadOptions options = load_options(threads, trust, std::move(allow_ops),
                                                 device_index, cuda_graphs, tensors);
        auto program = check(compute([&] { return Program::load(path, options); }));
        return std::make_unique<NativeProgram>(std::move(program), std::move(tensors));
      },
      nb::arg("path"), nb::arg("threads") = 0, nb::arg("trust") = false,
      nb::arg("allow_ops") = std::vector<std::string>(), nb::arg("weights") = nb::dict(),
      nb::arg("device_index") = 0, nb::arg("cuda_graphs") = true);
  m.def(
      "load_bytes",
      [](nb::bytes data, int threads, bool trust, std::vector<std::string> allow_ops,
         nb::dict weights, int device_index, bool cuda_graphs) {
        FollowedWeights tensors = followed(weights);
        const LoadOptions options = load_options(threads, trust, std::move(allow_ops),
                                                 device_index, cuda_graphs, tensors);
        const char* bytes = data.c_str();
        const size_t size = data.size();
        auto owner = keep_alive(data);
        auto program =
            check(compute([&] { return Program::load(bytes, size, std::move(owner), options); }));
        return std::make_unique<NativeProgram>(std::move(program), std::move(tensors));
      },
      nb::arg("data"), nb::arg("threads") = 0, nb::arg("trust") = false,
      nb::arg("allow_ops") = std::vector<std::string>(), nb::arg("weights") = nb::dict(),
      nb::arg("device_index") = 0, nb::arg("cuda_graphs") = true);
  bind_script_objects(m);
  m.def("cpu_level", [] { return std::string(cpu_level_name(cpu_level())); });
}

}  // namespace kiln
