// What a command of the kiln tool is, and the list of them.
#pragma once

#include <string>
#include <vector>

#include "tools/kiln/arguments.h"

namespace kiln::tool {

struct Command {
  const char* name;
  const char* usage;    // what follows "kiln NAME", on one line
  const char* summary;  // one line for the list of commands
  const char* help;     // the options, one per line
  std::vector<std::string> flags, valued;
  // The exit code, or the error that main prints. K1001 to K1009, K1040 and K1041 are wrong usage
  // (exit code 2).
  Result<int> (*run)(const Arguments& arguments);
};

Command compile_command();
Command run_command();
Command bench_command();
Command inspect_command();
Command doctor_command();
Command cache_command();

}  // namespace kiln::tool
