// Pieces of source that the printers share.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

// "float", "f16", "int64", "bool": the type of elements in device code.
std::string_view device_type(DType dtype);
// The unsigned type of elements that are only moved: 1, 2, 4 or 8 bytes.
std::string_view bits_type(int64_t bytes);
// The type in which a dtype is computed: float for the 16-bit ones, itself otherwise.
std::string_view compute_type(DType dtype);

// The text with every $name replaced. A name that is not given is a bug.
std::string fill(std::string_view text,
                 const std::vector<std::pair<std::string_view, std::string>>& names);

// "a0 * i0 + a1 * i1" for names[k] = "a0", indices[k] = "i0"; "0" for none.
std::string dot(std::string_view stride_prefix, std::string_view index_prefix, int rank);
// Declares prefix0, prefix1, ... as the coordinates of position `linear` among sizes
// size_prefix0, ..., walked in `order`, outermost first:
//   Index rest = linear; const Index i1 = rest % n1; rest /= n1; ...
std::string coordinates(std::string_view linear, const std::vector<int>& order,
                        std::string_view prefix, std::string_view size_prefix,
                        std::string_view rest = "rest");
std::vector<int> row_major(int rank);
// "n0 * n1 * n2", "1" for rank 0.
std::string product(std::string_view prefix, int rank);

// Statement that moves one element of `bytes` (16: four words) from[source] -> to[target].
std::string move_element(int64_t bytes, const std::string& to, const std::string& target,
                         const std::string& from, const std::string& source);
// The type of pointers to such elements.
std::string_view moved_type(int64_t bytes);
// A number as source text, exactly; infinities and NaN too.
std::string double_literal(double value);
// "const Index i = ...; if (i >= count) return;" for one thread an element.
std::string thread_position(const std::string& count, int threads = 256);

// Structs before the kernel see only the baked sizes; those of `names` that are arguments become
// members ("  Index m;" lines) and are given behind the others when one is made (", m").
std::string size_members(const KernelSizes& sizes, const std::vector<std::string>& names);
std::string size_values(const KernelSizes& sizes, const std::vector<std::string>& names);

// A whole source: includes, the index type, the head of the kernel with `pointers` ("In<float>
// x") and the sizes, constants for the sizes, and the body.
struct KernelParts {
  std::vector<std::string> headers;  // "device/platform.h"
  std::string comment;               // what the kernel computes, one line each
  std::string before;                // functions and types before the kernel
  std::string entry;
  std::vector<std::string> pointers;
  std::vector<std::string> last_parameters;  // after the sizes
  int threads = 256;
  int cluster = 1;  // blocks (device/cluster.h)
  bool alone = false;  // one block has a multiprocessor's registers for itself (device/wgmma.h)
  bool wide = true;
  std::string early;  // before the wait for the kernel before it: reads and writes no memory
  std::string body;   // lines indented by two
};
// The statement that every kernel begins with, given its `pointers` ("In<float> x").
std::string wait_statement(const std::vector<std::string>& pointers);
KernelSource assemble(const KernelParts& parts, const KernelSizes& sizes);

}  // namespace kiln::cuda
