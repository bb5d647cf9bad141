// "sort": the four phases of runtime/sort_kernel.h.
#include "backends/cuda/runtime/sort_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

Result<KernelSource> print_sort(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const SortKernel p, SortKernel::from_json(json));
  using Phase = SortKernel::Phase;
  const std::string type(device_type(p.dtype)), axis = std::to_string(p.axis);
  const std::string key = p.key_bytes() == 8 ? "uint64" : "uint32";
  std::vector<int> outer;
  std::string lines = "1", from = "0", values = "0", places = "0";
  for (const int dim : p.order) {
    if (dim == p.axis) continue;
    const std::string n = std::to_string(dim);
    outer.push_back(dim);
    lines += " * n" + n;
    from += " + i" + n + " * a" + n;
    values += " + i" + n + " * b" + n;
    places += " + i" + n + " * c" + n;
  }
  // Shared memory is sorted from slot 0; what is beyond the line comes last, by its place.
  const std::vector<std::pair<std::string_view, std::string>> names{
      {"type", type},
      {"Key", key},
      {"axis", axis},
      {"lines", lines},
      {"from", from},
      {"values", values},
      {"places", places},
      {"not", p.descending ? "~" : ""},
      {"line", coordinates("line", outer, "i", "n")}};
  KernelParts parts;
  parts.headers = {"device/sort.h"};
  parts.wide = p.wide;
  parts.entry =
      "sort_" + std::string(sort_phase_name(p.phase)) + "_" + std::string(dtype_name(p.dtype));
  const std::string load = R"(
  KILN_SHARED($Key, keys, 1024);
  KILN_SHARED(uint32, spots, 1024);
  for (int32 s = thread_x(); s < 1024; s += 256) {
    const Index l = first + s;
    $Key own = ~static_cast<$Key>(0);
    if (l < n$axis) {
      const $type value = from[source + l * a$axis];
      own = $not(sort_key(value));
    }
    keys[s] = own;
    spots[s] = l < n$axis ? static_cast<uint32>(l) : 0x80000000u + static_cast<uint32>(s);
  }
  sort_block<1024, $Key>(keys, spots);
)";
  switch (p.phase) {
    case Phase::kDirect:
      parts.comment = "// A line a block.\n";
      parts.pointers = {"In<" + type + "> from", "Out<" + type + "> values", "Out<int64> places"};
      parts.body = fill(
          "  const Index line = static_cast<Index>(block_x());\n$line"
          "  const Index source = $from, first = 0;" +
              load + R"(  for (Index s = thread_x(); s < k; s += 256) {
    const uint32 spot = spots[s];
    values[$values + s * b$axis] = from[source + static_cast<Index>(spot) * a$axis];
    places[$places + s * c$axis] = static_cast<int64>(spot);
  }
)",
          names);
      break;
    case Phase::kChunks:
      parts.comment = "// 1024 elements of a line a block, to scratch memory.\n";
      parts.pointers = {"In<" + type + "> from", "Out<" + key + "> to_keys",
                        "Out<uint32> to_spots"};
      parts.body = fill(R"(  const int64 chunks = (static_cast<int64>(n$axis) + 1023) / 1024;
  const Index line = static_cast<Index>(block_x() / chunks);
  const Index first = static_cast<Index>(block_x() % chunks * 1024);
$line  const Index source = $from;)" +
                            load +
                            R"(  const int64 target = static_cast<int64>(line) * n$axis + first;
  for (int32 s = thread_x(); s < 1024; s += 256) {
    if (first + s < n$axis) {
      to_keys[target + s] = keys[s];
      to_spots[target + s] = spots[s];
    }
  }
)",
                        names);
      break;
    case Phase::kMerge:
      parts.comment =
          "// Merges runs of `run` two by two: an element's rank in the result is its rank in its "
          "own\n"
          "// run plus that in the other one, found by bisection.\n";
      parts.pointers = {"In<" + key + "> keys", "In<uint32> spots", "Out<" + key + "> to_keys",
                        "Out<uint32> to_spots"};
      parts.last_parameters = {"int64 run"};
      parts.body = fill(R"(  const int64 i = block_x() * 256 + thread_x();
  const int64 length = n$axis;
  if (i >= static_cast<int64>($lines) * length) return;
  const int64 line = i / length * length, own = i % length;
  const int64 pair = own / (2 * run) * (2 * run);
  const bool second = own >= pair + run;
  const int64 other = second ? pair : pair + run;
  const int64 other_end = second ? pair + run : (pair + 2 * run < length ? pair + 2 * run : length);
  const $Key key = keys[i];
  const uint32 spot = spots[i];
  int64 low = other, high = other_end > other ? other_end : other;
  while (low < high) {
    const int64 middle = (low + high) / 2;
    if (stands_before(keys[line + middle], spots[line + middle], key, spot)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const int64 rank = pair + (own - (second ? pair + run : pair)) + (low - other);
  to_keys[line + rank] = key;
  to_spots[line + rank] = spot;
)",
                        names);
      break;
    case Phase::kOutput:
      parts.comment = "// The first k of each line.\n";
      parts.pointers = {"In<" + type + "> from", "Out<" + type + "> values", "Out<int64> places",
                        "In<uint32> spots"};
      parts.body = fill(R"(  const int64 i = block_x() * 256 + thread_x();
  if (i >= static_cast<int64>($lines) * k) return;
  const Index line = static_cast<Index>(i / k), s = static_cast<Index>(i % k);
$line  const uint32 spot = spots[static_cast<int64>(line) * n$axis + s];
  values[$values + s * b$axis] = from[$from + static_cast<Index>(spot) * a$axis];
  places[$places + s * c$axis] = static_cast<int64>(spot);
)",
                        names);
      break;
  }
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(sort, SortKernel::kFamily, print_sort);

}  // namespace
}  // namespace kiln::cuda
