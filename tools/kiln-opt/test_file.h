// Text tests of passes: `kiln-opt --test FILES...` (format: docs/ir.md).
//
//   // RUN: passes=cse,dce tolerance=0
//   // DATA: "bn.running_var" positive
//   // Why this case exists.
//   main(%x: f32[2]) { ... }
//   // ----
//   the module as printed, or `// UNCHANGED`, or `// ERROR: K2205`
//   // ====
//   the next case
//
// Words of the RUN line: passes=LIST or pipeline=NAME; limit=N (of rewrites, for a single pass);
// not-idempotent (a second run changes something again); order-dependent (another legal order of
// nodes gives another result); not-executable (the reference executor cannot run it);
// trivial-outputs (zeros are right); tolerance=T. A word that is not needed is an error too.
//
// What passes ask of a backend is answered by words as well: refuse=OP,OP (it has no kernel for
// these; OP:DTYPE: none whose result has the dtype), refuse-dtype=DTYPE,... (only casts have one
// whose result has one of these), precision=DTYPE,... (16-bit dtypes that the user allows),
// min-block-size=N (the user's wish), epilogue=N (kernels take N elementwise nodes behind them),
// channels=N (convolutions want channels in multiples of N), masks=added (attention wants masks
// that are added).
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "kiln-opt/execution.h"
#include "kiln-opt/test_backend.h"
#include "passes/pass_manager.h"

namespace kiln {

struct RunLine {
  std::string passes;  // pipeline text
  int64_t limit = -1;
  bool not_idempotent = false;
  bool order_dependent = false;
  bool not_executable = false;
  TestBackendOptions backend;
  ExecutionRules rules;
};

// Reads the RUN and DATA lines of a text; K9105 for what they do not know. `passes` is empty when
// there is no RUN line.
Result<RunLine> parse_run_line(std::string_view text);

// Options that give a run of `line` its limit.
PassOptions pass_options(const RunLine& line);

struct FileResult {
  int cases = 0;
  std::vector<std::string> failures;  // "FILE:LINE: text", possibly of several lines
  bool rewritten = false;
};

// Runs all cases of a file. With `bless` the expected parts are replaced by what came out and only
// the other checks can fail.
Result<FileResult> run_test_file(const std::string& path, bool bless);

}  // namespace kiln
