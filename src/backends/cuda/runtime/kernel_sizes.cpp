#include "backends/cuda/runtime/kernel_sizes.h"

#include <algorithm>
#include <cstdlib>

namespace kiln::cuda {
namespace {

constexpr size_t kMaxSizes = 256;

Status malformed(const std::string& what) {
  return Status::error("K3212", "kernel sizes: " + what);
}

// Names become source text, and descriptions come from files.
bool is_identifier(std::string_view name) {
  return !name.empty() && name.size() <= 24 && name[0] >= 'a' && name[0] <= 'z' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

}  // namespace

KernelSizes::KernelSizes(const NamedSizes<DimExpr>& sizes) {
  for (const auto& [name, size, any] : sizes.entries) {
    Entry entry{name, std::nullopt};
    if (size.is_constant()) entry.baked = size.value();
    entries_.push_back(std::move(entry));
  }
}

Json KernelSizes::to_json() const {
  Json json = Json::object();
  for (const Entry& entry : entries_)
    json.set(entry.name, entry.baked ? Json(*entry.baked) : Json());
  return json;
}

Result<KernelSizes> KernelSizes::from_json(const Json& params) {
  const Json* json = params.find("sizes");
  if (json == nullptr || !json->is_object() || json->size() > kMaxSizes) {
    return malformed("no object");
  }
  KernelSizes sizes;
  for (const JsonMember& member : json->as_object()) {
    if (!is_identifier(member.key)) return malformed("not an identifier, " + member.key);
    Entry entry{member.key, std::nullopt};
    if (member.value.is_int()) {
      entry.baked = member.value.as_int();
    } else if (!member.value.is_null()) {
      return malformed("neither a number nor null, " + member.key);
    }
    sizes.entries_.push_back(std::move(entry));
  }
  return sizes;
}

Status KernelSizes::bind(const NamedSizes<int64_t>& actual,
                         std::vector<Argument>* arguments) const {
  if (actual.entries.size() != entries_.size()) {
    return malformed("the kernel has other ones than the views");
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto& [name, size, any] = actual.entries[i];
    const Entry& entry = entries_[i];
    if (entry.name != name) return malformed("expected " + name + ", got " + entry.name);
    if (!entry.baked) {
      arguments->push_back(Argument::i64(size));
    } else if (*entry.baked != size && !any) {
      return malformed(name + " is " + std::to_string(size) + " but the kernel was made for " +
                       std::to_string(*entry.baked));
    }
  }
  return {};
}

bool is_narrow(const ConcreteView& view) {
  __int128 reach = 0;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] <= 0) return true;
    if (std::abs(view.strides[i]) >= kOffsetLimit) return false;  // even where nothing steps
    reach += static_cast<__int128>(view.dims[i] - 1) * std::abs(view.strides[i]);
  }
  return reach < kOffsetLimit && view.num_elements() < kOffsetLimit;
}

Status check_narrow(bool wide, std::initializer_list<const ConcreteView*> views) {
  if (wide) return {};
  for (const ConcreteView* view : views) {
    if (!is_narrow(*view)) return malformed("an operand is too large for 32-bit offsets");
  }
  return {};
}

Result<DType> kernel_dtype(const Json& params, std::string_view key) {
  KILN_ASSIGN_OR_RETURN(const std::string name, params.string_at(key));
  const auto dtype = dtype_from_name(name);
  if (!dtype) return Status::error("K3212", "unknown dtype of a kernel: " + name);
  return *dtype;
}

bool divides(int64_t count, const DimExpr& size) {
  DimExpr ignored;
  return DimExpr::divide_exactly(size, DimExpr(count), &ignored);
}

DimExpr quotient(const DimExpr& size, int64_t count) {
  DimExpr result;
  DimExpr::divide_exactly(size, DimExpr(count), &result);
  return result;
}

Result<StepKernel> step_kernel(const StepDesc& desc, const StepEnvironment& environment,
                               std::string_view family, std::string_view key) {
  StepKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.code, kernel_code(environment));
  KILN_ASSIGN_OR_RETURN(const int64_t index, desc.params.int_at(key, 0, INT32_MAX));
  KILN_ASSIGN_OR_RETURN(kernel.params, kernel_params(environment, index, family));
  kernel.index = static_cast<int>(index);
  return kernel;
}

Launch launch_blocks(const StepKernel& kernel, int64_t blocks, std::vector<Argument> arguments,
                     int64_t threads) {
  Launch launch;
  launch.kernel = kernel.index;
  launch.grid = {blocks, 1, 1};
  launch.block = {threads, 1, 1};
  launch.arguments = std::move(arguments);
  return launch;
}

Result<std::unique_ptr<BoundStep>> bind_launch(const StepKernel& kernel, Launch launch,
                                               const BindContext& context,
                                               std::string_view implementation) {
  std::vector<Launch> launches;
  launches.push_back(std::move(launch));
  return BoundLaunches::make(kernel.code, std::move(launches), context,
                             std::string(implementation));
}

}  // namespace kiln::cuda
