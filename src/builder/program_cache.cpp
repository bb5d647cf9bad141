#include "builder/program_cache.h"

#include <cstring>
#include <map>

#include "backends/backend.h"
#include "base/build_id.h"
#include "base/options.h"
#include "builder/engine_writer.h"

namespace kiln {
namespace {

constexpr int64_t kKeyFormat = 1;  // of keys and of the contents of entries
constexpr std::string_view kProgram = "program";

// The builds of compiler and runtime, one library or two. Empty when they cannot be told apart from
// others.
std::string builds() {
  std::string (*const of_compiler)() = &default_cache_dir;
  std::string (*const of_runtime)(const void*) = &build_id;
  const std::string compiler = build_id(reinterpret_cast<const void*>(of_compiler));
  const std::string runtime = build_id(reinterpret_cast<const void*>(of_runtime));
  return compiler.empty() || runtime.empty() ? "" : compiler + " " + runtime;
}

// All that compile() reads, but the bytes of weights, which it cannot read.
Hash128 program_key(const CaptureBuilder& capture, const BuildOptions& build_options,
                    const Backend& backend, const std::string& builds) {
  // With one more option this does not compile, and it is added here. Where the cache is does not
  // matter; of the GPU the backend tells.
  const auto& [threads, strict, min_block_size, target, device_index, precisions, allow_tf32,
               tune, metadata, name, cache_dir, cache_bytes] = build_options;
  Hasher128 hasher;
  hasher.add_int(kKeyFormat).add_text(builds).add_text(debug_options_text());
  hasher.add_text(backend.target()).add_text(backend.surroundings());
  hasher.add_int(threads).add_int(strict ? 1 : 0).add_int(min_block_size);
  hasher.add_int(static_cast<int64_t>(precisions.size()));
  for (DType dtype : precisions) hasher.add_int(static_cast<int64_t>(dtype));
  hasher.add_int(allow_tf32 ? 1 : 0).add_int(tune ? 1 : 0);
  hasher.add_text(target).add_text(metadata).add_text(name);
  hasher.add_text(capture.content_hash());
  return hasher.finish();
}

// ---- the content of a program entry: texts, each after its size

std::string pack(const std::vector<std::string_view>& texts) {
  std::string bytes;
  for (std::string_view text : texts) {
    const uint64_t size = text.size();
    bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
    bytes.append(text);
  }
  return bytes;
}

// False when the bytes are not exactly that.
bool unpack(std::string_view bytes, const std::vector<std::string*>& texts) {
  for (std::string* text : texts) {
    uint64_t size;
    if (bytes.size() < sizeof size) return false;
    std::memcpy(&size, bytes.data(), sizeof size);
    bytes.remove_prefix(sizeof size);
    if (size > bytes.size()) return false;
    text->assign(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  return bytes.empty();
}

bool agrees(const Weight& weight, const WeightSignature& signature) {
  const Shape& shape = weight.type.shape;
  if (weight.type.dtype != signature.dtype || shape.size() != signature.dims.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!shape[i].is_value(signature.dims[i])) return false;
  }
  return true;
}

// The captured weights that the plan reads, in its order; nothing when they are not the ones.
std::optional<std::vector<Weight>> take_weights(Module& module, const EnginePlan& plan) {
  std::map<std::string_view, Weight*> by_name;
  for (Weight& weight : module.weights) {
    if (!by_name.emplace(weight.name, &weight).second) return std::nullopt;
  }
  std::vector<Weight> weights;
  for (const WeightSignature& signature : plan.weights) {
    const auto found = by_name.find(signature.name);
    if (found == by_name.end() || !agrees(*found->second, signature)) return std::nullopt;
    weights.push_back(*found->second);
  }
  return weights;
}

}  // namespace

ProgramCache ProgramCache::open(const CaptureBuilder& capture, const BuildOptions& options,
                                const Backend& backend) {
  ProgramCache cache;
  const DebugOptions& debug = debug_options();
  if (options.cache_dir.empty() || !debug.cache) {
    cache.why_ = debug.cache ? "" : "KILN_OPTIONS=cache=0";
    return cache;
  }
  // A program that is found runs no pass.
  if (!debug.dump_ir.empty() || debug.check_claims) {
    cache.why_ = "KILN_OPTIONS asks for a look at the passes";
    return cache;
  }
  cache.outcome_ = "unusable";
  const std::string here = builds();
  if (here.empty()) {
    cache.why_ = "cannot tell this build of kiln from others";
    return cache;
  }
  auto folder = CacheFolder::open(options.cache_dir, options.cache_bytes);
  if (!folder.ok()) {
    cache.why_ = folder.status().to_string();
    return cache;
  }
  cache.folder_ = std::move(folder).value();
  cache.key_ = program_key(capture, options, backend, here);
  return cache;
}

std::optional<ProgramParts> ProgramCache::find(Module& module) {
  if (!usable()) return std::nullopt;
  outcome_ = "miss";
  const auto content = folder_->get(key_, kProgram);
  if (!content.ok()) {
    why_ = content.status().message();
    return std::nullopt;
  }
  // Whole and of this key: from here on nothing should go wrong.
  ProgramParts parts;
  std::string plan_text;
  why_ = "entry does not hold a program";
  if (!unpack(content->bytes,
              {&parts.report, &parts.simplified_ir, &parts.lowered_ir, &plan_text})) {
    return std::nullopt;
  }
  const auto json = parse_json(plan_text);
  if (!json.ok()) return std::nullopt;
  auto plan = engine_plan_from_json(*json);
  if (!plan.ok() || !verify(*plan).ok()) return std::nullopt;
  parts.plan = std::move(plan).value();
  auto weights = take_weights(module, parts.plan);
  if (!weights) {
    why_ = "entry does not fit the captured weights";
    return std::nullopt;
  }
  parts.weights = std::move(*weights);
  outcome_ = "hit";
  why_.clear();
  return parts;
}

void ProgramCache::store(const ProgramParts& parts) {
  if (!usable()) return;
  const auto report = timeless_report(parts.report);
  if (!report.ok()) return;
  const std::string plan = to_json(parts.plan).dump();
  const std::string content = pack({*report, parts.simplified_ir, parts.lowered_ir, plan});
  const Status status = folder_->put(key_, kProgram, content);
  if (!status.ok()) why_ += (why_.empty() ? "" : "; ") + ("cannot be kept: " + status.to_string());
}

Json ProgramCache::report() const {
  Json json = Json::object();
  json.set("program", outcome_);
  json.set("why", why_);
  if (usable()) {
    json.set("key", key_.hex());
    json.set("folder", folder_->path());
  }
  return json;
}

std::string default_cache_dir() { return user_cache_folder(); }

Result<uint64_t> default_cache_bytes() { return user_cache_bytes(); }

}  // namespace kiln
