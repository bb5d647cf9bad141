#include "passes/pass_manager.h"

#include <chrono>
#include <filesystem>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/options.h"
#include "core/text.h"

namespace kiln {
namespace {

constexpr int kMaxGroupDepth = 8;

Status unknown_pass(std::string_view name) {
  return Status::error("K2601", "unknown pass: " + std::string(name),
                       "kiln-opt --list-passes shows all");
}

Status parse_items(TextCursor& cursor, std::vector<PipelineItem>* items, bool in_group, int depth) {
  auto fail = [&] {
    return Status::error("K2602", "pipeline does not parse at " + cursor.place() + ": " +
                                      std::string(cursor.text()));
  };
  if (depth > kMaxGroupDepth) return fail();
  if (!in_group && cursor.at_end()) return {};
  while (true) {
    PipelineItem item;
    if (!cursor.identifier(&item.pass)) return fail();
    if (item.pass == "fix" && cursor.accept("(")) {
      item.pass.clear();
      KILN_RETURN_IF_ERROR(parse_items(cursor, &item.group, true, depth + 1));
    } else if (PassRegistry::global().find(item.pass) == nullptr) {
      return unknown_pass(item.pass);
    }
    items->push_back(std::move(item));
    if (cursor.accept(",")) continue;
    if (in_group ? cursor.accept(")") : cursor.at_end()) return {};
    return fail();
  }
}

}  // namespace

PassRegistry& PassRegistry::global() {
  static PassRegistry registry;
  return registry;
}

void PassRegistry::add(Pass pass) {
  KILN_CHECK(pass.run != nullptr && !pass.name.empty() && pass.name != "fix");
  const std::string name = pass.name;
  KILN_CHECK_MSG(passes_.emplace(name, std::move(pass)).second, "pass registered twice: " + name);
}

const Pass* PassRegistry::find(std::string_view name) const {
  const auto found = passes_.find(name);
  return found == passes_.end() ? nullptr : &found->second;
}

std::vector<const Pass*> PassRegistry::all() const {
  std::vector<const Pass*> result;
  for (const auto& [name, pass] : passes_) result.push_back(&pass);
  return result;
}

bool PassContext::should_rewrite() {
  if (pass_ == limited_pass_ && limit_ >= 0 && rewrites_ >= limit_) return false;
  ++rewrites_;
  return true;
}

Result<std::vector<PipelineItem>> parse_pipeline(std::string_view text) {
  TextCursor cursor(text);
  std::vector<PipelineItem> items;
  KILN_RETURN_IF_ERROR(parse_items(cursor, &items, false, 0));
  return items;
}

std::string pipeline_text(const std::vector<PipelineItem>& items) {
  std::string text;
  for (const PipelineItem& item : items) {
    if (!text.empty()) text += ", ";
    text += item.pass.empty() ? "fix(" + pipeline_text(item.group) + ")" : item.pass;
  }
  return text;
}

Result<std::vector<PipelineItem>> find_pipeline(std::string_view name) {
  for (const NamedPipeline& pipeline : named_pipelines()) {
    if (pipeline.name == name) return parse_pipeline(pipeline.passes);
  }
  return Status::error("K2601", "unknown pipeline: " + std::string(name),
                       "kiln-opt --list-passes shows all");
}

Result<PassOptions> PassOptions::from_debug_options() {
  const DebugOptions& debug = debug_options();
  PassOptions options;
  options.verify = debug.verify;
  options.check_claims = debug.check_claims;
  options.dump_after = debug.dump_ir;
  options.dump_dir = debug.dump_dir;
  if (!options.dump_after.empty() && options.dump_after != "all" &&
      PassRegistry::global().find(options.dump_after) == nullptr) {
    return unknown_pass(options.dump_after);
  }
  if (!debug.pass_limit.empty()) {
    TextCursor cursor(debug.pass_limit);
    if (!cursor.identifier(&options.limited_pass) || !cursor.accept(":") ||
        !cursor.integer(&options.limit) || options.limit < 0 || !cursor.at_end()) {
      return Status::error("K1002", "pass_limit is not NAME:N: " + debug.pass_limit);
    }
    if (PassRegistry::global().find(options.limited_pass) == nullptr) {
      return unknown_pass(options.limited_pass);
    }
  }
  return options;
}

PassManager::PassManager(PassOptions options, PassContext* context)
    : options_(std::move(options)), context_(context) {
  KILN_CHECK(context_ != nullptr);
  context_->limited_pass_ = options_.limited_pass;
  context_->limit_ = options_.limit;
}

Result<bool> PassManager::run(std::string_view text, Module& module) {
  KILN_ASSIGN_OR_RETURN(const std::vector<PipelineItem> items, parse_pipeline(text));
  return run(items, module);
}

Result<bool> PassManager::run(const std::vector<PipelineItem>& items, Module& module) {
  return run_items(items, module);
}

Result<bool> PassManager::run_items(const std::vector<PipelineItem>& items, Module& module) {
  bool changed = false;
  for (const PipelineItem& item : items) {
    if (item.pass.empty()) {
      KILN_ASSIGN_OR_RETURN(const bool now, run_group(item, module));
      changed = changed || now;
      continue;
    }
    const Pass* pass = PassRegistry::global().find(item.pass);
    if (pass == nullptr) return unknown_pass(item.pass);
    KILN_ASSIGN_OR_RETURN(const bool now, run_pass(*pass, module));
    changed = changed || now;
  }
  return changed;
}

Result<bool> PassManager::run_group(const PipelineItem& group, Module& module) {
  bool changed = false;
  for (int round = 0; round < kFixpointCap; ++round) {
    KILN_ASSIGN_OR_RETURN(const bool now, run_items(group.group, module));
    if (!now) return changed;
    changed = true;
  }
  const std::string text = "fixed point not reached after " + std::to_string(kFixpointCap) +
                           " rounds: fix(" + pipeline_text(group.group) + ")";
  KILN_LOG(kPasses, kWarning) << text;
  context_->note(text);
  return changed;
}

Result<bool> PassManager::run_pass(const Pass& pass, Module& module) {
  // The IR before the pass is kept as a clone: printing it for each pass of a large model would
  // cost more than the passes do, and it is needed only when one fails.
  std::unique_ptr<Module> before = module.clone();
  const std::string hash = options_.check_claims ? fingerprint(module) : std::string();

  context_->pass_ = pass.name;
  const int64_t rewrites_before = context_->rewrites_by_pass_[pass.name];
  context_->rewrites_ = rewrites_before;
  const auto start = std::chrono::steady_clock::now();
  Result<bool> changed = run_unchecked(pass, module);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  context_->rewrites_by_pass_[pass.name] = context_->rewrites_;
  context_->pass_.clear();

  PassTiming* timing = nullptr;
  for (PassTiming& row : timings_) {
    if (row.pass == pass.name) timing = &row;
  }
  if (timing == nullptr) timing = &timings_.emplace_back(PassTiming{pass.name, 0, 0, 0});
  ++timing->runs;
  timing->seconds += seconds.count();
  if (!changed.ok()) return failed(std::move(changed).status(), pass, *before, rewrites_before);
  if (*changed) ++timing->changes;
  KILN_LOG(kPasses, kDebug) << pass.name << (*changed ? " changed" : " kept") << " the module in "
                            << seconds.count() * 1e3 << " ms";
  if (Status status = check(pass, module, *changed, hash); !status.ok()) {
    return failed(std::move(status), pass, *before, rewrites_before);
  }
  if (options_.dump_after == "all" || options_.dump_after == pass.name) {
    KILN_RETURN_IF_ERROR(dump(pass.name, module));
  }
  return changed;
}

Result<bool> PassManager::run_unchecked(const Pass& pass, Module& module) {
  try {
    return pass.run(module, *context_);
  } catch (const InternalError& error) {
    // A bug, but the reproducer is worth more than the exception; the message says what it was.
    return Status::error("K2605", "pass failed: " + pass.name + ": " + error.what());
  }
}

Status PassManager::check(const Pass& pass, Module& module, bool changed,
                          const std::string& hash_before) {
  if (options_.check_claims || (options_.verify && changed)) {
    if (Status status = verify(module); !status.ok()) {
      return Status::error(
          "K2603", "module does not verify after pass " + pass.name + ": " + status.to_string());
    }
  }
  if (!options_.check_claims) return {};
  const bool differs = fingerprint(module) != hash_before;
  if (differs == changed) return {};
  return Status::error("K2604", std::string("pass says that it ") +
                                    (changed ? "changed the module, but did not: "
                                             : "did not change the module, but did: ") +
                                    pass.name);
}

Status PassManager::failed(Status status, const Pass& pass, Module& before,
                           int64_t rewrites_before) {
  if (!options_.reproducers) return std::move(status).at("pass " + pass.name);
  std::string text = "// RUN: passes=" + pass.name;
  if (options_.limited_pass == pass.name && options_.limit >= 0) {
    // What earlier runs of the pass used up is gone.
    text += " limit=" + std::to_string(options_.limit - rewrites_before);
  }
  text += "\n// " + status.code() + " in pass " + pass.name + "\n" + print(before);
  const std::string path = file_name(pass.name + ".reproducer.ir");
  const Status written = write_file(path, text);
  std::string hint =
      written.ok() ? "reproduce with: kiln-opt " + path : "no reproducer: " + written.to_string();
  if (!status.hint().empty()) hint = status.hint() + "; " + hint;
  Status result = Status::error(status.code(), status.message(), hint);
  for (const std::string& place : status.origin()) result = std::move(result).at(place);
  return std::move(result).at("pass " + pass.name);
}

std::string PassManager::file_name(const std::string& name) const {
  const std::string folder = options_.dump_dir.empty() ? "." : options_.dump_dir;
  std::error_code ignored;  // writing the file reports what is wrong with the folder
  std::filesystem::create_directories(folder, ignored);
  return folder + "/" + (options_.label.empty() ? "" : options_.label + "-") + name;
}

Status PassManager::dump(const std::string& pass, Module& module) {
  std::string number = std::to_string(dumps_.size());
  number.insert(0, number.size() < 3 ? 3 - number.size() : 0, '0');
  const std::string path = file_name(number + "-" + pass + ".ir");
  KILN_RETURN_IF_ERROR(write_file(path, print(module)));
  dumps_.push_back(path);
  return {};
}

}  // namespace kiln
