// Reading torch.export archives (.pt2 files) without torch and Python. Part of libkiln.
//
//   kiln::CaptureBuilder capture;
//   auto model = kiln::read_pt2("model.pt2", capture);
//   if (!model.ok()) ...
//   auto program = kiln::compile(capture, {.metadata = model->metadata});
//   program.value()->save("model.kiln");
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <kiln/capture.h>
#include <kiln/status.h>

namespace kiln {

// Closed ranges for the dims of one input, within those that the model was exported with. A dim
// whose bounds are equal becomes a constant.
struct Pt2Shape {
  std::string input;
  std::vector<int64_t> min, max;
};

struct Pt2Options {
  std::string model;  // which one, where the archive holds several
  std::vector<Pt2Shape> shapes;
  // Schemas of custom operators, "my::op(Tensor x, int n=1) -> Tensor": the archive does not hold
  // them, and only the schema says how arguments are ordered and what an operator writes.
  std::vector<std::string> operator_schemas;
};

struct Pt2Program {
  std::string metadata;       // for BuildOptions: how Python calls the program
  std::string model;          // its name in the archive
  std::string torch_version;  // that exported it
};

// Hands the exported program to `capture`. Weights are mapped from the file, not copied: the
// builder and what is made of it keep the mapping alive. Safe with damaged and hostile files.
//
// Errors: K3001 no such file, K3141 to K3144 the archive, K1140 to K1144 the program in it, and
// what CaptureBuilder returns.
Result<Pt2Program> read_pt2(const std::string& path, CaptureBuilder& capture,
                            const Pt2Options& options = {});

}  // namespace kiln
