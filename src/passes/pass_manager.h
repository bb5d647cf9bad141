// Passes, pipelines and the manager that runs them.
//
// A pass is one file of src/passes (or src/fusion): `KILN_PASS(cse, "what it does") { ... }`. It
// gets the module, changes what it likes and returns whether it changed anything. The manager
// checks the module and that claim after every pass, times it, dumps the IR on request, and when a
// pass fails it writes a reproducer: the IR before the pass with a `// RUN:` line, which
// `kiln-opt FILE` runs again.
//
// Errors: K2601 unknown pass or pipeline, K2602 pipeline text does not parse, K2603 a pass left a
// module that does not verify, K2604 a pass's claim is false, K2605 a pass threw; and what passes
// return themselves.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <vector>

#include "base/status.h"
#include "ir/module.h"

namespace kiln {

class PassContext;

struct Pass {
  std::string name;
  std::string doc;  // one line
  Result<bool> (*run)(Module& module, PassContext& context) = nullptr;
};

// All passes by name.
class PassRegistry {
 public:
  static PassRegistry& global();
  void add(Pass pass);                            // a second one of the same name is a bug
  const Pass* find(std::string_view name) const;  // null when unknown
  std::vector<const Pass*> all() const;           // sorted by name

 private:
  std::map<std::string, Pass, std::less<>> passes_;
};

// What a pass may ask of its surroundings.
class PassContext {
 public:
  // To be asked once before every rewrite: false when pass_limit stops this pass here. Each true
  // answer counts as one rewrite.
  bool should_rewrite();
  int64_t rewrites() const { return rewrites_; }  // of the running pass, over all its runs

  // Things that only some passes need (the backend that legalisation asks, the user's wishes), by
  // type and without ownership, so that this layer need not know them.
  template <typename T>
  void provide(T* service) {
    services_[std::type_index(typeid(T))] = service;
  }
  template <typename T>
  T* service() {  // null when nobody provided one
    const auto found = services_.find(std::type_index(typeid(T)));
    return found == services_.end() ? nullptr : static_cast<T*>(found->second);
  }

  // A line for the report (an option that could not be honoured, a cap that was reached).
  void note(std::string text) { notes_.push_back(std::move(text)); }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  friend class PassManager;
  std::map<std::type_index, void*> services_;
  std::map<std::string, int64_t, std::less<>> rewrites_by_pass_;
  std::string limited_pass_;
  int64_t limit_ = -1;
  std::string pass_;
  int64_t rewrites_ = 0;
  std::vector<std::string> notes_;
};

// "canonicalize, fix(cse, dce), verify_only": passes in order; fix(...) repeats its items until
// none changes anything, at most kFixpointCap times.
struct PipelineItem {
  std::string pass;  // empty for a group
  std::vector<PipelineItem> group;
};
Result<std::vector<PipelineItem>> parse_pipeline(std::string_view text);
std::string pipeline_text(const std::vector<PipelineItem>& items);

// The ordered lists of pipelines.cpp.
struct NamedPipeline {
  std::string name;
  std::string doc;
  std::string passes;  // text for parse_pipeline()
};
const std::vector<NamedPipeline>& named_pipelines();
// K2601 when unknown.
Result<std::vector<PipelineItem>> find_pipeline(std::string_view name);

struct PassOptions {
  bool verify = true;         // after every pass that says it changed something
  bool check_claims = false;  // compare `changed` with the fingerprint
  std::string dump_after;     // pass name or "all"; empty: none
  std::string dump_dir;       // for dumps and reproducers
  std::string limited_pass;   // pass_limit=NAME:N
  int64_t limit = -1;
  bool reproducers = true;  // write one when a pass fails
  std::string label;        // goes into file names: the pipeline's or model's name

  // From base/options.h; K1002 when pass_limit is not NAME:N or names no pass.
  static Result<PassOptions> from_debug_options();
};

struct PassTiming {
  std::string pass;
  int runs = 0;
  int changes = 0;  // runs that changed something
  double seconds = 0;
};

class PassManager {
 public:
  static constexpr int kFixpointCap = 32;

  explicit PassManager(PassOptions options, PassContext* context);

  // True when any pass changed the module. On failure the module is as the failing pass left it.
  Result<bool> run(const std::vector<PipelineItem>& items, Module& module);
  Result<bool> run(std::string_view pipeline_text, Module& module);

  // One row per pass, in order of first run.
  const std::vector<PassTiming>& timings() const { return timings_; }
  // Paths of the dumps written so far, in order.
  const std::vector<std::string>& dumps() const { return dumps_; }

 private:
  Result<bool> run_items(const std::vector<PipelineItem>& items, Module& module);
  Result<bool> run_group(const PipelineItem& group, Module& module);
  Result<bool> run_pass(const Pass& pass, Module& module);
  Result<bool> run_unchecked(const Pass& pass, Module& module);
  Status check(const Pass& pass, Module& module, bool changed, const std::string& hash_before);
  Status failed(Status status, const Pass& pass, Module& before, int64_t rewrites_before);
  std::string file_name(const std::string& name) const;  // in dump_dir, which is made
  Status dump(const std::string& pass, Module& module);

  PassOptions options_;
  PassContext* context_;
  std::vector<PassTiming> timings_;
  std::vector<std::string> dumps_;
};

}  // namespace kiln

// Defines and registers a pass: KILN_PASS(dce, "drops nodes nobody uses") { ...; return changed; }
// The body sees `module` and `context`.
#define KILN_PASS(pass, text)                                                          \
  static ::kiln::Result<bool> kiln_run_##pass(::kiln::Module& module,                  \
                                              ::kiln::PassContext& context);           \
  [[maybe_unused]] static const bool kiln_registered_pass_##pass = [] {                \
    ::kiln::PassRegistry::global().add(::kiln::Pass{#pass, text, kiln_run_##pass});    \
    return true;                                                                       \
  }();                                                                                 \
  static ::kiln::Result<bool> kiln_run_##pass([[maybe_unused]] ::kiln::Module& module, \
                                              [[maybe_unused]] ::kiln::PassContext& context)
