#include "backends/cpu/kernels/conv_direct.h"

// Kernels for each SIMD target: this file is compiled again for each by foreach_target.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/conv_direct.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Target headers come after it.
#include <algorithm>
#include <string>

#include "backends/cpu/kernels/micro_kernel-inl.h"
#include "backends/cpu/kernels/parallel_units.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {
namespace {

using Coordinates = std::array<int64_t, 3>;

Coordinates unflatten(int64_t at, const Coordinates& sizes) {
  return {at / (sizes[1] * sizes[2]), at / sizes[2] % sizes[1], at % sizes[2]};
}

// The output positions that share kernel positions: all of them for a plain convolution.
struct Phase {
  Coordinates start;   // first output position
  Coordinates counts;  // output positions along each dim, plan.phase_step apart
  int64_t rows;        // how many output positions

  Phase(const ConvPlan& plan, int64_t index) : start(unflatten(index, plan.phase_step)), rows(1) {
    for (int d = 0; d < 3; ++d) {
      counts[d] =
          std::max<int64_t>(0, ceil_div(plan.params.out_sizes[d] - start[d], plan.phase_step[d]));
      rows *= counts[d];
    }
  }
};

// Whether kernel position `k` reaches the output positions of a phase.
bool in_phase(const ConvParams& p, const Phase& phase, const Coordinates& k) {
  if (!p.transposed) return true;
  for (int d = 0; d < 3; ++d) {
    if ((phase.start[d] + p.padding[d] - k[d] * p.dilation[d]) % p.stride[d] != 0) return false;
  }
  return true;
}

// Input coordinate of output coordinate `o` under kernel coordinate `k`; may lie outside.
int64_t input_coordinate(const ConvParams& p, int d, int64_t o, int64_t k) {
  if (!p.transposed) return o * p.stride[d] + k * p.dilation[d] - p.padding[d];
  const int64_t numerator = o + p.padding[d] - k * p.dilation[d];
  return numerator < 0 ? -1 : numerator / p.stride[d];
}

// Weights of one group and phase as panels [channel panel][kernel position, in channel][out
// channel], from `packed` on; answers how many elements were written.
template <class T>
HWY_NOINLINE int64_t pack_phase(const ConvPlan& plan, const Phase& phase, int64_t group,
                                const T* weight, T* packed) {
  const ConvParams& p = plan.params;
  int64_t depth = 0;
  for (int64_t k = 0; k < plan.kernel_positions; ++k) {
    if (in_phase(p, phase, unflatten(k, p.kernel))) depth += plan.group_in;
  }
  weight += p.transposed ? group * plan.group_in * p.weight_strides[1]
                         : group * plan.group_out * p.weight_strides[0];
  for (int64_t j = 0; j < plan.group_out; j += kPanel<T>) {
    const int64_t width = panel_width<T>(plan.group_out, j);
    T* panel = packed + j * depth;
    for (int64_t k = 0; k < plan.kernel_positions; ++k) {
      const Coordinates at = unflatten(k, p.kernel);
      if (!in_phase(p, phase, at)) continue;
      const T* from = weight + j * p.weight_strides[0] + at[0] * p.weight_strides[2] +
                      at[1] * p.weight_strides[3] + at[2] * p.weight_strides[4];
      pack_panel(from, p.weight_strides[1], p.weight_strides[0], plan.group_in,
                 std::min(width, plan.group_out - j), width, panel);
      panel += plan.group_in * width;
    }
  }
  return depth * round_up(plan.group_out, kMaxPanel);
}

// Kernel positions of a phase, walked along the depth of the product: (position, in channel).
class DepthWalk {
 public:
  DepthWalk(const ConvPlan& plan, const Phase& phase) : plan_(plan), phase_(phase) { skip(); }
  bool done() const { return position_ >= plan_.kernel_positions; }
  const Coordinates& kernel() const { return kernel_; }
  int64_t channel() const { return channel_; }
  // Channels that can be taken at once, at most `most`.
  int64_t channels(int64_t most) const { return std::min(most, plan_.group_in - channel_); }
  void advance(int64_t channels) {
    channel_ += channels;
    if (channel_ < plan_.group_in) return;
    channel_ = 0;
    ++position_;
    skip();
  }

 private:
  void skip() {
    for (; !done(); ++position_) {
      kernel_ = unflatten(position_, plan_.params.kernel);
      if (in_phase(plan_.params, phase_, kernel_)) return;
    }
  }

