#include "backends/cpu/kernels/index.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "backends/cpu/kernels/copy.h"
#include "backends/cpu/kernels/element.h"
#include "base/parallel_for.h"

namespace kiln::cpu {
namespace {

int64_t load_index(IndexType type, const void* data, int64_t offset) {
  return type == IndexType::kI64 ? static_cast<const int64_t*>(data)[offset]
                                 : static_cast<const int32_t*>(data)[offset];
}

Status out_of_range(const IndexParams& p, const void* const* indices, int64_t position) {
  OffsetWalk<1> walk(p.index_rank, p.index_sizes, {&p.index_dense_strides}, position);
  for (int k = 0; k < p.index_count; ++k) {
    int64_t offset = 0;
    for (int d = 0; d < p.index_rank; ++d) offset += walk.index(d) * p.index_strides[k][d];
    const int64_t value = load_index(p.index_type, indices[k], offset);
    const int64_t size = p.table_sizes[k];
    const int64_t low = p.allow_negative ? -size : 0;
    if (value >= low && value < size) continue;
    std::string range = size == 0
                            ? std::string("empty")
                            : "[" + std::to_string(low) + ", " + std::to_string(size - 1) + "]";
    std::string which = p.index_count > 1 ? ", index tensor " + std::to_string(k) : std::string();
    return Status::error("K4312", std::string(p.op) + ": index is out of range, got " +
                                      std::to_string(value) + " at position " +
                                      std::to_string(position) + which + ", range " + range);
  }
  return Status();
}

// Fills offsets[position] with what to add to the table pointer.
Status resolve(const IndexParams& p, const void* const* indices, int64_t count, int64_t* offsets) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> first_bad{kNone};
  parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
    std::fill(offsets + begin, offsets + end, 0);
    for (int k = 0; k < p.index_count; ++k) {
      const int64_t size = p.table_sizes[k], stride = p.table_strides[k];
      OffsetWalk<1> walk(p.index_rank, p.index_sizes, {&p.index_strides[k]}, begin);
      for (int64_t i = begin; i < end; ++i, walk.next()) {
        int64_t value = load_index(p.index_type, indices[k], walk.offset(0));
        if (value < 0 && p.allow_negative) value += size;
        if (value < 0 || value >= size) {
          int64_t seen = first_bad.load();
          while (i < seen && !first_bad.compare_exchange_weak(seen, i)) {
          }
          break;
        }
        offsets[i] += value * stride;
      }
    }
  });
  const int64_t bad = first_bad.load();
  return bad == kNone ? Status() : out_of_range(p, indices, bad);
}

int64_t grain_for(int64_t bytes) {
  return std::max<int64_t>(1, (32 << 10) / std::max<int64_t>(1, bytes));
}

// Gathers single elements, the index dim innermost: one line of dense for each slice position.
template <class T>
void gather_lines(const IndexParams& p, const T* table, T* dense, int64_t count,
                  const int64_t* offsets) {
  const int64_t step = p.index_rank == 0 ? 1 : p.index_dense_strides[0];
  const int64_t lines = element_count(p.slice_rank, p.slice_sizes);
  parallel_for(lines, grain_for(count * static_cast<int64_t>(sizeof(T))),
               [&](int64_t begin, int64_t end) {
                 OffsetWalk<2> walk(p.slice_rank, p.slice_sizes,
                                    {&p.slice_table_strides, &p.slice_dense_strides}, begin);
                 for (int64_t line = begin; line < end; ++line, walk.next()) {
                   const T* from = table + walk.offset(0);
                   T* to = dense + walk.offset(1);
                   for (int64_t i = 0; i < count; ++i) to[i * step] = from[offsets[i]];
                 }
               });
}

}  // namespace

Status IndexParams::validate() const {
  KILN_RETURN_IF_ERROR(validate_element_bytes(op, element_bytes));
  KILN_RETURN_IF_ERROR(validate_sizes(op, index_count, table_sizes));
  KILN_RETURN_IF_ERROR(validate_sizes(op, index_rank, index_sizes));
  KILN_RETURN_IF_ERROR(validate_sizes(op, slice_rank, slice_sizes));
  if (index_count < 1) {
    return Status::error("K4311",
                         std::string(op) + ": no index tensor, got " + std::to_string(index_count));
  }
  return Status();
}

