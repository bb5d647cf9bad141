#include "backends/cuda/runtime/tile_kernel.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace kiln::cuda {
namespace {

constexpr std::array<std::string_view, 4> kKindNames = {"points", "transpose", "rows", "columns"};

Status malformed(std::string_view what) {
  return Status::error("K3212", "parameters of a tile kernel are malformed: " + std::string(what));
}

Json to_json(const TileKernel::Size& size) {
  if (size.known()) return Json(static_cast<long>(size.value));
  return Json("n" + std::to_string(size.argument));
}

Json to_json(const std::vector<TileKernel::Size>& sizes) {
  Json list = Json::array();
  for (const TileKernel::Size& size : sizes) list.push_back(to_json(size));
  return list;
}

Result<TileKernel::Size> size_from(const Json& json) {
  if (json.is_int()) return TileKernel::Size(json.as_int());
  for (int n = 0; json.is_string() && n < kMaxTileArguments; ++n) {
    const TileKernel::Size size = TileKernel::Size::of_argument(n);
    if (json == to_json(size)) return size;
  }
  return malformed("a size is neither a number nor an argument");
}

Result<std::vector<TileKernel::Size>> sizes_from(const Json& json) {
  if (!json.is_array()) return malformed("sizes are no list");
  std::vector<TileKernel::Size> sizes;
  for (const Json& item : json.as_array()) {
    KILN_ASSIGN_OR_RETURN(TileKernel::Size size, size_from(item));
    sizes.push_back(size);
  }
  return sizes;
}

Json schedule_to_json(const TileSchedule& schedule) {
  Json json = Json::object();
  json.set("kind", kKindNames[static_cast<size_t>(schedule.kind)]);
  json.set("vector", schedule.vector);
  json.set("unroll", schedule.unroll);
  json.set("threads", schedule.threads);
  json.set("row_threads", schedule.row_threads);
  json.set("held", schedule.held);
  json.set("tail", schedule.tail);
  json.set("wide", schedule.wide);
  return json;
}

Result<TileSchedule> schedule_from_json(const Json& json) {
  TileSchedule schedule;
  KILN_ASSIGN_OR_RETURN(const std::string kind, json.string_at("kind"));
  const auto found = std::find(kKindNames.begin(), kKindNames.end(), kind);
  if (found == kKindNames.end()) return malformed("unknown schedule " + kind);
  schedule.kind = static_cast<TileSchedule::Kind>(found - kKindNames.begin());
  const auto small = [&](std::string_view key, int64_t high, int* to) -> Status {
    KILN_ASSIGN_OR_RETURN(const int64_t value, json.int_at(key, 0, high));
    *to = static_cast<int>(value);
    return {};
  };
  KILN_RETURN_IF_ERROR(small("vector", 16, &schedule.vector));
  KILN_RETURN_IF_ERROR(small("unroll", 8, &schedule.unroll));
  KILN_RETURN_IF_ERROR(small("threads", 1024, &schedule.threads));
  KILN_RETURN_IF_ERROR(small("row_threads", 1024, &schedule.row_threads));
  KILN_ASSIGN_OR_RETURN(schedule.held, json.bool_at("held"));
  KILN_ASSIGN_OR_RETURN(schedule.tail, json.bool_at("tail"));
  KILN_ASSIGN_OR_RETURN(schedule.wide, json.bool_at("wide"));
  return schedule;
}

bool is_power_of_two(int n) { return n > 0 && (n & (n - 1)) == 0; }

bool is_identifier(std::string_view name) {
  return !name.empty() && name.size() <= 120 && !(name[0] >= '0' && name[0] <= '9') &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

template <class Visit>
void for_each_size(const TileKernel& kernel, Visit visit) {
  for (const TileKernel::Size& extent : kernel.extents) visit(extent);
  for (const TileKernel::Access& access : kernel.accesses) {
    visit(access.offset);
    for (const TileKernel::Size& stride : access.strides) visit(stride);
    for (const TileKernel::Axis& axis : access.axes) {
      visit(axis.size);
      visit(axis.stride);
    }
  }
}

// The same sizes of a binding, in the same order.
std::vector<int64_t> sizes_of(const TileBinding& binding) {
  std::vector<int64_t> sizes = binding.extents;
  for (const TileAccess& access : binding.accesses) {
    sizes.push_back(access.offset);
    sizes.insert(sizes.end(), access.strides.begin(), access.strides.end());
    for (const TileGatherAxis& axis : access.axes) {
      sizes.push_back(axis.size);
      sizes.push_back(axis.stride);
    }
  }
  return sizes;
}

Status check_schedule(const TileKernel& kernel) {
  using Kind = TileSchedule::Kind;
  const TileSchedule& s = kernel.schedule;
  if (!is_power_of_two(s.vector) || s.unroll < 1 || s.threads < 32 || s.threads % 32 != 0) {
    return malformed("schedule out of range");
  }
  const bool rows = s.kind == Kind::kRows || s.kind == Kind::kColumns;
  if (rows != (kernel.code.row_rank > 0)) return malformed("schedule of another kind of program");
  if (rows) {
    if (s.row_threads < 1 || s.threads % s.row_threads != 0) return malformed("threads of a row");
    if (s.kind == Kind::kRows && s.row_threads > 32 && s.row_threads != s.threads) {
      return malformed("rows of several warps in one block");
    }
    if (s.row_threads <= 32 ? !is_power_of_two(s.row_threads) : s.row_threads % 32 != 0) {
      return malformed("threads of a row");
    }
  }
  if (s.kind == Kind::kTranspose && (kernel.rank() < 2 || s.vector != 1 || s.threads % 32 != 0 ||
                                     kTransposeTile % (s.threads / 32) != 0)) {
    return malformed("transposing schedule");
  }
  if (s.kind == Kind::kColumns) {
    if (kernel.outer_rank() < 1) return malformed("columns without rows");
    // Lanes exchange by powers of two.
    if (!is_power_of_two(s.row_threads) || !is_power_of_two(s.threads)) {
      return malformed("threads of a column");
    }
  }
  if (s.vector > 1 && kernel.vector_dim() < 0) return malformed("vectors without a dim");
  if (s.tail && (s.kind != Kind::kPoints || kernel.rank() != 1)) return malformed("tail");
  if (s.tail && s.vector > 1) {
    // Groups that are partly beyond the end read and write nothing there, and compute zeros.
    const bool faults = kernel.may_fault();
    for (const TileKernel::Access& access : kernel.accesses) {
      if (faults || !(access.strides[0].is(0) || access.strides[0].is(1))) return malformed("tail");
    }
  }
  if (s.held) {
    if (!rows) return malformed("held rows without rows");
    int64_t row = 1;
    for (int d = kernel.outer_rank(); d < kernel.rank(); ++d) {
      const TileKernel::Size& extent = kernel.extents[static_cast<size_t>(d)];
      if (!extent.known() || extent.value < 1 || extent.value > (1 << 20)) {
        return malformed("held rows");
      }
      row *= extent.value;
      if (row > (1 << 20)) return malformed("held rows");
    }
  }
  // Vectors never cross the end of their dim.
  if (s.vector > 1 && !s.tail) {
    const TileKernel::Size& extent = kernel.extents[static_cast<size_t>(kernel.vector_dim())];
    if (extent.known() && extent.value % s.vector != 0) return malformed("vectors cross the end");
  }
  return {};
}

}  // namespace

Json TileKernel::to_json() const {
  Json json = Json::object();
  json.set("name", name);
  json.set("code", print_tile_code(code));
  json.set("extents", cuda::to_json(extents));
  Json list = Json::array();
  for (const Access& access : accesses) {
    Json entry = Json::array();
    entry.push_back(cuda::to_json(access.offset));
    entry.push_back(cuda::to_json(access.strides));
    if (!access.axes.empty()) {
      Json axes = Json::array();
      for (const Axis& axis : access.axes) {
        axes.push_back(cuda::to_json(std::vector<Size>{axis.size, axis.stride}));
      }
      entry.push_back(std::move(axes));
    }
    list.push_back(std::move(entry));
  }
  json.set("accesses", std::move(list));
  json.set("schedule", schedule_to_json(schedule));
  json.set("in_place", Json(in_place));
  return json;
}

Result<TileKernel> TileKernel::from_json(const Json& json) {
  TileKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.name, json.string_at("name"));
  if (!is_identifier(kernel.name)) return malformed("name");
  KILN_ASSIGN_OR_RETURN(const std::string code, json.string_at("code"));
  KILN_ASSIGN_OR_RETURN(kernel.code, parse_tile_code(code));
  KILN_ASSIGN_OR_RETURN(const Json* extents, json.member("extents"));
  KILN_ASSIGN_OR_RETURN(kernel.extents, sizes_from(*extents));
  KILN_ASSIGN_OR_RETURN(const Json::Array* accesses, json.array_at("accesses"));
  for (const Json& entry : *accesses) {
    if (!entry.is_array() || entry.size() < 2 || entry.size() > 3) return malformed("access");
    Access access;
    KILN_ASSIGN_OR_RETURN(access.offset, size_from(entry[0]));
    KILN_ASSIGN_OR_RETURN(access.strides, sizes_from(entry[1]));
    if (entry.size() == 3) {
      if (!entry[2].is_array()) return malformed("gathered axes");
      for (const Json& axis : entry[2].as_array()) {
        KILN_ASSIGN_OR_RETURN(const std::vector<Size> sizes, sizes_from(axis));
        if (sizes.size() != 2) return malformed("gathered axis");
        access.axes.push_back({sizes[0], sizes[1]});
      }
    }
    kernel.accesses.push_back(std::move(access));
  }
  KILN_ASSIGN_OR_RETURN(const Json* schedule, json.member("schedule"));
  KILN_ASSIGN_OR_RETURN(kernel.schedule, schedule_from_json(*schedule));
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> in_place, json.ints_at("in_place"));
  for (int64_t input : in_place) {
    if (input < 0 || input >= static_cast<int64_t>(kernel.code.inputs.size())) {
      return malformed("input in place");
    }
    kernel.in_place.push_back(static_cast<int>(input));
  }

  const auto rank = static_cast<size_t>(kernel.code.rank);
  if (kernel.extents.size() != rank) return malformed("number of extents");
  for (const Size& extent : kernel.extents) {
    if (extent.known() && extent.value < 0) return malformed("negative extent");
  }
  if (kernel.accesses.size() != static_cast<size_t>(kernel.code.memory_instr_count())) {
    return malformed("number of accesses");
  }
  size_t next = 0;
  for (const TileInstr& instr : kernel.code.instrs) {
    if (tile_op_info(instr.op).kind != TileOpKind::kMemory) continue;
    const Access& access = kernel.accesses[next++];
    size_t indices = 0;
    while (instr.op == TileOp::kGather && indices < 3 && instr.src[indices] >= 0) ++indices;
    if (access.strides.size() != rank) return malformed("number of strides");
    if (access.axes.size() != indices) return malformed("number of gathered axes");
  }
  // Each argument from 0 on occurs.
  std::vector<bool> seen(static_cast<size_t>(kMaxTileArguments), false);
  for_each_size(kernel, [&](const Size& size) {
    if (!size.known()) seen[static_cast<size_t>(size.argument)] = true;
  });
  if (std::count(seen.begin(), seen.end(), true) != kernel.argument_count() ||
      kernel.argument_count() + 2 * static_cast<int>(kernel.divisors().size()) >
          kMaxTileArguments) {
    return malformed("arguments");
  }
  KILN_RETURN_IF_ERROR(check_schedule(kernel));
  return kernel;
}

