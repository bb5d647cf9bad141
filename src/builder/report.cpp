// The report: what runs where and why.
#include <map>

#include "backends/backend.h"
#include "builder/phases.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

Json origin_json(const std::string& module_path, const std::string& location, Json entry) {
  entry.set("module_path", module_path);
  entry.set("location", location);
  return entry;
}

// Calls of one operator for one reason in one place are one row.
struct FallbackRow {
  int count = 0;
  std::string module_path, location;
};

Json fallbacks_json(Build& build, int* total) {
  std::map<std::array<std::string, 3>, FallbackRow> rows;
  auto add = [&](const std::string& op, const std::string& code, const std::string& reason,
                 const std::string& module_path, const std::string& location) {
    FallbackRow& row = rows[{op, code, reason}];
    if (row.count++ == 0) {
      row.module_path = module_path;
      row.location = location;
    }
    ++*total;
  };
  for (const auto& record : build.records) {
    if (record.native) continue;
    add(record.op, record.code, record.reason, record.origin.module_path, record.origin.location);
  }
  for (const FallbackLog::Entry& fallback : build.fallbacks.entries) {
    add(fallback.aten.empty() ? fallback.op : fallback.aten, fallback.code, fallback.reason,
        fallback.origin.module_path, fallback.origin.location);
  }
  Json::Array array;
  for (const auto& [key, row] : rows) {
    Json entry = Json::object();
    entry.set("op", key[0]);
    entry.set("count", row.count);
    entry.set("code", key[1]);
    entry.set("reason", key[2]);
    array.push_back(origin_json(row.module_path, row.location, std::move(entry)));
  }
  return Json(std::move(array));
}

Json kernels_json(const Build& build) {
  Json::Array array;
  for (const Build::KernelChoice& kernel : build.kernels) {
    Json entry = Json::object();
    entry.set("kernel", kernel.kernel);
    entry.set("computes", kernel.label);
    entry.set("dtype", std::string(dtype_name(kernel.dtype)));
    entry.set("refusals", Json(Json::Array(kernel.refusals.begin(), kernel.refusals.end())));
    array.push_back(
        origin_json(kernel.origin.module_path, kernel.origin.location, std::move(entry)));
  }
  return Json(std::move(array));
}

// Nodes of one op that compute in f32 for one reason are one row.
Json precision_rows(const std::vector<PrecisionLog::Entry>& entries) {
  struct Row {
    DType stored = DType::kF32;
    int count = 0;
    Origin origin;
  };
  std::map<std::pair<std::string, std::string>, Row> rows;
  for (const PrecisionLog::Entry& entry : entries) {
    Row& row = rows[{entry.op, entry.reason}];
    if (row.count++ == 0) row = {entry.stored, 1, entry.origin};
  }
  Json::Array array;
  for (const auto& [key, row] : rows) {
    Json entry = Json::object();
    entry.set("op", key.first);
    entry.set("dtype", std::string(dtype_name(row.stored)));
    entry.set("count", row.count);
    entry.set("reason", key.second);
    array.push_back(origin_json(row.origin.module_path, row.origin.location, std::move(entry)));
  }
  return Json(std::move(array));
}

Json precision_json(const Build& build) {
  Json precision = Json::object();
  Json::Array asked;
  for (DType dtype : build.options.precisions) asked.emplace_back(std::string(dtype_name(dtype)));
  precision.set("asked", std::move(asked));
  const auto& storage = build.precision.storage;
  precision.set("storage", storage ? std::string(dtype_name(*storage)) : "");
  std::map<std::string, int> counts;
  for (const Build::KernelChoice& kernel : build.kernels) {
    ++counts[std::string(dtype_name(kernel.dtype))];
  }
  Json kernels = Json::object();
  for (const auto& [dtype, count] : counts) kernels.set(dtype, count);
  precision.set("kernels", std::move(kernels));
  precision.set("stays_f32", precision_rows(build.precision.stays));
  precision.set("computes_in_f32", precision_rows(build.precision.wide));
  return precision;
}

}  // namespace

Json make_report(Build& build) {
  Json report = Json::object();
  int fallbacks = 0;
  Json rows = fallbacks_json(build, &fallbacks);
  const int total = static_cast<int>(build.records.size());
  int native = total;
  for (const auto& record : build.records) native -= record.native ? 0 : 1;
  native = std::max(0, native - static_cast<int>(build.fallbacks.entries.size()));
  report.set("ops_total", total);
  report.set("ops_native", native);
  report.set("fallbacks", std::move(rows));
  report.set("segments", count_segments(build));
  report.set("target", build.backend->target());
  Json::Array notes;
  for (const std::string& note : build.context.notes()) notes.emplace_back(note);
  report.set("notes", std::move(notes));
  report.set("precision", precision_json(build));
  report.set("kernels", kernels_json(build));
  Json steps = Json::object();
  std::map<std::string, int> counts;
  for (const StepDesc& step : build.plan.main.steps) ++counts[step.kind];
  for (const auto& [kind, count] : counts) steps.set(kind, count);
  report.set("steps", std::move(steps));
  Json seconds = Json::object();
  for (const auto& [phase, value] : build.seconds) seconds.set(phase, value);
  report.set("build_seconds", std::move(seconds));
  Json memory = Json::object();
  int64_t weights = 0;
  for (const Weight& weight : build.module->weights)
    weights += static_cast<int64_t>(weight.data.bytes);
  memory.set("weight_bytes", static_cast<long>(weights));
  report.set("memory", std::move(memory));
  return report;
}

}  // namespace kiln
