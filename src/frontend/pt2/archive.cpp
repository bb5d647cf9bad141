#include "frontend/pt2/archive.h"

#include <algorithm>
#include <cstring>

#include "frontend/pt2/tensor_meta.h"

namespace kiln::pt2 {
namespace {

constexpr const char* kSaveAgain = "save it again: torch.export.save of torch 2.9 or later";
// What strides of zero may blow a tensor up to when it is copied.
constexpr int64_t kMaxExpanded = int64_t{1} << 28;

constexpr JsonLimits kProgramLimits = {.max_bytes = size_t{1} << 30, .max_depth = 96};

}  // namespace

Result<Archive> Archive::open(const std::string& path, const std::string& model) {
  KILN_ASSIGN_OR_RETURN(ZipFile zip, ZipFile::open(path));
  Archive archive(std::move(zip));
  if (Status status = archive.find_model(model); !status.ok()) return std::move(status).at(path);
  return archive;
}

Status Archive::find_model(const std::string& wanted) {
  constexpr std::string_view kFolder = "models/", kSuffix = ".json";
  std::vector<std::string> names;
  for (const auto& [path, entry] : zip_.entries()) {
    const std::string file = path.substr(path.rfind('/') + 1);
    if (file == "serialized_state_dict.pt" || file == "serialized_state_dict.json") {
      return Status::error("K3144",
                           "an archive of torch before 2.9, which pickles the weights: " + path,
                           kSaveAgain);
    }
    const size_t root = path.find('/');
    if (root == std::string::npos) continue;
    const std::string_view rest = std::string_view(path).substr(root + 1);
    if (!rest.starts_with(kFolder) || !rest.ends_with(kSuffix) ||
        rest.size() <= kFolder.size() + kSuffix.size()) {
      continue;
    }
    root_ = path.substr(0, root + 1);
    names.emplace_back(rest.substr(kFolder.size(), rest.size() - kFolder.size() - kSuffix.size()));
  }
  if (names.empty()) {
    return Status::error("K3143", "not an archive of torch.export: no models/NAME.json",
                         "save the program with torch.export.save");
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  if (wanted.empty() && names.size() > 1) {
    return Status::error("K3143", "the archive holds several models: " + list, "name one of them");
  }
  if (!wanted.empty() && std::find(names.begin(), names.end(), wanted) == names.end()) {
    return Status::error("K3143", "the archive holds no model " + wanted + ": " + list);
  }
  model_ = wanted.empty() ? names.front() : wanted;
  if (zip_.contains(root_ + "byteorder")) {
    KILN_ASSIGN_OR_RETURN(const std::string_view order, zip_.read(root_ + "byteorder"));
    if (order != "little") return Status::error("K3143", "the weights are not little-endian");
  }
  return {};
}

Result<Json> Archive::program() const {
  KILN_ASSIGN_OR_RETURN(const std::string_view text,
                        zip_.read(root_ + "models/" + model_ + ".json"));
  KILN_ASSIGN_OR_RETURN(Json program, parse_json(text, kProgramLimits));
  KILN_ASSIGN_OR_RETURN(const Json* version, program.member("schema_version"));
  KILN_ASSIGN_OR_RETURN(const int64_t major, version->int_at("major"));
  if (major != 8) {
    return Status::error(
        "K3143", "the program is of another schema version than 8: " + std::to_string(major),
        kSaveAgain);
  }
  return program;
}

Status Archive::read_config(bool constant) {
  Json& config = configs_[constant ? 1 : 0];
  if (!config.is_null()) return {};
  const std::string folder = root_ + (constant ? "data/constants/" : "data/weights/");
  if (zip_.contains(folder + model_ + ".pt")) {
    return Status::error("K3144", "weights or constants are pickled: " + folder + model_ + ".pt",
                         kSaveAgain);
  }
  const char* suffix = constant ? "_constants_config.json" : "_weights_config.json";
  KILN_ASSIGN_OR_RETURN(const std::string_view text, zip_.read(folder + model_ + suffix));
  KILN_ASSIGN_OR_RETURN(const Json json, parse_json(text, kProgramLimits));
  KILN_ASSIGN_OR_RETURN(const Json::Object* entries, json.object_at("config"));
  config = Json(*entries);
  return {};
}

Result<Archive::Tensor> Archive::tensor(const std::string& name, bool constant) {
  const auto damaged = [&name](const char* what) {
    return Status::error("K3142", std::string("a weight ") + what + ": " + name);
  };
  KILN_RETURN_IF_ERROR(read_config(constant));
  const Json* entry = configs_[constant ? 1 : 0].find(name);
  if (entry == nullptr) return damaged("is missing");
  KILN_ASSIGN_OR_RETURN(const bool pickled, entry->bool_at("use_pickle"));
  if (pickled) {
    return Status::error("K3144",
                         "a weight is a tensor subclass or object, which is pickled: " + name,
                         "flatten it first: exported_program.run_decompositions()");
  }
  KILN_ASSIGN_OR_RETURN(const std::string file, entry->string_at("path_name"));
  KILN_ASSIGN_OR_RETURN(const Json* json, entry->member("tensor_meta"));
  KILN_ASSIGN_OR_RETURN(const CaptureMeta meta, tensor_meta(*json, no_sizes_));
  if (!meta.opaque.empty()) {
    return Status::error("K1140",
                         "a weight has a type that is not supported: " + name + ", " + meta.opaque);
  }
  KILN_ASSIGN_OR_RETURN(const Json* start, json->member("storage_offset"));
  KILN_ASSIGN_OR_RETURN(const Polynomial offset, size_of(*start, no_sizes_));

  Tensor result;
  CaptureWeight& weight = result.weight;
  weight.dtype = meta.dtype;
  result.key = file + " " + std::to_string(static_cast<int>(meta.dtype));
  // Elements up to the last one, and all of them.
  int64_t reach = offset.constant().value_or(-1), elements = 1;
  if (reach < 0) return damaged("has a bad offset");
  result.key += "@" + std::to_string(reach);
  const auto size = static_cast<int64_t>(dtype_size(meta.dtype));
  const int64_t first = reach;
  bool overflow = false, empty = false;
  for (const auto& [texts, values] :
       {std::pair{&meta.dims, &weight.shape}, std::pair{&meta.strides, &weight.strides}}) {
    for (const std::string& text : *texts) {
      char* end = nullptr;
      values->push_back(std::strtoll(text.c_str(), &end, 10));
      if (*end != 0 || values->back() < 0) return damaged("has a bad size or stride");
      result.key += " " + text;
    }
    result.key += ";";
  }
  int64_t contiguous = 1;
  for (size_t i = weight.shape.size(); i-- > 0;) {
    const int64_t extent = weight.shape[i];
    const int64_t stride = weight.strides.empty() ? contiguous : weight.strides[i];
    empty = empty || extent == 0;
    int64_t span = 0;
    overflow = overflow || __builtin_mul_overflow(elements, extent, &elements) ||
               __builtin_mul_overflow(std::max<int64_t>(extent - 1, 0), stride, &span) ||
               __builtin_add_overflow(reach, span, &reach) ||
               __builtin_mul_overflow(contiguous, extent, &contiguous);
  }
  if (empty && !overflow) {
    static const char kNothing = 0;
    weight.strides.clear();
    weight.data = &kNothing;
    weight.owner = zip_.owner();
    result.key.clear();
    return result;
  }
  int64_t bytes = 0;
  if (overflow || __builtin_add_overflow(reach, 1, &reach) ||
      __builtin_mul_overflow(reach, size, &bytes)) {
    return damaged("is too large");
  }
  if (!records_.contains(file)) {
    const std::string folder = root_ + (constant ? "data/constants/" : "data/weights/");
    KILN_ASSIGN_OR_RETURN(records_[file], zip_.read(folder + file));
  }
  const std::string_view record = records_[file];
  if (static_cast<uint64_t>(bytes) > record.size()) return damaged("is larger than its bytes");
  if (!weight.strides.empty() && elements > kMaxExpanded / size &&
      elements > static_cast<int64_t>(record.size()) / size) {
    return damaged("is expanded too far");
  }
  const char* data = record.data() + first * size;
  weight.owner = zip_.owner();
  // PyTorch aligns its entries; other writers of zip files may not.
  if (reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(size) != 0) {
    const auto count = static_cast<size_t>(bytes - first * size);
    auto copy = std::make_shared<std::vector<int64_t>>(count / sizeof(int64_t) + 1);
    std::memcpy(copy->data(), data, count);
    data = reinterpret_cast<const char*>(copy->data());
    weight.owner = std::move(copy);
  }
  weight.data = data;
  return result;
}

}  // namespace kiln::pt2
