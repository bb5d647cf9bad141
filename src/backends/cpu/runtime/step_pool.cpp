// "pool" and "resize" on Kiln's own kernels, any strides, f32 and f64.
//
// Input and output have the spatial dims last, before them channels and perhaps a batch. "pool":
// params kind (max, avg, adaptive_max, adaptive_avg), rank (spatial dims), and for the first two
// kernel, stride, padding, dilation, count_include_pad, divisor (0: by the count). A second output
// of a maximum is the i64 place in the plane. "resize": params mode, rank, align_corners, scales
// (0: from the sizes).
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "backends/cpu/kernels/pool.h"
#include "backends/cpu/kernels/resize.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

constexpr int64_t kMaxEntry = int64_t{1} << 31;

// [batch, channel, spatial...] of a view whose batch may be absent.
struct PlaneView {
  int64_t batch = 1, channels = 0;
  std::array<int64_t, 3> sizes{1, 1, 1};
  std::array<int64_t, 5> strides{};
};

Result<PlaneView> plane_view(const char* step, const ConcreteView& view, int spatial_rank) {
  const int leading = view.rank() - spatial_rank;
  if (leading != 1 && leading != 2) {
    return Status::error("K3244", std::string(step) + ": rank does not fit, " +
                                      std::to_string(view.rank()));
  }
  PlaneView plane;
  size_t dim = 0;
  if (leading == 2) {
    plane.batch = view.dims[0];
    plane.strides[0] = view.strides[0];
    dim = 1;
  }
  plane.channels = view.dims[dim];
  plane.strides[1] = view.strides[dim];
  for (size_t i = 0; i < static_cast<size_t>(spatial_rank); ++i) {
    plane.sizes[i] = view.dims[dim + 1 + i];
    plane.strides[2 + i] = view.strides[dim + 1 + i];
  }
  return plane;
}

// Input and output of one step, of the same batch and channels and of one float dtype.
Status check_planes(const char* step, const ConcreteView& in_view, const ConcreteView& out_view,
                    const PlaneView& in, const PlaneView& out) {
  KILN_RETURN_IF_ERROR(cpu::check_rank(step, out_view, in_view.rank()));
  KILN_RETURN_IF_ERROR(cpu::check_dtype(step, out_view, in_view.dtype));
  if (in.batch != out.batch || in.channels != out.channels) {
    return Status::error("K3244", std::string(step) + ": batch or channels differ");
  }
  return {};
}

class BoundPool : public BoundStep {
 public:
  BoundPool(const cpu::PoolParams& params, bool with_indices)
      : params_(params), with_indices_(with_indices) {}
  Status run(const RunArgs& args) override {
    cpu::pool(params_, args.inputs[0], args.outputs[0],
              with_indices_ ? static_cast<int64_t*>(args.outputs[1]) : nullptr);
    return {};
  }
  std::string implementation() const override { return "kiln:pool"; }

 private:
  cpu::PoolParams params_;
  bool with_indices_;
};

class PoolStep : public Step {
 public:
  explicit PoolStep(const cpu::PoolParams& params) : params_(params) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views("pool", context));
    cpu::PoolParams p = params_;
    const ConcreteView& in_view = context.inputs[0];
    const ConcreteView& out_view = context.outputs[0];
    KILN_ASSIGN_OR_RETURN(const PlaneView in, plane_view("pool", in_view, p.spatial_rank));
    KILN_ASSIGN_OR_RETURN(const PlaneView out, plane_view("pool", out_view, p.spatial_rank));
    KILN_RETURN_IF_ERROR(check_planes("pool", in_view, out_view, in, out));
    p.dtype = in_view.dtype;
    p.batch = in.batch;
    p.channels = in.channels;
    p.in_sizes = in.sizes;
    p.out_sizes = out.sizes;
    p.in_strides = in.strides;
    p.out_strides = out.strides;
    const bool with_indices = context.outputs.size() == 2;
    if (with_indices) {
      const ConcreteView& places = context.outputs[1];
      KILN_RETURN_IF_ERROR(cpu::check_dims("pool", places, out_view.dims));
      KILN_RETURN_IF_ERROR(cpu::check_dtype("pool", places, DType::kI64));
      KILN_ASSIGN_OR_RETURN(const PlaneView at, plane_view("pool", places, p.spatial_rank));
      p.index_strides = at.strides;
    }
    KILN_RETURN_IF_ERROR(p.validate());
    const bool adaptive = p.kind == cpu::PoolKind::kAdaptiveMax ||
                          p.kind == cpu::PoolKind::kAdaptiveAverage;
    for (size_t i = 0; i < static_cast<size_t>(p.spatial_rank); ++i) {
      // Every window starts inside the input or its padding; and nothing overflows.
      const bool fits = adaptive ? p.out_sizes[i] <= kMaxEntry && p.in_sizes[i] <= kMaxEntry
                                 : p.out_sizes[i] <= 1 + (p.in_sizes[i] + p.padding[i] - 1) /
                                                             p.stride[i];
      if (!fits) {
        return Status::error("K3244", "pool: more windows than the input has, got " +
                                          std::to_string(p.out_sizes[i]));
      }
    }
    return std::unique_ptr<BoundStep>(new BoundPool(p, with_indices));
  }

 private:
  cpu::PoolParams params_;
};

class BoundResize : public BoundStep {
 public:
  explicit BoundResize(const cpu::ResizeParams& params) : params_(params) {}
  size_t scratch_bytes() const override { return cpu::resize_scratch_bytes(params_); }
  Status run(const RunArgs& args) override {
    cpu::resize(params_, args.inputs[0], args.outputs[0], args.scratch);
    return {};
  }
  std::string implementation() const override { return "kiln:resize"; }