TileKernel::Size TileKernel::Size::of_argument(int number) {
  Size size;
  size.argument = number;
  return size;
}

int TileKernel::vector_dim() const {
  if (schedule.kind == TileSchedule::Kind::kColumns) return outer_rank() - 1;
  return rank() - 1;
}

bool TileKernel::is_vector_access(size_t i) const {
  const int dim = vector_dim();
  if (schedule.vector == 1 || dim < 0 || !accesses[i].axes.empty()) return false;
  return accesses[i].strides[static_cast<size_t>(dim)].is(1);
}

int64_t TileKernel::alignment(DType dtype) const {
  const auto size = static_cast<int64_t>(dtype_bytes(dtype));
  return std::min<int64_t>(schedule.vector, std::max<int64_t>(16 / size, 1));
}

bool TileKernel::may_fault() const {
  return std::any_of(code.instrs.begin(), code.instrs.end(), [](const TileInstr& instr) {
    const bool division = instr.op == TileOp::kFloorDiv || instr.op == TileOp::kTruncDiv ||
                          instr.op == TileOp::kRemainder || instr.op == TileOp::kFmod;
    return instr.op == TileOp::kGather || (division && instr.type == LaneType::kI64);
  });
}

int TileKernel::argument_count() const {
  int count = 0;
  for_each_size(*this, [&](const Size& size) { count = std::max(count, size.argument + 1); });
  return count;
}

