#include "kiln-opt/test_file.h"

#include <algorithm>

#include "base/file.h"
#include "core/text.h"
#include "kiln-opt/node_order.h"

namespace kiln {
namespace {

constexpr std::string_view kCaseMark = "// ====";
constexpr std::string_view kExpectedMark = "// ----";
constexpr std::string_view kUnchanged = "// UNCHANGED";
constexpr std::string_view kError = "// ERROR: ";
constexpr int kShuffles = 4;

Status bad_line(std::string_view what, std::string_view line) {
  return Status::error("K9105", std::string(what) + ": " + std::string(line));
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \n\t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \n\t\r") - begin + 1);
}

std::vector<std::string> comma_separated(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

Status parse_word(const std::string& word, RunLine* line) {
  const size_t equals = word.find('=');
  const std::string key = word.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
  TextCursor cursor(value);
  if (key == "passes" && !value.empty()) {
    line->passes = value;
    return {};
  }
  if (key == "pipeline") {
    KILN_ASSIGN_OR_RETURN(const std::vector<PipelineItem> items, find_pipeline(value));
    line->passes = pipeline_text(items);
    return {};
  }
  if (key == "limit" && cursor.integer(&line->limit) && cursor.at_end() && line->limit >= 0) {
    return {};
  }
  if (key == "tolerance" && cursor.number(&line->rules.tolerance) && cursor.at_end() &&
      line->rules.tolerance >= 0) {
    return {};
  }
  if (key == "min-block-size" && cursor.integer(&line->backend.min_block_size) && cursor.at_end() &&
      line->backend.min_block_size >= 1) {
    return {};
  }
  if (key == "channels" && cursor.integer(&line->backend.channels) && cursor.at_end() &&
      line->backend.channels >= 1) {
    return {};
  }
  if (key == "masks" && value == "added") {
    line->backend.adds_masks = true;
    return {};
  }
  if (key == "epilogue" && cursor.integer(&line->backend.epilogue) && cursor.at_end() &&
      line->backend.epilogue >= 0) {
    return {};
  }
  if (key == "refuse" && !value.empty()) {
    line->backend.refused = comma_separated(value);
    return {};
  }
  if ((key == "refuse-dtype" || key == "precision") && !value.empty()) {
    std::vector<DType>& dtypes =
        key == "precision" ? line->backend.precisions : line->backend.refused_dtypes;
    for (const std::string& name : comma_separated(value)) {
      const std::optional<DType> dtype = dtype_from_name(name);
      if (!dtype) return bad_line("unknown dtype", name);
      dtypes.push_back(*dtype);
    }
    return {};
  }
  if (word == "not-idempotent")
    line->not_idempotent = true;
  else if (word == "order-dependent")
    line->order_dependent = true;
  else if (word == "not-executable")
    line->not_executable = true;
  else if (word == "trivial-outputs")
    line->rules.trivial_outputs = true;
  else
    return bad_line("unknown word of a RUN line", word);
  return {};
}

// `"name" positive` or `name indices=10`
Status parse_data(std::string_view text, RunLine* line) {
  TextCursor cursor(text);
  std::string name;
  std::string kind;
  DataRule rule;
  if (!cursor.quoted(&name) && !cursor.identifier(&name)) return bad_line("bad DATA line", text);
  if (!cursor.identifier(&kind)) return bad_line("bad DATA line", text);
  if (kind == "positive")
    rule.kind = DataKind::kPositive;
  else if (kind == "unit")
    rule.kind = DataKind::kUnit;
  else if (kind == "small")
    rule.kind = DataKind::kSmallIntegers;
  else if (kind == "indices")
    rule.kind = DataKind::kIndices;
  else
    return bad_line("unknown kind of data", text);
  if (rule.kind == DataKind::kIndices &&
      (!cursor.accept("=") || !cursor.integer(&rule.limit) || rule.limit < 1)) {
    return bad_line("indices need a limit", text);
  }
  if (!cursor.at_end()) return bad_line("bad DATA line", text);
  line->rules.data[name] = rule;
  return {};
}

struct TestCase {
  size_t line = 1;         // of its first line in the file
  std::string head;        // as written, up to and including the mark
  std::string_view input;  // part of the text before the mark
  std::string_view expected;
  bool has_mark = false;
};

std::vector<TestCase> split_cases(std::string_view text) {
  std::vector<TestCase> cases;
  size_t begin = 0;
  size_t line = 1;
  auto add = [&](size_t end, size_t next_line) {
    const std::string_view part = text.substr(begin, end - begin);
    TestCase test;
    test.line = line;
    size_t mark = std::string_view::npos;
    for (size_t at = 0; at < part.size();) {
      const size_t stop = std::min(part.find('\n', at), part.size());
      if (trim(part.substr(at, stop - at)) == kExpectedMark && mark == std::string_view::npos) {
        mark = at;
        test.head = std::string(part.substr(0, stop)) + "\n";
        test.expected = stop < part.size() ? trim(part.substr(stop)) : std::string_view();
      }
      at = stop + 1;
    }
    test.has_mark = mark != std::string_view::npos;
    if (!test.has_mark)
      test.head = std::string(trim(part)) + "\n" + std::string(kExpectedMark) + "\n";
    test.input = test.has_mark ? part.substr(0, mark) : part;
    if (test.has_mark || !trim(part).empty()) cases.push_back(std::move(test));
    line = next_line;
  };
  size_t at = 0;
  size_t number = 1;
  while (at < text.size()) {
    const size_t stop = std::min(text.find('\n', at), text.size());
    if (trim(text.substr(at, stop - at)) == kCaseMark) {
      add(at, number + 1);
      begin = std::min(stop + 1, text.size());
    }
    at = stop + 1;
    ++number;
  }
  add(text.size(), number);
  return cases;
}

std::string show_difference(std::string_view expected, std::string_view actual) {
  const auto a = split_lines(expected);
  const auto b = split_lines(actual);
  size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  auto line = [](const std::vector<std::string_view>& lines, size_t k) {
    return k < lines.size() ? std::string(lines[k]) : std::string("<end>");
  };
  return "first difference in line " + std::to_string(i + 1) + "\n  expected: " + line(a, i) +
         "\n  actual:   " + line(b, i) + "\n--- actual, whole ---\n" + std::string(actual);
}

Result<bool> run_passes(const RunLine& line, Module& module) {
  PassContext context;
  TestBackend backend(line.backend);
  backend.provide(context);
  PassManager manager(pass_options(line), &context);
  return manager.run(line.passes, module);
}

class CaseRunner {
 public:
  CaseRunner(const TestCase& test, bool bless) : test_(test), bless_(bless) {}

  // What the expected part should be; empty when the case cannot run.
  std::string run() {
    if (!test_.has_mark && !bless_) fail("no '// ----' line");
    Result<RunLine> line = parse_run_line(test_.input);
    if (!line.ok()) return fail(line.status().to_string());
    line_ = *line;
    if (line_.passes.empty()) return fail("no '// RUN: passes=...' line");
    Result<std::unique_ptr<Module>> input = parse_module(test_.input);
    if (!input.ok()) return fail(input.status().to_string());
    input_ = std::move(input).value();
    if (Status status = verify(*input_); !status.ok()) {
      return fail("input does not verify: " + status.to_string());
    }
    check_round_trip(*input_);
    result_ = input_->clone();
    const Result<bool> changed = run_passes(line_, *result_);
    if (!changed.ok()) return check_error(changed.status());
    check_round_trip(*result_);
    check_execution();
    check_second_run();
    check_orders();
    return check_text();
  }

  const std::vector<std::string>& failures() const { return failures_; }

 private:
  std::string fail(std::string text) {
    failures_.push_back(std::move(text));
    return "";
  }

  void check_round_trip(Module& module) {
    const std::string text = print(module);
    Result<std::unique_ptr<Module>> again = parse_module(text);
    if (!again.ok())
      fail("printed text does not parse: " + again.status().to_string());
    else if (print(**again) != text)
      fail("text form does not round-trip");
  }

  std::string check_error(const Status& status) {
    const std::string actual = std::string(kError) + status.code();
    if (bless_ && test_.expected.starts_with(kError)) return actual;
    if (bless_ || test_.expected != actual) fail("passes failed: " + status.to_string());
    return actual;
  }

  std::string check_text() {
    std::string actual = print(*result_);
    const bool unchanged = actual == print(*input_);
    if (unchanged && (bless_ || test_.expected == kUnchanged)) return std::string(kUnchanged);
    if (!bless_ && trim(actual) != test_.expected) fail(show_difference(test_.expected, actual));
    return std::string(trim(actual));
  }

  void check_execution() {
    const Status status = compare_by_execution(*input_, *result_, line_.rules);
    if (line_.not_executable) {
      // Either side may hold calls that only PyTorch can run; legalize makes them.
      const bool pytorch =
          status.code() == "K9104" && status.to_string().find("K2206") != std::string::npos;
      if (status.code() != "K9103" && !pytorch) fail("executes, but RUN says not-executable");
    } else if (!status.ok()) {
      fail(status.to_string());
    }
  }

  void check_second_run() {
    // The limit stops the first run half-way; the second would go on.
    if (line_.limit >= 0) return;
    std::unique_ptr<Module> again = result_->clone();
    const Result<bool> changed = run_passes(line_, *again);
    if (!changed.ok())
      fail("second run failed: " + changed.status().to_string());
    else if (*changed && !line_.not_idempotent)
      fail("second run changed again:\n" + print(*again));
    else if (!*changed && line_.not_idempotent)
      fail("idempotent, but RUN says not-idempotent");
  }

  void check_orders() {
    if (line_.limit >= 0) return;
    const std::string expected = print(*canonical_copy(*result_));
    for (int seed = 0; seed < kShuffles; ++seed) {
      std::unique_ptr<Module> shuffled = input_->clone();
      shuffle_nodes(*shuffled, static_cast<uint64_t>(seed));
      const Result<bool> changed = run_passes(line_, *shuffled);
      if (!changed.ok()) {
        fail("failed on another order of nodes: " + changed.status().to_string());
        return;
      }
      const std::string actual = print(*canonical_copy(*shuffled));
      if (actual == expected) continue;
      if (!line_.order_dependent) {
        fail("another order of nodes gives another result, " + show_difference(expected, actual));
      }
      return;
    }
    if (line_.order_dependent) fail("no order of nodes gave another result, but RUN says so");
  }

  const TestCase& test_;
  bool bless_;
  RunLine line_;
  std::unique_ptr<Module> input_;
  std::unique_ptr<Module> result_;
  std::vector<std::string> failures_;
};

}  // namespace

Result<RunLine> parse_run_line(std::string_view text) {
  RunLine line;
  bool seen = false;
  for (std::string_view row : split_lines(text)) {
    row = trim(row);
    if (row.starts_with("// DATA:")) {
      KILN_RETURN_IF_ERROR(parse_data(row.substr(8), &line));
      continue;
    }
    if (!row.starts_with("// RUN:")) continue;
    if (seen) return bad_line("two RUN lines", row);
    seen = true;
    std::string_view words = trim(row.substr(7));
    while (!words.empty()) {
      const size_t end = std::min(words.find(' '), words.size());
      KILN_RETURN_IF_ERROR(parse_word(std::string(words.substr(0, end)), &line));
      words = trim(words.substr(end));
    }
  }
  if (!line.passes.empty()) {
    KILN_ASSIGN_OR_RETURN(const std::vector<PipelineItem> items, parse_pipeline(line.passes));
    if (line.limit >= 0 && (items.size() != 1 || items[0].pass.empty())) {
      return bad_line("limit needs a single pass", line.passes);
    }
  }
  return line;
}

PassOptions pass_options(const RunLine& line) {
  PassOptions options;
  options.check_claims = true;
  options.reproducers = false;  // the case is one
  if (line.limit >= 0) {
    options.limited_pass = line.passes;
    options.limit = line.limit;
  }
  return options;
}

Result<FileResult> run_test_file(const std::string& path, bool bless) {
  KILN_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  FileResult result;
  std::string blessed;
  for (const TestCase& test : split_cases(text)) {
    ++result.cases;
    CaseRunner runner(test, bless);
    const std::string expected = runner.run();
    for (const std::string& failure : runner.failures()) {
      result.failures.push_back(path + ":" + std::to_string(test.line) + ": " + failure);
    }
    if (!blessed.empty()) blessed += "\n" + std::string(kCaseMark) + "\n";
    // A case that cannot run keeps what it had.
    blessed += test.head + (expected.empty() ? std::string(test.expected) : expected);
  }
  if (result.cases == 0) result.failures.push_back(path + ": no cases");
  blessed += "\n";
  if (bless && blessed != text && result.cases != 0) {
    KILN_RETURN_IF_ERROR(write_file(path, blessed));
    result.rewritten = true;
  }
  return result;
}

}  // namespace kiln