 private:
  cpu::ResizeParams params_;
};

class ResizeStep : public Step {
 public:
  explicit ResizeStep(const cpu::ResizeParams& params) : params_(params) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views("resize", context));
    cpu::ResizeParams p = params_;
    const ConcreteView& in_view = context.inputs[0];
    const ConcreteView& out_view = context.outputs[0];
    KILN_ASSIGN_OR_RETURN(const PlaneView in, plane_view("resize", in_view, p.spatial_rank));
    KILN_ASSIGN_OR_RETURN(const PlaneView out, plane_view("resize", out_view, p.spatial_rank));
    KILN_RETURN_IF_ERROR(check_planes("resize", in_view, out_view, in, out));
    p.dtype = in_view.dtype;
    p.batch = in.batch;
    p.channels = in.channels;
    p.in_sizes = in.sizes;
    p.out_sizes = out.sizes;
    p.in_strides = in.strides;
    p.out_strides = out.strides;
    KILN_RETURN_IF_ERROR(p.validate());
    for (size_t i = 0; i < 3; ++i) {
      if (p.in_sizes[i] > kMaxEntry || p.out_sizes[i] > kMaxEntry) {
        return Status::error("K3244", "resize: a size is out of range");
      }
    }
    return std::unique_ptr<BoundStep>(new BoundResize(p));
  }

 private:
  cpu::ResizeParams params_;
};

// One entry of [low, kMaxEntry] for each spatial dim.
Status read_entries(const Json& params, std::string_view key, int64_t low, int rank,
                    std::array<int64_t, 3>* out) {
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> values, params.ints_at(key));
  if (static_cast<int>(values.size()) != rank) {
    return Status::error("K3244", "pool: not one entry per spatial dim in " + std::string(key));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < low || values[i] > kMaxEntry) {
      return Status::error("K3244", "pool: entry out of range in " + std::string(key) + ", " +
                                        std::to_string(values[i]));
    }
    (*out)[i] = values[i];
  }
  return {};
}

Result<std::unique_ptr<Step>> make_pool(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(const std::string kind, desc.params.string_at("kind"));
  const bool max = kind == "max" || kind == "adaptive_max";
  const size_t outputs = max && desc.outputs.size() == 2 ? 2 : 1;
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 1, 1, outputs));
  cpu::PoolParams p;
  KILN_ASSIGN_OR_RETURN(const int64_t rank, desc.params.int_at("rank", 1, 3));
  p.spatial_rank = static_cast<int>(rank);
  if (kind == "adaptive_max" || kind == "adaptive_avg") {
    p.kind = max ? cpu::PoolKind::kAdaptiveMax : cpu::PoolKind::kAdaptiveAverage;
    return std::unique_ptr<Step>(new PoolStep(p));
  }
  if (kind != "max" && kind != "avg") {
    return Status::error("K3244", "unknown kind of a pool step: " + kind);
  }
  p.kind = max ? cpu::PoolKind::kMax : cpu::PoolKind::kAverage;
  KILN_RETURN_IF_ERROR(read_entries(desc.params, "kernel", 1, p.spatial_rank, &p.kernel));
  KILN_RETURN_IF_ERROR(read_entries(desc.params, "stride", 1, p.spatial_rank, &p.stride));
  KILN_RETURN_IF_ERROR(read_entries(desc.params, "padding", 0, p.spatial_rank, &p.padding));
  KILN_RETURN_IF_ERROR(read_entries(desc.params, "dilation", 1, p.spatial_rank, &p.dilation));
  KILN_ASSIGN_OR_RETURN(p.count_include_pad, desc.params.bool_at("count_include_pad"));
  KILN_ASSIGN_OR_RETURN(p.divisor, desc.params.int_at("divisor"));
  return std::unique_ptr<Step>(new PoolStep(p));
}

Result<std::unique_ptr<Step>> make_resize(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 1, 1, 1));
  cpu::ResizeParams p;
  KILN_ASSIGN_OR_RETURN(const int64_t rank, desc.params.int_at("rank", 1, 3));
  p.spatial_rank = static_cast<int>(rank);
  KILN_ASSIGN_OR_RETURN(p.align_corners, desc.params.bool_at("align_corners"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* scales, desc.params.array_at("scales"));
  if (scales->size() > static_cast<size_t>(rank)) {
    return Status::error("K3244", "resize: more scales than spatial dims");
  }
  for (size_t i = 0; i < scales->size(); ++i) {
    const Json& scale = (*scales)[i];
    if (!scale.is_number() || !std::isfinite(scale.as_double()) || scale.as_double() < 0) {
      return Status::error("K3244", "resize: scale is not positive");
    }
    p.scale_factors[i] = scale.as_double();
  }
  KILN_ASSIGN_OR_RETURN(const std::string mode, desc.params.string_at("mode"));
  using cpu::ResizeMode;
  for (const auto& [name, value] : {std::pair{"nearest", ResizeMode::kNearest},
                                    std::pair{"nearest_exact", ResizeMode::kNearestExact},
                                    std::pair{"linear", ResizeMode::kLinear},
                                    std::pair{"cubic", ResizeMode::kCubic}}) {
    if (mode != name) continue;
    p.mode = value;
    return std::unique_ptr<Step>(new ResizeStep(p));
  }
  return Status::error("K3244", "unknown mode of a resize step: " + mode);
}

KILN_STEP(pool, "pool", make_pool);
KILN_STEP(resize, "resize", make_resize);

}  // namespace
}  // namespace kiln
