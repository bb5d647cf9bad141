#include "runtime/engine_reader.h"

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "core/call_arg.h"
#include "core/cpu_features.h"
#include "runtime/archive.h"
#include "runtime/device_runtime.h"
#include "runtime/given_weights.h"
#include "runtime/harmless_ops.h"

namespace kiln {
namespace {

Status damaged(std::string what) {
  return Status::error("K3104", "file is damaged: " + std::move(what));
}

const ArchiveEntry* find(const std::vector<ArchiveEntry>& entries, std::string_view name) {
  for (const ArchiveEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

// Entries as kiln.json lists them: all of them, in order, with size and hash.
Status check_entries(const Json& header, const std::vector<ArchiveEntry>& entries) {
  KILN_ASSIGN_OR_RETURN(const Json::Object* listed, header.object_at("entries"));
  if (listed->size() + 1 != entries.size()) return damaged("list of entries");
  size_t i = 1;
  for (const JsonMember& member : *listed) {
    const ArchiveEntry& entry = entries[i++];
    if (entry.name != member.key) return damaged("list of entries");
    KILN_ASSIGN_OR_RETURN(const int64_t bytes, member.value.int_at("bytes"));
    KILN_ASSIGN_OR_RETURN(const std::string hash, member.value.string_at("xxh128"));
    if (bytes != static_cast<int64_t>(entry.content.size()) ||
        hash128(entry.content).hex() != hash) {
      return damaged("hash of " + entry.name);
    }
  }
  return {};
}

// The weights of weights.bin; entries without memory when the file has none (`blob` is null).
Status read_weights(const Json& header, const ArchiveEntry* blob, const EnginePlan& plan,
                    const std::shared_ptr<const void>& owner, std::vector<WeightBytes>& weights) {
  KILN_ASSIGN_OR_RETURN(const Json::Array* listed, header.array_at("weights"));
  if (listed->size() != plan.weights.size()) {
    return Status::error("K3106", "file and plan differ in the number of weights");
  }
  uint64_t end = 0;  // weights lie in order and do not overlap
  for (size_t i = 0; i < listed->size(); ++i) {
    const Json& entry = (*listed)[i];
    KILN_ASSIGN_OR_RETURN(const std::string name, entry.string_at("name"));
    KILN_ASSIGN_OR_RETURN(const std::string dtype, entry.string_at("dtype"));
    KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> dims, entry.ints_at("dims"));
    const WeightSignature& expected = plan.weights[i];
    if (name != expected.name || dtype != dtype_name(expected.dtype) || dims != expected.dims) {
      return Status::error("K3106", "file and plan differ in a weight: " + name);
    }
    if (blob == nullptr) {
      KILN_ASSIGN_OR_RETURN(const std::string hash, entry.string_at("xxh128"));
      if (!Hash128::from_hex(hash)) return damaged("hash of weight " + name);
      KILN_ASSIGN_OR_RETURN(const size_t size, weight_size(expected));
      weights.push_back({nullptr, size, nullptr});
      continue;
    }
    KILN_ASSIGN_OR_RETURN(const int64_t offset, entry.int_at("offset", 0, INT64_MAX));
    KILN_ASSIGN_OR_RETURN(const int64_t bytes, entry.int_at("bytes", 0, INT64_MAX));
    const std::string_view content = blob->content;
    const auto begin = static_cast<uint64_t>(offset);
    if (begin % kArchiveAlignment != 0 || begin < end || begin > content.size() ||
        static_cast<uint64_t>(bytes) > content.size() - begin) {
      return Status::error("K3106", "weight lies outside the file: " + name);
    }
    end = begin + static_cast<uint64_t>(bytes);
    weights.push_back({content.data() + begin, static_cast<size_t>(bytes), owner});
  }
  return {};
}

// What the file has of machine code for the plan of `target`.
Result<NativeCode> read_code(const Json& header, const std::vector<ArchiveEntry>& entries,
                             const std::string& target, const std::shared_ptr<const void>& owner) {
  const Json* lists = header.find("kernels");
  if (lists == nullptr) return NativeCode();
  if (!lists->is_object()) return damaged("lists of kernels");
  const Json* name = lists->find(target);
  if (name == nullptr) return NativeCode();
  const ArchiveEntry* list = name->is_string() ? find(entries, name->as_string()) : nullptr;
  if (list == nullptr) return damaged("a list of kernels is missing: " + target);
  KILN_ASSIGN_OR_RETURN(const Json json, parse_json(list->content));
  KILN_ASSIGN_OR_RETURN(NativeCode code, native_code_from_json(json));
  for (NativeKernel& kernel : code.kernels) {
    const std::string entry_name = native_entry_name(kernel.code);
    const ArchiveEntry* entry = find(entries, entry_name);
    if (entry == nullptr) return damaged("code of a kernel is missing: " + entry_name);
    if (hash128(entry->content) != kernel.code) return damaged("hash of " + entry_name);
    kernel.image = entry->content;
    kernel.owner = owner;
  }
  return code;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

Result<EngineContents> read_engine_file(std::string_view bytes, std::shared_ptr<const void> owner,
                                        int device_index, bool to_run) {
  KILN_ASSIGN_OR_RETURN(const std::vector<ArchiveEntry> entries, read_archive(bytes));
  if (entries[0].name != "kiln.json") {
    return Status::error("K3103", "not a kiln file: the first entry is not kiln.json");
  }
  KILN_RETURN_IF_ERROR(check_crc(entries[0]));
  JsonLimits limits;
  limits.max_bytes = size_t{16} << 20;
  KILN_ASSIGN_OR_RETURN(const Json header, parse_json(entries[0].content, limits));
  KILN_ASSIGN_OR_RETURN(const int64_t version, header.int_at("format"));
  if (version < 1 || version > kFormatVersion) {
    return Status::error("K3108",
                         "file has format version " + std::to_string(version) +
                             ", this kiln reads versions 1 to " + std::to_string(kFormatVersion),
                         version > kFormatVersion ? "update kiln" : "save the program again");
  }
  // The large entry is covered by its hash alone; the others by the archive's checksum too.
  for (const ArchiveEntry& entry : entries) {
    if (entry.name != "weights.bin") KILN_RETURN_IF_ERROR(check_crc(entry));
  }
  KILN_RETURN_IF_ERROR(check_entries(header, entries));
  const ArchiveEntry* graph = find(entries, "graph.kir");
  const ArchiveEntry* blob = find(entries, "weights.bin");
  const ArchiveEntry* report = find(entries, "report.json");
  if (graph == nullptr || report == nullptr) return damaged("an entry is missing");

  EngineContents contents;
  contents.graph = graph->content;
  contents.report = report->content;
  KILN_ASSIGN_OR_RETURN(const Json* metadata, header.member("metadata"));
  contents.metadata = metadata->dump();
  KILN_ASSIGN_OR_RETURN(const Json::Object* plans, header.object_at("plans"));
  int best = -1;
  const ArchiveEntry* chosen = nullptr;
  std::string target;
  Status why;  // of the first target that nothing here runs
  for (const JsonMember& member : *plans) {
    contents.targets.push_back(member.key);
    if (!member.value.is_string()) return damaged("list of plans");
    const ArchiveEntry* entry = find(entries, member.value.as_string());
    if (entry == nullptr) return damaged("a plan is missing: " + member.key);
    auto device = device_runtime_for(member.key, device_index);
    if (!device.ok()) {
      if (why.ok() && device.status().code() != "K5001")
        why = std::move(device).status().at("plan for " + member.key);
      continue;
    }
    const int fitness = (*device)->fitness(member.key);
    if (fitness <= best) continue;
    best = fitness;
    chosen = entry;
    target = member.key;
  }
  if (chosen == nullptr && !to_run && plans->size() != 0) {
    target = plans->begin()->key;
    chosen = find(entries, plans->begin()->value.as_string());
  }
  if (chosen == nullptr && !why.ok()) return why;
  if (chosen == nullptr) {
    return Status::error("K3109",
                         "no plan in the file fits this machine: it has " +
                             joined(contents.targets) +
                             ", this machine is cpu:" + std::string(cpu_level_name(cpu_level())),
                         "save the program again on a machine of this kind");
  }
  KILN_ASSIGN_OR_RETURN(const Json plan, parse_json(chosen->content));
  KILN_ASSIGN_OR_RETURN(contents.plan, engine_plan_from_json(plan));
  KILN_RETURN_IF_ERROR(read_weights(header, blob, contents.plan, owner, contents.weights));
  KILN_ASSIGN_OR_RETURN(contents.code, read_code(header, entries, target, owner));
  return contents;
}

Status complete_weights(EngineContents& contents, const std::vector<WeightView>& given) {
  KILN_RETURN_IF_ERROR(place_given_weights(contents.plan, given, contents.weights));
  std::string missing;
  size_t count = 0;
  for (size_t i = 0; i < contents.weights.size(); ++i) {
    if (contents.weights[i].data != nullptr || contents.weights[i].bytes == 0) continue;
    if (++count <= 3) missing += (count > 1 ? ", " : "") + contents.plan.weights[i].name;
  }
  if (count == 0) return {};
  if (count > 3) missing += " and " + std::to_string(count - 3) + " more";
  return Status::error("K3112",
                       "file was saved without weights, and some were not given: " + missing,
                       "give them by name in LoadOptions::weights");
}

Status check_host_calls(const EnginePlan& plan, const LoadOptions& options) {
  if (options.trust) return {};
  std::vector<const StepDesc*> steps;
  for (const Plan* part : {&plan.init, &plan.main}) {
    for (const StepDesc& step : part->steps) steps.push_back(&step);
  }
  for (const StepDesc* desc : steps) {
    const StepDesc& step = *desc;
    if (step.kind != "host.call") continue;
    KILN_ASSIGN_OR_RETURN(const std::string text, step.params.string_at("call"));
    KILN_ASSIGN_OR_RETURN(const Call call, Call::parse(text));
    const auto allowed = [&](const std::string& name) {
      return std::find(options.allow_ops.begin(), options.allow_ops.end(), name) !=
             options.allow_ops.end();
    };
    if (is_harmless_op(call) || allowed(call.name) || allowed(call.full_name())) continue;
    return Status::error(
        "K3301",
        "file calls an operator that is not on the list of harmless ones: " + call.full_name(),
        "load with allow_ops=[\"" + call.name + "\"] or trust=True if you trust it");
  }
  return {};
}

}  // namespace kiln
