// kiln_cuda_libs_check: the steps on cuBLASLt and cuDNN on a real GPU.
//
//   kiln_cuda_libs_check            correctness of many shapes, dtypes, layouts and epilogues
//   kiln_cuda_libs_check --time     also times, as JSON lines that tests/gpu/libs_time.py reads
//
// Results are compared with plain sums in double precision, at up to 512 places each. The last
// line says how many cases were right; the exit status is 1 when one was wrong, 2 without a GPU.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <set>

#include "backends/cuda/runtime/cublaslt_step.h"
#include "backends/cuda/runtime/cudnn_conv.h"
#include "backends/cuda/runtime/device_timer.h"
#include "unit/cuda_runtime/library_step.h"

namespace kiln::cuda_test {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace)
using Kind = KernelActivation::Kind;
using Dims = std::vector<int64_t>;

struct Case {
  std::string name;
  std::string step;
  Json params;
  std::vector<Operand> inputs;
  Operand output;
  // What the output should hold at a place.
  std::function<double(const std::vector<Operand>&, const Dims&)> expected;
  double sums = 1;  // terms of a sum
  double flops = 0;
  Json description;  // for the timing script
};

// Numbers with all the bits that the dtype has.
void fill_fine(Operand& operand, uint32_t state) {
  for (size_t i = 0; i < operand.slot.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    operand.set(i, (static_cast<double>(state >> 8) / (1 << 24) - 0.5) * 2);
    operand.slot[i] = operand.stored(i);
  }
}

double tolerance_of(DType dtype) {
  switch (dtype) {
    case DType::kF64: return 1e-13;
    case DType::kF32: return 2e-6;
    case DType::kF16: return 1.5e-3;
    default: return 1.2e-2;
  }
}

double activate(Kind kind, double x) {
  auto clip = [](double v, double lo, double hi) { return std::min(std::max(v, lo), hi); };
  switch (kind) {
    case Kind::kNone: return x;
    case Kind::kRelu: return std::max(x, 0.0);
    case Kind::kClip: return clip(x, 0, 6);
    case Kind::kLeakyRelu: return x > 0 ? x : 0.1 * x;
    case Kind::kElu: return x > 0 ? x : std::expm1(x);
    case Kind::kSigmoid: return 1 / (1 + std::exp(-x));
    case Kind::kTanh: return std::tanh(x);
    case Kind::kSilu: return x / (1 + std::exp(-x));
    case Kind::kGelu: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Kind::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Kind::kHardsigmoid: return clip(x + 3, 0, 6) / 6;
    case Kind::kHardswish: return x * clip(x + 3, 0, 6) / 6;
  }
  return x;
}

Case matmul(const std::string& name, DType dtype, const CublasLtStepParams& given, Operand a,
            Operand b, Operand d) {
  CublasLtStepParams params = given;
  params.workspace_bytes = library_workspace_bytes(90);
  Case c{name, "cuda.cublaslt", params.to_json(), {std::move(a), std::move(b)}, std::move(d), {},
         1, 0, Json::object()};
  const size_t rank = c.output.view.dims.size();
  const int64_t depth = c.inputs[0].view.dims[rank - 1];
  if (params.bias) c.inputs.emplace_back(dtype, Dims{c.output.view.dims.back()});
  if (params.add) c.inputs.emplace_back(dtype, c.output.view.dims, c.output.view.strides);
  c.sums = static_cast<double>(depth);
  c.flops = 2.0 * static_cast<double>(c.output.view.num_elements()) * c.sums;
  c.expected = [params, rank, depth](const std::vector<Operand>& in, const Dims& at) {
    double sum = 0;
    Dims ia = at, ib = at;
    for (int64_t k = 0; k < depth; ++k) {
      ia[rank - 1] = ib[rank - 2] = k;
      sum += in[0].at(ia) * in[1].at(ib);
    }
    sum *= params.alpha;
    size_t next = 2;
    if (params.bias) sum += in[next++].at({at[rank - 1]});
    if (params.add) sum += in[next].at(at);
    const Kind kinds[] = {Kind::kNone, Kind::kRelu, Kind::kGeluTanh};
    return activate(kinds[static_cast<int>(params.activation)], sum);
  };
  c.description.set("dims_a", c.inputs[0].view.dims);
  c.description.set("dims_b", c.inputs[1].view.dims);
  c.description.set("weights_transposed", c.inputs[1].view.strides[rank - 1] != 1);
  return c;
}

