// The figure that says whether the emulator's tests are worth their name.
#include "mutants.h"

#include <gtest/gtest.h>

#include <iostream>

namespace kiln::emulator {
namespace {

TEST(Mutants, AreCaught) {
  const MutantTally tally = run_mutants(210, 2, 2);
  std::cout << tally.text();
  EXPECT_GE(tally.differing(), 200);
  EXPECT_TRUE(tally.enough(kTwentiethsCaught));
}

}  // namespace
}  // namespace kiln::emulator
