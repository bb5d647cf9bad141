#include "tools/kiln/torchtrtc.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "base/log.h"

namespace kiln::tool {
namespace {

constexpr const char* kNoDla = "there is no DLA here: leave it out";
constexpr const char* kExact =
    "long and double stay what they are, so results are at least as exact: leave it out";

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Status refuse_value(const std::string& option, const std::string& value, const std::string& hint) {
  return Status::error(
      "K1041", "kiln cannot do what is asked of torchtrtc --" + option + ": " + value, hint);
}

}  // namespace

const std::vector<RefusedOption>& refused_options() {
  static const std::vector<RefusedOption> kOptions = {
      {"allow-gpu-fallback", false, "it only speaks to a DLA, which is not here: leave it out"},
      {"allow-shape-tensors", false,
       "sizes are always followed where they are used as numbers: leave it out"},
      {"build-debuggable-engine", false,
       "KILN_OPTIONS=dump_ir=all writes the graph after each pass, and `kiln inspect --graph` "
       "shows that of a file"},
      {"calibration-cache-file", true,
       "there is no int8 calibration: --enable-precision takes fp32, fp16 and bf16"},
      {"custom-converters", true,
       "operators without a rule run in PyTorch, inside the same program: leave it out; "
       "--custom-torch-ops opens a library with operators"},
      {"dla-core", true, kNoDla},
      {"dla-global-dram-size", true, kNoDla},
      {"dla-local-dram-size", true, kNoDla},
      {"dla-sram-size", true, kNoDla},
      {"num-avg-timing-iters", true,
       "kernels are chosen by rules and not by timing them: leave it out"},
      {"sparse-weights", false, "no kernel makes use of sparse weights: leave it out"},
      {"truncate", false, kExact},
      {"truncate-64bit", false, kExact},
      {"truncate-long-double", false, kExact},
      {"workspace-size", true,
       "scratch memory is what the plan needs, laid out before the first run: leave it out"},
  };
  return kOptions;
}

Status refuse_options(const Arguments& arguments) {
  for (const RefusedOption& option : refused_options()) {
    if (!arguments.has(option.name)) continue;
    return Status::error(
        "K1040", std::string("kiln has no counterpart of torchtrtc --") + option.name, option.hint);
  }
  for (const std::string& value : arguments.all("engine-capability")) {
    const std::string capability = lower(value);
    if (capability == "safety" || capability == "dla_standalone") {
      return refuse_value("engine-capability", value, "leave it out");
    }
    if (capability != "standard") {
      return Status::error("K1002", "option --engine-capability takes standard: '" + value + "'");
    }
  }
  return {};
}

std::string dtype_word(const std::string& word) {
  static const std::map<std::string, std::string> kWords = {
      {"float", "f32"}, {"float32", "f32"}, {"fp32", "f32"},      {"half", "f16"},
      {"fp16", "f16"},  {"float16", "f16"}, {"bfloat16", "bf16"}, {"char", "i8"},
      {"int8", "i8"},   {"int", "i32"},     {"int32", "i32"},     {"long", "i64"},
      {"int64", "i64"}, {"double", "f64"},  {"float64", "f64"},   {"b", "bool"}};
  const std::string lowered = lower(word);
  const auto found = kWords.find(lowered);
  return found == kWords.end() ? lowered : found->second;
}

Result<DType> precision_of(const std::string& option, const std::string& value) {
  const std::string word = dtype_word(value);
  if (word == "f32") return DType::kF32;
  if (word == "f16") return DType::kF16;
  if (word == "bf16") return DType::kBF16;
  if (word == "i8") {
    return refuse_value(option, value, "float32 is lowered to fp16 or bf16 (docs/precision.md)");
  }
  return Status::error("K1002",
                       "option --" + option + " takes fp32, fp16 or bf16: '" + value + "'");
}

Status choose_device(const Arguments& arguments, BuildOptions& options) {
  options.target = arguments.get("target");
  const bool typed = arguments.has("device-type"), numbered = arguments.has("gpu-id");
  if (typed && arguments.has("target")) {
    return Status::error("K1002", "options --target and --device-type say the same: give one");
  }
  if (typed) {
    const std::string type = lower(arguments.get("device-type"));
    if (type == "dla") {
      return refuse_value("device-type", arguments.get("device-type"), "gpu or cpu");
    }
    if (type != "gpu" && type != "cpu") {
      return Status::error(
          "K1002", "option --device-type takes gpu or cpu: '" + arguments.get("device-type") + "'");
    }
    options.target = type == "gpu" ? "cuda" : "cpu";
  }
  if (!numbered) return {};
  // A GPU by its number, as torchtrtc has it where no type is given.
  if (!typed && !arguments.has("target")) options.target = "cuda";
  if (options.target != "cuda") {
    return Status::error("K1002",
                         "option --gpu-id is the number of a GPU of this machine, and the "
                         "program is for " +
                             options.target,
                         "give --device-type gpu, or leave --gpu-id out");
  }
  KILN_ASSIGN_OR_RETURN(options.device_index, arguments.integer("gpu-id", 0, 0, 1 << 10));
  return {};
}

Status choose_verbosity(const Arguments& arguments) {
  std::string level;
  for (const auto& [option, name] :
       {std::pair{"verbose", "debug"}, {"info", "info"}, {"i", "info"}, {"warnings", "off"}}) {
    if (!arguments.has(option)) continue;
    if (!level.empty()) {
      return Status::error("K1002", "of --verbose, --info and --warnings one can be given");
    }
    level = name;
  }
  return level.empty() ? Status() : set_log_levels(level);
}

}  // namespace kiln::tool