std::string dtype_text(DType dtype) { return std::string(dtype_name(dtype)); }

std::vector<Case> matmul_cases() {
  std::vector<Case> cases;
  const DType dtypes[] = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16};
  for (const DType t : dtypes) {
    for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{{128, 768, 768},
                                                                      {1, 768, 768},
                                                                      {197, 3072, 768},
                                                                      {33, 17, 65},
                                                                      {7, 1, 9},
                                                                      {1, 1, 1},
                                                                      {256, 1000, 2048}}) {
      const std::string size =
          dtype_text(t) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" +
          std::to_string(k);
      cases.push_back(matmul("nn " + size, t, {}, {t, {m, k}}, {t, {k, n}}, {t, {m, n}}));
      cases.push_back(matmul("nt " + size, t, {}, {t, {m, k}}, {t, {k, n}, {1, k}}, {t, {m, n}}));
      cases.push_back(matmul("tn " + size, t, {}, {t, {m, k}, {1, m}}, {t, {k, n}}, {t, {m, n}}));
      cases.push_back(
          matmul("tt " + size, t, {}, {t, {m, k}, {1, m}}, {t, {k, n}, {1, k}}, {t, {m, n}}));
      for (int bits = 0; bits < 12; ++bits) {
        CublasLtStepParams p;
        p.bias = (bits & 1) != 0;
        p.add = (bits & 2) != 0;
        p.activation = static_cast<MatmulActivation>(bits / 4);
        if (t == DType::kF64 && p.activation != MatmulActivation::kNone) continue;
        cases.push_back(matmul("epilogue " + std::to_string(bits) + " " + size, t, p, {t, {m, k}},
                               {t, {k, n}, {1, k}}, {t, {m, n}}));
      }
    }
    const std::string type = dtype_text(t);
    CublasLtStepParams scaled;
    scaled.alpha = 0.125;
    // Attention: heads inside of rows, scores and values.
    cases.push_back(matmul("scores " + type, t, scaled, {t, {2, 12, 50, 64}, {38400, 64, 768, 1}},
                           {t, {2, 12, 64, 50}, {38400, 64, 1, 768}}, {t, {2, 12, 50, 50}}));
    cases.push_back(matmul("values " + type, t, {}, {t, {2, 12, 50, 50}},
                           {t, {2, 12, 50, 64}, {38400, 64, 768, 1}},
                           {t, {2, 12, 50, 64}, {38400, 64, 768, 1}}));
    cases.push_back(matmul("one b " + type, t, {}, {t, {3, 5, 40, 24}}, {t, {1, 1, 24, 16}},
                           {t, {3, 5, 40, 16}}));
    cases.push_back(matmul("one a " + type, t, {}, {t, {1, 40, 24}}, {t, {6, 24, 16}},
                           {t, {6, 40, 16}}));
    cases.push_back(matmul("padded rows " + type, t, {}, {t, {40, 24}, {32, 1}},
                           {t, {24, 16}, {24, 1}}, {t, {40, 16}, {40, 1}}));
    cases.push_back(matmul("odd offsets " + type, t, {}, {t, {40, 24}, {25, 1}, 1},
                           {t, {24, 17}, {17, 1}, 3}, {t, {40, 17}, {19, 1}, 1}));
    cases.push_back(matmul("depth 0 " + type, t, {}, {t, {40, 0}}, {t, {0, 16}}, {t, {40, 16}}));
    cases.push_back(matmul("column-major result " + type, t, {}, {t, {40, 24}}, {t, {24, 16}},
                           {t, {40, 16}, {1, 40}}));
  }
  return cases;
}

