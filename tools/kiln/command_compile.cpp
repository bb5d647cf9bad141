// kiln compile: a .pt2 archive to a .kiln file, without Python and torch; a TorchScript module to a
// .kiln or .ts file, with libkiln_torch_compile.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>

#include <kiln/builder.h>
#include <kiln/pt2.h>

#include "base/file.h"
#include "core/dtype.h"
#include "tools/kiln/command.h"
#include "tools/kiln/torchscript.h"
#include "tools/kiln/torchtrtc.h"

namespace kiln::tool {
namespace {

constexpr const char* kHelp =
    "  -o, --output FILE      the .kiln file (default: MODEL.kiln next to MODEL)\n"
    "  --shape NAME=1x3x8x8   fixes the dims of an input, within those of the export; repeat.\n"
    "                         NAME=MIN:OPT:MAX narrows their ranges\n"
    "  -p, --precision P      fp32 (default), fp16 or bf16: what float32 is stored and multiplied\n"
    "                         in; repeated, the one that this machine has most kernels for (also\n"
    "                         --enable-precision)\n"
    "  --allow-tf32           float32 products on a GPU may round their operands to TF32\n"
    "  --target T             what it runs on: cpu (default), cuda (the GPU of this machine),\n"
    "                         cuda:sm_90 and the like, or a file that describes a GPU\n"
    "  -d, --device-type T    the same in torchtrtc's words: gpu; or cpu\n"
    "  --gpu-id N             which GPU of this machine; alone it means --device-type gpu too\n"
    "  --native               with the machine code of the kernels for that GPU, for machines\n"
    "                         without a compiler; it is used only when loaded with trust\n"
    "  --threads N            threads of the program; 0 (default): the caller's setting\n"
    "  --strict               an error instead of any call left to PyTorch (also\n"
    "                         --require-full-compilation)\n"
    "  --min-block-size N     native runs of fewer ops go back to PyTorch (default 1)\n"
    "  --torch-executed-op OP    an operator that stays in PyTorch: aten::add, aten::add.Tensor\n"
    "  --torch-executed-mod PATH a module that stays in PyTorch, with all that it contains\n"
    "  --op-schema SCHEMA     of a custom operator: 'my::op(Tensor x, int n=1) -> Tensor'\n"
    "  --model NAME           which model of an archive that holds several\n"
    "  --report FILE          writes the report as JSON\n"
    "  --json                 the report on standard output\n"
    "  -v, --verbose; --info; -w, --warnings\n"
    "                         everything that is logged; no debug lines; nothing. KILN_LOGS says\n"
    "                         it otherwise\n"
    "Of a TorchScript module (.ts, .pt, .pth, .jit), each INPUT describes an argument:\n"
    "                         \"(1,3,8,8)\" or \"[(MIN);(OPT);(MAX)]\", then @DTYPE and %FORMAT\n"
    "                         (contiguous, channels_last). The output may stand before them;\n"
    "                         called like a TorchScript module it is one, else a .kiln file\n"
    "  --method M             the method to be compiled (default: forward)\n"
    "  --save-engine          a .kiln file, whatever the output is called\n"
    "  --embed-engine         MODEL is a .kiln file, which becomes a TorchScript module\n"
    "  --check-method-support M  compiles nothing: which operators of method M have no rule\n"
    "  --custom-torch-ops LIB    a library with operators that the module calls\n"
    "  --atol X, --rtol X     runs module and program on random inputs; an error, and no file,\n"
    "                         where results differ by more (1e-8 and 1e-5 for the other one)\n"
    "  --teo, --tem, --mbs    short names (torchtrtc) of --torch-executed-op,\n"
    "                         --torch-executed-mod and --min-block-size\n"
    "  --disable-tf32, --no-threshold-check, --engine-capability standard\n"
    "                         torchtrtc's words for what is so anyway; its other options are\n"
    "                         refused with what to use instead\n";

Status bad_shape(const std::string& option) {
  return Status::error("K1007", "shape does not parse: '" + option + "'",
                       "write NAME=1x3x224x224 or NAME=MIN:OPT:MAX");
}

Result<std::vector<int64_t>> parse_dims(const std::string& option, std::string_view text) {
  std::vector<int64_t> dims;
  if (text == "scalar") return dims;
  while (true) {
    int64_t dim = 0;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, dim);
    if (error != std::errc() || dim < 0 || (end != last && *end != 'x')) return bad_shape(option);
    dims.push_back(dim);
    if (end == last) return dims;
    text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  }
}

Result<Pt2Shape> parse_shape(const std::string& option) {
  const size_t equals = option.find('=');
  if (equals == std::string::npos || equals == 0) return bad_shape(option);
  Pt2Shape shape;
  shape.input = option.substr(0, equals);
  std::string_view rest = std::string_view(option).substr(equals + 1);
  std::vector<std::vector<int64_t>> parts;
  while (true) {
    const size_t colon = rest.find(':');
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, parse_dims(option, rest.substr(0, colon)));
    parts.push_back(std::move(dims));
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  if (parts.size() != 1 && parts.size() != 3) return bad_shape(option);
  for (const auto& part : parts) {
    if (part.size() != parts[0].size()) return bad_shape(option);
  }
  shape.min = parts.front();
  shape.max = parts.back();
  const std::vector<int64_t>& opt = parts[parts.size() / 2];
  for (size_t i = 0; i < opt.size(); ++i) {
    if (shape.min[i] > opt[i] || opt[i] > shape.max[i]) {
      return Status::error("K1007", "shapes must satisfy min <= opt <= max: '" + option + "'");
    }
  }
  return shape;
}

Result<std::string> output_path(const std::vector<std::string>& given, const std::string& input,
                                bool embed) {
  if (given.size() > 1) return Status::error("K1002", "option --output is given twice");
  if (given.size() == 1) {
    if (given[0].empty()) return Status::error("K1002", "option --output takes the name of a file");
    return given[0];
  }
  const size_t dot = input.rfind('.');
  if (embed) return (input.ends_with(".kiln") ? input.substr(0, dot) : input) + ".ts";
  const bool named = input.ends_with(".pt2") || is_torchscript_name(input);
  return (named ? input.substr(0, dot) : input) + ".kiln";
}

// Whether both name one file, which may not exist yet.
bool same_file(const std::string& a, const std::string& b) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::equivalent(a, b, error)) return true;
  const fs::path first = fs::weakly_canonical(fs::absolute(a, error), error);
  return first == fs::weakly_canonical(fs::absolute(b, error), error) && !error;
}

