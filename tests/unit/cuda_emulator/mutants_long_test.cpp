// The figure that says whether the emulator's tests are worth their name.
#include "mutants.h"

#include <gtest/gtest.h>

#include <iostream>

namespace kiln::emulator {
namespace {

TEST(Mutants, AreCaught) {
  const MutantTally tally = run_mutants(260, 2, 2);
  std::cout << tally.text();
  EXPECT_GE(tally.made, 200);
  EXPECT_GE(tally.caught * 20, tally.made * kTwentiethsCaught);
}

}  // namespace
}  // namespace kiln::emulator