int64_t TileKernel::step_size(size_t dim) const {
  if (schedule.kind == TileSchedule::Kind::kTranspose && dim + 2 >= extents.size()) {
    return kTransposeTile;
  }
  return static_cast<int>(dim) == vector_dim() ? schedule.vector : 1;
}

std::vector<size_t> TileKernel::divisors() const {
  std::vector<size_t> dims;
  if (schedule.wide) return dims;
  for (size_t d = 1; d < extents.size(); ++d) {
    if (!extents[d].known() && d != static_cast<size_t>(outer_rank())) dims.push_back(d);
  }
  return dims;
}

namespace {

// Steps along dim `d`; the last one may be partial.
int64_t steps(const TileKernel& kernel, const TileBinding& binding, size_t d) {
  const int64_t size = kernel.step_size(d);
  return (binding.extents[d] + size - 1) / size;
}

int64_t outer_steps(const TileKernel& kernel, const TileBinding& binding) {
  int64_t product = 1;  // checked by verify_tile_binding not to overflow
  for (size_t d = 0; d < static_cast<size_t>(kernel.outer_rank()); ++d) {
    product *= steps(kernel, binding, d);
  }
  return product;
}

std::vector<int64_t> argument_values(const TileKernel& kernel, const TileBinding& binding) {
  const std::vector<int64_t> sizes = sizes_of(binding);
  std::vector<int64_t> values(static_cast<size_t>(kernel.argument_count()));
  size_t at = 0;
  for_each_size(kernel, [&](const TileKernel::Size& size) {
    if (!size.known()) values[static_cast<size_t>(size.argument)] = sizes[at];
    ++at;
  });
  return values;
}

// Are all indices and offsets below kNarrowLimit?
bool fits_narrow(const TileBinding& binding) {
  __int128 points = 1;
  for (int64_t extent : binding.extents) points *= std::max<int64_t>(extent, 1);
  if (points >= kNarrowLimit) return false;
  for (const TileAccess& access : binding.accesses) {
    __int128 low = access.offset, high = access.offset;
    const auto extend = [&](int64_t extent, int64_t stride) {
      const __int128 span = static_cast<__int128>(std::max<int64_t>(extent, 1) - 1) * stride;
      (span < 0 ? low : high) += span;
    };
    for (size_t d = 0; d < binding.extents.size(); ++d) {
      extend(binding.extents[d], access.strides[d]);
      if (std::abs(access.strides[d]) >= kNarrowLimit) return false;
    }
    for (const TileGatherAxis& axis : access.axes) extend(axis.size, axis.stride);
    if (low <= -kNarrowLimit || high >= kNarrowLimit) return false;
  }
  return true;
}

Status differs() {
  return Status::error("K3212", "sizes are not those that the tile kernel was made for");
}

}  // namespace

