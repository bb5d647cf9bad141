// Mutants of a kernel that its tests launch by itself.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "emulator/kernel_run.h"
#include "mutants.h"

namespace kiln::emulator {

// `Case` has source(), which is the same for all, and run(LoadedKernel&): "" or what is wrong.
template <class Case>
Subject subject_of_cases(std::vector<Case> list, std::vector<JudgedEquivalent> judged) {
  const auto cases = std::make_shared<const std::vector<Case>>(std::move(list));
  Result<cuda::KernelSource> source = cases->front().source();
  KILN_CHECK_MSG(source.ok(), source.status().to_string());
  for (const Case& each : *cases) {
    const Result<cuda::KernelSource> own = each.source();
    KILN_CHECK(own.ok() && own->text == source->text);
  }
  const auto passes = [cases](const cuda::CompiledKernel& code) {
    use_device();
    auto loaded = LoadedKernel::load(code);
    KILN_CHECK_MSG(loaded.ok(), loaded.status().to_string());
    for (const Case& each : *cases) {
      if (!each.run(**loaded).empty()) return false;
    }
    return true;
  };
  return {*source, passes, [] { return std::nullopt; }, std::move(judged)};
}

// `list` and `more` behind it.
inline std::vector<JudgedEquivalent> joined(std::vector<JudgedEquivalent> list,
                                            const std::vector<JudgedEquivalent>& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

}  // namespace kiln::emulator
