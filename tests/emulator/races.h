// Which accesses of a launch are ordered, and which race.
//
// Time is counted in phases: a block's barrier ends one, and so does the end of a block; the number
// never goes back, so that old marks need no clearing. Within a phase the threads of one warp are
// ordered by their warp barriers. Two accesses to one element, at least one of them a write, race
// when they are in one phase, by different threads and without a warp barrier between, or, in
// global memory, in different blocks of a launch. So do two writes of the same value: the
// memory model makes no exception of them, and no thread should do another's work.
//
// The blocks of a cluster have phases of their own, told apart by their remainder. Accesses of two
// of them race unless a barrier of the cluster is between.
#pragma once

#include <cstdint>
#include <string>

namespace kiln_emulated {

struct Cell {
  static constexpr uint32_t kNobody = 0xffffffff;
  static constexpr uint32_t kOfWarp = 0x40000000;    // several threads of warp (reader & 31)
  static constexpr uint32_t kOfBlock = 0x80000000;   // threads of several warps
  static constexpr uint32_t kOfCluster = 0x10000000;  // threads of several blocks
  static constexpr uint32_t kAtomic = 0x20000000;    // of writers

  uint32_t write_phase = 0, write_warp_phase = 0, writer = 0;
  uint32_t read_phase = 0, read_warp_phase = 0, reader = 0;
  uint32_t first_read = 0;  // phase of the first read in this launch
  // Now::block_start, while a copy to the element is under way, and where a barrier for such lies.
  uint32_t copying = 0;
};

}  // namespace kiln_emulated

namespace kiln::emulator {

// The running thread and its place in time. A phase is a number that grows times kMaxCluster plus
// the block's rank in its cluster.
constexpr uint32_t kMaxCluster = 8;
struct Now {
  uint32_t thread = 0;  // in its block
  uint32_t phase = 0, warp_phase = 0;
  // Phases: of the block's cluster, of the launch, and of the last barrier of the cluster.
  uint32_t block_start = 0, launch_start = 0, cluster_barrier = 0;
};

// Marks an access and says what it races with; null: nothing. The text ends in what the other did:
// "thread 3 wrote it in the same phase".
// `constant`: memory that the launch must not write (In).
std::string mark_read(kiln_emulated::Cell& cell, const Now& now, bool shared, bool constant);
std::string mark_write(kiln_emulated::Cell& cell, const Now& now, bool shared);
std::string mark_atomic(kiln_emulated::Cell& cell, const Now& now, bool shared);

}  // namespace kiln::emulator