struct ConvCase {
  DType dtype = DType::kF16;
  int64_t n = 2, c = 64, k = 64, size = 28, window = 3, stride = 1, groups = 1, dilation = 1;
  bool bias = true, add = false;
  Kind kind = Kind::kRelu;
  int rank = 2;
  bool transposed = false, tf32 = false, tune = false;
};

Dims channels_last(const Dims& dims) {
  Dims strides(dims.size(), 1);
  int64_t stride = dims[1];
  for (size_t i = dims.size(); i-- > 2;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  strides[0] = stride;
  return strides;
}

Case conv(const std::string& name, const ConvCase& v) {
  const auto rank = static_cast<size_t>(v.rank);
  const int64_t padding = v.dilation * (v.window / 2);
  const int64_t extent = v.dilation * (v.window - 1) + 1;
  const int64_t out = (v.size + 2 * padding - extent) / v.stride + 1;
  CudnnConvStepParams p;
  p.stride.assign(rank, v.stride);
  p.dilation.assign(rank, v.dilation);
  p.padding_low.assign(rank, padding);
  p.padding_high = p.padding_low;
  p.groups = v.groups;
  p.transposed = v.transposed;
  p.bias = v.bias;
  p.add = v.add;
  p.allow_tf32 = v.tf32;
  p.tune = v.tune;
  p.activation = {v.kind, v.kind == Kind::kLeakyRelu ? 0.1 : v.kind == Kind::kElu ? 1.0 : 0.0, 6};
  p.workspace_bytes = library_workspace_bytes(90);
  auto dims = [&](int64_t n, int64_t channels, int64_t size) {
    Dims d(rank, size);
    d.insert(d.begin(), {n, channels});
    return d;
  };
  const Dims large = dims(v.n, v.c, v.size), small = dims(v.n, v.k, out);
  const Dims w = dims(v.k, v.c / v.groups, v.window);
  const Dims& x = v.transposed ? small : large;
  const Dims& y = v.transposed ? large : small;
  Case c{name + " " + dtype_text(v.dtype), "cuda.cudnn_conv", p.to_json(), {},
         {v.dtype, y, channels_last(y)}, {}, 1, 0, Json::object()};
  c.inputs.emplace_back(v.dtype, x, channels_last(x));
  c.inputs.emplace_back(v.dtype, w, channels_last(w));
  if (v.bias) c.inputs.emplace_back(v.dtype, Dims{y[1]});
  if (v.add) c.inputs.emplace_back(v.dtype, y, channels_last(y));
  const double taps = std::pow(static_cast<double>(v.window), v.rank);
  c.sums = taps * static_cast<double>((v.transposed ? v.k : v.c) / v.groups);
  double products = 1;
  for (const int64_t d : small) products *= static_cast<double>(d);
  c.flops = 2 * products * taps * static_cast<double>(v.c / v.groups);
  c.expected = [v, p, x, y, w, rank](const std::vector<Operand>& in, const Dims& at) {
    double sum = 0;
    const int64_t x_per = x[1] / v.groups, y_per = y[1] / v.groups;
    const int64_t group = at[1] / y_per;
    Dims tap(rank, 0);
    bool more = true;
    while (more) {
      Dims ix = at, iw(rank + 2);
      bool inside = true;
      for (size_t i = 0; i < rank; ++i) {
        iw[i + 2] = tap[i];
        if (!v.transposed) {
          ix[i + 2] = at[i + 2] * v.stride - p.padding_low[i] + tap[i] * v.dilation;
        } else {
          const int64_t from = at[i + 2] + p.padding_low[i] - tap[i] * v.dilation;
          inside = inside && from % v.stride == 0;
          ix[i + 2] = from / v.stride;
          inside = inside && from >= 0;
        }
        inside = inside && ix[i + 2] >= 0 && ix[i + 2] < x[i + 2];
      }
      for (int64_t ch = 0; inside && ch < x_per; ++ch) {
        ix[1] = group * x_per + ch;
        iw[0] = v.transposed ? ix[1] : at[1];
        iw[1] = v.transposed ? at[1] % y_per : ch;
        sum += in[0].at(ix) * in[1].at(iw);
      }
      more = false;
      for (size_t i = rank; i-- > 0 && !more;) {
        more = ++tap[i] < v.window;
        if (!more) tap[i] = 0;
      }
    }
    size_t next = 2;
    if (v.bias) sum += in[next++].at({at[1]});
    if (v.add) sum += in[next].at(at);
    return activate(v.kind, sum);
  };
  c.description.set("dims_x", x);
  c.description.set("dims_w", w);
  return c;
}

std::vector<Case> conv_cases() {
  std::vector<Case> cases;
  for (const DType t : {DType::kF16, DType::kBF16, DType::kF32}) {
    auto add = [&](const std::string& name, ConvCase v) {
      v.dtype = t;
      cases.push_back(conv(name, v));
    };
    for (const Kind kind : {Kind::kNone, Kind::kRelu, Kind::kClip, Kind::kLeakyRelu, Kind::kElu,
                            Kind::kSigmoid, Kind::kTanh, Kind::kSilu, Kind::kGelu,
                            Kind::kGeluTanh, Kind::kHardsigmoid, Kind::kHardswish}) {
      for (const bool with : {false, true}) {
        ConvCase v;
        v.kind = kind;
        v.add = with;
        add("act " + std::to_string(static_cast<int>(kind)) + (with ? " add" : ""), v);
        v.bias = false;
        add("no bias, act " + std::to_string(static_cast<int>(kind)) + (with ? " add" : ""), v);
      }
    }
    add("stem 3", {t, 2, 3, 64, 64, 7, 2});
    add("stem 4", {t, 2, 4, 64, 64, 7, 2});
    add("stem 8", {t, 2, 8, 64, 64, 7, 2});
    add("odd channels", {t, 2, 13, 17, 20, 3, 1});
    add("odd outputs", {t, 2, 16, 17, 20, 3, 1});
    add("1x1", {t, 2, 64, 256, 28, 1, 1});
    add("1x1 strided", {t, 2, 64, 128, 28, 1, 2});
    add("dilated", {t, 2, 64, 64, 28, 3, 1, 1, 2});
    add("groups 32", {t, 2, 256, 256, 14, 3, 1, 32});
    add("groups 2", {t, 2, 64, 64, 14, 3, 1, 2});
    add("depthwise", {t, 2, 96, 96, 14, 3, 1, 96});
    ConvCase v;
    v.rank = 1;
    v.size = 100;
    add("1d", v);
    v.rank = 3;
    v.size = 9;
    add("3d", v);
    for (const int64_t stride : {1, 2}) {
      ConvCase up;
      up.transposed = true;
      up.stride = stride;
      up.k = 32;
      up.size = 27;
      up.bias = false;
      up.kind = Kind::kNone;
      add("transposed/" + std::to_string(stride), up);
    }
  }
  return cases;
}

// Cases of the size that models have, for timing.
std::vector<Case> timed_cases() {
  std::vector<Case> cases;
  const DType t = DType::kF16;
  for (const bool tune : {false, true}) {
    const std::string suffix = tune ? " tuned" : "";
    for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{{128, 2304, 768},
                                                                      {128, 768, 3072},
                                                                      {4096, 2304, 768},
                                                                      {4096, 768, 768},
                                                                      {4096, 3072, 768},
                                                                      {4096, 768, 3072},
                                                                      {6304, 3072, 768}}) {
      CublasLtStepParams p;
      p.bias = true;
      p.tune = tune;
      cases.push_back(matmul("linear" + suffix, t, p, {t, {m, k}}, {t, {k, n}, {1, k}},
                             {t, {m, n}}));
    }
    for (const auto& [c, k, size, window, stride] :
         std::vector<std::array<int64_t, 5>>{{64, 64, 56, 3, 1},
                                             {64, 256, 56, 1, 1},
                                             {256, 64, 56, 1, 1},
                                             {128, 128, 28, 3, 1},
                                             {256, 256, 14, 3, 1},
                                             {512, 512, 7, 3, 1},
                                             {256, 512, 56, 1, 2},
                                             {3, 64, 224, 7, 2},
                                             {8, 64, 224, 7, 2}}) {
      for (const int64_t batch : {1, 32}) {
        ConvCase v{t, batch, c, k, size, window, stride};
        v.tune = tune;
        cases.push_back(conv("conv" + suffix, v));
      }
    }
  }
  return cases;
}

