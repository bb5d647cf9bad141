// Do the op samples on the emulator find small faults in kernels?
//
// Kernels of the samples are taken in turns, op by op; from each some mutants (emulator/mutate.h),
// by chance. Those that compile to the same code are no mutants. The others run in every sample
// that uses the kernel, in a process of their own: a wrong result, a finding, a crash or no end
// within seconds is a catch.
//
// What survives and becomes the same code under all optimisations, given what every launch
// guarantees (emulator/plain), is equivalent: no test could tell it from the kernel (Papadakis et
// al., "Trivial compiler equivalence", 2015). It counts neither as caught nor as missed. Launches
// guarantee numbers of threads and blocks where the kernel has no argument but addresses: then its
// sizes are those of its description, and it is always launched alike.
#pragma once

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/hash.h"
#include "emulated_samples.h"
#include "emulator/mutate.h"

namespace kiln::emulator {

// The least share that is caught of those that are not equivalent, in twentieths.
inline constexpr int kTwentiethsCaught = 19;
inline constexpr int kTwentiethsOfAFew = 17;  // of so few that three more or less are chance

struct MutantTally {
  int made = 0;  // compiled to code of their own
  int caught = 0;
  int same_code = 0, not_compiling = 0;
  std::vector<std::string> equivalent, survivors;  // kernel and mutant
  std::vector<std::string> broken;  // kernels whose samples fail as they are

