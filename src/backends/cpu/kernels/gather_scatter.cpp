#include "backends/cpu/kernels/gather_scatter.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "backends/cpu/kernels/element.h"
#include "backends/cpu/kernels/parallel_units.h"

namespace kiln::cpu {
namespace {

constexpr int64_t kColumns = 64;  // columns that one scatter unit takes when dim is not the last

template <class I>
Status check_indices(const GatherParams& p, const I* index) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> first_bad{kNone};
  const int64_t inner = p.sizes[p.rank - 1], stride = p.index_strides[p.rank - 1];
  const int64_t lines = element_count(p.rank - 1, p.sizes);
  parallel_for(lines, std::max<int64_t>(1, 8192 / inner), [&](int64_t begin, int64_t end) {
    OffsetWalk<1> walk(p.rank - 1, p.sizes, {&p.index_strides}, begin);
    for (int64_t line = begin; line < end; ++line, walk.next()) {
      const I* from = index + walk.offset(0);
      for (int64_t i = 0; i < inner; ++i) {
        const int64_t value = from[i * stride];
        if (value >= 0 && value < p.dim_size) [[likely]]
          continue;
        const int64_t at = line * inner + i;
        int64_t seen = first_bad.load();
        while (at < seen && !first_bad.compare_exchange_weak(seen, at)) {
        }
        return;
      }
    }
  });
  const int64_t bad = first_bad.load();
  if (bad == kNone) return Status();
  const OffsetWalk<1> walk(p.rank, p.sizes, {&p.index_strides}, bad);
  const std::string range =
      p.dim_size == 0 ? std::string("empty") : "[0, " + std::to_string(p.dim_size - 1) + "]";
  return Status::error("K4312", std::string(p.op) + ": index is out of range, got " +
                                    std::to_string(static_cast<int64_t>(index[walk.offset(0)])) +
                                    " at position " + std::to_string(bad) + ", range " + range);
}

template <class T, class I>
void gather_typed(const GatherParams& p, const T* table, const I* index, T* dense) {
  Dims table_strides = p.table_strides;
  const int64_t dim_stride = table_strides[p.dim];
  table_strides[p.dim] = 0;
  const int last = p.rank - 1;
  const int64_t inner = p.sizes[last];
  const int64_t index_step = p.index_strides[last], dense_step = p.dense_strides[last];
  const int64_t table_step = table_strides[last];
  parallel_for(element_count(last, p.sizes), std::max<int64_t>(1, 8192 / inner),
               [&](int64_t begin, int64_t end) {
                 OffsetWalk<3> walk(last, p.sizes,
                                    {&p.index_strides, &p.dense_strides, &table_strides}, begin);
                 for (int64_t line = begin; line < end; ++line, walk.next()) {
                   const I* i = index + walk.offset(0);
                   T* to = dense + walk.offset(1);
                   const T* from = table + walk.offset(2);
                   for (int64_t j = 0; j < inner; ++j) {
                     to[j * dense_step] = from[j * table_step + i[j * index_step] * dim_stride];
                   }
                 }
               });
}

template <class T>
T reduce_identity(ScatterReduce reduce) {
  using Limits =
      std::numeric_limits<std::conditional_t<sizeof(T) == 2 && !std::is_integral_v<T>, float, T>>;
  switch (reduce) {
    case ScatterReduce::kProd: return static_cast<T>(1.0f);
    case ScatterReduce::kMax:
      return static_cast<T>(Limits::has_infinity ? -Limits::infinity() : Limits::lowest());
    case ScatterReduce::kMin:
      return static_cast<T>(Limits::has_infinity ? Limits::infinity() : Limits::max());
    default: return static_cast<T>(0.0f);
  }
}

template <class T>
T combine(ScatterReduce reduce, T old, T value) {
  switch (reduce) {
    case ScatterReduce::kReplace: return value;
    case ScatterReduce::kSum:
    case ScatterReduce::kMean: return add(old, value);
    case ScatterReduce::kProd: return multiply(old, value);
    case ScatterReduce::kMax:
      return is_nan(value) || value > old ? value : old;  // NaN wins, as in torch
    case ScatterReduce::kMin: return is_nan(value) || value < old ? value : old;
  }
  return value;
}

template <class T>
T divide(T sum, int64_t count) {
  if constexpr (std::is_same_v<T, bool>) {
    return sum;
  } else if constexpr (std::is_integral_v<T>) {
    const int64_t s = static_cast<int64_t>(sum);
    return static_cast<T>(s / count - (s % count < 0 ? 1 : 0));
  } else if constexpr (std::is_same_v<T, double>) {
    return sum / static_cast<double>(count);
  } else {
    return static_cast<T>(static_cast<float>(sum) / static_cast<float>(count));
  }
}

// A scatter as units that never meet: the positions of one unit differ only along dim and, when dim
// is not the last, within a block of columns of the last dim.
struct ScatterUnits {
  int outer_rank = 0;
  Dims sizes{}, index_strides{}, table_strides{}, dense_strides{};      // of the outer dims
  int64_t columns = 1, index_step = 0, table_step = 0, dense_step = 0;  // of the last dim
  int64_t blocks = 1, units = 1;

