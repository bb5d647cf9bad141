#include "tools/kiln/tensors.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>
#include <set>

#include "base/json.h"
#include "base/names.h"
#include "core/dtype.h"
#include "runtime/memory.h"
#include "tools/kiln/output.h"

namespace kiln::tool {
namespace {

int64_t count(const std::vector<int64_t>& shape) {
  int64_t total = 1;
  for (int64_t extent : shape) total *= extent;
  return total;
}

// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

// Box and Muller's method, one of the two deviates.
float next_normal(uint64_t& state) {
  const double u = static_cast<double>((next_random(state) >> 11) + 1) * 0x1p-53;
  const double v = static_cast<double>(next_random(state) >> 11) * 0x1p-53;
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

void fill_random(Tensor& tensor, uint64_t seed) {
  uint64_t state = seed;
  const int64_t n = count(tensor.spec.shape);
  const auto each = [&](auto* data, auto value) {
    for (int64_t i = 0; i < n; ++i) data[i] = value();
  };
  void* data = tensor.memory.get();
  const auto bit = [&] { return next_random(state) >> 63; };
  switch (tensor.spec.dtype) {
    case DType::kF32: each(static_cast<float*>(data), [&] { return next_normal(state); }); break;
    case DType::kF64: each(static_cast<double*>(data), [&] { return next_normal(state); }); break;
    case DType::kF16:
      each(static_cast<uint16_t*>(data), [&] { return f32_to_f16(next_normal(state)); });
      break;
    case DType::kBF16:
      each(static_cast<uint16_t*>(data), [&] { return f32_to_bf16(next_normal(state)); });
      break;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      each(static_cast<uint8_t*>(data), [&] { return static_cast<uint8_t>(bit()); });
      break;
    case DType::kI16:
      each(static_cast<int16_t*>(data), [&] { return static_cast<int16_t>(bit()); });
      break;
    case DType::kI32:
      each(static_cast<int32_t*>(data), [&] { return static_cast<int32_t>(bit()); });
      break;
    case DType::kI64:
      each(static_cast<int64_t*>(data), [&] { return static_cast<int64_t>(bit()); });
      break;
  }
}

Result<std::vector<int64_t>> parse_shape(const std::string& option, const std::string& text) {
  std::vector<int64_t> shape;
  if (text.empty() || text == "scalar") return shape;
  const char* at = text.data();
  const char* last = text.data() + text.size();
  while (true) {
    int64_t extent = 0;
    const auto [end, error] = std::from_chars(at, last, extent);
    const bool good = error == std::errc() && extent >= 0 && (end == last || *end == 'x');
    if (!good) {
      return Status::error("K1007", "shape does not parse: '" + option + "'",
                           "write NAME=1x3x224x224, or SYMBOL=4 for a size");
    }
    shape.push_back(extent);
    if (end == last) return shape;
    at = end + 1;
  }
}

// Sizes are symbols or linear in one; a lone symbol is what people name.
void note_symbols(const Shape& dims, const std::vector<int64_t>& shape, SymbolValues& symbols) {
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d].is_symbol()) symbols.emplace(dims[d].symbol_name(), shape[d]);
  }
}

// Changes the `free` sizes, one at a time, to the smallest ones that meet the plan's conditions.
// What it does not find is an error when the program runs.
void meet_conditions(const EnginePlan& plan, const std::set<std::string>& free,
                     SymbolValues& symbols) {
  constexpr int64_t kTries = 4096;
  for (const SizeCondition& condition : plan.conditions) {
    std::set<std::string> names;
    condition.collect_symbols(names);
    for (const std::string& name : names) {
      if (condition.check(symbols).ok()) break;
      if (!free.contains(name)) continue;
      const DimRange range = plan.symbols.at(name);
      const int64_t before = symbols[name];
      for (int64_t i = 0; i < kTries && before <= range.max - i; ++i) {
        symbols[name] = before + i;
        if (condition.check(symbols).ok()) break;
      }
      if (!condition.check(symbols).ok()) symbols[name] = before;
    }
  }
}

// Numbers among the inputs that are sizes, by position, from what Python keeps in the file.
std::map<size_t, std::string> size_inputs(const std::string& metadata) {
  std::map<size_t, std::string> found;
  const auto json = parse_json(metadata);
  if (!json.ok()) return found;
  const auto inputs = json->array_at("inputs");
  if (!inputs.ok()) return found;
  for (size_t i = 0; i < (*inputs)->size(); ++i) {
    const Json& entry = (**inputs)[i];
    if (entry.is_array() && entry.size() == 5 && entry[4].is_string()) {
      found[i] = entry[4].as_string();
    }
  }
  return found;
}

}  // namespace