// What would be lost if the output or the report were written: K1002. A report that cannot be
// written is found before the time is spent: K3003, K3004.
Status check_files(const Arguments& arguments, const std::string& input,
                   const std::string& output) {
  if (same_file(output, input)) {
    return Status::error("K1002", "the output would replace the model: " + input,
                         "give --output another name");
  }
  if (!arguments.has("report")) return {};
  const std::string report = arguments.get("report");
  if (report.empty()) return Status::error("K1002", "option --report takes the name of a file");
  for (const auto& [what, path] : {std::pair{"model", input}, {"output", output}}) {
    if (!same_file(report, path)) continue;
    return Status::error("K1002", std::string("the report would replace the ") + what + ": " + path,
                         "give --report another name");
  }
  return AtomicFile::create(report).status();
}

// K1010 for an output whose name says that it is something else than what is written.
Status check_suffix(const std::string& output, bool module) {
  const bool other = output.ends_with(".pt2") ||
                     (module ? output.ends_with(".kiln") : is_torchscript_name(output));
  if (!other) return {};
  return Status::error(
      "K1010",
      std::string(module ? "a TorchScript module" : "a .kiln file") +
          " would be written under the name of something else: " + output,
      module ? "call it .ts" : "call it .kiln; program.save of Python writes .pt2 and .ts files");
}

Result<BuildOptions> build_options(const Arguments& arguments) {
  BuildOptions options;
  for (const char* name : {"precision", "enable-precision"}) {
    for (const std::string& value : arguments.all(name)) {
      KILN_ASSIGN_OR_RETURN(const DType dtype, precision_of(name, value));
      if (dtype != DType::kF32) options.precisions.push_back(dtype);
    }
  }
  KILN_ASSIGN_OR_RETURN(options.threads, arguments.integer("threads", 0, 0, 4096));
  const char* block = arguments.has("mbs") ? "mbs" : "min-block-size";
  KILN_ASSIGN_OR_RETURN(options.min_block_size, arguments.integer(block, 1, 1, 1 << 20));
  options.strict = arguments.has("strict") || arguments.has("require-full-compilation");
  options.allow_tf32 = arguments.has("allow-tf32");
  if (options.allow_tf32 && arguments.has("disable-tf32")) {
    return Status::error("K1002", "options --allow-tf32 and --disable-tf32 contradict each other");
  }
  KILN_RETURN_IF_ERROR(choose_device(arguments, options));
  return options;
}

std::vector<std::string> either(const Arguments& arguments, const char* name, const char* shorter) {
  std::vector<std::string> values = arguments.all(name);
  const std::vector<std::string> more = arguments.all(shorter);
  values.insert(values.end(), more.begin(), more.end());
  return values;
}

