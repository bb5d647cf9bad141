// Random programs of elementwise ops, reductions, norms, views and pools, from a seed.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "ir/module.h"

namespace kiln::test {

struct RandomGraphOptions {
  bool symbols = false;    // dims s0 and s1
  bool reductions = true;  // reductions, softmax, norms
  bool views = true;       // reshape, permute, slice, expand, concat
  bool pools = false;      // max_pool: what follows is channels-last
  int max_nodes = 24;
};

class RandomGraph {
 public:
  RandomGraph(uint64_t seed, const RandomGraphOptions& options)
      : random_(seed), options_(options) {}

  std::unique_ptr<Module> make();

 private:
  // Numbers in [0, n).
  int below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }
  DimExpr random_dim();
  Shape random_shape();
  Value* any(DType dtype = DType::kF32);
  // Some value that broadcasts to this shape (often of it), made if there is none.
  Value* broadcastable(const Shape& shape);
  Value* add(const char* op, std::vector<Value*> operands, AttrList attrs = {});
  Value* constant(const Shape& shape);

  void add_elementwise();
  void add_reduction();
  void add_row_op();
  void add_view();
  void add_concat();
  void add_pool();
  void add_outputs();

  std::mt19937_64 random_;
  RandomGraphOptions options_;
  std::unique_ptr<Module> module_;
  std::vector<Value*> values_;
};

}  // namespace kiln::test