Status check_binding(const TileKernel& kernel, const TileBinding& binding,
                     const std::vector<int64_t>& alignments) {
  KILN_RETURN_IF_ERROR(verify_tile_binding(kernel.code, binding));
  // Known numbers are as described, and uses of one argument agree.
  const std::vector<int64_t> sizes = sizes_of(binding);
  const std::vector<int64_t> arguments = argument_values(kernel, binding);
  size_t at = 0;
  bool fits = true;
  for_each_size(kernel, [&](const TileKernel::Size& size) {
    const int64_t expected =
        size.known() ? size.value : arguments[static_cast<size_t>(size.argument)];
    fits = fits && sizes[at++] == expected;
  });
  if (!fits) return differs();
  size_t next = 0;
  const size_t inputs = kernel.code.inputs.size();
  for (const TileInstr& instr : kernel.code.instrs) {
    if (tile_op_info(instr.op).kind != TileOpKind::kMemory) continue;
    const size_t i = next++;
    const TileAccess& access = binding.accesses[i];
    if (!kernel.is_vector_access(i)) continue;
    const bool store = instr.op == TileOp::kStore;
    const auto operand = static_cast<size_t>(instr.operand);
    const DType dtype = store ? kernel.code.outputs[operand] : kernel.code.inputs[operand];
    const int64_t unit = kernel.alignment(dtype);
    bool aligned =
        access.offset % unit == 0 && alignments[store ? inputs + operand : operand] %
                                             (unit * static_cast<int64_t>(dtype_bytes(dtype))) ==
                                         0;
    for (size_t d = 0; d < access.strides.size(); ++d) {
      if (static_cast<int>(d) == kernel.vector_dim()) continue;
      aligned = aligned && (binding.extents[d] <= 1 || access.strides[d] % unit == 0);
    }
    if (!aligned) {
      return Status::error("K3212", "memory is not aligned as the tile kernel needs it: access " +
                                        std::to_string(i));
    }
  }
  const int dim = kernel.vector_dim();
  if (dim >= 0 && !kernel.schedule.tail &&
      binding.extents[static_cast<size_t>(dim)] % kernel.schedule.vector != 0) {
    return differs();
  }
  if (!kernel.schedule.wide && !fits_narrow(binding)) {
    return Status::error("K3212", "sizes are too large for the tile kernel's 32-bit indices");
  }
  return {};
}

