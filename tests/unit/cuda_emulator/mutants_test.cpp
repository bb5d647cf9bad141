#include "mutants.h"

#include <gtest/gtest.h>

#include <iostream>

namespace kiln::emulator {
namespace {

// A few; mutants_long_test.cpp has them all.
TEST(Mutants, AFewAreCaught) {
  const MutantTally tally = run_mutants(24, 2, 1);
  std::cout << tally.text();
  EXPECT_GE(tally.made, 24);
  EXPECT_GE(tally.caught * 20, tally.made * kTwentiethsCaught);
}

}  // namespace
}  // namespace kiln::emulator
