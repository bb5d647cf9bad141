#include "torch/torchscript/import.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "torch/torchscript/importer.h"

namespace kiln::torchscript {

// As a call of a module does, with the hooks around its forward that belong to it.
Results Importer::run_callee(const Callee& callee, Stack inputs) {
  if (!callee.self || !callee.hooks) return run_function(*callee.function, std::move(inputs), "");
  const c10::ClassTypePtr type = callee.self->type();
  const c10::IValue self = inputs[0];
  const auto arguments = [&] {
    return c10::ivalue::Tuple::create(Stack(inputs.begin() + 1, inputs.end()));
  };
  for (torch::jit::Function* hook : type->getForwardPreHooks()) {
    const c10::IValue replaced = run_function(*hook, {self, arguments()}, "").at(0);
    if (replaced.isNone()) continue;
    inputs = {self};
    if (replaced.isTuple()) {
      const auto& items = replaced.toTupleRef().elements();
      inputs.insert(inputs.end(), items.begin(), items.end());
    } else {
      inputs.push_back(replaced);
    }
  }
  Results results = run_function(*callee.function, inputs, "");
  for (torch::jit::Function* hook : type->getForwardHooks()) {
    const c10::IValue replaced = run_function(*hook, {self, arguments(), results[0]}, "").at(0);
    if (!replaced.isNone()) results = {replaced};
  }
  return results;
}

ImportedProgram Importer::import(const Callee& callee, const Arguments& arguments) {
  if (callee.self) name_state(*callee.self);
  if (options_.device != DeviceKind::kCpu) capture_.device(options_.device);
  declare_symbols(arguments);
  const c10::FunctionSchema& schema = callee.function->getSchema();
  const size_t first = callee.self ? 1 : 0;
  Stack inputs;
  if (callee.self) inputs.push_back(callee.self->_ivalue());
  Json by_position = Json::array(), keys = Json::array(), by_name = Json::array();
  frames_.push_back({"", "", ""});
  for (size_t i = 0; i < arguments.values.size(); ++i) {
    const std::string& name = schema.arguments()[first + i].name();
    parameters_.push_back(name);
    Json description;
    const bool named = std::find(arguments.keywords.begin(), arguments.keywords.end(), name) !=
                       arguments.keywords.end();
    inputs.push_back(declare_input(arguments.values[i], name, arguments, description));
    if (schema.arguments()[first + i].type()->cast<c10::OptionalType>() != nullptr &&
        arguments.values[i].isTensor() && arguments.values[i].toTensor().defined()) {
      description.set("optional", true);
    }
    if (i < arguments.positional) {
      by_position.push_back(std::move(description));
    } else if (named) {
      keys.push_back(name);
      by_name.push_back(std::move(description));
    }
  }
  Json args = Json::object(), kwargs = Json::object();
  args.set("kind", "tuple");
  args.set("items", std::move(by_position));
  kwargs.set("kind", "dict");
  kwargs.set("keys", std::move(keys));
  kwargs.set("items", std::move(by_name));
  input_tree_ = Json::object();
  input_tree_.set("kind", "tuple");
  input_tree_.set("items", Json(Json::Array{std::move(args), std::move(kwargs)}));

  const Results results = run_callee(callee, std::move(inputs));
  find_replaced(results[0]);
  output_tree_ = declare_output(results[0], "");
  hand_over_writes();

  ImportedProgram program;
  program.metadata = metadata();
  for (const auto& [name, weight] : weights_) program.weights.emplace_back(name, weight.first);
  program.notes.assign(notes_.begin(), notes_.end());
  program.conditions = conditions_;
  return program;
}

ModuleCalls Importer::record(const Callee& callee, const Arguments& arguments) {
  ModuleCalls calls;
  record_ = &calls;
  Stack inputs = arguments.values;
  Callee copy = callee;
  if (callee.self) {
    copy.self = callee.self->deepcopy();
    name_state(*copy.self);
    inputs.insert(inputs.begin(), copy.self->_ivalue());
    copy.function = &copy.self->get_method(callee.function->name()).function();
  }
  run_callee(copy, std::move(inputs));
  return calls;
}

namespace {

// Runs `body` and turns what it throws into a status.
template <typename T, typename Body>
Result<T> as_status(Importer& importer, Body&& body) {
  auto at = [&](const char* code, const std::string& message, const std::string& hint = "") {
    const ImportFailure& failure = importer.failure();
    Status status = Status::error(code, message, hint);
    if (!failure.location.empty()) status = std::move(status).at(failure.location);
    if (!failure.module_path.empty()) status = std::move(status).at(failure.module_path);
    return status;
  };
  const std::string raises = "the program raises an exception: ";
  try {
    return body();
  } catch (const Stop& stop) {
    return at("K1145", "a part of the program cannot be compiled: " + stop.reason, stop.hint);
  } catch (const Raised& raised) {
    return at("K1146", raises + raised.message);
  } catch (const Resample& resample) {
    return at("K1145", "no sizes were found that meet all that the program demands of them: " +
                           resample.condition.to_string());
  } catch (const Divide&) {
    return at("K1145", "no end is found to what the program demands of its sizes");
  } catch (const Narrow&) {
    return at("K1145", "no end is found to what the program demands of its sizes");
  } catch (const Failed& failed) {
    return failed.status;
  } catch (const c10::Error& error) {
    return at("K1146", raises + error.what_without_backtrace());
  } catch (const std::exception& error) {
    return at("K1146", raises + error.what());
  }
}

// `arguments` with a new symbol for each quotient. Stop where a range holds no multiple.
Arguments divided(Arguments arguments, const std::map<std::string, int64_t>& divisors,
                  std::vector<SizeCondition>& required) {
  std::map<std::string, DimExpr, std::less<>> multiples;
  for (const auto& [name, divisor] : divisors) {
    const DimRange range = arguments.symbols.at(name);
    const int64_t min = range.min / divisor + (range.min % divisor != 0 ? 1 : 0);
    const int64_t max = range.max == DimRange::kNoBound ? range.max : range.max / divisor;
    if (min > max) {
      throw Raised("no size from " + std::to_string(range.min) + " to " +
                   std::to_string(range.max) + " is a multiple of " + std::to_string(divisor) +
                   ", which a view demands");
    }
    std::string quotient = name + "_" + std::to_string(divisor);
    while (arguments.symbols.contains(quotient)) quotient += "_";
    arguments.symbols.erase(name);
    arguments.symbols[quotient] = {min, max};
    multiples[name] = DimExpr(divisor) * DimExpr::symbol(quotient);
  }
  for (auto& [tensor, dims] : arguments.dims) {
    for (CaptureDim& dim : dims) {
      dim = check(DimExpr::parse(dim)).substitute(multiples).to_string();
    }
  }
  for (SizeCondition& condition : required) {
    condition.left = condition.left.substitute(multiples);
    condition.right = condition.right.substitute(multiples);
  }
  return arguments;
}

}  // namespace

Result<ImportedProgram> import_callee(const Callee& callee, const Arguments& arguments,
                                      const ImportOptions& options, CaptureBuilder& capture,
                                      ImportFailure* failure) {
  const at::NoGradGuard no_grad;
  // Where sizes vary, what the program demands of them is found out first: sample points that do
  // not meet it would end in its exceptions.
  Arguments varied = arguments;
  std::vector<SizeCondition> required;
  std::vector<std::string> limits;
  ShapeCache shapes;
  std::set<const c10::TensorImpl*> written;  // constants of the code
  constexpr int kMaxDemands = 64;
  bool settled = arguments.symbols.empty();
  for (int demands = 0; !settled && demands < kMaxDemands; ++demands) {
    CaptureBuilder scratch;
    Importer trial(options, scratch, shapes, required, written);
    settled = true;
    try {
      static_cast<void>(trial.import(callee, varied));
    } catch (const Resample& resample) {
      required.push_back(resample.condition);
      settled = false;
    } catch (const Divide& demand) {
      try {
        varied = divided(std::move(varied), demand.divisors, required);
      } catch (const Raised& raised) {
        return Status::error("K1146", raised.message);
      }
      settled = false;
    } catch (const Narrow& narrow) {
      varied.symbols[narrow.symbol] = narrow.range;
      limits.push_back(narrow.reason);
      settled = false;
    } catch (const WritesConstant& found) {
      settled = !written.insert(found.constant).second;
    } catch (const std::exception&) {  // comes again
    }
  }
  for (;;) {
    Importer importer(options, capture, shapes, required, written);
    bool again = false;
    auto result = as_status<ImportedProgram>(importer, [&] {
      try {
        return importer.import(callee, varied);
      } catch (const WritesConstant& found) {
        again = written.insert(found.constant).second;
        throw;
      }
    });
    if (again) {
      capture.restart();
      continue;
    }
    if (result.ok()) result->notes.insert(result->notes.end(), limits.begin(), limits.end());
    if (!result.ok() && failure != nullptr) {
      *failure = importer.failure();
      failure->reason = result.status().message();
      failure->hint = result.status().hint();
    }
    return result;
  }
}

Result<ModuleCalls> record_calls(const Callee& callee, const Arguments& arguments) {
  const at::NoGradGuard no_grad;
  const ImportOptions options;
  CaptureBuilder unused;
  ShapeCache none;
  Importer importer(options, unused, none);
  return as_status<ModuleCalls>(importer, [&] { return importer.record(callee, arguments); });
}

}  // namespace kiln::torchscript
