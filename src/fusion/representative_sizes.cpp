#include "fusion/representative_sizes.h"

#include <algorithm>
#include <set>
#include <string>

namespace kiln {

Result<SymbolValues> representative_symbols(const std::vector<Shape>& shapes) {
  std::set<std::string> batch, others;
  for (const Shape& shape : shapes) {
    for (size_t i = 0; i < shape.size(); ++i) shape[i].collect_symbols(i == 0 ? batch : others);
  }
  for (int64_t size : {224, 64, 512, 32, 8, 4096, 1}) {
    for (int64_t small : {1, 2, 16, 224}) {
      SymbolValues values;
      for (const std::string& name : batch) values[name] = small;
      for (const std::string& name : others) values[name] = size;
      bool fits = true;
      for (const Shape& shape : shapes) {
        const auto dims = evaluate(shape, values);
        fits = fits && dims.ok() &&
               std::all_of(dims->begin(), dims->end(), [](int64_t dim) { return dim >= 1; });
      }
      if (fits) return values;
      if (batch.empty()) break;
    }
    if (others.empty()) break;
  }
  return Status::error("K2410", "no sizes found to ask a library for");
}

bool has_empty_dim(const Shape& shape) {
  return std::any_of(shape.begin(), shape.end(),
                     [](const DimExpr& dim) { return dim.is_constant() && dim.value() < 1; });
}

}  // namespace kiln
