// Debug switches, for whoever works on Kiln: KILN_OPTIONS="name=value,name=value". Users' options
// (precision, strict, ...) are not here; they are arguments of kiln.compile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kiln {

// One row per switch: ROW(type, name, default, what it does). Types: bool (0 or 1), int64_t,
// std::string. A value cannot contain a comma.
#define KILN_DEBUG_OPTIONS(ROW)                                                                    \
  ROW(std::string, pass_limit, "",                                                                 \
      "NAME:N: pass NAME stops after N rewrites; bisects miscompiles")                             \
  ROW(std::string, dump_ir, "", "pass after which the IR is written to dump_dir, or all")          \
  ROW(std::string, dump_dir, "kiln-dump", "folder for dumps and for reproducers of failed passes") \
  ROW(bool, verify, true, "verify the IR after every pass that changed it")                        \
  ROW(bool, check_claims, false,                                                                   \
      "compare what a pass says (changed or not) with a hash of the IR")                           \
  ROW(std::string, disable_providers, "", "kernel providers to leave out, separated by +")         \
  ROW(std::string, cpu_target, "", "run as if the CPU had only this: sse4, avx2, avx512")          \
  ROW(std::string, onednn_library, "", "path of libdnnl.so, instead of searching for it")          \
  ROW(std::string, nvrtc_library, "", "path of libnvrtc.so, instead of searching for it")          \
  ROW(std::string, dump_kernels, "", "folder to which the sources of GPU kernels are written")     \
  ROW(std::string, cublaslt_library, "", "path of libcublasLt.so, instead of searching for it")    \
  ROW(std::string, cudnn_library, "", "path of libcudnn.so.9, instead of searching for it")        \
  ROW(std::string, gemm_tilings, "",                                                               \
      "ROWSxCOLUMNSxDEPTH/STAGES/SPLIT, by warpgroups wROWSxCOLUMNS (s behind it: one tile after " \
      "the other), of the kernels that a GPU product of f16 or bf16 gets, separated by +; all of " \
      "them: all, or warpgroups; never any: none; empty: chosen by size")                          \
  ROW(std::string, attention_tilings, "",                                                          \
      "QUERIESxKEYS of the kernels that GPU attention of f16 or bf16 gets, behind w those by "     \
      "warpgroups, separated by +; all of them: all; never any: none; empty: chosen by size")      \
  ROW(bool, cache, true, "keep compiled programs on disk and use those that are there")          \
  ROW(bool, poison_arena, false, "fill arena memory with NaN before every run; finds stale reads")

struct DebugOptions {
#define KILN_DEBUG_OPTION_FIELD(type, name, value, text) type name = value;
  KILN_DEBUG_OPTIONS(KILN_DEBUG_OPTION_FIELD)
#undef KILN_DEBUG_OPTION_FIELD
};

// Reads "name=value,name=value". K1001 for an unknown name, with the nearest ones as hint; K1002
// for a value that does not fit the switch's type.
Result<DebugOptions> parse_debug_options(std::string_view text);

// The switches in force: from KILN_OPTIONS, read when first asked for.
const DebugOptions& debug_options();
// Their names and values as one text, for keys of what depends on them.
std::string debug_options_text();
// Replaces them; for tools with flags of their own and for tests, before other threads run.
void set_debug_options(DebugOptions options);

// What is wrong with KILN_OPTIONS or KILN_LOGS (K1001..K1003), if anything. Also applies KILN_LOGS.
// The borders (Python, C ABI, CLI) call it first, so that a misspelt switch is an error and not
// without effect.
Status check_environment();

// One line per switch, "name (default): what it does"; for `kiln doctor` and the documentation.
std::string describe_debug_options();

}  // namespace kiln
