// Plans for a GPU whose kernel descriptions, steps' parameters and views somebody changed: whatever
// stands there, loading, binding and printing end in a Status. The driver is the null driver, so
// that what is accepted goes all the way to its launches.
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <string>

#include "backends/cuda/compile/kernel_family.h"
#include "base/options.h"
#include "cuda/null_driver.h"
#include "interp/random_data.h"
#include "samples/own_cuda_kernels.h"
#include "samples/sample_check.h"
#include "samples/sample_program.h"

namespace kiln::cuda_test {
namespace {

using Each = std::function<void(const std::string& place, Json damaged)>;

// Each copy of `value` with one thing in it changed, added or gone. Places without the numbers of
// array elements name what is alike.
void damage(const Json& value, const std::string& place, const Each& each) {
  if (value.is_object()) {
    for (const JsonMember& member : value.as_object()) {
      damage(member.value, place + "." + member.key, [&](const std::string& at, Json changed) {
        Json copy = value;
        copy.set(member.key, std::move(changed));
        each(at, std::move(copy));
      });
      Json without = Json::object();
      for (const JsonMember& other : value.as_object()) {
        if (other.key != member.key) without.set(other.key, other.value);
      }
      each(place + ".without " + member.key, std::move(without));
    }
    return;
  }
  if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) {
      damage(value[i], place + "[]", [&](const std::string& at, Json changed) {
        Json copy = value;
        copy.as_array()[i] = std::move(changed);
        each(at, std::move(copy));
      });
    }
    if (value.size() != 0) {
      Json shorter = value, longer = value;
      shorter.as_array().pop_back();
      longer.push_back(value[value.size() - 1]);
      each(place + " shorter", std::move(shorter));
      each(place + " longer", std::move(longer));
    }
    each(place + " as number", Json(1));
    return;
  }
  const char* texts[] = {"", "f64", "bool", "x; }", "9223372036854775807*2", "mod(5, 0)", "s9"};
  for (const char* text : texts) each(place, Json(text));
  constexpr int64_t kNumbers[] = {
      -1,        0,        1, 2, 3, 7, 16, 4096, 1 << 20, int64_t{1} << 31, int64_t{1} << 62,
      INT64_MAX, INT64_MIN};
  for (int64_t number : kNumbers) {
    if (!value.is_int() || value.as_int() != number) each(place, Json(number));
  }
  if (value.is_int()) {
    each(place, Json(value.as_int() + 1));
    each(place, Json(value.as_int() - 1));
  }
  each(place, Json(true));
  each(place, Json(false));
  each(place, Json(0.5));
  each(place, Json());
  each(place, Json::array());
  each(place, Json::object());
}

// Prints kernels, as the real compiler does, and makes images for the null driver of them.
class PrintingCompiler : public cuda::KernelCompiler {
 public:
  Result<std::vector<cuda::CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                                    int sm) override {
    std::vector<cuda::CompiledKernel> result;
    for (const KernelDesc& kernel : kernels) {
      KILN_ASSIGN_OR_RETURN(const cuda::KernelSource source, cuda::print_kernel(kernel));
      if (kernel.family == "strided_copy") {  // the runtime's own
        KILN_ASSIGN_OR_RETURN(auto own, null_.compile({kernel}, sm));
        result.push_back(std::move(own[0]));
        continue;
      }
      const std::vector<int> sizes = parameter_bytes(source);
      std::string image = source.entry + " " + std::to_string(sizes.size());
      for (int size : sizes) image += " " + std::to_string(size);
      result.push_back({std::move(image), source.entry});
    }
    return result;
  }

 private:
  static std::vector<int> parameter_bytes(const cuda::KernelSource& source) {
    const size_t begin = source.text.find('(', source.text.find(" void " + source.entry + "(")) + 1;
    const std::string list = source.text.substr(begin, source.text.find(") {", begin) - begin);
    const bool wide = source.text.find("using Index = int64;") != std::string::npos;
    std::vector<int> sizes;
    for (size_t at = 0; at < list.size();) {
      const size_t end = std::min(list.find(',', at), list.size());
      const std::string one = list.substr(list.find_first_not_of(" \n", at), end - at);
      const bool four = one.starts_with("int32") || one.starts_with("uint32") ||
                        one.starts_with("float") || (one.starts_with("Index") && !wide);
      sizes.push_back(four ? 4 : 8);
      at = end + 1;
    }
    return sizes;
  }

  test::NullCompiler null_;
};

class DamagedSteps : public testing::Test {
 protected:
  void SetUp() override {
    test::NullDriver::get().reset();
    cuda::set_kernel_compiler(&compiler_);
  }
  void TearDown() override { cuda::set_kernel_compiler(nullptr); }

  PrintingCompiler compiler_;
};

// Loads, prints, binds, launches.
Status outcome(SampleProgram& program, const SampleData& data, const Json& json) {
  KILN_ASSIGN_OR_RETURN(EnginePlan plan, engine_plan_from_json(json));
  program.set_plan(std::move(plan));
  KILN_RETURN_IF_ERROR(program.load(1));
  return program.run(data).status();
}

