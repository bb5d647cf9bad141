// What lies where in a torch.export archive.
//
// Errors: K3143 no archive of a generation that is read, K3144 contents that only Python's pickle
// can read, K3142 damaged.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <kiln/capture.h>

#include "base/json.h"
#include "frontend/pt2/size_expr.h"
#include "frontend/pt2/zip_file.h"

namespace kiln::pt2 {

class Archive {
 public:
  // `model`: "" for the only one.
  static Result<Archive> open(const std::string& path, const std::string& model);

  const std::string& model() const { return model_; }
  // models/NAME.json: an ExportedProgram of schema version 8.
  Result<Json> program() const;

  struct Tensor {
    CaptureWeight weight;
    std::string key;  // equal for the same bytes seen in the same way: tied weights
  };
  // A tensor of the state dict (parameters, persistent buffers) or of the constants, mapped.
  Result<Tensor> tensor(const std::string& name, bool constant);

 private:
  explicit Archive(ZipFile zip) : zip_(std::move(zip)) {}
  Status find_model(const std::string& wanted);
  Status read_config(bool constant);

  ZipFile zip_;
  std::string root_;  // with the slash at the end
  std::string model_;
  Json configs_[2];  // of weights and constants; null until they are needed
  std::map<std::string, std::string_view> records_;
  Sizes no_sizes_;  // a weight has no symbols
};

}  // namespace kiln::pt2
