// SIMD kernels of the tile virtual machine: f32 transcendental functions.
#include <cmath>

#include "backends/cpu/kernels/tile_vm_step.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/tile_vm_math.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "backends/cpu/kernels/tile_vm_loops-inl.h"
#include "backends/cpu/kernels/tile_vm_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::tile {
namespace HWY_NAMESPACE {
namespace {

float slow_sin(float x) { return std::sin(x); }
float slow_cos(float x) { return std::cos(x); }

#define KILN_TILE_MATH(name, expression)      \
  struct name {                               \
    template <class D, class V>               \
    HWY_INLINE V operator()(D d, V x) const { \
      return expression;                      \
    }                                         \
  };                                          \
  void run_##name(const Step& step, TileState& state) { map_one<float>(step, state, name()); }

KILN_TILE_MATH(Exp, exp_f32(d, x))
KILN_TILE_MATH(Exp2, exp2_f32(d, x))
KILN_TILE_MATH(Expm1, expm1_f32(d, x))
KILN_TILE_MATH(Log, log_f32(d, x))
KILN_TILE_MATH(Log2, log2_f32(d, x))
KILN_TILE_MATH(Log10, log10_f32(d, x))
KILN_TILE_MATH(Log1p, log1p_f32(d, x))
KILN_TILE_MATH(Sin, sin_f32(d, x, 0, slow_sin))
KILN_TILE_MATH(Cos, sin_f32(d, x, 1, slow_cos))
KILN_TILE_MATH(Tanh, tanh_f32(d, x))
KILN_TILE_MATH(Erf, erf_f32(d, x))
KILN_TILE_MATH(Sigmoid, sigmoid_f32(d, x))
KILN_TILE_MATH(Silu, silu_f32(d, x))
KILN_TILE_MATH(GeluErf, gelu_erf_f32(d, x))
KILN_TILE_MATH(GeluTanh, gelu_tanh_f32(d, x))
KILN_TILE_MATH(Mish, mish_f32(d, x))
#undef KILN_TILE_MATH

struct Softplus {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return softplus_f32(d, x, beta, threshold);
  }
  float beta, threshold;
};
void run_Softplus(const Step& step, TileState& state) {
  map_one<float>(step, state,
                 Softplus{static_cast<float>(step.params[0]), static_cast<float>(step.params[1])});
}

struct Elu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return elu_f32(d, x, alpha, scale, input_scale);
  }
  float alpha, scale, input_scale;
};
void run_Elu(const Step& step, TileState& state) {
  map_one<float>(step, state,
                 Elu{static_cast<float>(step.params[0]), static_cast<float>(step.params[1]),
                     static_cast<float>(step.params[2])});
}

}  // namespace

StepFn find_math(const StepKey& key) {
  if (key.type != LaneType::kF32) return nullptr;
  switch (key.op) {
    case TileOp::kExp: return run_Exp;
    case TileOp::kExp2: return run_Exp2;
    case TileOp::kExpm1: return run_Expm1;
    case TileOp::kLog: return run_Log;
    case TileOp::kLog2: return run_Log2;
    case TileOp::kLog10: return run_Log10;
    case TileOp::kLog1p: return run_Log1p;
    case TileOp::kSin: return run_Sin;
    case TileOp::kCos: return run_Cos;
    case TileOp::kTanh: return run_Tanh;
    case TileOp::kErf: return run_Erf;
    case TileOp::kSigmoid: return run_Sigmoid;
    case TileOp::kSilu: return run_Silu;
    case TileOp::kGeluErf: return run_GeluErf;
    case TileOp::kGeluTanh: return run_GeluTanh;
    case TileOp::kMish: return run_Mish;
    case TileOp::kSoftplus: return run_Softplus;
    case TileOp::kElu: return run_Elu;
    default: return nullptr;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kiln::cpu::tile
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu::tile {

HWY_EXPORT(find_math);

StepFn find_math_kernel(const StepKey& key) { return HWY_DYNAMIC_DISPATCH(find_math)(key); }

}  // namespace kiln::cpu::tile
#endif  // HWY_ONCE