struct OnDevice {
  std::shared_ptr<void> memory;
  char* data = nullptr;
};

Result<OnDevice> upload(DeviceRuntime& device, Operand& operand) {
  OnDevice there;
  const size_t bytes = operand.slot.size() * dtype_bytes(operand.view.dtype);
  there.memory = device.allocate_lasting(bytes + 64);
  if (there.memory == nullptr) return Status::error("K4501", "out of device memory");
  KILN_RETURN_IF_ERROR(device.copy(there.memory.get(), operand.base(), bytes, nullptr));
  there.data = static_cast<char*>(there.memory.get()) +
               static_cast<size_t>(operand.view.offset) * dtype_bytes(operand.view.dtype);
  return there;
}

struct Outcome {
  bool refused = false;
  std::string text;  // what is wrong, or the reason of a refusal
  std::string implementation;
  double worst = 0;  // error in units of the tolerance
  double microseconds = 0;
};

Result<Outcome> run(DeviceRuntime& device, Case& c, bool time) {
  Outcome outcome;
  StepDesc desc{c.step, {}, {}, c.params, "", ""};
  desc.inputs.resize(c.inputs.size());
  desc.outputs.resize(1);
  StepEnvironment environment;
  environment.device = &device;
  KILN_ASSIGN_OR_RETURN(const std::unique_ptr<Step> step,
                        StepRegistry::global().create(desc, environment));
  BindContext context;
  for (const Operand& input : c.inputs) context.inputs.push_back(input.view);
  context.outputs.push_back(c.output.view);
  auto bound = step->bind(context);
  if (!bound.ok()) {
    outcome.refused = true;
    outcome.text = bound.status().to_string();
    return outcome;
  }
  outcome.implementation = (*bound)->implementation();
  std::vector<OnDevice> memory;
  std::vector<void*> inputs;
  uint32_t seed = 1;
  for (Operand& input : c.inputs) {
    fill_fine(input, seed++);
    KILN_ASSIGN_OR_RETURN(OnDevice there, upload(device, input));
    inputs.push_back(there.data);
    memory.push_back(std::move(there));
  }
  for (size_t i = 0; i < c.output.slot.size(); ++i) c.output.set(i, 77);
  KILN_ASSIGN_OR_RETURN(const OnDevice result, upload(device, c.output));
  void* outputs[] = {result.data};
  const auto scratch = device.allocate_lasting((*bound)->scratch_bytes() + 256);
  RunArgs args;
  args.inputs = inputs.data();
  args.outputs = outputs;
  args.scratch = scratch.get();
  const ScopedDevice scope(device);
  KILN_RETURN_IF_ERROR((*bound)->run(args));
  KILN_RETURN_IF_ERROR(device.synchronize(nullptr));
  const size_t bytes = c.output.slot.size() * dtype_bytes(c.output.view.dtype);
  KILN_RETURN_IF_ERROR(device.copy(c.output.base(), result.memory.get(), bytes, nullptr));
  KILN_RETURN_IF_ERROR(device.synchronize(nullptr));

  const Dims& dims = c.output.view.dims;
  const int64_t elements = c.output.view.num_elements();
  const int64_t places = std::min<int64_t>(elements, 512);
  const double tolerance = tolerance_of(c.output.view.dtype);
  std::set<size_t> seen;
  uint64_t state = 1;
  for (int64_t i = 0; i < places; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    int64_t flat = places == elements ? i : static_cast<int64_t>((state >> 16) % elements);
    if (i == 0) flat = elements - 1;
    Dims at(dims.size());
    for (size_t d = dims.size(); d-- > 0;) {
      at[d] = flat % dims[d];
      flat /= dims[d];
    }
    const double wanted = c.expected(c.inputs, at);
    const double found = c.output.stored(static_cast<size_t>(c.output.index(at)));
    const double error =
        std::fabs(found - wanted) / (tolerance * (std::fabs(wanted) + std::sqrt(c.sums)));
    if (std::isnan(found) || error > outcome.worst) {
      outcome.worst = std::isnan(found) ? 1e9 : error;
      outcome.text = "found " + std::to_string(found) + ", wanted " + std::to_string(wanted);
    }
  }
  // What lies between the result's elements stays as it was.
  if (elements < static_cast<int64_t>(c.output.slot.size()) && elements <= 1 << 16) {
    Dims at(dims.size(), 0);
    for (bool more = true; more;) {
      seen.insert(static_cast<size_t>(c.output.index(at)));
      more = false;
      for (size_t d = dims.size(); d-- > 0 && !more;) {
        more = ++at[d] < dims[d];
        if (!more) at[d] = 0;
      }
    }
    for (size_t i = 0; i < c.output.slot.size(); ++i) {
      if (seen.contains(i) || c.output.stored(i) == 77) continue;
      outcome.worst = 1e9;
      outcome.text = "wrote outside of the result";
    }
  }
  if (outcome.worst <= 1) outcome.text.clear();
  if (time) {
    KILN_ASSIGN_OR_RETURN(const Driver* table, driver());
    KILN_ASSIGN_OR_RETURN(outcome.microseconds, time_on_device(*table, [&](CUstream stream, int) {
                            RunArgs again = args;
                            again.stream = stream;
                            return (*bound)->run(again);
                          }));
  }
  return outcome;
}