// `each` with the plan whose part (a kernel's parameters, a step) is changed.
void damage_plan(const Json& plan, const Each& each) {
  const Json kernels = *plan.find("kernels");
  for (size_t i = 0; i < kernels.size(); ++i) {
    damage(kernels[i], kernels[i].string_at("family").value(),
           [&](const std::string& place, Json changed) {
             Json all = kernels, copy = plan;
             all.as_array()[i] = std::move(changed);
             copy.set("kernels", std::move(all));
             each(place, std::move(copy));
           });
  }
  const Json main = *plan.find("main"), steps = *main.find("steps");
  for (size_t i = 0; i < steps.size(); ++i) {
    damage(steps[i], steps[i].string_at("kind").value(),
           [&](const std::string& place, Json changed) {
             Json all = steps, changed_main = main, copy = plan;
             all.as_array()[i] = std::move(changed);
             changed_main.set("steps", std::move(all));
             copy.set("main", std::move(changed_main));
             each(place, std::move(copy));
           });
  }
}

// Counts what becomes of damaged plans.
struct Damages {
  static constexpr int kOfAPlace = 30;  // one place in one or two samples
  std::map<std::string, int> seen;
  int tried = 0, accepted = 0;
  std::set<std::string> kinds;  // of steps

  void of(SampleProgram& program, const SampleData& data, const std::string& name) {
    const Json plan = to_json(program.plan());
    for (const StepDesc& step : program.plan().main.steps) kinds.insert(step.kind);
    const Status unchanged = outcome(program, data, plan);
    ASSERT_TRUE(unchanged.ok()) << name << ": " << unchanged.to_string();
    damage_plan(plan, [&](const std::string& place, const Json& damaged) {
      if (seen[place]++ >= kOfAPlace) return;
      const Status status = outcome(program, data, damaged);
      ++tried;
      if (status.ok()) ++accepted;
      EXPECT_TRUE(status.ok() || (status.code().starts_with("K") && status.code() != "K9001"))
          << name << ", " << place << ": " << status.to_string() << "\n"
          << damaged.dump();
    });
  }
  void report() const {
    std::cout << tried << " damages at " << seen.size() << " places, " << accepted
              << " of them harmless\n";
  }
};

TEST_F(DamagedSteps, EndInATypedError) {
  Damages damages;
  OwnCudaKernels cuda;
  for (const OpDef* op : sampled_ops()) {
    for (const OpSample& sample : op->samples()) {
      const Result<SampleGraph> graph = make_sample_graph(*op, sample);
      const Result<SampleData> data = make_sample_data(sample, 7);
      if (!graph.ok() || !data.ok() || !cuda.supports(*graph->node).ok()) continue;
      auto program = SampleProgram::lower(*op, sample, InputForm::kContiguous,
                                          std::make_unique<OwnCudaKernels>());
      ASSERT_TRUE(program.ok()) << op->name << ": " << program.status().to_string();
      damages.of(**program, *data, op->name + ", " + sample.why);
    }
  }
  // Every own step of the backend occurs.
  for (const char* kind :
       {"cuda.attention", "cuda.conv", "cuda.copy", "cuda.depthwise", "cuda.direct_conv",
        "cuda.gather", "cuda.gemm", "cuda.index", "cuda.index_put", "cuda.iota", "cuda.pad",
        "cuda.pool", "cuda.resize", "cuda.scan", "cuda.scatter", "cuda.sort", "cuda.tile"}) {
    EXPECT_TRUE(damages.kinds.contains(kind)) << kind;
  }
  EXPECT_GT(damages.tried, 10000);
  EXPECT_LT(damages.accepted, damages.tried / 2);
  damages.report();
}

// No op sample is large enough for the kernels of products of 16-bit matrices.
TEST_F(DamagedSteps, OfLargeProductsToo) {
  const std::string main =
      R"(main(%x: f16[300,136], %w: f16[72,136], %b: f16[72], %z: f16[300,72]) {
  %0 = linear(%x, %w, %b) : f16[300,72]
  %1 = add(%0, %z) : f16[300,72]
  %2 = gelu(%1) {approximate="none"} : f16[300,72]
  return %2 {name="y"}
})";
  SampleData data;
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{300, 136}, {72, 136}, {72}, {300, 72}}) {
    data.operands.emplace_back(random_data(DType::kF16, shape, DataKind::kUnit, 1));
  }
  Damages damages;
  // On this device by warps, and by warpgroups.
  for (const char* tilings : {"32x64x64/2/2+64x64x64/3/1", "w128x64+w128x128+32x64x64/2/1"}) {
    damages.seen.clear();
    DebugOptions options;
    options.gemm_tilings = tilings;
    set_debug_options(options);
    auto module = parse_module(main);
    ASSERT_TRUE(module.ok()) << module.status().to_string();
    auto program =
        SampleProgram::lower(std::move(*module), {}, std::make_unique<OwnCudaKernels>());
    set_debug_options({});
    ASSERT_TRUE(program.ok()) << program.status().to_string();
    std::set<std::string> families;
    for (const KernelDesc& kernel : (*program)->plan().kernels) families.insert(kernel.family);
    EXPECT_EQ(families.contains("warpgroup_gemm"), tilings[0] == 'w');
    damages.of(**program, data, tilings);
  }
  EXPECT_EQ(damages.kinds, std::set<std::string>{"cuda.multistage_gemm"});
  EXPECT_GT(damages.tried, 1500);
  EXPECT_LT(damages.accepted, damages.tried / 2);
  damages.report();
}

}  // namespace
}  // namespace kiln::cuda_test