  int differing() const { return made - static_cast<int>(equivalent.size()); }
  bool enough(int twentieths) const {
    return broken.empty() && caught * 20 >= differing() * twentieths;
  }
  std::string text() const {
    std::string result =
        std::to_string(caught) + " of " + std::to_string(differing()) + " mutants caught, " +
        std::to_string(equivalent.size()) + " more are equivalent; " + std::to_string(same_code) +
        " with the same code, " + std::to_string(not_compiling) + " that do not compile\n";
    for (const std::string& mutant : equivalent) result += "  equivalent: " + mutant + "\n";
    for (const std::string& mutant : survivors) result += "  survives: " + mutant + "\n";
    for (const std::string& kernel : broken) result += "  fails unchanged: " + kernel + "\n";
    return result;
  }
};

inline constexpr size_t kCasesPerMutant = 16;
inline constexpr unsigned kSeconds = 30;  // of a processor; a mutant that runs longer has no end

// One kernel and the samples that run it.
struct Subject {
  cuda::KernelSource source;
  std::vector<Case*> cases;
};

// Orders that look random, and stay when something else is added: by hash.
inline std::string order_key(uint64_t seed, const std::string& text) {
  return Hasher128().add_text(std::to_string(seed)).add_text(text).finish().hex();
}

inline std::vector<Subject> subjects(uint64_t seed) {
  std::vector<std::vector<Subject>> by_op;
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
  for (std::vector<Subject>& list : by_op) {
    std::map<std::string, Subject> sorted;
    for (Subject& subject : list) {
      sorted.emplace(order_key(seed, subject.source.text), std::move(subject));
    }
    list.clear();
    for (auto& [key, subject] : sorted) list.push_back(std::move(subject));
  }
  // In turns.
  std::vector<Subject> result;
  std::set<std::string> taken;
  for (size_t i = 0, left = 1; left != 0; ++i) {
    left = 0;
    for (std::vector<Subject>& list : by_op) {
      if (i >= list.size()) continue;
      ++left;
      if (taken.insert(list[i].source.text).second) result.push_back(std::move(list[i]));
    }
  }
  return result;
}

// Of a kernel that is launched in one shape only.
inline std::optional<Shape> shape_of_every_launch(const Subject& subject) {
  std::vector<Shape> shapes;
  bool sizes = false;
  const auto observe = [&](const kiln_emulated::Kernel& kernel, const Shape& shape) {
    if (subject.source.entry != kernel.name) return;
    for (int i = 0; i < kernel.parameters; ++i)
      sizes |= kernel.types[i].access == kiln_emulated::kValue;
    if (shapes.empty() || !(shapes.back() == shape)) shapes.push_back(shape);
  };
  Emulator::instance().execution().set_observer(observe);
  for (size_t i = 0; i < subject.cases.size() && i < kCasesPerMutant; ++i) {
    KILN_CHECK(check(*subject.cases[i]).empty());
  }
  Emulator::instance().execution().set_observer({});
  return sizes || shapes.size() != 1 ? std::nullopt : std::optional(shapes[0]);
}

// In a process of its own.
inline bool survives(const Subject& subject, const cuda::CompiledKernel& mutant) {
  const pid_t child = fork();
  KILN_CHECK(child >= 0);
  if (child == 0) {
    const rlimit limit{kSeconds, kSeconds};
    setrlimit(RLIMIT_CPU, &limit);
    Emulator::instance().execution().set_access_limit(int64_t{1} << 26);
    HostKernelCompiler::instance().set_replacement(
        [&](const cuda::KernelSource& source, cuda::CompiledKernel& compiled) {
          if (source.text == subject.source.text) compiled = mutant;
        });
    bool passed = true;
    for (size_t i = 0; i < subject.cases.size() && i < kCasesPerMutant && passed; ++i) {
      passed = check(*subject.cases[i]).empty();
    }
    _exit(passed ? 0 : 1);
  }
  int state = 0;
  waitpid(child, &state, 0);
  return WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

// For whoever looks at survivors: with KILN_MUTANTS_FOLDER set, they are kept there, each with the
// kernel that it was.
inline void keep(const Subject& subject, const std::string& before, const Mutant& mutant) {
  const char* folder = std::getenv("KILN_MUTANTS_FOLDER");
  if (folder == nullptr || *folder == 0) return;
  static int number = 0;
  const std::string stem =
      std::string(folder) + "/" + std::to_string(number++) + "_" + subject.source.entry;
  std::ofstream(stem + ".before.cu") << before;
  std::ofstream(stem + ".cu") << mutant.text;
}

// About `wanted` mutants that are not equivalent, at most `per_kernel` of a kernel.
inline MutantTally run_mutants(int wanted, int per_kernel, uint64_t seed) {
  MutantTally tally;
  HostCompiler& compiler = HostKernelCompiler::instance().host();
  // For whoever writes a kernel: only those with this in their name, and most of their mutants.
  const char* only = std::getenv("KILN_MUTANTS_ONLY");
  if (only != nullptr) per_kernel *= 20;
  for (Subject& subject : subjects(seed)) {
    if (tally.differing() >= wanted) break;
    if (only != nullptr && subject.source.entry.find(only) == std::string::npos) continue;
    Result<std::string> whole = with_headers(subject.source);
    KILN_CHECK_MSG(whole.ok(), whole.status().to_string());
    std::vector<Mutant> mutants = mutants_of(*whole);
    const std::string key = order_key(seed, subject.source.text);
    std::seed_seq words(key.begin(), key.end());
    std::mt19937_64 random(words);
    std::shuffle(mutants.begin(), mutants.end(), random);
    // One of each rule before a second of any.
    std::map<std::string, int> of_rule;
    std::vector<std::pair<int, size_t>> order;
    for (size_t i = 0; i < mutants.size(); ++i) order.emplace_back(of_rule[mutants[i].rule]++, i);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });

    // The unchanged one first, to compare with.
    Result<std::vector<Alone>> base = compiler.assemble(
        {{*whole, subject.source.entry}, {failing(*whole), subject.source.entry}});
    KILN_CHECK_MSG(base.ok() && !base->front().assembly.empty(),
                   "does not compile with its headers in place: " + subject.source.entry);
    // Kernels of empty tensors are never launched.
    Result<std::vector<cuda::CompiledKernel>> two = compiler.link({base->front(), base->back()});
    KILN_CHECK_MSG(two.ok(), two.status().to_string());
    if (survives(subject, two->back())) continue;
    if (!survives(subject, two->front())) {
      tally.broken.push_back(subject.source.entry);
      continue;
    }
    std::vector<Alone> chosen;
    std::vector<size_t> which;
    constexpr size_t kAtATime = 8;
    for (size_t i = 0; i < order.size() && i < 6 * kAtATime; i += kAtATime) {
      std::vector<cuda::KernelSource> texts;
      for (size_t k = i; k < std::min(order.size(), i + kAtATime); ++k) {
        texts.push_back({mutants[order[k].second].text, subject.source.entry});
      }
      Result<std::vector<Alone>> assembled = compiler.assemble(texts);
      KILN_CHECK_MSG(assembled.ok(), assembled.status().to_string());
      for (size_t k = 0; k < texts.size(); ++k) {
        Alone& alone = (*assembled)[k];
        if (alone.assembly.empty()) {
          ++tally.not_compiling;
        } else if (alone.assembly == base->front().assembly) {
          ++tally.same_code;
        } else if (chosen.size() < static_cast<size_t>(per_kernel)) {
          chosen.push_back(std::move(alone));
          which.push_back(order[i + k].second);
        }
      }
      if (chosen.size() == static_cast<size_t>(per_kernel)) break;
    }
    Result<std::vector<cuda::CompiledKernel>> linked = compiler.link(chosen);
    KILN_CHECK_MSG(linked.ok(), linked.status().to_string());
    std::vector<const Mutant*> alive;
    for (size_t i = 0; i < linked->size(); ++i) {
      ++tally.made;
      if (survives(subject, (*linked)[i])) {
        alive.push_back(&mutants[which[i]]);
      } else {
        ++tally.caught;
      }
    }
    if (alive.empty()) continue;
    std::vector<cuda::KernelSource> texts;
    for (const Mutant* mutant : alive) texts.push_back({mutant->text, subject.source.entry});
    const Result<std::vector<bool>> equivalent = compiler.equivalent(
        {*whole, subject.source.entry}, texts, shape_of_every_launch(subject));
    KILN_CHECK_MSG(equivalent.ok(), equivalent.status().to_string());
    for (size_t i = 0; i < alive.size(); ++i) {
      ((*equivalent)[i] ? tally.equivalent : tally.survivors)
          .push_back(subject.source.entry + ": " + alive[i]->describe());
      if (!(*equivalent)[i]) keep(subject, *whole, *alive[i]);
    }
  }
  compiler.forget_alone();
  return tally;
}

}  // namespace kiln::emulator
