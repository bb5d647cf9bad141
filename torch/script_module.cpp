#include "torch/script_module.h"

#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/import_source.h>
#include <torch/csrc/jit/serialization/python_print.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include <kiln/torch.h>

#include "base/border.h"
#include "base/file.h"
#include "runtime/engine.h"
#include "torch/dtype_conversion.h"
#include "torch/exception_text.h"
#include "torch/load_options.h"
#include "torch/script_source.h"
#include "torch/torch_device.h"

namespace kiln {
namespace {

namespace jit = torch::jit;

constexpr const char* kClass = "__torch__.kiln.ScriptProgram";
constexpr const char* kProgramClass = "__torch__.torch.classes.kiln.Program";

const EnginePlan& plan_of(const ProgramObject& program) { return program.runner().plan(); }

// Attributes of a torch.nn.Module that its own code looks at.
void add_training(const jit::Module& module) {
  module.type()->addOrCheckAttribute("training", c10::BoolType::get());
  module._ivalue()->setAttr("training", false);
}

jit::Module child_of(jit::Module& parent, const std::string& name,
                     const std::shared_ptr<jit::CompilationUnit>& unit) {
  if (parent.hasattr(name)) return parent.attr(name).toModule();
  jit::Module child(c10::QualifiedName("__torch__.kiln.Buffers"), unit, /*shouldMangle=*/true);
  add_training(child);
  parent.register_module(name, child);
  return child;
}

// The attribute that holds the program: not a name that the model has given to something else.
std::string program_attribute(const EnginePlan& plan) {
  std::set<std::string> taken = {"forward", "training"};
  for (const TensorSignature& input : plan.inputs) {
    if (input.is_state) taken.insert(input.name.substr(0, input.name.find('.')));
  }
  std::string name = "program";
  while (taken.contains(name)) name += "_";
  return name;
}

// `forward` as torch prints it.
std::string printed_forward(const c10::ClassTypePtr& type) {
  std::vector<c10::IValue> constants;
  jit::PrintDepsTable dependencies;
  jit::PythonPrint printer(constants, dependencies);
  printer.printMethod(type->getMethod("forward"));
  return printer.str();
}

struct Reread {
  std::string forward;
  std::vector<std::string> parameters;
};

// What a class is after it was written to a file and read again.
Reread reread(const c10::ClassTypePtr& type) {
  std::vector<c10::IValue> constants;
  jit::PrintDepsTable dependencies;  // what printing a type comes across
  std::map<std::string, std::string> texts;
  const auto print = [&](const c10::NamedTypePtr& printed) {
    if (printed->name()->qualifiedName().starts_with("__torch__.torch.classes.")) return;
    jit::PythonPrint printer(constants, dependencies);
    printer.printNamedType(printed);
    texts[printed->name()->prefix()] += printer.str();
  };
  print(type);
  for (size_t i = 0; i < dependencies.size(); ++i) {
    if (dependencies[i] != type) print(dependencies[i]);
  }
  std::map<std::string, std::shared_ptr<jit::Source>> files;
  for (const auto& [name, text] : texts) files[name] = std::make_shared<jit::Source>(text);
  auto unit = std::make_shared<jit::CompilationUnit>();  // owns the methods
  jit::SourceImporter importer(
      unit, &constants,
      [&files](const std::string& qualifier) -> std::shared_ptr<jit::Source> {
        const auto found = files.find(qualifier);
        return found == files.end() ? nullptr : found->second;
      },
      caffe2::serialize::kProducedFileFormatVersion);
  const auto found = importer.loadType(*type->name())->expect<c10::ClassType>();
  Reread result{printed_forward(found), {}};
  for (const auto& argument : found->getMethod("forward").getSchema().arguments()) {
    if (argument.name() != "self") result.parameters.push_back(argument.name());
  }
  return result;
}

struct Built {
  jit::Module module;
  std::string forward;  // as torch prints it once the module was written and read
};

// A module for the program; what the tensors of `state` hold does not matter.
Result<Built> build(const c10::intrusive_ptr<ProgramObject>& program,
                    const std::vector<at::Tensor>& state) {
  const EnginePlan& plan = plan_of(*program);
  const std::string attribute = program_attribute(plan);
  KILN_ASSIGN_OR_RETURN(const ScriptSource source,
                        script_source(plan, program->runner().program().metadata(), attribute));
  try {
    auto unit = std::make_shared<jit::CompilationUnit>();
    jit::Module module(c10::QualifiedName(kClass), unit);
    add_training(module);
    size_t next = 0;
    for (const TensorSignature& input : plan.inputs) {
      if (!input.is_state) continue;
      jit::Module owner = module;
      std::stringstream path(input.name);
      std::string part;
      std::getline(path, part, '.');
      for (std::string following; std::getline(path, following, '.'); part = following) {
        owner = child_of(owner, part, unit);
      }
      owner.register_buffer(part, state[next++]);
    }
    module.register_attribute(attribute, torch::getCustomClass(kProgramClass),
                              c10::IValue(program));
    module.define(source.text, source.resolver);
    // torch renames what its own files cannot say.
    const Reread again = reread(module.type());
    TORCH_CHECK(again.parameters == source.parameters,
                "names of arguments that torch's files change");
    return Built{module, again.forward};
  } catch (const std::exception& error) {
    return Status::error(
        "K1019",
        "TorchScript cannot express the signature of the program: " + text_of(error).substr(0, 800),
        "save it as a .kiln file");
  }
}

Status another_module(const std::string& what) {
  return Status::error("K3124", "not a TorchScript module of one program of kiln: " + what,
                       "torch.jit.load runs it");
}

bool fits(const at::Tensor& tensor, const TensorSignature& signature, const Device& device) {
  if (!tensor.defined() || tensor.layout() != c10::kStrided ||
      tensor.scalar_type() != to_scalar_type(signature.dtype) ||
      from_torch(tensor.device()) != std::optional<Device>(device) ||
      static_cast<size_t>(tensor.dim()) != signature.dims.size()) {
    return false;
  }
  for (size_t d = 0; d < signature.dims.size(); ++d) {
    if (!signature.dims[d].is_value(tensor.size(static_cast<int64_t>(d)))) return false;
  }
  return true;
}

Status check_state(const ProgramObject& program, const std::vector<at::Tensor>& state) {
  const Device device = program.runner().program().device();
  size_t next = 0;
  for (const TensorSignature& input : plan_of(program).inputs) {
    if (!input.is_state) continue;
    if (next >= state.size() || !fits(state[next], input, device)) {
      return Status::error("K4117", "wrong dtype, shape or device: buffer '" + input.name + "'");
    }
    ++next;
  }
  if (next == state.size()) return {};
  return Status::error("K4117",
                       "more buffers than the program has: " + std::to_string(state.size()));
}

}  // namespace

Result<std::vector<at::Tensor>> initial_state(Program& program) {
  return guarded([&]() -> Result<std::vector<at::Tensor>> {
    std::vector<at::Tensor> tensors;
    KILN_ASSIGN_OR_RETURN(const std::shared_ptr<State> state, program.create_state());
    const Device device = program.device();
    for (const TensorInfo& info : state->infos()) {
      std::vector<int64_t> shape;
      for (const DimInfo& dim : info.dims) shape.push_back(dim.min);
      const auto options = at::TensorOptions().dtype(to_scalar_type(info.dtype));
      tensors.push_back(at::empty(shape, options.device(to_torch_device(device))));
      KILN_RETURN_IF_ERROR(
          state->get(info.name, {tensors.back().mutable_data_ptr(), info.dtype, device,
                                 static_cast<int>(shape.size()), tensors.back().sizes().data()}));
    }
    return tensors;
  });
}

Result<jit::Module> make_script_module(const c10::intrusive_ptr<ProgramObject>& program,
                                       std::vector<at::Tensor> state) {
  return guarded([&]() -> Result<jit::Module> {
    if (state.empty()) {
      KILN_ASSIGN_OR_RETURN(state, initial_state(program->runner().program()));
    }
    KILN_RETURN_IF_ERROR(check_state(*program, state));
    KILN_ASSIGN_OR_RETURN(Built built, build(program, state));
    return std::move(built.module);
  });
}

Result<ScriptProgram> find_script_program(const jit::Module& module) {
  return guarded([&]() -> Result<ScriptProgram> {
    ScriptProgram found;
    const c10::TypePtr wanted = torch::getCustomClass(kProgramClass);
    for (const auto& attribute : module.named_attributes(/*recurse=*/false)) {
      if (attribute.value.isObject() && attribute.value.type()->isSubtypeOf(*wanted)) {
        if (found.program != nullptr) return another_module("it holds several");
        found.program = attribute.value.toCustomClass<ProgramObject>();
      }
    }
    if (found.program == nullptr) return another_module("it holds none");
    std::map<std::string, at::Tensor> buffers;
    for (const auto& buffer : module.named_buffers()) buffers[buffer.name] = buffer.value;
    for (const TensorSignature& input : plan_of(*found.program).inputs) {
      if (input.is_state) found.state.push_back(buffers[input.name]);
    }
    if (!check_state(*found.program, found.state).ok()) return another_module("its buffers");
    KILN_ASSIGN_OR_RETURN(const Built expected, build(found.program, found.state));
    if (!module.find_method("forward") || module.get_methods().size() != 1) {
      return another_module("its methods");
    }
    // A module that was never in a file prints as it was defined.
    const std::string printed = printed_forward(module.type());
    if (printed != expected.forward && printed != printed_forward(expected.module.type())) {
      return another_module("its methods do more");
    }
    return found;
  });
}

namespace {

// `file` holds a whole `.kiln` file, with its weights.
Result<jit::Module> from_file(at::Tensor file, LoadOptions options) {
  options.weights.clear();
  const ScopedLoadOptions scope(std::move(options));
  ProgramState state{std::move(file), {}, {}};
  const std::string description = state.describe();
  KILN_ASSIGN_OR_RETURN(const auto program,
                        ProgramObject::load(description, std::move(state.program), {}));
  return make_script_module(program);
}

}  // namespace

Result<jit::Module> load_script_module(const std::string& path, const LoadOptions& options) {
  return guarded([&]() -> Result<jit::Module> {
    KILN_ASSIGN_OR_RETURN(MappedFile opened, MappedFile::open(path));
    auto file = std::make_shared<MappedFile>(std::move(opened));
    // Nobody writes to the tensor, and saving reads it.
    void* data = const_cast<std::byte*>(file->data());
    const auto size = static_cast<int64_t>(file->size());
    at::Tensor bytes = at::from_blob(
        data, {size}, [file](void*) {}, at::kByte);
    Result<jit::Module> module = from_file(std::move(bytes), options);
    if (!module.ok()) return std::move(module).status().at(path);
    return module;
  });
}

Result<jit::Module> script_module_from_bytes(const std::string& bytes, const LoadOptions& options) {
  return guarded([&]() -> Result<jit::Module> {
    at::Tensor copy = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
    std::copy(bytes.begin(), bytes.end(), static_cast<char*>(copy.mutable_data_ptr()));
    return from_file(std::move(copy), options);
  });
}

}  // namespace kiln