// The report goes to a file, to standard output, or nowhere.
Status hand_out(const Arguments& arguments, const std::string& report, const std::string& input,
                const std::string& output) {
  if (arguments.has("report")) {
    KILN_RETURN_IF_ERROR(write_file(arguments.get("report"), report));
  }
  if (arguments.has("json")) {
    std::printf("%s\n", report.c_str());
  } else {
    std::printf("%s -> %s\n", input.c_str(), output.c_str());
  }
  return {};
}

// K1002 for an option that is not among `allowed`.
Status allow_only(const Arguments& arguments, const char* with,
                  const std::vector<std::string>& allowed) {
  for (const auto& [option, values] : arguments.options) {
    if (std::find(allowed.begin(), allowed.end(), option) != allowed.end()) continue;
    return Status::error("K1002",
                         "option --" + option + " does not go with --" + std::string(with));
  }
  return {};
}

// How far results may be from the module's: {"atol", "rtol"}, null where they are not compared.
Result<Json> tolerances(const Arguments& arguments) {
  if (!arguments.has("atol") && !arguments.has("rtol")) return Json();
  if (arguments.has("no-threshold-check")) {
    return Status::error("K1002",
                         "option --no-threshold-check does not go with --atol and --rtol");
  }
  Json json = Json::object();
  KILN_ASSIGN_OR_RETURN(const double atol, arguments.number("atol", 1e-8, 0, 1e30));
  KILN_ASSIGN_OR_RETURN(const double rtol, arguments.number("rtol", 1e-5, 0, 1e30));
  json.set("atol", atol);
  json.set("rtol", rtol);
  return json;
}

Result<int> compile_torchscript(const Arguments& arguments) {
  const std::string& input = arguments.words[0];
  const bool check = arguments.has("check-method-support"), embed = arguments.has("embed-engine");
  for (const char* option : {"shape", "op-schema", "model", "native"}) {
    if (arguments.has(option)) {
      return Status::error("K1002", "option --" + std::string(option) +
                                        " is for .pt2 archives: " + input);
    }
  }
  const std::vector<std::string> everywhere = {"verbose", "info", "i", "warnings"};
  std::vector<std::string> allowed = everywhere;
  if (check) {
    allowed.insert(allowed.end(), {"check-method-support", "custom-torch-ops"});
    KILN_RETURN_IF_ERROR(allow_only(arguments, "check-method-support", allowed));
  } else if (embed) {
    allowed.insert(allowed.end(), {"embed-engine", "output", "report", "json", "device-type",
                                   "gpu-id", "custom-torch-ops"});
    KILN_RETURN_IF_ERROR(allow_only(arguments, "embed-engine", allowed));
  }
  // torchtrtc has the output behind the input.
  std::vector<std::string> outputs = arguments.all("output");
  size_t first_spec = 1;
  if (arguments.words.size() > 1 && !is_input_word(arguments.words[1])) {
    outputs.push_back(arguments.words[1]);
    first_spec = 2;
  }
  KILN_ASSIGN_OR_RETURN(std::string output, output_path(outputs, input, embed));
  KILN_ASSIGN_OR_RETURN(const BuildOptions build, build_options(arguments));
  KILN_ASSIGN_OR_RETURN(Json tolerance, tolerances(arguments));
  Json inputs = Json::array(), precisions = Json::array();
  for (size_t i = first_spec; i < arguments.words.size(); ++i) {
    KILN_ASSIGN_OR_RETURN(Json spec, parse_input_spec(arguments.words[i]));
    inputs.push_back(std::move(spec));
  }
  const size_t words = check ? 1 : embed ? first_spec : arguments.words.size();
  if (arguments.words.size() > words) {
    return Status::error("K1008", std::string("a word too many for --") +
                                      (check ? "check-method-support: " : "embed-engine: ") +
                                      arguments.words[words]);
  }
  for (const DType dtype : build.precisions) precisions.push_back(dtype_name(dtype));
  const bool module = embed || (!arguments.has("save-engine") && is_torchscript_name(output));
  if (!check) {
    if (!arguments.has("save-engine")) KILN_RETURN_IF_ERROR(check_suffix(output, module));
    KILN_RETURN_IF_ERROR(check_files(arguments, input, output));
  }
  Json request = Json::object();
  request.set("model", input);
  request.set("output", check ? std::string() : output);
  request.set("form", module ? "ts" : "kiln");
  request.set("embed", embed);
  request.set("method", arguments.get(check ? "check-method-support" : "method", "forward"));
  request.set("custom_ops", Json(arguments.all("custom-torch-ops")));
  request.set("inputs", std::move(inputs));
  request.set("threads", build.threads);
  request.set("strict", build.strict);
  request.set("min_block_size", build.min_block_size);
  request.set("target", build.target);
  request.set("device_index", build.device_index);
  request.set("allow_tf32", build.allow_tf32);
  request.set("precisions", std::move(precisions));
  request.set("torch_executed_ops", Json(either(arguments, "torch-executed-op", "teo")));
  request.set("torch_executed_modules", Json(either(arguments, "torch-executed-mod", "tem")));
  request.set("tolerance", std::move(tolerance));
  KILN_ASSIGN_OR_RETURN(const Json reply, ask_torch_compile(request));
  if (check) {
    KILN_ASSIGN_OR_RETURN(const auto missing, reply.strings_at("missing"));
    if (!missing.empty()) std::puts("These operators stay in PyTorch:");
    for (const std::string& name : missing) std::printf("  %s\n", name.c_str());
    return missing.empty() ? 0 : 1;
  }
  KILN_ASSIGN_OR_RETURN(const Json* report, reply.member("report"));
  KILN_RETURN_IF_ERROR(hand_out(arguments, report->dump(), input, output));
  return 0;
}