  explicit ScatterUnits(const GatherParams& p) {
    const int last = p.rank - 1;
    for (int d = 0; d < p.rank; ++d) {
      if (d == p.dim || (d == last && p.dim != last)) continue;
      sizes[outer_rank] = p.sizes[d];
      index_strides[outer_rank] = p.index_strides[d];
      table_strides[outer_rank] = p.table_strides[d];
      dense_strides[outer_rank++] = p.dense_strides[d];
    }
    if (p.dim != last) {
      columns = p.sizes[last];
      index_step = p.index_strides[last], table_step = p.table_strides[last];
      dense_step = p.dense_strides[last];
      blocks = (columns + kColumns - 1) / kColumns;
    }
    units = element_count(outer_rank, sizes) * blocks;
  }
};

template <class T, class I>
void scatter_unit(const GatherParams& p, const ScatterUnits& u, ScatterReduce reduce,
                  bool include_self, int64_t unit, const T* dense, const I* index, T* table,
                  int64_t* counts) {
  const OffsetWalk<3> walk(u.outer_rank, u.sizes,
                           {&u.index_strides, &u.table_strides, &u.dense_strides}, unit / u.blocks);
  const int64_t first = unit % u.blocks * kColumns;
  const int64_t width = std::min(kColumns, u.columns - first);
  const I* i = index + walk.offset(0) + first * u.index_step;
  T* t = table + walk.offset(1) + first * u.table_step;
  const T* s = dense + walk.offset(2) + first * u.dense_step;
  const int64_t length = p.sizes[p.dim];
  const int64_t index_dim = p.index_strides[p.dim], table_dim = p.table_strides[p.dim];
  const int64_t dense_dim = p.dense_strides[p.dim];
  auto visit = [&](auto&& body) {
    for (int64_t l = 0; l < length; ++l) {
      for (int64_t c = 0; c < width; ++c) {
        const int64_t place = i[l * index_dim + c * u.index_step];
        body(t[place * table_dim + c * u.table_step], s[l * dense_dim + c * u.dense_step],
             place * kColumns + c);
      }
    }
  };
  if (!include_self && reduce != ScatterReduce::kReplace) {
    const T start = reduce_identity<T>(reduce);
    visit([&](T& to, const T&, int64_t) { to = start; });
  }
  if (reduce == ScatterReduce::kMean) {
    std::fill_n(counts, p.dim_size * kColumns, include_self ? 1 : 0);
    visit([&](T& to, const T& from, int64_t at) {
      to = add(to, from);
      ++counts[at];
    });
    // Divide each place once: its count is taken away when that is done.
    visit([&](T& to, const T&, int64_t at) {
      if (counts[at] > 0) to = divide(to, counts[at]);
      counts[at] = 0;
    });
  } else {
    visit([&](T& to, const T& from, int64_t) { to = combine(reduce, to, from); });
  }
}

}  // namespace

Status GatherParams::validate() const {
  KILN_RETURN_IF_ERROR(validate_sizes(op, rank, sizes));
  if (rank < 1 || dim < 0 || dim >= rank) {
    return Status::error("K4311", std::string(op) + ": dim is out of range, got " +
                                      std::to_string(dim) + " for rank " + std::to_string(rank));
  }
  if (dim_size < 0) {
    return Status::error("K4311",
                         std::string(op) + ": a size is negative, got " + std::to_string(dim_size));
  }
  return Status();
}

Status gather(const GatherParams& p, const void* table, const void* index, void* dense) {
  if (element_count(p.rank, p.sizes) == 0) return Status();
  auto typed = [&]<class I>(const I* i) -> Status {
    KILN_RETURN_IF_ERROR(check_indices(p, i));
    with_element(static_cast<int>(dtype_bytes(p.dtype)), [&]<class T>(T) {
      gather_typed(p, static_cast<const T*>(table), i, static_cast<T*>(dense));
    });
    return Status();
  };
  return p.index_type == IndexType::kI64 ? typed(static_cast<const int64_t*>(index))
                                         : typed(static_cast<const int32_t*>(index));
}

size_t scatter_scratch_bytes(const GatherParams& params, ScatterReduce reduce, int threads) {
  if (reduce != ScatterReduce::kMean) return 0;
  return static_cast<size_t>(std::max(threads, 1) * params.dim_size * kColumns) * sizeof(int64_t);
}

Status scatter(const GatherParams& p, ScatterReduce reduce, bool include_self, const void* dense,
               const void* index, void* table, void* scratch, int threads) {
  if (element_count(p.rank, p.sizes) == 0) return Status();
  const ScatterUnits units(p);
  auto typed = [&]<class I>(const I* i) -> Status {
    KILN_RETURN_IF_ERROR(check_indices(p, i));
    with_dtype(p.dtype, [&]<class T>(T) {
      parallel_units(units.units, std::max(threads, 1), [&](int64_t unit, int64_t part) {
        scatter_unit(p, units, reduce, include_self, unit, static_cast<const T*>(dense), i,
                     static_cast<T*>(table),
                     static_cast<int64_t*>(scratch) + part * p.dim_size * kColumns);
      });
    });
    return Status();
  };
  return p.index_type == IndexType::kI64 ? typed(static_cast<const int64_t*>(index))
                                         : typed(static_cast<const int32_t*>(index));
}

}  // namespace kiln::cpu
