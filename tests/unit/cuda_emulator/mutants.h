// Do the tests on the emulator find small faults in kernels?
//
// Of each kernel some mutants (emulator/mutate.h) are taken, by chance. Those that compile to the
// same code are no mutants. The others run in every test of the kernel, in a process of their own:
// a wrong result, a finding, a crash or no end within seconds is a catch.
//
// What survives and becomes the same code under all optimisations, given what every launch
// guarantees (emulator/plain), is equivalent: no test could tell it from the kernel (Papadakis et
// al., "Trivial compiler equivalence", 2015). So is what a kernel's author judged so, with reasons.
// It counts neither as caught nor as missed. Launches
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
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "emulator/emulated_cuda.h"
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
  std::vector<std::string> broken;                 // kernels whose samples fail as they are

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

inline constexpr unsigned kSeconds = 30;  // of a processor; a mutant that runs longer has no end

// Mutants that do what the kernel does, though the compiler cannot see it: texts of the line as it
// was and as it is.
struct JudgedEquivalent {
  std::string before;
  std::string after;  // ";": the statement is gone
  const char* why;
  std::string function = "";  // only in this one
};

// A local array with room for one more element.
inline bool is_longer_array(const Mutant& mutant) {
  static const std::regex declaration(R"((?!return\b)[A-Za-z_]\w*(<[^;()]*>)? \w+\[\d+\];)");
  static const std::regex longer(R"(.*\[\(\d+ \+ 1\)\];)");
  return mutant.rule == "constant" && std::regex_match(mutant.before, declaration) &&
         std::regex_match(mutant.after, longer);
}

// One kernel and its tests.
struct Subject {
  cuda::KernelSource source;
  // Whether all of them pass with this code for the kernel.
  std::function<bool(const cuda::CompiledKernel&)> passes;
  // The shape of its launches, where it is launched in one shape only, whatever it computes.
  std::function<std::optional<Shape>()> shape_of_every_launch;
  std::vector<JudgedEquivalent> judged{};

  bool is_judged_equivalent(const Mutant& mutant) const {
    const auto is_this = [&](const JudgedEquivalent& each) {
      return (each.function.empty() || mutant.function == each.function) &&
             mutant.before.find(each.before) != std::string::npos &&
             (each.after == ";" ? mutant.after == ";"
                                : mutant.after.find(each.after) != std::string::npos);
    };
    return is_longer_array(mutant) || std::any_of(judged.begin(), judged.end(), is_this);
  }
};

// Orders that look random, and stay when something else is added: by hash.
inline std::string order_key(uint64_t seed, const std::string& text) {
  return Hasher128().add_text(std::to_string(seed)).add_text(text).finish().hex();
}

// In a process of its own.
inline bool survives(const Subject& subject, const cuda::CompiledKernel& mutant) {
  const pid_t child = fork();
  KILN_CHECK(child >= 0);
  if (child == 0) {
    const rlimit limit{kSeconds, kSeconds};
    setrlimit(RLIMIT_CPU, &limit);
    Emulator::instance().execution().set_access_limit(int64_t{1} << 26);
    _exit(subject.passes(mutant) ? 0 : 1);
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
inline MutantTally run_mutants(std::vector<Subject> subjects, int wanted, int per_kernel,
                               uint64_t seed) {
  MutantTally tally;
  HostCompiler& compiler = HostKernelCompiler::instance().host();
  // For whoever writes a kernel: only those with this in their name, and most of their mutants.
  const char* only = std::getenv("KILN_MUTANTS_ONLY");
  if (only != nullptr) wanted *= 20, per_kernel *= 20;
  for (const Subject& subject : subjects) {
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
    const size_t most = std::max(6 * kAtATime, 2 * static_cast<size_t>(per_kernel));
    for (size_t i = 0; i < order.size() && i < most; i += kAtATime) {
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
    const Result<std::vector<bool>> equivalent =
        compiler.equivalent({*whole, subject.source.entry}, texts, subject.shape_of_every_launch());
    KILN_CHECK_MSG(equivalent.ok(), equivalent.status().to_string());
    for (size_t i = 0; i < alive.size(); ++i) {
      const bool same = (*equivalent)[i] || subject.is_judged_equivalent(*alive[i]);
      (same ? tally.equivalent : tally.survivors)
          .push_back(subject.source.entry + ": " + alive[i]->describe());
      if (!same) keep(subject, *whole, *alive[i]);
    }
  }
  compiler.forget_alone();
  return tally;
}

}  // namespace kiln::emulator