std::vector<Argument> size_arguments(const TileKernel& kernel, const TileBinding& binding) {
  std::vector<Argument> arguments;
  for (int64_t value : argument_values(kernel, binding)) {
    arguments.push_back(kernel.schedule.wide ? Argument::i64(value)
                                             : Argument::i32(static_cast<int32_t>(value)));
  }
  for (size_t d : kernel.divisors()) {
    const FastDivisor divisor = fast_divisor(std::max<int64_t>(steps(kernel, binding, d), 1));
    arguments.push_back(Argument::i32(static_cast<int32_t>(divisor.multiply)));
    arguments.push_back(Argument::i32(divisor.shift));
  }
  return arguments;
}

int64_t block_count(const TileKernel& kernel, const TileBinding& binding) {
  const TileSchedule& s = kernel.schedule;
  const auto blocks = [](int64_t items, int64_t per_block) {
    return items / per_block + (items % per_block != 0 ? 1 : 0);
  };
  const int64_t items = outer_steps(kernel, binding);
  switch (s.kind) {
    case TileSchedule::Kind::kPoints: return blocks(items, int64_t{s.threads} * s.unroll);
    case TileSchedule::Kind::kTranspose: return items;
    default: return blocks(items, s.threads / s.row_threads);
  }
}

FastDivisor fast_divisor(int64_t divisor) {
  KILN_CHECK(divisor >= 1 && divisor < (int64_t{1} << 31));
  int32_t shift = 0;
  while ((int64_t{1} << shift) < divisor) ++shift;
  const uint64_t power = uint64_t{1} << shift;
  const uint64_t d = static_cast<uint64_t>(divisor);
  return {static_cast<uint32_t>((power - d) * (uint64_t{1} << 32) / d + 1), shift};
}

}  // namespace kiln::cuda
