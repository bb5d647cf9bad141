#include "mutants.h"

#include <gtest/gtest.h>

#include <iostream>

namespace kiln::emulator {
namespace {

// A few; mutants_long_test.cpp has them all.
TEST(Mutants, AFewAreCaught) {
  const MutantTally tally = run_mutants(24, 2, 1);
  std::cout << tally.text();
  EXPECT_GE(tally.differing(), 24);
  EXPECT_TRUE(tally.enough(kTwentiethsOfAFew));
}

}  // namespace
}  // namespace kiln::emulator