  const ConvPlan& plan_;
  const Phase& phase_;
  int64_t position_ = 0, channel_ = 0;
  Coordinates kernel_{};
};

// Gathers up to kDepthBlock columns of the product's left side for `rows` output positions; moves
// the walk and answers how many columns.
template <class T>
HWY_NOINLINE int64_t gather_inputs(const ConvPlan& plan, const T* in, const Coordinates* outputs,
                                   int64_t rows, DepthWalk& walk, T* block) {
  const ConvParams& p = plan.params;
  int64_t filled = 0;
  while (!walk.done() && filled < kDepthBlock) {
    const int64_t channels = walk.channels(kDepthBlock - filled);
    const Coordinates& k = walk.kernel();
    for (int64_t r = 0; r < rows; ++r) {
      T* to = block + r * kPitch + filled;
      int64_t offset = walk.channel() * p.in_strides[1];
      bool inside = true;
      for (int d = 0; d < 3; ++d) {
        const int64_t i = input_coordinate(p, d, outputs[r][d], k[d]);
        inside &= i >= 0 && i < p.in_sizes[d];
        offset += i * p.in_strides[2 + d];
      }
      if (!inside) {
        std::fill_n(to, channels, T(0));
      } else if (p.in_strides[1] == 1) {
        std::copy_n(in + offset, channels, to);
      } else {
        const T* from = in + offset;
        for (int64_t c = 0; c < channels; ++c) to[c] = from[c * p.in_strides[1]];
      }
    }
    filled += channels;
    walk.advance(channels);
  }
  return filled;
}

// Output positions [first, first + rows) of a phase, all channels of a group.
template <class T>
HWY_NOINLINE void run_block(const ConvPlan& plan, const Phase& phase, int64_t batch, int64_t group,
                            int64_t first, int64_t rows, const T* in, const T* packed,
                            const T* bias, T* out, T* own) {
  const ConvParams& p = plan.params;
  Coordinates outputs[kRowBlock];
  int64_t places[kRowBlock];
  for (int64_t r = 0; r < rows; ++r) {
    outputs[r] = unflatten(first + r, phase.counts);
    places[r] = batch * p.out_strides[0];
    for (int d = 0; d < 3; ++d) {
      outputs[r][d] = phase.start[d] + outputs[r][d] * plan.phase_step[d];
      places[r] += outputs[r][d] * p.out_strides[2 + d];
    }
  }
  in += batch * p.in_strides[0] + group * plan.group_in * p.in_strides[1];
  int64_t depth = 0;
  for (DepthWalk walk(plan, phase); !walk.done();) {
    const int64_t step = walk.channels(plan.group_in);
    depth += step;
    walk.advance(step);
  }
  T* a_block = own + plan.a_offset;
  T* sums = own + plan.sums_offset;
  for (int64_t n0 = 0; n0 < plan.group_out; n0 += plan.column_block) {
    const int64_t n1 = std::min(plan.group_out, n0 + plan.column_block);
    DepthWalk walk(plan, phase);
    int64_t k0 = 0;
    do {
      const int64_t kc = gather_inputs(plan, in, outputs, rows, walk, a_block);
      for (int64_t j = n0; j < n1; j += kPanel<T>) {
        const int64_t width = panel_width<T>(plan.group_out, j);
        micro_block(rows, width / kLanes<T>, a_block, packed + j * depth + k0 * width, width, kc,
                    sums + (j - n0), plan.column_block, k0 > 0, static_cast<const T*>(nullptr));
      }
      k0 += kc;
    } while (!walk.done());
    for (int64_t j = n0; j < n1; ++j) {
      const int64_t channel = group * plan.group_out + j;
      const T add = p.has_bias ? bias[channel] : T(0);
      T* to = out + channel * p.out_strides[1];
      for (int64_t r = 0; r < rows; ++r) to[places[r]] = sums[r * plan.column_block + j - n0] + add;
    }
  }
}

template <class T>
void run(const ConvPlan& plan, const T* in, const T* weight, const T* bias, T* out, T* scratch) {
  const ConvParams& p = plan.params;
  T* const weights = scratch + plan.weights_offset;
  parallel_for(p.groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      T* to = weights + group * plan.group_weights;
      for (int64_t i = 0; i < plan.phases; ++i) {
        to += pack_phase(plan, Phase(plan, i), group, weight, to);
      }
    }
  });
  int64_t weights_before = 0;  // packed elements of the phases before this one
  for (int64_t i = 0; i < plan.phases; ++i) {
    const Phase phase(plan, i);
    const int64_t blocks = ceil_div(phase.rows, kRowBlock);
    parallel_units(p.batch * p.groups * blocks, plan.parts, [&](int64_t unit, int64_t part) {
      const int64_t first = unit % blocks * kRowBlock;
      const int64_t group = unit / blocks % p.groups;
      run_block(plan, phase, unit / blocks / p.groups, group, first,
                std::min(kRowBlock, phase.rows - first), in,
                weights + group * plan.group_weights + weights_before, bias, out,
                scratch + plan.own_offset + part * plan.part_size);
    });
    for (int64_t k = 0; k < plan.kernel_positions; ++k) {
      if (in_phase(p, phase, unflatten(k, p.kernel))) {
        weights_before += plan.group_in * round_up(plan.group_out, kMaxPanel);
      }
    }
  }
}

}  // namespace

