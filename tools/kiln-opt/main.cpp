// kiln-opt: reads IR text, runs passes, prints IR text; and runs the text tests of passes.
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/options.h"
#include "ir/module.h"
#include "kiln-opt/test_file.h"
#include "ops/ops_doc.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

constexpr const char* kUsage = R"(usage:
  kiln-opt FILE [--passes LIST | --pipeline NAME] [--dump] [--time]
      runs passes over the module in FILE ("-": standard input) and prints the result. Without
      --passes and --pipeline the file's `// RUN:` line counts, as in a reproducer; without that
      the module is checked and printed.
      LIST: names separated by commas, fix(a,b) repeats until nothing changes
      --dump  writes the IR after every pass (KILN_OPTIONS=dump_dir=DIR says where)
      --time  prints the time of every pass to standard error
  kiln-opt --test FILES...    runs text tests
  kiln-opt --bless FILES...   rewrites what they expect
  kiln-opt --list-passes
  kiln-opt --list-ops         docs/ops.md: every op with its formula, operands and fields
  kiln-opt --list-switches    the debug switches of KILN_OPTIONS, one a line
debug switches: KILN_OPTIONS="pass_limit=NAME:N,dump_ir=NAME,dump_dir=DIR"
)";

enum Exit { kSuccess = 0, kFailure = 1, kUsageError = 2 };

struct Arguments {
  std::vector<std::string> files;
  std::string passes;
  std::string pipeline;
  bool dump = false;
  bool time = false;
  bool test = false;
  bool bless = false;
  bool list = false;
  bool list_ops = false;
  bool list_switches = false;
  bool help = false;
  std::string error;
};

Arguments parse_arguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    auto value = [&]() -> std::string {
      if (i + 1 < argc) return argv[++i];
      arguments.error = word + " needs a value";
      return "";
    };
    if (word == "--passes")
      arguments.passes = value();
    else if (word == "--pipeline")
      arguments.pipeline = value();
    else if (word == "--dump")
      arguments.dump = true;
    else if (word == "--time")
      arguments.time = true;
    else if (word == "--test")
      arguments.test = true;
    else if (word == "--bless")
      arguments.bless = true;
    else if (word == "--list-passes")
      arguments.list = true;
    else if (word == "--list-ops")
      arguments.list_ops = true;
    else if (word == "--list-switches")
      arguments.list_switches = true;
    else if (word == "--help" || word == "-h")
      arguments.help = true;
    else if (word.size() > 1 && word[0] == '-')
      arguments.error = "unknown option " + word;
    else
      arguments.files.push_back(word);
  }
  const bool tests = arguments.test || arguments.bless;
  if (!arguments.error.empty() || arguments.help || arguments.list ||
      arguments.list_ops || arguments.list_switches) {
    return arguments;
  }
  if (arguments.files.empty())
    arguments.error = "no file";
  else if (!tests && arguments.files.size() > 1)
    arguments.error = "one file at a time";
  else if (!arguments.passes.empty() && !arguments.pipeline.empty())
    arguments.error = "--passes or --pipeline, not both";
  else if (tests && (!arguments.passes.empty() || !arguments.pipeline.empty() || arguments.dump ||
                     arguments.time || (arguments.test && arguments.bless)))
    arguments.error = "--test and --bless stand alone";
  return arguments;
}

void list_passes() {
  for (const Pass* pass : PassRegistry::global().all()) {
    std::cout << pass->name << ": " << pass->doc << "\n";
  }
  for (const NamedPipeline& pipeline : named_pipelines()) {
    std::cout << "pipeline " << pipeline.name << ": " << pipeline.doc << "\n  " << pipeline.passes
              << "\n";
  }
}

int run_tests(const Arguments& arguments) {
  int cases = 0;
  int failures = 0;
  for (const std::string& file : arguments.files) {
    Result<FileResult> result = run_test_file(file, arguments.bless);
    if (!result.ok()) {
      std::cerr << file << ": " << result.status().to_string() << "\n";
      ++failures;
      continue;
    }
    cases += result->cases;
    failures += static_cast<int>(result->failures.size());
    for (const std::string& failure : result->failures) std::cerr << failure << "\n";
    if (result->rewritten) std::cout << "rewrote " << file << "\n";
  }
  if (failures != 0) {
    std::cerr << failures << " failures in " << cases << " cases\n";
    return kFailure;
  }
  return kSuccess;
}

Result<std::string> read_input(const std::string& file) {
  if (file != "-") return read_file(file);
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

Status run_file(const Arguments& arguments) {
  KILN_ASSIGN_OR_RETURN(const std::string text, read_input(arguments.files[0]));
  KILN_ASSIGN_OR_RETURN(std::unique_ptr<Module> module, parse_module(text));
  KILN_RETURN_IF_ERROR(verify(*module));
  KILN_ASSIGN_OR_RETURN(PassOptions options, PassOptions::from_debug_options());
  options.verify = true;
  options.check_claims = true;
  if (arguments.dump) options.dump_after = "all";

  std::vector<PipelineItem> items;
  KILN_ASSIGN_OR_RETURN(const RunLine line, parse_run_line(text));
  if (!arguments.pipeline.empty()) {
    KILN_ASSIGN_OR_RETURN(items, find_pipeline(arguments.pipeline));
  } else if (!arguments.passes.empty()) {
    KILN_ASSIGN_OR_RETURN(items, parse_pipeline(arguments.passes));
  } else {
    KILN_ASSIGN_OR_RETURN(items, parse_pipeline(line.passes));
    if (line.limit >= 0) {
      options.limited_pass = line.passes;
      options.limit = line.limit;
    }
  }
  PassContext context;
  TestBackend backend(line.backend);
  backend.provide(context);
  PassManager manager(options, &context);
  const Result<bool> changed = manager.run(items, *module);
  for (const std::string& path : manager.dumps()) std::cerr << "wrote " << path << "\n";
  for (const std::string& note : context.notes()) std::cerr << note << "\n";
  if (arguments.time) {
    for (const PassTiming& timing : manager.timings()) {
      std::fprintf(stderr, "%9.3f ms  %d runs, %d changed  %s\n", timing.seconds * 1e3, timing.runs,
                   timing.changes, timing.pass.c_str());
    }
  }
  KILN_RETURN_IF_ERROR(changed.status());
  std::cout << print(*module);
  return {};
}

int run(int argc, char** argv) {
  const Arguments arguments = parse_arguments(argc, argv);
  if (!arguments.error.empty()) {
    std::cerr << "kiln-opt: " << arguments.error << "\n" << kUsage;
    return kUsageError;
  }
  if (arguments.help) {
    std::cout << kUsage;
    return kSuccess;
  }
  Status status = check_environment();
  if (status.ok()) {
    if (arguments.list) {
      list_passes();
      return kSuccess;
    }
    if (arguments.list_ops) {
      std::cout << ops_markdown();
      return kSuccess;
    }
    if (arguments.list_switches) {
      std::cout << describe_debug_options();
      return kSuccess;
    }
    if (arguments.test || arguments.bless) return run_tests(arguments);
    status = run_file(arguments);
  }
  if (status.ok()) return kSuccess;
  std::cerr << "kiln-opt: " << status.to_string() << "\n";
  return kFailure;
}

}  // namespace
}  // namespace kiln

int main(int argc, char** argv) {
  try {
    return kiln::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "kiln-opt: " << error.what() << "\n";
    return kiln::kFailure;
  }
}
