// Small faults put into a kernel's source, to see whether the tests would find them.
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/compile/kernel_family.h"

namespace kiln::emulator {

struct Mutant {
  std::string text;      // the whole source
  std::string rule;      // of the list below
  std::string before, after;  // the line, without its indentation
  std::string function;       // that the line is in; "" of the kernel

  std::string describe() const { return rule + ": `" + before + "` -> `" + after + "`"; }
};

// The source with the device headers that it includes in their place, but for the platform: faults
// in what kernels share count too.
Result<std::string> with_headers(const cuda::KernelSource& source);

// Every place at which a rule applies, in the kernel and in the functions that it can reach:
//   barrier     a barrier of the block, of a warp or of the cluster is gone
//   bound       the right side of a `<` is one more or one less
//   compare     < is <=, > is >=, and the other way round
//   strides     the strides of two terms of an index are swapped
//   guard       a condition is always true; an early return is gone
//   tail        a partial group of elements is taken for a whole one
//   narrow      a sum or a product is kept in a narrower type, step by step
//   operator    + is -, - is +, * is +
//   constant    an integer is one more
//   lanes       an exchange between lanes goes elsewhere, or not all the way
//   place       another thread's, block's or warp's number
//   operands    the two operands of a function that is not commutative are swapped
//   condition   the opposite
//   statement   an assignment or a store is gone
// Of barriers in shared memory, copies that go on while the thread does, and products likewise:
//   async       a wait, an arrival, a commit, a copy, ... is gone
//   pending     a wait leaves one more under way
//   parity      the other parity is waited for, or it does not change
//   early       others are told one statement before they may go on
//   stage       another stage or buffer
//   box         the coordinates of a copy are swapped, or off by eight
//   accumulate  sums go on where they begin, or the other way round
//   column      the bias of other columns
std::vector<Mutant> mutants_of(const std::string& text);

// Where the line feed in front of the kernel itself is.
size_t kernel_head(const std::string& text);
// The kernel that fails when it runs at all.
std::string failing(const std::string& text);

}  // namespace kiln::emulator