size_t index_scratch_bytes(const IndexParams& params) {
  return static_cast<size_t>(element_count(params.index_rank, params.index_sizes)) *
         sizeof(int64_t);
}

Status index_gather(const IndexParams& p, const void* table, const void* const* indices,
                    void* dense, void* scratch) {
  const int64_t count = element_count(p.index_rank, p.index_sizes);
  if (count == 0) return Status();
  int64_t* offsets = static_cast<int64_t*>(scratch);
  KILN_RETURN_IF_ERROR(resolve(p, indices, count, offsets));
  const int64_t slice = element_count(p.slice_rank, p.slice_sizes);
  if (slice == 0) return Status();

  int64_t slice_step =
      std::numeric_limits<int64_t>::max();  // smallest stride of the slice in dense
  for (int d = 0; d < p.slice_rank; ++d) {
    if (p.slice_sizes[d] > 1) slice_step = std::min(slice_step, std::abs(p.slice_dense_strides[d]));
  }
  if (p.index_rank == 1 && std::abs(p.index_dense_strides[0]) < slice_step) {
    with_element(p.element_bytes, [&]<class T>(T) {
      gather_lines(p, static_cast<const T*>(table), static_cast<T*>(dense), count, offsets);
    });
    return Status();
  }

  CopyParams copy;
  copy.element_bytes = p.element_bytes;
  copy.rank = p.slice_rank;
  copy.sizes = p.slice_sizes;
  copy.src_strides = p.slice_table_strides;
  copy.dst_strides = p.slice_dense_strides;
  const CopyPlan plan(copy);
  const unsigned char* from = static_cast<const unsigned char*>(table);
  unsigned char* to = static_cast<unsigned char*>(dense);
  parallel_for(count, grain_for(slice * p.element_bytes), [&](int64_t begin, int64_t end) {
    OffsetWalk<1> walk(p.index_rank, p.index_sizes, {&p.index_dense_strides}, begin);
    for (int64_t i = begin; i < end; ++i, walk.next()) {
      plan.run_units(from + offsets[i] * p.element_bytes, to + walk.offset(0) * p.element_bytes, 0,
                     plan.units());
    }
  });
  return Status();
}

Status index_put(const IndexParams& p, DType dtype, bool accumulate, const void* dense,
                 const void* const* indices, void* table, void* scratch) {
  const int64_t count = element_count(p.index_rank, p.index_sizes);
  if (count == 0) return Status();
  int64_t* offsets = static_cast<int64_t*>(scratch);
  KILN_RETURN_IF_ERROR(resolve(p, indices, count, offsets));
  const int64_t slice = element_count(p.slice_rank, p.slice_sizes);
  if (slice == 0) return Status();
  // Equal indices must meet in order, so each thread visits all positions for its part of the
  // slice.
  auto visit = [&]<class T>(auto&& combine, const T* from, T* to) {
    parallel_for(slice, grain_for(count * p.element_bytes), [&](int64_t begin, int64_t end) {
      OffsetWalk<1> walk(p.index_rank, p.index_sizes, {&p.index_dense_strides}, 0);
      for (int64_t i = 0; i < count; ++i, walk.next()) {
        const T* s = from + walk.offset(0);
        T* t = to + offsets[i];
        if (p.slice_rank == 1) {
          for (int64_t j = begin; j < end; ++j) {
            combine(t[j * p.slice_table_strides[0]], s[j * p.slice_dense_strides[0]]);
          }
        } else {
          OffsetWalk<2> places(p.slice_rank, p.slice_sizes,
                               {&p.slice_table_strides, &p.slice_dense_strides}, begin);
          for (int64_t j = begin; j < end; ++j, places.next()) {
            combine(t[places.offset(0)], s[places.offset(1)]);
          }
        }
      }
    });
  };
  if (!accumulate) {
    with_element(p.element_bytes, [&]<class T>(T) {
      visit([](T& to, const T& from) { to = from; }, static_cast<const T*>(dense),
            static_cast<T*>(table));
    });
    return Status();
  }
  KILN_CHECK_EQ(dtype_bytes(dtype), static_cast<size_t>(p.element_bytes));
  with_dtype(dtype, [&]<class T>(T) {
    visit([](T& to, const T& from) { to = add(to, from); }, static_cast<const T*>(dense),
          static_cast<T*>(table));
  });
  return Status();
}

}  // namespace kiln::cpu
