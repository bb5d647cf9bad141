// Torch-TensorRT's interface to its log, over Kiln's. Links libkiln_torch_compile.
//
// What Kiln logs are lines on standard error; docs/debugging.md says what they are and how
// KILN_LOGS chooses among them, which counts until a level is set here. Errors are thrown and never
// only logged. All functions may be called from several threads.
#pragma once

#include <string>

namespace torch_tensorrt::logging {

enum Level {
  kINTERNAL_ERROR,
  kERROR,  // the default
  kWARNING,
  kINFO,  // also what each compile() made
  kDEBUG,
  kGRAPH,  // also the graph of what each compile() made
};

// What stands before each line: nothing at first.
std::string get_logging_prefix();
void set_logging_prefix(std::string prefix);

// Lines of this level and those above it in the list are written.
Level get_reportable_log_level();
void set_reportable_log_level(Level level);

// Whether the level in a line of log() is coloured, for terminals.
bool get_is_colored_output_on();
void set_is_colored_output_on(bool colored_output_on);

// Writes "PREFIXLEVEL: message" where lines of this level are written.
void log(Level level, std::string message);

}  // namespace torch_tensorrt::logging
