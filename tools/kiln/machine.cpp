#include "tools/kiln/machine.h"

#include <dlfcn.h>
#include <sched.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include <kiln/version.h>

#include "backends/cpu/runtime/dnnl_api.h"
#include "base/parallel_for.h"
#include "core/cpu_features.h"
#include "runtime/engine_reader.h"
#include "tools/kiln/output.h"

namespace kiln::tool {
namespace {

namespace fs = std::filesystem;

// Files of /proc and /sys are small, and any of them may be absent.
std::string small_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The rest of the first line that begins with `key`, after its colon or equals sign.
std::string value_of(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (!line.starts_with(key)) continue;
    const size_t mark = line.find_first_of(":=");
    if (mark == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t'\"", mark + 1);
    if (begin == std::string::npos) return {};
    const size_t end = line.find_last_not_of(" \t'\"\r");
    return line.substr(begin, end - begin + 1);
  }
  return {};
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// CPU time that the container may use, in CPUs; nothing when unlimited or unknown.
std::optional<double> cpu_quota() {
  std::istringstream v2(small_file("/sys/fs/cgroup/cpu.max"));
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    return std::atof(quota.c_str()) / period;
  }
  const double v1 = std::atof(small_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").c_str());
  const double v1_period = std::atof(small_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us").c_str());
  if (v1 > 0 && v1_period > 0) return v1 / v1_period;
  return std::nullopt;
}

std::string show_number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

struct PythonTorch {
  std::string folder;  // .../site-packages
  std::string version;
};

// site-packages with torch below a Python prefix.
std::optional<PythonTorch> torch_below(const fs::path& prefix) {
  std::error_code error;
  for (const char* lib : {"lib", "lib64", "local/lib"}) {
    for (const auto& entry : fs::directory_iterator(prefix / lib, error)) {
      if (!entry.path().filename().string().starts_with("python3")) continue;
      for (const char* packages : {"site-packages", "dist-packages"}) {
        const fs::path file = entry.path() / packages / "torch" / "version.py";
        if (!fs::exists(file, error)) continue;
        return PythonTorch{(entry.path() / packages).string(),
                           value_of(small_file(file.string()), "__version__")};
      }
    }
  }
  return std::nullopt;
}

// Prefixes of Pythons in the order in which a user would mean them.
std::vector<fs::path> python_prefixes() {
  std::vector<fs::path> prefixes;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string prefix = variable(name); !prefix.empty()) prefixes.emplace_back(prefix);
  }
  std::error_code error;
  prefixes.push_back(fs::current_path(error) / ".venv");
  // A build tree lies two folders below its source tree: build/release/bin/kiln.
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  for (fs::path folder = self.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    if (fs::exists(folder / ".venv", error)) prefixes.push_back(folder / ".venv");
  }
  std::istringstream path(variable("PATH"));
  std::string folder;
  while (std::getline(path, folder, ':')) {
    if (fs::exists(fs::path(folder) / "python3", error)) {
      prefixes.push_back(fs::path(folder).parent_path());
    }
  }
  std::vector<fs::path> distinct;
  for (const fs::path& prefix : prefixes) {
    if (std::find(distinct.begin(), distinct.end(), prefix) == distinct.end()) {
      distinct.push_back(prefix);
    }
  }
  return distinct;
}

bool is_loaded(const char* library) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return false;
  dlclose(handle);
  return true;
}

}  // namespace

Finding probe_versions() {
  Finding finding{"kiln", Verdict::kOk, "", "", Json::object()};
  finding.text = "version " KILN_VERSION ", file format " + std::to_string(kFormatVersion);
  finding.details.set("version", KILN_VERSION);
  finding.details.set("file_format", kFormatVersion);
  return finding;
}

Finding probe_cpu() {
  Finding finding{"CPU", Verdict::kOk, "", "", Json::object()};
  const std::string model = value_of(small_file("/proc/cpuinfo"), "model name");
  const std::string level(cpu_level_name(cpu_level()));
  finding.text = (model.empty() ? "unknown model" : model) + "; level " + level +
                 ", programs are built for cpu:" + level;
  if (cpu_level() < CpuLevel::kAvx2) {
    finding.verdict = Verdict::kWarning;
    finding.advice = "programs run, but slowly: without AVX2 vectors have only 128 bits";
  }
  finding.details.set("model", model);
  finding.details.set("level", level);
  finding.details.set("target", "cpu:" + level);
  return finding;
}

