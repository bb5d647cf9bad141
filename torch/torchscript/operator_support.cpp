#include "torch/torchscript/operator_support.h"

#include <torch/csrc/jit/passes/inliner.h>

#include <algorithm>
#include <set>

#include <kiln/capture.h>

namespace kiln::torchscript {
namespace {

bool holds_tensors(at::ArrayRef<torch::jit::Value*> values) {
  return std::any_of(values.begin(), values.end(), [](const torch::jit::Value* value) {
    return value->type()->str().find("Tensor") != std::string::npos;
  });
}

// Numbers and decisions that need the elements of a tensor.
bool reads_elements(torch::jit::Node* node) {
  static const std::set<std::string> kReads = {
      "aten::item",        "aten::Int",           "aten::Float",          "aten::Bool",
      "aten::IntImplicit", "aten::FloatImplicit", "aten::ScalarImplicit", "aten::is_nonzero",
      "aten::tolist",      "prim::tolist",        "aten::equal",          "aten::allclose"};
  return kReads.contains(node->kind().toQualString()) && holds_tensors(node->inputs());
}

void collect_missing(torch::jit::Block* block, const std::set<std::string>& known,
                     std::set<std::string>& missing) {
  for (torch::jit::Node* node : block->nodes()) {
    for (torch::jit::Block* inner : node->blocks()) collect_missing(inner, known, missing);
    const std::string kind = node->kind().toQualString();
    if (reads_elements(node)) missing.insert(kind);
    if (kind.starts_with("prim::") || !holds_tensors(node->outputs())) continue;
    const std::string functional = kind.ends_with("_") ? kind.substr(0, kind.size() - 1) : kind;
    if (!known.contains(kind) && !known.contains(functional)) missing.insert(kind);
  }
}

}  // namespace

Result<std::vector<std::string>> operators_without_rule(const torch::jit::Module& module,
                                                        const std::string& method) {
  const auto found = module.find_method(method);
  if (!found) return Status::error("K1101", "the module has no such method: " + method);
  const auto graph = found->graph()->copy();
  torch::jit::Inline(*graph);
  std::set<std::string> known, missing;
  for (const std::string& schema : import_rule_schemas()) {
    known.insert(schema.substr(0, schema.find_first_of(".(")));
  }
  collect_missing(graph->block(), known, missing);
  return std::vector<std::string>(missing.begin(), missing.end());
}

}  // namespace kiln::torchscript