void conv_f32(const ConvPlan& plan, const float* in, const float* weight, const float* bias,
              float* out, float* scratch) {
  run(plan, in, weight, bias, out, scratch);
}
void conv_f64(const ConvPlan& plan, const double* in, const double* weight, const double* bias,
              double* out, double* scratch) {
  run(plan, in, weight, bias, out, scratch);
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu {

HWY_EXPORT(conv_f32);
HWY_EXPORT(conv_f64);

Status ConvParams::validate() const {
  auto bad = [](const char* what, int64_t value) {
    return Status::error("K4323",
                         std::string("convolution: ") + what + ", got " + std::to_string(value));
  };
  if (dtype != DType::kF32 && dtype != DType::kF64) {
    return Status::error(
        "K4323", "convolution: no kernel for this dtype, got " + std::string(dtype_name(dtype)));
  }
  if (spatial_rank < 1 || spatial_rank > 3) return bad("spatial rank is not 1 to 3", spatial_rank);
  if (groups < 1) return bad("groups must be positive", groups);
  for (int64_t size : {batch, in_channels, out_channels}) {
    if (size < 0) return bad("a size is negative", size);
  }
  if (in_channels % groups != 0)
    return bad("in channels are not a multiple of groups", in_channels);
  if (out_channels % groups != 0) {
    return bad("out channels are not a multiple of groups", out_channels);
  }
  for (int d = 0; d < spatial_rank; ++d) {
    if (in_sizes[d] < 0) return bad("a size is negative", in_sizes[d]);
    if (out_sizes[d] < 0) return bad("a size is negative", out_sizes[d]);
    if (kernel[d] < 1) return bad("kernel sizes must be positive", kernel[d]);
    if (stride[d] < 1) return bad("strides must be positive", stride[d]);
    if (dilation[d] < 1) return bad("dilations must be positive", dilation[d]);
  }
  return Status();
}

ConvPlan::ConvPlan(const ConvParams& conv_params, int threads) : params(conv_params) {
  ConvParams& p = params;
  for (int d = p.spatial_rank; d < 3; ++d) {
    p.in_sizes[d] = p.kernel[d] = p.out_sizes[d] = p.stride[d] = p.dilation[d] = 1;
    p.padding[d] = 0;
    p.in_strides[2 + d] = p.weight_strides[2 + d] = p.out_strides[2 + d] = 0;
  }
  parts = std::max(threads, 1);
  group_in = p.in_channels / p.groups;
  group_out = p.out_channels / p.groups;
  for (int d = 0; d < 3; ++d) {
    kernel_positions *= p.kernel[d];
    if (p.transposed) phase_step[d] = p.stride[d];
    phases *= phase_step[d];
  }
  if (group_in == 0) kernel_positions = 0;  // nothing to sum: the bias alone
  // Every kernel position belongs to exactly one phase (of a plain convolution there is one phase).
  group_weights = round_up(kernel_positions * group_in * round_up(group_out, kMaxPanel), 16);
  column_block = std::min(kColumnBlock, round_up(std::max<int64_t>(group_out, 1), kMaxPanel));
  int64_t own = 0;
  auto take = [&own](int64_t size) {
    const int64_t offset = own;
    own += round_up(size, 16);
    return offset;
  };
  a_offset = take(kRowBlock * kPitch);
  sums_offset = take(kRowBlock * column_block);
  part_size = round_up(own, 64);
  own_offset = round_up(p.groups * group_weights, 64);
  total_size = own_offset + parts * part_size;
}

size_t ConvPlan::scratch_bytes() const {
  return static_cast<size_t>(total_size) * dtype_bytes(params.dtype);
}

void ConvPlan::run(const void* in, const void* weight, const void* bias, void* out,
                   void* scratch) const {
  const ConvParams& p = params;
  if (p.batch == 0 || p.out_channels == 0) return;
  if (p.out_sizes[0] * p.out_sizes[1] * p.out_sizes[2] == 0) return;
  if (p.dtype == DType::kF64) {
    HWY_DYNAMIC_DISPATCH(conv_f64)
    (*this, static_cast<const double*>(in), static_cast<const double*>(weight),
     static_cast<const double*>(bias), static_cast<double*>(out), static_cast<double*>(scratch));
  } else {
    HWY_DYNAMIC_DISPATCH(conv_f32)
    (*this, static_cast<const float*>(in), static_cast<const float*>(weight),
     static_cast<const float*>(bias), static_cast<float*>(out), static_cast<float*>(scratch));
  }
}

}  // namespace kiln::cpu
#endif  // HWY_ONCE