int check_all(bool time) {
  const auto device = device_runtime_for("cuda:sm_90", 0);
  if (!device.ok()) {
    std::printf("%s\n", device.status().to_string().c_str());
    return 2;
  }
  int right = 0, wrong = 0, refused = 0, wrongly_refused = 0;
  auto each = [&](std::vector<Case> cases, bool timed) {
    for (Case& c : cases) {
      const auto outcome = run(**device, c, timed);
      if (!outcome.ok()) {
        ++wrong;
        std::printf("FAILED %s: %s\n", c.name.c_str(), outcome.status().to_string().c_str());
        continue;
      }
      if (outcome->refused) {
        ++refused;
        // Products and plain convolutions with a bias have no reason to be refused.
        const bool must = c.step == "cuda.cublaslt" || c.name.starts_with("act 1 ");
        wrongly_refused += must ? 1 : 0;
        std::printf("%s %s: %s\n", must ? "REFUSED" : "refused", c.name.c_str(),
                    outcome->text.c_str());
        continue;
      }
      if (outcome->worst > 1) {
        ++wrong;
        std::printf("WRONG %s (%s): %g times the tolerance, %s\n", c.name.c_str(),
                    outcome->implementation.c_str(), outcome->worst, outcome->text.c_str());
        continue;
      }
      ++right;
      if (timed) {
        Json line = c.description;
        line.set("name", c.name);
        line.set("params", c.params);
        line.set("implementation", outcome->implementation);
        line.set("microseconds", outcome->microseconds);
        line.set("tflops", c.flops / outcome->microseconds * 1e-6);
        std::printf("%s\n", line.dump().c_str());
      }
    }
  };
  each(matmul_cases(), false);
  each(conv_cases(), false);
  if (time) each(timed_cases(), true);
  const auto blas = cublaslt_info();
  const auto dnn = cudnn_info();
  std::printf("cublaslt %s, cudnn %s: %d right, %d wrong, %d refused (%d of them wrongly)\n",
              blas.ok() ? blas->version.c_str() : blas.status().to_string().c_str(),
              dnn.ok() ? dnn->version.c_str() : dnn.status().to_string().c_str(), right, wrong,
              refused, wrongly_refused);
  return wrong + wrongly_refused == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kiln::cuda_test

int main(int argc, char** argv) {
  return kiln::cuda_test::check_all(argc > 1 && std::strcmp(argv[1], "--time") == 0);
}