Finding probe_threads() {
  Finding finding{"threads", Verdict::kOk, "", "", Json::object()};
  cpu_set_t set;
  CPU_ZERO(&set);
  const int usable = sched_getaffinity(0, sizeof(set), &set) == 0
                         ? CPU_COUNT(&set)
                         : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const int threads = num_threads();
  const std::string omp = variable("OMP_NUM_THREADS");
  finding.text = std::to_string(threads) + " by default (" +
                 (omp.empty() ? "OMP_NUM_THREADS is not set" : "OMP_NUM_THREADS=" + omp) + "), " +
                 std::to_string(usable) + " CPUs usable by this process of " +
                 std::to_string(sysconf(_SC_NPROCESSORS_ONLN));
  const auto quota = cpu_quota();
  if (quota) finding.text += ", limited to " + show_number(*quota) + " CPUs of time";
  if (threads > usable) {
    finding.verdict = Verdict::kWarning;
    finding.advice = "more threads than CPUs wait for each other; set OMP_NUM_THREADS=" +
                     std::to_string(usable);
  } else if (quota && *quota + 0.5 < threads) {
    finding.verdict = Verdict::kWarning;
    finding.advice = "more threads than the container's CPU limit are stopped now and then; set "
                     "OMP_NUM_THREADS=" +
                     std::to_string(std::max(1, static_cast<int>(*quota)));
  }
  finding.details.set("threads", threads);
  finding.details.set("usable_cpus", usable);
  finding.details.set("omp_num_threads", omp);
  if (quota) finding.details.set("cpu_quota", *quota);
  return finding;
}

Finding probe_memory() {
  Finding finding{"memory", Verdict::kOk, "", "", Json::object()};
  struct sysinfo info {};
  if (sysinfo(&info) != 0) {
    finding.verdict = Verdict::kNote;
    finding.text = "unknown";
    return finding;
  }
  const uint64_t total = uint64_t{info.totalram} * info.mem_unit;
  const std::string available = value_of(small_file("/proc/meminfo"), "MemAvailable");
  const uint64_t free_bytes = std::strtoull(available.c_str(), nullptr, 10) * 1024;
  finding.text = show_bytes(total) + ", " + show_bytes(free_bytes) + " available";
  finding.details.set("total_bytes", static_cast<long>(total));
  finding.details.set("available_bytes", static_cast<long>(free_bytes));
  return finding;
}

Finding probe_huge_pages() {
  Finding finding{"huge pages", Verdict::kOk, "", "", Json::object()};
  const std::string text = small_file("/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = text.find('['), close = text.find(']');
  const std::string mode = open != std::string::npos && close != std::string::npos
                               ? text.substr(open + 1, close - open - 1)
                               : "unknown";
  finding.text = "transparent huge pages: " + mode;
  if (mode == "never") {
    finding.verdict = Verdict::kNote;
    finding.advice = "loading large programs is faster with them; as root: "
                     "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
  }
  finding.details.set("mode", mode);
  return finding;
}

Finding probe_onednn() {
  Finding finding{"oneDNN", Verdict::kOk, "", "", Json::object()};
  const auto info = dnnl_library_info();
  finding.details.set("found", info.ok());
  if (!info.ok()) {
    finding.verdict = Verdict::kProblem;
    finding.text = info.status().code() + ": " + info.status().message();
    finding.advice = "programs with convolutions or matrix products that were built for oneDNN do "
                     "not run without it; " + info.status().hint();
    return finding;
  }
  finding.text = "version " + info->version + ", instruction set " + info->isa + ", " + info->path;
  finding.details.set("version", info->version);
  finding.details.set("isa", info->isa);
  finding.details.set("path", info->path);
  return finding;
}

Finding probe_torch() {
  Finding finding{"PyTorch", Verdict::kOk, "", "", Json::object()};
  const bool loaded = is_loaded("libtorch_cpu.so");
  finding.details.set("loaded_in_this_process", loaded);
  std::vector<std::string> searched;
  for (const fs::path& prefix : python_prefixes()) {
    searched.push_back(prefix.string());
    const auto torch = torch_below(prefix);
    if (!torch) continue;
    finding.text = "version " + torch->version + " in " + torch->folder + "; loaded here: " +
                   (loaded ? "yes" : "no, saved programs run without it");
    finding.details.set("found", true);
    finding.details.set("version", torch->version);
    finding.details.set("path", torch->folder);
    return finding;
  }
  finding.details.set("found", false);
  finding.verdict = Verdict::kNote;
  finding.text = "not found below " + join(searched, ", ");
  finding.advice = "needed to compile models and for programs that leave calls to PyTorch, not to "
                   "run others; pip install torch, or ./dev build in Kiln's source tree";
  return finding;
}

Finding probe_environment() {
  Finding finding{"environment", Verdict::kOk, "", "", Json::object()};
  std::vector<std::string> set;
  for (const char* name : {"KILN_OPTIONS", "KILN_LOGS", "KILN_DNNL_LIBRARY"}) {
    const std::string value = variable(name);
    finding.details.set(name, value);
    if (!value.empty()) set.push_back(std::string(name) + "=" + value);
  }
  finding.text = set.empty() ? "no variable changes what kiln does" : join(set, ", ");
  if (!set.empty()) {
    finding.verdict = Verdict::kNote;
    finding.advice = "these change what kiln does; unset them for plain runs";
  }
  return finding;
}

}  // namespace kiln::tool