Result<int> compile_file(const Arguments& arguments) {
  KILN_RETURN_IF_ERROR(refuse_options(arguments));
  KILN_RETURN_IF_ERROR(choose_verbosity(arguments));
  const bool script = !arguments.words.empty() && (is_torchscript_name(arguments.words[0]) ||
                                                   arguments.has("embed-engine"));
  if (script) return compile_torchscript(arguments);
  if (arguments.words.size() != 1) {
    return Status::error("K1008", "kiln compile takes one file", "kiln help compile");
  }
  const std::string& input = arguments.words[0];
  for (const char* option : {"method", "save-engine", "check-method-support", "custom-torch-ops",
                             "atol", "rtol", "no-threshold-check"}) {
    if (arguments.has(option)) {
      return Status::error("K1002", "option --" + std::string(option) +
                                        " is for TorchScript modules: " + input);
    }
  }
  KILN_ASSIGN_OR_RETURN(const std::string output,
                        output_path(arguments.all("output"), input, /*embed=*/false));
  KILN_RETURN_IF_ERROR(check_suffix(output, /*module=*/false));
  KILN_ASSIGN_OR_RETURN(BuildOptions build, build_options(arguments));
  Pt2Options options;
  options.model = arguments.get("model");
  options.operator_schemas = arguments.all("op-schema");
  for (const std::string& text : arguments.all("shape")) {
    KILN_ASSIGN_OR_RETURN(Pt2Shape shape, parse_shape(text));
    options.shapes.push_back(std::move(shape));
  }
  KILN_RETURN_IF_ERROR(check_files(arguments, input, output));
  CaptureBuilder capture;
  capture.keep_in_torch(either(arguments, "torch-executed-op", "teo"),
                        either(arguments, "torch-executed-mod", "tem"));
  KILN_ASSIGN_OR_RETURN(Pt2Program program, read_pt2(input, capture, options));
  build.metadata = std::move(program.metadata);
  build.name = program.model;
  KILN_ASSIGN_OR_RETURN(const auto compiled, compile(capture, build));
  SaveOptions save;
  save.native = arguments.has("native");
  KILN_RETURN_IF_ERROR(compiled->save(output, save));
  KILN_RETURN_IF_ERROR(hand_out(arguments, compiled->report_json(), input, output));
  return 0;
}

}  // namespace

Command compile_command() {
  Command command = {
      "compile",
      "MODEL [INPUT...] [-o MODEL.kiln] [OPTIONS]",
      "compiles what torch.export.save or torch.jit.save wrote",
      kHelp,
      {"strict", "require-full-compilation", "native", "json", "save-engine", "embed-engine",
       "allow-tf32", "disable-tf32", "no-threshold-check", "verbose", "info", "i", "warnings"},
      {"output", "shape", "precision", "enable-precision", "target", "threads", "min-block-size",
       "torch-executed-op", "torch-executed-mod", "op-schema", "model", "report", "teo", "tem",
       "mbs", "check-method-support", "custom-torch-ops", "device-type", "gpu-id", "method",
       "engine-capability", "atol", "rtol"},
      compile_file};
  for (const RefusedOption& option : refused_options()) {
    (option.has_value ? command.valued : command.flags).emplace_back(option.name);
  }
  return command;
}

}  // namespace kiln::tool
