#include "torch/program_object.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <mutex>

#include "base/border.h"
#include "base/hash.h"
#include "base/json.h"
#include "torch/dtype_conversion.h"
#include "torch/load_options.h"
#include "torch/torch_host.h"

namespace kiln {
namespace {

constexpr int kStateFormat = 1;

thread_local const LoadOptions* scoped_options = nullptr;

// Programs whose state is in memory, for copies of their objects.
std::mutex shared_mutex;

std::string hash_of(const at::Tensor& tensor) {
  return hash128(tensor.const_data_ptr(), tensor.nbytes()).hex();
}

bool is_plain(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_cpu() && tensor.layout() == c10::kStrided &&
         tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg() &&
         tensor.unsafeGetTensorImpl()->has_storage();
}

bool same_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.const_data_ptr() == b.const_data_ptr() && a.scalar_type() == b.scalar_type() &&
         a.sizes() == b.sizes();
}

bool same_memory(const ProgramState& a, const ProgramState& b) {
  return a.names == b.names && same_memory(a.program, b.program) &&
         std::equal(a.weights.begin(), a.weights.end(), b.weights.begin(), b.weights.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return same_memory(x, y); });
}

Status not_a_state(std::string what) {
  return Status::error("K3121", "not the state of a kiln program: " + std::move(what));
}

WeightView view_of(const at::Tensor& tensor, std::string name) {
  WeightView view;
  view.name = std::move(name);
  view.dtype = *from_scalar_type(tensor.scalar_type());
  view.shape = tensor.sizes().vec();
  view.data = tensor.const_data_ptr();
  view.bytes = tensor.nbytes();
  view.owner = std::make_shared<at::Tensor>(tensor);
  return view;
}

// Reads the names and hashes of the weights from the description. All tensors are plain.
Status read_description(const std::string& text, ProgramState& state,
                        std::vector<std::string>& hashes) {
  if (state.program.scalar_type() != at::kByte || state.program.dim() != 1) {
    return not_a_state("the program is no tensor of bytes");
  }
  KILN_ASSIGN_OR_RETURN(const Json description, parse_json(text));
  KILN_ASSIGN_OR_RETURN(const int64_t format, description.int_at("format"));
  if (format != kStateFormat) {
    return Status::error("K3108",
                         "program state has format version " + std::to_string(format) +
                             ", this kiln reads version " + std::to_string(kStateFormat),
                         format > kStateFormat ? "update kiln" : "save the program again");
  }
  KILN_ASSIGN_OR_RETURN(const Json::Array* weights, description.array_at("weights"));
  if (weights->size() != state.weights.size()) return not_a_state("number of weights");
  for (size_t i = 0; i < weights->size(); ++i) {
    KILN_ASSIGN_OR_RETURN(std::string name, (*weights)[i].string_at("name"));
    KILN_ASSIGN_OR_RETURN(std::string hash, (*weights)[i].string_at("xxh128"));
    if (!from_scalar_type(state.weights[i].scalar_type())) {
      return not_a_state("dtype of weight " + name);
    }
    state.names.push_back(std::move(name));
    hashes.push_back(std::move(hash));
  }
  return {};
}

}  // namespace

std::string ProgramState::describe() const {
  Json list = Json::array();
  for (size_t i = 0; i < names.size(); ++i) {
    Json entry = Json::object();
    entry.set("name", names[i]);
    entry.set("xxh128", hash_of(weights[i]));
    list.push_back(std::move(entry));
  }
  Json description = Json::object();
  description.set("format", kStateFormat);
  description.set("weights", std::move(list));
  return description.dump();
}

namespace {

// Weak, so that programs go when nobody holds them.
std::vector<std::weak_ptr<void>>& known() {
  static auto* list = new std::vector<std::weak_ptr<void>>();
  return *list;
}

}  // namespace

std::shared_ptr<ProgramObject::Shared> ProgramObject::find(const ProgramState& state) {
  std::lock_guard lock(shared_mutex);
  for (const std::weak_ptr<void>& entry : known()) {
    auto shared = std::static_pointer_cast<Shared>(entry.lock());
    if (shared != nullptr && same_memory(shared->state, state)) return shared;
  }
  return nullptr;
}

void ProgramObject::remember(const std::shared_ptr<Shared>& shared) {
  std::lock_guard lock(shared_mutex);
  std::erase_if(known(), [](const std::weak_ptr<void>& entry) { return entry.expired(); });
  known().push_back(shared);
}

Result<c10::intrusive_ptr<ProgramObject>> ProgramObject::load(const std::string& description,
                                                              at::Tensor program,
                                                              std::vector<at::Tensor> weights) {
  return guarded([&]() -> Result<c10::intrusive_ptr<ProgramObject>> {
    LoadOptions options = scoped_options != nullptr ? *scoped_options : LoadOptions();
    options.host = torch_host();
    ProgramState state{std::move(program), {}, std::move(weights)};
    const bool plain = is_plain(state.program) && std::all_of(state.weights.begin(),
                                                              state.weights.end(), is_plain);
    if (!plain) return not_a_state("a tensor is not dense and on the cpu");
    std::vector<std::string> hashes;
    KILN_RETURN_IF_ERROR(read_description(description, state, hashes));
    std::shared_ptr<Shared> shared = find(state);
    if (shared == nullptr) {
      for (size_t i = 0; i < hashes.size(); ++i) {
        if (hash_of(state.weights[i]) != hashes[i]) {
          return not_a_state("hash of weight " + state.names[i]);
        }
        options.weights.push_back(view_of(state.weights[i], state.names[i]));
      }
      auto owner = std::make_shared<at::Tensor>(state.program);
      KILN_ASSIGN_OR_RETURN(auto loaded, Program::load(owner->const_data_ptr(), owner->nbytes(),
                                                        owner, options));
      shared = std::make_shared<Shared>();
      shared->state = std::move(state);
      shared->runner = std::make_shared<ProgramRunner>(std::move(loaded));
      remember(shared);
    }
    return c10::make_intrusive<ProgramObject>(std::move(shared));
  });
}

c10::intrusive_ptr<ProgramObject> ProgramObject::wrap(std::shared_ptr<ProgramRunner> runner,
                                                      ProgramState state) {
  auto shared = std::make_shared<Shared>();
  shared->state = std::move(state);
  shared->runner = std::move(runner);
  remember(shared);
  return c10::make_intrusive<ProgramObject>(std::move(shared));
}

ScopedLoadOptions::ScopedLoadOptions(LoadOptions options)
    : options_(std::move(options)), outer_(scoped_options) {
  scoped_options = &options_;
}
ScopedLoadOptions::~ScopedLoadOptions() { scoped_options = outer_; }

}  // namespace kiln
