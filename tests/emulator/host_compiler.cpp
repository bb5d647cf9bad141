#include "emulator/host_compiler.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "emulator/emulator.h"
#include "emulator/mutate.h"

extern char** environ;

namespace kiln::emulator {
namespace {

using cuda::CompiledKernel;
using cuda::KernelSource;

// Few enough that two processors have work, many enough that starting the compiler costs little.
constexpr size_t kKernelsPerUnit = 32;

std::string source_folder() { return std::string(KILN_TEST_SOURCE_DIR) + "/../src/backends/cuda"; }

std::vector<std::string> compiler_command() {
  return {KILN_TEST_CXX, "-std=c++17", "-O1", "-fPIC", "-w", "-fvisibility=hidden",
          "-ffp-contract=off", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics",
          "-fno-asynchronous-unwind-tables",
          // Registers that nobody has set hold what no kernel would compute with by chance.
          "-ftrivial-auto-var-init=pattern",
          // emulated/device/local_arrays.h
          "-fsanitize=bounds,object-size", "-fno-sanitize-recover=bounds,object-size",
          "-I" + source_folder() + "/emulated",
          "-I" + source_folder()};
}

// For emulator/plain: ways to optimise, of which each may show that two sources mean the same, and
// none concludes anything from undefined behaviour. Blocks of code stay in the source's order.
std::vector<std::vector<std::string>> plain_commands() {
  std::vector<std::vector<std::string>> commands;
  for (const char* level : {"-O2", "-O3"}) {
    commands.push_back(
        {KILN_TEST_CXX, "-std=c++17", level, "-fPIC", "-w", "-ffp-contract=off", "-fno-exceptions",
         "-fno-rtti", "-fno-threadsafe-statics", "-fno-asynchronous-unwind-tables", "-fwrapv",
         "-fno-strict-aliasing", "-fno-aggressive-loop-optimizations", "-fpeel-loops",
         "--param=max-completely-peeled-insns=2000", "-fno-guess-branch-probability",
         "-fno-reorder-blocks", "-fno-crossjumping", "-fno-tree-vectorize",
         "-ftrivial-auto-var-init=pattern",
         "-I" + std::string(KILN_TEST_SOURCE_DIR) + "/emulator/plain",
         "-I" + source_folder() + "/emulated", "-I" + source_folder()});
  }
  return commands;
}

// Assembly with its labels numbered as they occur.
std::string with_labels_in_order(const std::string& assembly) {
  static const std::regex label(R"(\.L\w+)");
  std::map<std::string, size_t> numbers;
  std::string result;
  auto from = assembly.cbegin();
  for (std::sregex_iterator at(assembly.begin(), assembly.end(), label), end; at != end; ++at) {
    result.append(from, (*at)[0].first);
    result += ".L" + std::to_string(numbers.emplace(at->str(), numbers.size()).first->second);
    from = (*at)[0].second;
  }
  return result.append(from, assembly.cend());
}

// Adds what makes a library of `input`. The sanitizer's handler is the unit's own and its library
// must not come along; the others are those that the compiler would link by itself.
void add_link(std::vector<std::string>& words, const std::string& input,
              const std::string& library) {
  for (const std::string& word : {std::string("-shared"), std::string("-nodefaultlibs"),
                                  std::string("-Wl,-Bsymbolic-functions"), "-o" + library, input,
                                  std::string("-lm"), std::string("-lc"), std::string("-lgcc")}) {
    words.push_back(word);
  }
}

// Of the compiler's command and all device headers.
const std::string& toolchain_key() {
  static const std::string key = [] {
    Hasher128 hasher;
    for (const std::string& word : compiler_command()) hasher.add_text(word);
    hasher.add_text(__VERSION__);
    std::set<std::string> headers;
    for (const char* folder : {"/device", "/emulated/device"}) {
      for (const auto& entry : std::filesystem::directory_iterator(source_folder() + folder)) {
        headers.insert(entry.path().string());
      }
    }
    for (const std::string& header : headers) {
      Result<std::string> text = read_file(header);
      hasher.add_text(header.substr(source_folder().size()));
      hasher.add_text(text.ok() ? *text : "");
    }
    return hasher.finish().hex();
  }();
  return key;
}

// The source without its #include lines, which go to `includes` as far as they are new: all sources
// of a unit share them, and each source has a namespace of its own.
std::string without_includes(const std::string& text, std::vector<std::string>& includes) {
  std::istringstream lines(text);
  std::string line, result;
  while (std::getline(lines, line)) {
    if (line.starts_with("#include") || line.starts_with("#pragma once")) {
      if (std::find(includes.begin(), includes.end(), line) == includes.end()) {
        includes.push_back(line);
      }
      line.clear();
    }
    result += line + "\n";
  }
  return result;
}

std::string unit_text(const std::vector<const KernelSource*>& sources) {
  std::vector<std::string> includes{"#include \"device/platform.h\"",
                                    "#include \"device/local_arrays.h\""};
  std::string kernels, table;
  for (size_t i = 0; i < sources.size(); ++i) {
    const KernelSource& source = *sources[i];
    const std::string space = "kernel_" + std::to_string(i);
    kernels += "namespace " + space + " {\n#line 1 \"" + source.entry + ".cu\"\n" +
               without_includes(source.text, includes) +
               "constexpr kiln_emulated::Kernel description =\n    kiln_emulated::Thunk<" +
               source.entry + ">::describe(\"" + source.entry +
               "\", kiln_max_threads, kiln_cluster_blocks);\n}\n";
    table += "  &" + space + "::description,\n";
  }
  std::string text;
  for (const std::string& include : includes) text += include + "\n";
  return text + kernels +
         "#define EXPORTED extern \"C\" __attribute__((visibility(\"default\")))\n"
         "EXPORTED void kiln_emulated_attach(kiln_emulated::Machine* m) {\n"
         "  kiln_emulated::machine = m;\n}\n"
         "EXPORTED const kiln_emulated::Kernel* const kiln_emulated_kernels[];\n"
         "const kiln_emulated::Kernel* const kiln_emulated_kernels[] = {\n" +
         table + "};\n";
}

// By rename, because processes share the folder; what a power failure takes is compiled again.
Status replace_file(const std::string& path, std::string_view text) {
  KILN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  KILN_RETURN_IF_ERROR(file.write(text));
  return file.commit(false);
}

struct Unit {
  std::vector<const KernelSource*> sources{};
  std::vector<std::string> keys{};
  std::string stem{};  // path without its suffix
  bool failed = false;
};

struct Command {
  std::vector<std::string> words;
  std::string log;  // file for what it says
  pid_t process = 0;
  bool failed = false;
};

Status start(Command& command) {
  std::vector<char*> arguments;
  for (std::string& word : command.words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, command.log.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int error =
      posix_spawnp(&command.process, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return {};
  return Status::error("K5306", "cannot start the host compiler: " + command.words[0]);
}

void finish(Command& command) {
  int state = 0;
  waitpid(command.process, &state, 0);
  command.failed = !WIFEXITED(state) || WEXITSTATUS(state) != 0;
}

// As many at a time as there are processors.
Status run_all(std::vector<Command>& commands) {
  const size_t processors = std::max(1u, std::thread::hardware_concurrency());
  for (size_t i = 0; i < commands.size() + processors; ++i) {
    if (i >= processors && i - processors < commands.size()) finish(commands[i - processors]);
    if (i < commands.size()) KILN_RETURN_IF_ERROR(start(commands[i]));
  }
  return {};
}

std::string log_of(const Unit& unit) {
  Result<std::string> log = read_file(unit.stem + ".log");
  return log.ok() ? log->substr(0, 8000) : log.status().to_string();
}

}  // namespace

HostCompiler::HostCompiler() {
  const char* folder = std::getenv("KILN_EMULATOR_CACHE");
  folder_ = folder != nullptr && *folder != 0 ? folder : KILN_TEST_BINARY_DIR "/emulator_cache";
}

// Units of kKernelsPerUnit, as many at a time as there are processors. Where one does not compile,
// its sources are tried one by one.
Status HostCompiler::build(const std::vector<const KernelSource*>& sources,
                           const std::vector<std::string>& keys, const std::string& folder) {
  std::vector<Unit> units;
  const size_t processors = std::max(1u, std::thread::hardware_concurrency());
  const size_t per_unit =
      std::clamp<size_t>((sources.size() + processors - 1) / processors, 1, kKernelsPerUnit);
  for (size_t i = 0; i < sources.size(); ++i) {
    if (units.empty() || units.back().sources.size() == per_unit) units.emplace_back();
    units.back().sources.push_back(sources[i]);
    units.back().keys.push_back(keys[i]);
  }
  const auto compile_units = [&](std::vector<Unit>& list) -> Status {
    std::vector<Command> commands;
    for (Unit& unit : list) {
      Hasher128 hasher;
      for (const std::string& key : unit.keys) hasher.add_text(key);
      // Under names of this process, until they are done.
      unit.stem = folder + "/unit_" + hasher.finish().hex() + "_" + std::to_string(getpid());
      KILN_RETURN_IF_ERROR(replace_file(unit.stem + ".cpp", unit_text(unit.sources)));
      commands.push_back({compiler_command(), unit.stem + ".log"});
      add_link(commands.back().words, unit.stem + ".cpp", unit.stem + ".part");
    }
    KILN_RETURN_IF_ERROR(run_all(commands));
    for (size_t i = 0; i < list.size(); ++i) list[i].failed = commands[i].failed;
    return {};
  };
  KILN_RETURN_IF_ERROR(compile_units(units));
  std::vector<Unit> single;
  for (const Unit& unit : units) {
    if (!unit.failed || unit.sources.size() == 1) continue;
    for (size_t i = 0; i < unit.sources.size(); ++i) {
      single.push_back({{unit.sources[i]}, {unit.keys[i]}});
    }
  }
  KILN_RETURN_IF_ERROR(compile_units(single));
  std::erase_if(units, [](const Unit& unit) { return unit.failed && unit.sources.size() > 1; });
  std::move(single.begin(), single.end(), std::back_inserter(units));
  for (const Unit& unit : units) {
    if (unit.failed) {
      logs_[unit.keys[0]] = log_of(unit);
      continue;
    }
    const std::string library = unit.stem + ".so";
    std::filesystem::rename(unit.stem + ".part", library);
    std::filesystem::remove(unit.stem + ".log");
    for (size_t i = 0; i < unit.keys.size(); ++i) {
      std::string& image = images_[unit.keys[i]];
      image = module_image(library, static_cast<int>(i));
      KILN_RETURN_IF_ERROR(replace_file(folder + "/" + unit.keys[i], image));
    }
  }
  return {};
}

Result<std::vector<CompiledKernel>> HostCompiler::compile(
    const std::vector<KernelSource>& sources) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string folder = folder_ + "/" + toolchain_key();
  std::filesystem::create_directories(folder);
  counts_.kernels += static_cast<int>(sources.size());

  // What is neither in this process nor on disk.
  std::vector<std::string> keys, missing_keys;
  std::vector<const KernelSource*> missing;
  std::set<std::string> wanted;
  for (const KernelSource& source : sources) {
    const std::string key = Hasher128().add_text(source.text).add_text(source.entry).finish().hex();
    keys.push_back(key);
    if (images_.contains(key) || logs_.contains(key) || !wanted.insert(key).second) continue;
    ++counts_.distinct;
    Result<std::string> known = read_file(folder + "/" + key);
    if (known.ok()) {
      images_[key] = *known;
      continue;
    }
    ++counts_.compiled;
    missing.push_back(&source);
    missing_keys.push_back(key);
  }
  KILN_RETURN_IF_ERROR(build(missing, missing_keys, folder));
  counts_.seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  std::vector<CompiledKernel> result;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (const auto log = logs_.find(keys[i]); log != logs_.end()) {
      return Status::error(
          "K5306", "kernel " + sources[i].entry + " does not compile on the host: " + log->second);
    }
    result.push_back({images_.at(keys[i]), sources[i].entry});
  }
  return result;
}

// Files STEM.cpp to STEM.s; a stem for each text.
Result<std::vector<Alone>> HostCompiler::assemble(const std::vector<std::string>& texts,
                                                  const std::vector<std::string>& compiler) {
  const std::string folder = folder_ + "/alone_" + std::to_string(getpid());
  std::filesystem::create_directories(folder);
  std::vector<Alone> result;
  std::vector<Command> commands;
  for (const std::string& text : texts) {
    const std::string stem = folder + "/" + std::to_string(alone_++);
    result.push_back({stem, "", ""});
    KILN_RETURN_IF_ERROR(replace_file(stem + ".cpp", text));
    commands.push_back({compiler, stem + ".log"});
    for (const std::string& word : {std::string("-S"), "-o" + stem + ".s", stem + ".cpp"}) {
      commands.back().words.push_back(word);
    }
  }
  KILN_RETURN_IF_ERROR(run_all(commands));
  for (size_t i = 0; i < result.size(); ++i) {
    if (commands[i].failed) continue;
    KILN_ASSIGN_OR_RETURN(std::string text, read_file(result[i].stem + ".s"));
    // The file's own name.
    const size_t name = text.find("\t.file\t");
    KILN_CHECK(name != std::string::npos);
    result[i].assembly = text.erase(name, text.find('\n', name) + 1 - name);
  }
  return result;
}

Result<std::vector<Alone>> HostCompiler::assemble(const std::vector<KernelSource>& sources) {
  std::vector<std::string> texts;
  for (const KernelSource& source : sources) texts.push_back(unit_text({&source}));
  KILN_ASSIGN_OR_RETURN(std::vector<Alone> result, assemble(texts, compiler_command()));
  for (size_t i = 0; i < result.size(); ++i) result[i].entry = sources[i].entry;
  return result;
}

Result<std::vector<bool>> HostCompiler::equivalent(const KernelSource& source,
                                                   const std::vector<KernelSource>& others,
                                                   const std::optional<Shape>& every_launch) {
  const auto three = [](const auto& of) {
    return std::to_string(of[0]) + ", " + std::to_string(of[1]) + ", " + std::to_string(of[2]);
  };
  // The first number behind KILN_KERNEL( and the like.
  const size_t threads = source.text.find('(', kernel_head(source.text)) + 1;
  const size_t end = source.text.find_first_of(",)", threads);
  std::string contract =
      "#define KILN_MAX_THREADS " + source.text.substr(threads, end - threads) + "\n";
  if (every_launch) {
    contract += "#define KILN_BLOCK " + three(every_launch->block) + "\n#define KILN_GRID " +
                three(every_launch->grid) + "\n";
  }
  std::vector<std::string> texts = {contract + source.text};
  for (const KernelSource& other : others) texts.push_back(contract + other.text);
  std::vector<bool> result(others.size());
  for (const std::vector<std::string>& command : plain_commands()) {
    KILN_ASSIGN_OR_RETURN(const std::vector<Alone> alone, assemble(texts, command));
    if (alone[0].assembly.empty()) {
      return Status::error("K5306", "does not compile against emulator/plain: " + source.entry);
    }
    const std::string own = with_labels_in_order(alone[0].assembly);
    for (size_t i = 0; i < others.size(); ++i) {
      if (with_labels_in_order(alone[i + 1].assembly) == own) result[i] = true;
    }
  }
  return result;
}

Result<std::vector<CompiledKernel>> HostCompiler::link(const std::vector<Alone>& kernels) {
  std::vector<CompiledKernel> result;
  std::vector<Command> commands;
  for (const Alone& kernel : kernels) {
    const std::string library = kernel.stem + ".so";
    commands.push_back({{KILN_TEST_CXX}, kernel.stem + ".log"});
    add_link(commands.back().words, kernel.stem + ".s", library);
    result.push_back({module_image(library, 0), kernel.entry});
  }
  KILN_RETURN_IF_ERROR(run_all(commands));
  for (const Command& command : commands) {
    if (command.failed) return Status::error("K5306", "the host does not link: " + command.log);
  }
  return result;
}

void HostCompiler::forget_alone() {
  std::filesystem::remove_all(folder_ + "/alone_" + std::to_string(getpid()));
}

}  // namespace kiln::emulator
