#include "mutants.h"

#include <gtest/gtest.h>

#include <iostream>

#include "op_mutants.h"
#include "product_mutants.h"

namespace kiln::emulator {
namespace {

// A few; mutants_long_test.cpp has them all.
void expect_a_few_caught(std::vector<Subject> subjects, int wanted, int per_kernel, int least) {
  const MutantTally tally = run_mutants(std::move(subjects), wanted, per_kernel, 1);
  std::cout << tally.text();
  EXPECT_GE(tally.differing(), least);
  EXPECT_TRUE(tally.enough(kTwentiethsOfAFew));
}

TEST(Mutants, AFewAreCaught) { expect_a_few_caught(op_subjects(1), 24, 2, 24); }
TEST(Mutants, AFewOfMultistageGemmAreCaught) {
  expect_a_few_caught(multistage_subjects(), 18, 6, 12);
}
TEST(Mutants, AFewOfWarpgroupGemmAreCaught) {
  expect_a_few_caught(warpgroup_subjects(), 18, 6, 12);
}

}  // namespace
}  // namespace kiln::emulator
