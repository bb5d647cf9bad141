// kiln: compiles, runs, times and shows programs, and says what this machine has.
//
// Exit codes: 0 done, 1 an error of the program or machine, 2 wrong usage.
#include <cstdio>
#include <new>

#include <kiln/version.h>

#include "base/check.h"
#include "base/names.h"
#include "base/options.h"
#include "tools/kiln/command.h"
#include "tools/kiln/output.h"

namespace kiln::tool {
namespace {

std::vector<Command> commands() {
  return {compile_command(), run_command(),    bench_command(),
          inspect_command(), doctor_command(), cache_command()};
}

void print_overview(std::FILE* stream) {
  std::fputs("kiln: compiles models and runs the programs\n\n", stream);
  for (const Command& command : commands()) {
    std::fprintf(stream, "  kiln %-8s %s\n", command.name, command.summary);
  }
  std::fputs("\n  kiln help COMMAND   its options\n  kiln --version\n", stream);
}

void print_help(const Command& command, std::FILE* stream) {
  std::fprintf(stream, "kiln %s %s\n\n%s\n\n%s", command.name, command.usage, command.summary,
               command.help);
}

int usage_error(const Status& status) {
  print_error(status);
  return 2;
}

Status unknown_command(const std::string& name) {
  std::vector<std::string> names = {"help"};
  for (const Command& command : commands()) names.emplace_back(command.name);
  return Status::error("K1006", "unknown command: " + name, unknown_name_hint(name, names));
}

// Errors of the command line itself, as opposed to what it names.
bool is_usage(const Status& status) {
  return (status.code() >= "K1001" && status.code() <= "K1010") || status.code() == "K1040" ||
         status.code() == "K1041";
}

int run_main(std::vector<std::string> words) {
  if (words.empty()) {
    print_overview(stderr);
    return 2;
  }
  const std::string name = words.front();
  words.erase(words.begin());
  if (name == "--version") {
    std::puts("kiln " KILN_VERSION);
    return 0;
  }
  const std::vector<Command> all = commands();
  const auto find = [&all](const std::string& wanted) -> const Command* {
    for (const Command& command : all) {
      if (wanted == command.name) return &command;
    }
    return nullptr;
  };
  if (name == "help" || name == "--help" || name == "-h") {
    if (words.empty()) {
      print_overview(stdout);
      return 0;
    }
    const Command* command = find(words.front());
    if (command == nullptr) return usage_error(unknown_command(words.front()));
    print_help(*command, stdout);
    return 0;
  }
  if (Status status = check_environment(); !status.ok()) {
    print_error(status);
    return 1;
  }
  const Command* command = find(name);
  if (command == nullptr) return usage_error(unknown_command(name));
  std::vector<std::string> flags = command->flags;
  flags.emplace_back("help");
  auto arguments = parse_arguments(words, flags, command->valued);
  if (!arguments.ok()) return usage_error(arguments.status());
  if (arguments->has("help")) {
    print_help(*command, stdout);
    return 0;
  }
  auto code = command->run(*arguments);
  if (code.ok()) {
    if (std::fflush(stdout) == 0) return *code;
    print_error(Status::error("K3003", "cannot write: standard output"));
    return 1;
  }
  if (is_usage(code.status())) return usage_error(code.status());
  print_error(code.status());
  return 1;
}

}  // namespace
}  // namespace kiln::tool

int main(int argc, char** argv) {
  try {
    return kiln::tool::run_main(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const kiln::InternalError& error) {
    kiln::tool::print_error(
        kiln::Status::error("K9001", error.what(), "this is a bug in kiln; please report it"));
  } catch (const std::bad_alloc&) {
    kiln::tool::print_error(kiln::Status::error("K4501", "out of memory"));
  }
  return 1;
}
