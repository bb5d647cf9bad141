#include "builder/engine_writer.h"

#include <algorithm>
#include <map>

#include "base/crc32.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "runtime/archive.h"
#include "runtime/engine_reader.h"

namespace kiln {
namespace {

uint64_t aligned(uint64_t offset) {
  return (offset + kArchiveAlignment - 1) / kArchiveAlignment * kArchiveAlignment;
}

// "plans/cuda_sm_90.json".
std::string entry_name(const char* folder, const std::string& target) {
  std::string name = std::string(folder) + "/" + target + ".json";
  for (char& c : name) {
    if (c == ':') c = '_';
  }
  return name;
}

// Calls `use(data, size)` for each weight and each gap between weights, in order.
template <typename F>
Status for_weight_bytes(const std::vector<const Weight*>& weights, F use) {
  static const char kZeros[kArchiveAlignment] = {};
  uint64_t offset = 0;
  for (const Weight* weight : weights) {
    const uint64_t begin = aligned(offset);
    KILN_RETURN_IF_ERROR(use(kZeros, static_cast<size_t>(begin - offset)));
    KILN_RETURN_IF_ERROR(use(weight->data.data, weight->data.bytes));
    offset = begin + weight->data.bytes;
  }
  return {};
}

// An engine file up to its weights.
struct Parts {
  std::string header;                                      // kiln.json
  std::vector<std::pair<std::string, std::string>> small;  // entries by name, in order
  bool embeds = false;                                     // weights.bin follows
  uint64_t weight_bytes = 0;
  uint32_t weight_crc = 0;
};

Json::Array list_weights(const EngineFile& file) {
  Json::Array weights;
  uint64_t offset = 0;
  for (const Weight* weight : file.weights) {
    offset = aligned(offset);
    Json entry = Json::object();
    entry.set("name", weight->name);
    entry.set("dtype", Json(dtype_name(weight->type.dtype)));
    Json::Array dims;
    for (const DimExpr& dim : weight->type.shape) dims.emplace_back(static_cast<long>(dim.value()));
    entry.set("dims", std::move(dims));
    if (file.weight_policy == WeightPolicy::kEmbed) {
      entry.set("offset", static_cast<long>(offset));
      entry.set("bytes", static_cast<long>(weight->data.bytes));
    } else {
      entry.set("xxh128", hash128(weight->data.data, weight->data.bytes).hex());
    }
    weights.push_back(std::move(entry));
    offset += weight->data.bytes;
  }
  return weights;
}

// Readers pass over members that they do not know. Version 1 knows no conditions: it would run
// such a program with sizes that it is not right for. Nor does version 2 know strides.
int format_version_of(const std::vector<const EnginePlan*>& plans) {
  const bool conditions = std::any_of(plans.begin(), plans.end(), [](const EnginePlan* plan) {
    return !plan->conditions.empty();
  });
  const bool strides = std::any_of(plans.begin(), plans.end(), [](const EnginePlan* plan) {
    return std::any_of(plan->inputs.begin(), plan->inputs.end(),
                       [](const TensorSignature& input) { return !input.strides.empty(); });
  });
  return strides ? 3 : conditions ? 2 : 1;
}

// Lists of code and the code itself, each once. Returns which plan's list is where.
Result<Json> add_code(const EngineFile& file, Parts& parts) {
  Json lists = Json::object();
  std::map<Hash128, std::string_view> images;
  for (size_t i = 0; i < file.code.size(); ++i) {
    const std::string name = entry_name("kernels", file.plans[i]->target);
    lists.set(file.plans[i]->target, name);
    parts.small.emplace_back(name, to_json(file.code[i]).dump());
    for (const NativeKernel& kernel : file.code[i].kernels) {
      images.emplace(kernel.code, kernel.image);
    }
  }
  if (images.size() + parts.small.size() + 2 > kMaxArchiveEntries) {
    return Status::error(
        "K2011", "program has more kernels than a file holds: " + std::to_string(images.size()));
  }
  for (const auto& [code, image] : images) {
    parts.small.emplace_back(native_entry_name(code), std::string(image));
  }
  return lists;
}

Result<Parts> make_parts(const EngineFile& file) {
  Parts parts;
  parts.embeds = file.weight_policy == WeightPolicy::kEmbed;
  Hasher128 hasher;
  if (parts.embeds) {
    KILN_RETURN_IF_ERROR(
        for_weight_bytes(file.weights, [&](const void* data, size_t size) -> Status {
          hasher.add_bytes(data, size);
          parts.weight_crc = crc32(data, size, parts.weight_crc);
          parts.weight_bytes += size;
          return {};
        }));
  }
  KILN_ASSIGN_OR_RETURN(const std::string report, timeless_report(file.report));
  parts.small = {{"graph.kir", file.graph}, {"report.json", report}};
  Json plans = Json::object();
  for (const EnginePlan* plan : file.plans) {
    const std::string name = entry_name("plans", plan->target);
    plans.set(plan->target, name);
    parts.small.emplace_back(name, to_json(*plan).dump());
  }
  KILN_ASSIGN_OR_RETURN(const Json kernels, add_code(file, parts));

  Json header = Json::object();
  header.set("format", format_version_of(file.plans));
  KILN_ASSIGN_OR_RETURN(Json metadata, parse_json(file.metadata.empty() ? "{}" : file.metadata));
  header.set("metadata", std::move(metadata));
  header.set("plans", std::move(plans));
  if (!file.code.empty()) header.set("kernels", kernels);
  header.set("weights", list_weights(file));
  Json entries = Json::object();
  auto list = [&entries](const std::string& name, uint64_t bytes, const Hash128& hash) {
    Json entry = Json::object();
    entry.set("bytes", static_cast<long>(bytes));
    entry.set("xxh128", hash.hex());
    entries.set(name, std::move(entry));
  };
  for (const auto& [name, content] : parts.small) list(name, content.size(), hash128(content));
  if (parts.embeds) list("weights.bin", parts.weight_bytes, hasher.finish());
  header.set("entries", std::move(entries));
  parts.header = header.dump_pretty();
  return parts;
}

Status write_parts(const Parts& parts, const EngineFile& file, ByteSink& sink) {
  ArchiveWriter archive(sink);
  KILN_RETURN_IF_ERROR(archive.add("kiln.json", parts.header));
  for (const auto& [name, content] : parts.small) {
    KILN_RETURN_IF_ERROR(archive.add(name, content));
  }
  if (parts.embeds) {
    KILN_RETURN_IF_ERROR(archive.begin("weights.bin", parts.weight_bytes, parts.weight_crc));
    KILN_RETURN_IF_ERROR(for_weight_bytes(file.weights, [&](const void* data, size_t size) {
      return size == 0 ? Status() : archive.append(data, size);
    }));
  }
  return archive.finish();
}

}  // namespace

// Times, and whether there was a cache; everything else in the report is the same.
Result<std::string> timeless_report(const std::string& report) {
  KILN_ASSIGN_OR_RETURN(const Json json, parse_json(report));
  Json kept = Json::object();
  if (!json.is_object()) return std::string("{}");
  for (const JsonMember& member : json.as_object()) {
    if (member.key == "build_seconds" || member.key == "passes" || member.key == "cache") continue;
    kept.set(member.key, member.value);
  }
  return kept.dump_pretty();
}

Status write_engine_file(const std::string& path, const EngineFile& file) {
  KILN_ASSIGN_OR_RETURN(const Parts parts, make_parts(file));
  KILN_ASSIGN_OR_RETURN(AtomicFile output, AtomicFile::create(path));
  KILN_RETURN_IF_ERROR(write_parts(parts, file, output));
  return output.commit();
}

Status write_engine(const EngineFile& file, ByteSink& sink) {
  KILN_ASSIGN_OR_RETURN(const Parts parts, make_parts(file));
  return write_parts(parts, file, sink);
}

Result<std::string> serialize_engine_file(const EngineFile& file) {
  KILN_ASSIGN_OR_RETURN(const Parts parts, make_parts(file));
  std::string bytes;
  // Headers and padding of an entry take less than 1 KiB.
  size_t total = parts.header.size() + parts.weight_bytes;
  for (const auto& [name, content] : parts.small) total += content.size();
  bytes.reserve(total + 1024 * (parts.small.size() + 3));
  StringSink sink(bytes);
  KILN_RETURN_IF_ERROR(write_parts(parts, file, sink));
  return bytes;
}

}  // namespace kiln
