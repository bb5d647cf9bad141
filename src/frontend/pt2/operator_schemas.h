// Schemas of operators by name: those that the importer knows, those that a captured program may
// hold besides, and those that the user states for custom operators.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <kiln/capture.h>

#include "base/status.h"

namespace kiln::pt2 {

struct OperatorArgument {
  std::string type;  // "Tensor", "int[2]", "float?"
  std::string name;
  bool has_default = false;
  CaptureArg default_value;
};

struct OperatorSchema {
  std::string text;  // as torch prints it
  std::vector<OperatorArgument> arguments;
  bool returns_list = false;  // one result, a list of tensors
};

class OperatorSchemas {
 public:
  // `stated`: schema texts for operators that no table has. K1142 when one does not parse.
  static Result<OperatorSchemas> make(const std::vector<std::string>& stated);

  // `name` "aten::add.Tensor", without a suffix for the default overload. Parsed on first use.
  // K1142 when there is none.
  Result<const OperatorSchema*> find(const std::string& name);

 private:
  std::map<std::string, std::string, std::less<>> texts_;
  std::map<std::string, OperatorSchema> parsed_;
};

}  // namespace kiln::pt2
