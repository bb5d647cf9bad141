#include "backends/indexing_provider.h"

#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"

namespace kiln {
namespace {

class IndexingProvider : public KernelProvider {
 public:
  IndexingProvider(std::string name, const IndexingLowerings& to)
      : name_(std::move(name)), entries_{{"embedding", to.embedding, 1, 1},
                                         {"index_select", to.index_select, 1, 1},
                                         {"index", to.index, 1, -1},
                                         {"index_put", to.index_put, 2, -1},
                                         {"gather", to.gather, 1, 1},
                                         {"scatter", to.scatter, 1, 1}} {}
  std::string_view name() const override { return name_; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    for (const Entry& entry : entries_) {
      if (entry.op != node.op_name()) continue;
      const int last = entry.last_index < 0 ? node.num_operands() - 1 : entry.last_index;
      const DType first_dtype = node.operand(entry.first_index)->dtype();
      for (int i = entry.first_index; i <= last; ++i) {
        const DType dtype = node.operand(i)->dtype();
        if (dtype != DType::kI64 && dtype != DType::kI32) {
          out.refusals.push_back({name_, "indices of dtype " + std::string(dtype_name(dtype))});
          return;
        }
        if (dtype != first_dtype) {
          out.refusals.push_back({name_, "index tensors of different dtypes"});
          return;
        }
      }
      out.tactics.push_back(std::make_unique<StepTactic>(std::string(entry.op), entry.lower));
    }
  }

 private:
  struct Entry {
    std::string_view op;
    LowerFunction lower;
    int first_index, last_index;  // which operands are indices; -1: to the last
  };
  std::string name_;
  std::vector<Entry> entries_;
};

}  // namespace

std::unique_ptr<KernelProvider> make_indexing_provider(std::string name,
                                                       const IndexingLowerings& lowerings) {
  return std::make_unique<IndexingProvider>(std::move(name), lowerings);
}

}  // namespace kiln