size_t Tensor::bytes() const {
  return static_cast<size_t>(count(spec.shape)) * dtype_bytes(spec.dtype);
}

TensorView Tensor::view() const {
  TensorView view;
  view.data = memory.get();
  view.dtype = spec.dtype;
  view.rank = static_cast<int>(spec.shape.size());
  view.shape = spec.shape.data();
  view.strides = spec.strides.empty() ? nullptr : spec.strides.data();
  return view;
}

Result<Tensor> make_tensor(TensorSpec spec) {
  Tensor tensor;
  tensor.spec = std::move(spec);
  int64_t bytes = static_cast<int64_t>(dtype_bytes(tensor.spec.dtype));
  for (int64_t extent : tensor.spec.shape) {
    if (extent != 0 && __builtin_mul_overflow(bytes, extent, &bytes)) {
      return Status::error("K4501", "out of memory for a tensor of shape " +
                                        show_shape(tensor.spec.shape));
    }
  }
  tensor.memory = allocate_block(tensor.bytes());
  if (tensor.memory == nullptr) {
    return Status::error("K4501",
                         "out of memory for a tensor of shape " + show_shape(tensor.spec.shape));
  }
  return tensor;
}

std::string show_shape(const std::vector<int64_t>& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (int64_t extent : shape) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text;
}

Result<ChosenShapes> choose_shapes(const EnginePlan& plan,
                                   const std::vector<std::string>& options) {
  ChosenShapes chosen;
  chosen.inputs.resize(plan.inputs.size());
  std::vector<bool> given(plan.inputs.size(), false);
  std::vector<std::string> names;
  for (const TensorSignature& input : plan.inputs) names.push_back(input.name);
  for (const auto& [symbol, range] : plan.symbols) names.push_back(symbol);
  for (const std::string& option : options) {
    const size_t equals = option.find('=');
    if (equals == std::string::npos) {
      return Status::error("K1007", "shape without a name: '" + option + "'",
                           "write NAME=1x3x224x224; the names are: " + join(names, ", "));
    }
    const std::string name = option.substr(0, equals);
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> shape,
                          parse_shape(option, option.substr(equals + 1)));
    const auto input = std::find_if(plan.inputs.begin(), plan.inputs.end(),
                                    [&](const auto& candidate) { return candidate.name == name; });
    if (input != plan.inputs.end()) {
      if (shape.size() != input->dims.size()) {
        return Status::error("K1007", "shape of another rank: '" + option + "', expected " +
                                          std::to_string(input->dims.size()) + " sizes");
      }
      note_symbols(input->dims, shape, chosen.symbols);
      const auto position = static_cast<size_t>(input - plan.inputs.begin());
      chosen.inputs[position] = std::move(shape);
      given[position] = true;
    } else if (plan.symbols.contains(name) && shape.size() == 1) {
      chosen.symbols[name] = shape[0];
    } else {
      return Status::error("K1007", "no such input or size: '" + name + "'",
                           unknown_name_hint(name, names));
    }
  }
  std::set<std::string> free;
  for (const auto& [symbol, range] : plan.symbols) {
    if (chosen.symbols.emplace(symbol, range.min).second) free.insert(symbol);
  }
  meet_conditions(plan, free, chosen.symbols);
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    if (given[i] || plan.inputs[i].is_object) continue;
    KILN_ASSIGN_OR_RETURN(chosen.inputs[i], evaluate(plan.inputs[i].dims, chosen.symbols));
  }
  return chosen;
}

Result<std::vector<Tensor>> random_inputs(const EnginePlan& plan, const ChosenShapes& shapes,
                                          const std::string& metadata) {
  const auto sizes = size_inputs(metadata);
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    const TensorSignature& signature = plan.inputs[i];
    if (signature.is_object) {
      return Status::error("K4114", "input can only be made by the host: '" + signature.name + "'",
                           "run this program from Python");
    }
    KILN_ASSIGN_OR_RETURN(Tensor tensor, make_tensor({signature.dtype, shapes.inputs[i], {}}));
    fill_random(tensor, i + 1);
    const auto size = sizes.find(i);
    if (size != sizes.end() && signature.dtype == DType::kI64 && signature.dims.empty()) {
      KILN_ASSIGN_OR_RETURN(const DimExpr expr, DimExpr::parse(size->second));
      KILN_ASSIGN_OR_RETURN(const int64_t value, expr.evaluate(shapes.symbols));
      std::memcpy(tensor.memory.get(), &value, sizeof(value));
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::vector<TensorView> views_of(const std::vector<Tensor>& tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

}  // namespace kiln::tool
