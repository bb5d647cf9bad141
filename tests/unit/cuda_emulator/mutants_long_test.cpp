// The figure that says whether the emulator's tests are worth their name.
#include "mutants.h"

#include <gtest/gtest.h>

#include <iostream>

#include "attention_mutants.h"
#include "op_mutants.h"
#include "product_mutants.h"

namespace kiln::emulator {
namespace {

void expect_caught(std::vector<Subject> subjects, int wanted, int per_kernel, int least) {
  const MutantTally tally = run_mutants(std::move(subjects), wanted, per_kernel, 2);
  std::cout << tally.text();
  EXPECT_GE(tally.differing(), least);
  EXPECT_TRUE(tally.enough(kTwentiethsCaught));
}

TEST(Mutants, AreCaught) { expect_caught(op_subjects(2), 210, 2, 200); }
TEST(Mutants, OfMultistageGemmAreCaught) { expect_caught(multistage_subjects(), 130, 45, 120); }
TEST(Mutants, OfWarpgroupGemmAreCaught) { expect_caught(warpgroup_subjects(), 130, 45, 120); }
TEST(Mutants, OfAttentionAreCaught) { expect_caught(attention_subjects(), 130, 30, 120); }

}  // namespace
}  // namespace kiln::emulator
