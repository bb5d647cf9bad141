// The kernels of the op samples, in turns, op by op; their tests are the samples that use them.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "emulated_samples.h"
#include "mutants.h"

namespace kiln::emulator {

inline constexpr size_t kCasesPerMutant = 16;

// A kernel and the samples that run it.
struct SampledKernel {
  cuda::KernelSource source;
  std::vector<Case*> cases;

  bool passes(const cuda::CompiledKernel& code) const {
    HostKernelCompiler::instance().set_replacement(
        [&](const cuda::KernelSource& other, cuda::CompiledKernel& compiled) {
          if (other.text == source.text) compiled = code;
        });
    bool passed = true;
    for (size_t i = 0; i < cases.size() && i < kCasesPerMutant && passed; ++i) {
      passed = check(*cases[i]).empty();
    }
    HostKernelCompiler::instance().set_replacement({});
    return passed;
  }
  // Of a kernel that has no argument but addresses.
  std::optional<Shape> shape_of_every_launch() const {
    std::vector<Shape> shapes;
    bool sizes = false;
    const auto observe = [&](const kiln_emulated::Kernel& kernel, const Shape& shape) {
      if (source.entry != kernel.name) return;
      for (int i = 0; i < kernel.parameters; ++i)
        sizes |= kernel.types[i].access == kiln_emulated::kValue;
      if (shapes.empty() || !(shapes.back() == shape)) shapes.push_back(shape);
    };
    Emulator::instance().execution().set_observer(observe);
    for (size_t i = 0; i < cases.size() && i < kCasesPerMutant; ++i) {
      KILN_CHECK(check(*cases[i]).empty());
    }
    Emulator::instance().execution().set_observer({});
    return sizes || shapes.size() != 1 ? std::nullopt : std::optional(shapes[0]);
  }
};

// Of a kernel with this text.
inline std::vector<JudgedEquivalent> judged_of_op(const std::string& text) {
  std::vector<JudgedEquivalent> judged = {
      {"for (int32 v = 0; v < N; ++v) {", "v < N - 1", "there are fewer than N", "load_some"},
      {"for (int32 v = 0; v < N; ++v) {", "v < N - 1", "there are fewer than N", "store_some"},
      {"(rest < 0) != (y < 0)", "(rest < (0 + 1))", "the rest is not 0"},
      {"t < 6.0f ? t : 6.0f", "t <= 6.0f", "6 is 6"},
      {"return a < b || a != a ? a : b;", "a <= b", "equal numbers"},
      {"return a > b || a != a ? a : b;", "a >= b", "equal numbers"},
      {"if (k + kDepth < end) {", "< end + 1", "zeros, which are not used", "simt_product"},
      {"if (k + kDepth < end) {", "<= end", "zeros, which are not used", "simt_product"}};
  // Lanes that are 8 apart have the same by then: those 24 apart have what those 16 apart have.
  static const std::regex few_columns(R"(\bcolumn(s|_lanes)_reduce<[^;]*, [124], )");
  if (!std::regex_search(text, few_columns)) {
    judged.push_back({"mask *= 2", "mask *= (2 + 1)", "the same lanes", "column_lanes_reduce"});
  }
  return judged;
}

inline std::vector<Subject> op_subjects(uint64_t seed) {
  std::vector<std::vector<SampledKernel>> by_op;
  std::vector<const OpDef*> ops = sampled_ops();
  std::sort(ops.begin(), ops.end(), [&](const OpDef* a, const OpDef* b) {
    return order_key(seed, a->name) < order_key(seed, b->name);
  });
  for (const OpDef* op : ops) {
    by_op.emplace_back();
    std::map<std::string, size_t> seen;
    for (Case& of : Cases::get().of(op)) {
      if (!of.status.ok()) continue;
      for (const KernelDesc& kernel : of.program->plan().kernels) {
        Result<cuda::KernelSource> source = cuda::print_kernel(kernel);
        if (!source.ok()) continue;
        const auto [at, fresh] = seen.emplace(source->text, by_op.back().size());
        if (fresh) by_op.back().push_back({*source, {}});
        std::vector<Case*>& cases = by_op.back()[at->second].cases;
        if (cases.empty() || cases.back() != &of) cases.push_back(&of);
      }
    }
  }
  for (std::vector<SampledKernel>& list : by_op) {
    std::map<std::string, SampledKernel> sorted;
    for (SampledKernel& kernel : list) {
      sorted.emplace(order_key(seed, kernel.source.text), std::move(kernel));
    }
    list.clear();
    for (auto& [key, kernel] : sorted) list.push_back(std::move(kernel));
  }
  // In turns.
  std::vector<Subject> result;
  std::set<std::string> taken;
  for (size_t i = 0, left = 1; left != 0; ++i) {
    left = 0;
    for (std::vector<SampledKernel>& list : by_op) {
      if (i >= list.size()) continue;
      ++left;
      if (!taken.insert(list[i].source.text).second) continue;
      result.push_back({list[i].source,
                        [kernel = list[i]](const auto& code) { return kernel.passes(code); },
                        [kernel = list[i]] { return kernel.shape_of_every_launch(); },
                        judged_of_op(list[i].source.text)});
    }
  }
  return result;
}

}  // namespace kiln::emulator
