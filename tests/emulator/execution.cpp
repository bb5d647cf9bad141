#include "emulator/execution.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#include "base/check.h"
#include "emulator/async_barriers.h"
#include "emulator/fiber.h"
#include "emulator/races.h"

namespace kiln::emulator {
namespace {

using kiln_emulated::Cell;
using kiln_emulated::Kernel;
using kiln_emulated::Parameter;
using kiln_emulated::Region;
using kiln_emulated::SharedSite;

constexpr int kLanes = 32;
constexpr size_t kSharedGap = 64;  // between two arrays, so that none ends where another begins

const char* warp_op_name(int op) {
  switch (op) {
    case kiln_emulated::kWarpBarrier: return "warp_barrier";
    case kiln_emulated::kShuffle: return "shuffle";
    case kiln_emulated::kShuffleXor: return "shuffle_xor";
    case kiln_emulated::kShuffleUp: return "shuffle_up";
    case kiln_emulated::kShuffleDown: return "shuffle_down";
    case kiln_emulated::kVote: return "vote_any";
    default: return "vote_ballot";
  }
}

constexpr int kAsyncWait = -3;

// Where a thread waits. `op` -1: at a barrier of the block, -2: of the cluster, kAsyncWait: at an
// asynchronous one.
struct Place {
  int op = -1;
  const char* file = nullptr;
  int line = 0;

  bool operator==(const Place& other) const {
    return op == other.op && line == other.line &&
           (file == other.file || std::strcmp(file, other.file) == 0);
  }
  std::string where() const {
    const char* slash = std::strrchr(file, '/');
    return (slash == nullptr ? file : slash + 1) + (":" + std::to_string(line));
  }
  std::string text() const {
    const char* what = op == kAsyncWait ? "wait of an asynchronous barrier"
                       : op == -2       ? "cluster_barrier"
                       : op < 0         ? "barrier"
                                        : warp_op_name(op);
    return std::string(what) + " at " + where();
  }
};

struct Thread {
  enum State : uint8_t { kReady, kWaiting, kEnded } state = kReady;
  Place place{};
  Fiber* fiber = nullptr;
  uint32_t exchanges = 0;
};

struct Warp {
  int arrived = 0;
  Place place{};
  uint32_t phase = 0;
  // Two, because a lane may be at its next operation while others still read this one's.
  alignas(16) unsigned char values[2][kLanes][16] = {};
};

// One of the blocks that run at the same time.
struct Block {
  // Of one block.
  std::array<long long, 3> place{};
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::deque<uint32_t> ready;
  int at_barrier = 0, ended = 0;
  Place barrier_place;
  uint32_t phase = 0;
  std::deque<Region> shared_regions;
  std::map<const SharedSite*, Region*> arrays;
  Region dynamic{};
  size_t shared_used = 0;

  // Of all that come one after the other.
  std::vector<unsigned char> shared;
  std::vector<Cell> shared_cells;

  bool has_ended() const { return ended == static_cast<int>(threads.size()); }
};

std::string triple(int64_t x, int64_t y, int64_t z) {
  return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

std::string describe(const Region& region) {
  if (region.space == kiln_emulated::kShared) return "shared array " + std::string(region.name);
  return "argument " + std::to_string(region.argument);
}

}  // namespace

struct Execution::State {
  kiln_emulated::Machine machine{};
  Now now;
  Counts counts;
  int64_t access_limit = int64_t{1} << 32;
  int64_t accesses = 0;  // of this launch
  LaunchObserver observer;

  // Of this launch.
  const Kernel* kernel = nullptr;
  const std::vector<Parameter>* parameters = nullptr;
  std::string finding;

  // Of this cluster; a block alone is one, too.
  std::deque<Block> blocks;
  int cluster_blocks = 1;
  Block* own = nullptr;  // the one that runs
  int at_cluster_barrier = 0;
  Place cluster_place;
  AsyncBarriers async_barriers;

  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> free_fibers;

  static State* running;
  // Of all executions: shared arrays know by it whether they are of this block.
  static unsigned long long block;

  Thread& current() { return own->threads[now.thread]; }
  // The number that phases are made of.
  uint32_t steps = 0;
  uint32_t next_phase(const Block& block) {
    return ++steps * kMaxCluster + static_cast<uint32_t>(rank_of(block));
  }
  void make_blocks(int count) {
    KILN_CHECK_LE(count, static_cast<int>(kMaxCluster));
    // Cells are counted from shared_base(), which is at most 1151 bytes on.
    constexpr size_t kBytes = static_cast<size_t>(kMaxShared + kMaxStaticShared) + (64 << 10);
    cluster_blocks = count;
    while (static_cast<int>(blocks.size()) < count) {
      blocks.emplace_back();
      blocks.back().shared.resize(kBytes + 1152);
      blocks.back().shared_cells.resize(kBytes + 1152);
    }
  }
  int rank_of(const Block& block) const {
    int rank = 0;
    while (&blocks[static_cast<size_t>(rank)] != &block) ++rank;
    return rank;
  }

  void wait() {
    Thread& thread = current();
    thread.state = Thread::kWaiting;
    thread.fiber->pause();
  }

  void let_others_go_on() {
    if (own->ready.empty()) return;
    own->ready.push_back(now.thread);
    current().fiber->pause();
  }

  [[noreturn]] void fail(std::string text) {
    finding = std::move(text);
    finding += "\n  in thread " + triple(machine.thread[0], machine.thread[1], machine.thread[2]) +
               " of block " + triple(machine.block[0], machine.block[1], machine.block[2]) +
               " of kernel " + kernel->name;
    current().fiber->pause();
    std::abort();  // never resumed
  }

  // ---- memory -----------------------------------------------------------------------------------

  void check(const Region* region, const void* address, int count, int element_bytes,
             const char* does) {
    if (++accesses > access_limit) fail("the launch does not come to an end");
    const auto at = reinterpret_cast<uintptr_t>(address);
    const size_t bytes = static_cast<size_t>(count) * static_cast<size_t>(element_bytes);
    if (region == nullptr) fail(std::string(does) + " through a pointer that is not set");
    const auto begin = reinterpret_cast<uintptr_t>(region->begin);
    const auto end = reinterpret_cast<uintptr_t>(region->end);
    if (at < begin || at > end || bytes > end - at) {
      const int64_t offset = static_cast<int64_t>(at - begin);
      fail("out of bounds: " + std::string(does) + " " + std::to_string(count) + " x " +
           std::to_string(element_bytes) + " bytes at byte " + std::to_string(offset) + " of " +
           describe(*region) + ", which has " + std::to_string(end - begin));
    }
    // One instruction moves up to 16 bytes.
    if (at % std::min<size_t>(bytes & -bytes, 16) != 0) {
      fail("misaligned: " + std::string(does) + " " + std::to_string(count) + " x " +
           std::to_string(element_bytes) + " bytes at byte " + std::to_string(at - begin) +
           " of " + describe(*region));
    }
  }

  void fail_race(const Region& region, const unsigned char* at, const char* does,
                 const std::string& other) {
    fail("race: " + std::string(does) + " byte " + std::to_string(at - region.begin) + " of " +
         describe(region) + ", which " + other);
  }

  void refresh() { now.warp_phase = own->warps[now.thread / kLanes].phase; }

  void read(const Region* region, const void* address, void* to, int count, int element_bytes) {
    check(region, address, count, element_bytes, "reads");
    const auto* at = static_cast<const unsigned char*>(address);
    if (region->cells != nullptr) {
      refresh();
      const bool shared = region->space == kiln_emulated::kShared;
      for (int i = 0; i < count; ++i) {
        const unsigned char* element = at + i * element_bytes;
        const std::string race = mark_read(region->cells[element - region->begin], now, shared,
                                           region->access == kiln_emulated::kIn);
        if (!race.empty()) fail_race(*region, element, "reads", race);
      }
    }
    std::memcpy(to, at, static_cast<size_t>(count) * static_cast<size_t>(element_bytes));
  }

  void write(const Region* region, void* address, const void* from, int count,
             int element_bytes) {
    check(region, address, count, element_bytes, "writes");
    auto* at = static_cast<unsigned char*>(address);
    const auto* value = static_cast<const unsigned char*>(from);
    if (region->cells != nullptr) {
      refresh();
      const bool shared = region->space == kiln_emulated::kShared;
      for (int i = 0; i < count; ++i) {
        const unsigned char* element = at + i * element_bytes;
        const std::string race = mark_write(region->cells[element - region->begin], now, shared);
        if (!race.empty()) fail_race(*region, element, "writes", race);
      }
    }
    std::memcpy(at, value, static_cast<size_t>(count) * static_cast<size_t>(element_bytes));
  }

  void atomic(const Region* region, void* address, int element_bytes) {
    check(region, address, 1, element_bytes, "changes");
    if (region->cells == nullptr) return;
    refresh();
    const auto* at = static_cast<const unsigned char*>(address);
    const std::string race = mark_atomic(region->cells[at - region->begin], now,
                                         region->space == kiln_emulated::kShared);
    if (!race.empty()) fail_race(*region, at, "changes", race);
  }

  Region shared_region(size_t bytes, size_t alignment, const char* name) {
    const size_t begin = (own->shared_used + alignment - 1) / alignment * alignment;
    if (begin + bytes + kSharedGap > own->shared.size()) {
      fail("shared memory: " + std::string(name) + " does not fit any more");
    }
    own->shared_used = begin + bytes + kSharedGap;
    Region region{};
    // The vector's memory is aligned to 16 at least; `alignment` counts from `base`.
    unsigned char* base = shared_base();
    region.begin = base + begin;
    region.end = region.begin + bytes;
    region.cells = own->shared_cells.data() + begin;
    region.space = kiln_emulated::kShared;
    region.access = kiln_emulated::kInOut;
    region.argument = -1;
    region.name = name;
    std::memset(region.begin, 0xff, bytes);
    return region;
  }
  unsigned char* shared_base() {
    const auto address = reinterpret_cast<uintptr_t>(own->shared.data());
    // At the same place modulo 1024, which bulk copies go by, in all blocks of a cluster.
    return own->shared.data() + (1024 + 128 - address % 1024) % 1024;
  }

  Region* shared_array(SharedSite* site) {
    if (site->block != block) {
      Region*& known = own->arrays[site];
      if (known == nullptr) {
        size_t arrays = 0;
        for (const Region& region : own->shared_regions) {
          arrays += static_cast<size_t>(region.end - region.begin);
        }
        if (arrays + site->bytes > static_cast<size_t>(kMaxStaticShared)) {
          fail("shared memory: arrays of more than " + std::to_string(kMaxStaticShared) +
               " bytes");
        }
        own->shared_regions.push_back(shared_region(site->bytes, 16, site->name));
        known = &own->shared_regions.back();
      }
      site->block = block;
      site->region = known;
    }
    return site->region;
  }

  // ---- threads ----------------------------------------------------------------------------------

  void barrier(const char* file, int line) {
    Thread& thread = current();
    thread.place = Place{-1, file, line};
    if (own->at_barrier == 0) {
      own->barrier_place = thread.place;
    } else if (!(own->barrier_place == thread.place)) {
      fail("barrier divergence: this thread waits at " + thread.place.text() +
           ", others of the block at " + own->barrier_place.text());
    }
    if (++own->at_barrier < static_cast<int>(own->threads.size())) {
      wait();
      return;
    }
    own->at_barrier = 0;
    now.phase = own->phase = next_phase(*own);
    release(*own);
  }

  // All threads of the block go on, the running one of them after the others.
  void release(Block& block) {
    for (uint32_t i = 0; i < block.threads.size(); ++i) {
      if (&block == own && i == now.thread) continue;
      block.threads[i].state = Thread::kReady;
      block.ready.push_back(i);
    }
    if (&block != own) return;
    // The first thread goes on first, whoever came last.
    Thread& thread = current();
    thread.state = Thread::kReady;
    if (block.threads.size() > 1 || cluster_blocks > 1) {
      block.ready.push_back(now.thread);
      thread.fiber->pause();
    }
  }

  void cluster_barrier(const char* file, int line) {
    Thread& thread = current();
    thread.place = Place{-2, file, line};
    if (at_cluster_barrier == 0) {
      cluster_place = thread.place;
    } else if (!(cluster_place == thread.place)) {
      fail("barrier divergence: this thread waits at " + thread.place.text() +
           ", others of the cluster at " + cluster_place.text());
    }
    if (++at_cluster_barrier < cluster_blocks * static_cast<int>(own->threads.size())) {
      wait();
      return;
    }
    at_cluster_barrier = 0;
    now.cluster_barrier = ++steps * kMaxCluster;
    Block* const last = own;
    for (int i = 0; i < cluster_blocks; ++i) {
      Block& block = blocks[static_cast<size_t>(i)];
      block.phase = next_phase(block);
      if (&block != last) release(block);
    }
    now.phase = own->phase;
    release(*last);
  }

  void read_peer(const Region* region, int rank, const void* address, void* to, int count,
                 int element_bytes) {
    if (rank < 0 || rank >= cluster_blocks) {
      fail("block " + std::to_string(rank) + " of a cluster of " + std::to_string(cluster_blocks));
    }
    const Block& peer = blocks[static_cast<size_t>(rank)];
    if (region != &own->dynamic) fail("a peer's memory by a pointer that is not to dynamic_shared");
    if (peer.has_ended()) fail("reads shared memory of a block that has ended");
    const auto offset = static_cast<const unsigned char*>(address) - region->begin;
    read(&peer.dynamic, peer.dynamic.begin + offset, to, count, element_bytes);
  }

  // ---- asynchronous barriers and bulk copies ----------------------------------------------------

  uint32_t thread_of_cluster() const {
    return static_cast<uint32_t>(rank_of(*own) * kMaxThreads) + now.thread;
  }
  void check_word(const Region* region, const void* word) {
    check(region, word, 1, 8, "waits with");
    if (region->space != kiln_emulated::kShared) fail("an asynchronous barrier in global memory");
  }
  // After each call that may have ended a phase.
  void wake(const std::string& wrong) {
    if (!wrong.empty()) fail(wrong);
    for (const uint32_t thread : async_barriers.take_woken()) {
      Block& of = blocks[thread / kMaxThreads];
      of.threads[thread % kMaxThreads].state = Thread::kReady;
      of.ready.push_back(thread % kMaxThreads);
    }
  }
  void async_init(const Region* region, void* word, int arrivals) {
    check_word(region, word);
    copy_under_way(region, word, 8, 1, true);  // no more ordinary memory
    wake(async_barriers.init(word, arrivals, thread_of_cluster(), now.phase));
  }
  void async_arrive(const Region* region, void* word, int bytes) {
    check_word(region, word);
    wake(async_barriers.arrive(word, bytes, thread_of_cluster(), now.phase));
  }
  void async_wait(const Region* region, void* word, uint32_t parity, const char* file, int line) {
    check_word(region, word);
    current().place = Place{kAsyncWait, file, line};
    bool over = false;
    wake(async_barriers.wait(word, parity, thread_of_cluster(), now.phase, &over));
    if (!over) wait();
  }
  void copy_under_way(const Region* region, void* address, int count, int element_bytes, bool is) {
    Cell* const cells = cells_of(region, address);
    for (int i = 0; i < count; ++i) cells[i * element_bytes].copying = is ? now.block_start : 0;
  }
  static Cell* cells_of(const Region* region, const void* address) {
    return region->cells + (static_cast<const unsigned char*>(address) - region->begin);
  }
  void copy_box(const Region* region, void* to, const void* map, int64_t row, int64_t column,
                const Region* barrier_region, void* word) {
    check_word(barrier_region, word);
    TensorBox box;
    std::memcpy(static_cast<void*>(&box), map, sizeof box);
    if (box.magic == TensorBox::kMagic) {
      check(region, to, box.box_rows * box.box_columns, box.element_bytes, "copies a box to");
    }
    wake(async_barriers.copy(word, box, row, column, to, cells_of(region, to), thread_of_cluster(),
                             now));
  }

  const unsigned char (*exchange(int op, const void* value, int bytes, const char* file,
                                 int line))[16] {
    Thread& thread = current();
    thread.place = Place{op, file, line};
    const uint32_t first = now.thread / kLanes * kLanes;
    Warp& warp = own->warps[now.thread / kLanes];
    if (first + kLanes > own->threads.size()) {
      fail("warp divergence: " + thread.place.text() + " in a warp of " +
           std::to_string(own->threads.size() - first) + " lanes; all 32 must take part");
    }
    if (warp.arrived == 0) {
      warp.place = thread.place;
    } else if (!(warp.place == thread.place)) {
      fail("warp divergence: this lane is at " + thread.place.text() + ", others at " +
           warp.place.text());
    }
    if (++accesses > access_limit) fail("the launch does not come to an end");
    auto& values = warp.values[thread.exchanges++ & 1];
    if (bytes != 0) std::memcpy(values[now.thread - first], value, static_cast<size_t>(bytes));
    if (++warp.arrived < kLanes) {
      wait();
    } else {
      warp.arrived = 0;
      if (op == kiln_emulated::kWarpBarrier) ++warp.phase;
      for (uint32_t i = first; i < first + kLanes; ++i) {
        if (i == now.thread) continue;
        own->threads[i].state = Thread::kReady;
        own->ready.push_back(i);
      }
    }
    return values;
  }

  static void thread_body(void* self) {
    auto* state = static_cast<State*>(self);
    state->kernel->run(state->parameters->data());
    state->current().state = Thread::kEnded;
  }

  void resume(uint32_t index, const Shape& shape) {
    Thread& thread = own->threads[index];
    now.thread = index;
    const int x = shape.block[0], y = shape.block[1];
    const int linear = static_cast<int>(index);
    machine.thread[0] = linear % x;
    machine.thread[1] = linear / x % y;
    machine.thread[2] = linear / x / y;
    if (thread.fiber == nullptr) {
      if (free_fibers.empty()) {
        fibers.push_back(std::make_unique<Fiber>());
        free_fibers.push_back(fibers.back().get());
      }
      thread.fiber = free_fibers.back();
      free_fibers.pop_back();
      thread.fiber->start(&State::thread_body, this);
    }
    thread.fiber->resume();
    if (thread.state == Thread::kEnded) {
      free_fibers.push_back(thread.fiber);
      thread.fiber = nullptr;
      ++own->ended;
    }
  }

  // The cluster stands still and not all threads have ended: some wait for others that never come.
  std::string stuck() {
    for (int i = 0; i < cluster_blocks; ++i) {
      const Block& block = blocks[static_cast<size_t>(i)];
      if (!block.has_ended()) return stuck(block);
    }
    return {};
  }
  std::string stuck(const Block& block) const {
    const std::vector<Thread>& threads = block.threads;
    uint32_t waits = 0, other = 0;
    while (threads[waits].state != Thread::kWaiting) ++waits;
    const Place& place = threads[waits].place;
    std::string text = std::string(place.op < 0 ? "barrier" : "warp") + " divergence: thread " +
                       std::to_string(waits) + " waits at " + place.text();
    while (other < threads.size() &&
           (threads[other].state == Thread::kWaiting && threads[other].place == place)) {
      ++other;
    }
    if (other < threads.size()) {
      text += ", thread " + std::to_string(other) +
              (threads[other].state == Thread::kEnded
                   ? std::string(" has ended")
                   : " waits at " + threads[other].place.text());
    } else if (place.op == -2) {
      text += ", another block of the cluster does not";
    }
    return text + "\n  in block " + triple(block.place[0], block.place[1], block.place[2]) +
           " of kernel " + kernel->name;
  }

  void start_block(Block& next, const Shape& shape, size_t count) {
    own = &next;
    for (size_t i = 0; i < 3; ++i) next.place[i] = machine.block[i];
    next.phase = next_phase(next);
    next.threads.assign(count, Thread{});
    next.warps.assign((count + kLanes - 1) / kLanes, Warp{});
    next.ready.clear();
    for (uint32_t i = 0; i < count; ++i) next.ready.push_back(i);
    next.at_barrier = next.ended = 0;
    next.shared_regions.clear();
    next.arrays.clear();
    next.shared_used = 0;
    next.dynamic = shared_region(static_cast<size_t>(shape.shared_bytes), 128, "dynamic_shared");
  }

  // Puts the machine in this block.
  void enter(Block& next, int rank) {
    own = &next;
    ++block;
    now.phase = next.phase;
    machine.cluster_rank = rank;
    for (size_t i = 0; i < 3; ++i) machine.block[i] = next.place[i];
  }

  // The blocks beside each other from machine.block on. Each runs until its threads wait.
  void run_cluster(const Shape& shape) {
    const size_t count = static_cast<size_t>(shape.block[0]) *
                         static_cast<size_t>(shape.block[1]) *
                         static_cast<size_t>(shape.block[2]);
    const std::array<long long, 3> first{machine.block[0], machine.block[1], machine.block[2]};
    now.block_start = now.cluster_barrier = ++steps * kMaxCluster;
    at_cluster_barrier = 0;
    async_barriers.clear();
    for (int i = 0; i < cluster_blocks; ++i) {
      machine.block[0] = first[0] + i;
      start_block(blocks[static_cast<size_t>(i)], shape, count);
    }
    for (bool moved = true; moved && finding.empty();) {
      moved = false;
      for (int i = 0; i < cluster_blocks && finding.empty(); ++i) {
        Block& next = blocks[static_cast<size_t>(i)];
        if (next.ready.empty()) continue;
        enter(next, i);
        moved = true;
        while (!next.ready.empty() && finding.empty()) {
          const uint32_t thread = next.ready.front();
          next.ready.pop_front();
          resume(thread, shape);
        }
      }
    }
    if (finding.empty()) finding = stuck();
    for (int i = 0; i < cluster_blocks; ++i) {
      for (Thread& thread : blocks[static_cast<size_t>(i)].threads) {
        if (thread.fiber != nullptr) free_fibers.push_back(thread.fiber);
      }
    }
    machine.block[0] = first[0];
    counts.blocks += cluster_blocks;
    counts.threads += static_cast<int64_t>(count) * cluster_blocks;
  }
};

Execution::State* Execution::State::running = nullptr;
unsigned long long Execution::State::block = 0;

Execution::Execution() : state_(std::make_unique<State>()) {
  State& state = *state_;
  kiln_emulated::Machine& machine = state.machine;
  machine.read = [](const Region* region, const void* address, void* to, int count, int bytes) {
    State::running->read(region, address, to, count, bytes);
  };
  machine.write = [](const Region* region, void* address, const void* from, int count,
                     int bytes) { State::running->write(region, address, from, count, bytes); };
  machine.atomic = [](const Region* region, void* address, int bytes) {
    State::running->atomic(region, address, bytes);
  };
  machine.barrier = [](const char* file, int line) { State::running->barrier(file, line); };
  machine.async_barrier_init = [](const Region* region, void* word, int arrivals) {
    State::running->async_init(region, word, arrivals);
  };
  machine.async_barrier_arrive = [](const Region* region, void* word, int bytes) {
    State::running->async_arrive(region, word, bytes);
  };
  machine.async_barrier_wait = [](const Region* region, void* word, unsigned parity,
                                  const char* file, int line) {
    State::running->async_wait(region, word, parity, file, line);
  };
  machine.fence_async_barriers = [] {
    State::running->async_barriers.fence(State::running->thread_of_cluster());
  };
  machine.let_others_go_on = [] { State::running->let_others_go_on(); };
  machine.copy_under_way = [](const Region* region, void* address, int count, int element_bytes,
                              bool is) {
    State::running->copy_under_way(region, address, count, element_bytes, is);
  };
  machine.copy_box = [](const Region* region, void* to, const void* map, long long row,
                        long long column, const Region* barrier, void* word) {
    State::running->copy_box(region, to, map, row, column, barrier, word);
  };
  machine.exchange = [](int op, const void* value, int bytes, const char* file, int line) {
    return State::running->exchange(op, value, bytes, file, line);
  };
  machine.cluster_barrier = [](const char* file, int line) {
    State::running->cluster_barrier(file, line);
  };
  machine.read_peer = [](const Region* region, int rank, const void* address, void* to, int count,
                         int bytes) {
    State::running->read_peer(region, rank, address, to, count, bytes);
  };
  machine.shared_array = [](SharedSite* site) { return State::running->shared_array(site); };
  machine.dynamic_shared = [] { return &State::running->own->dynamic; };
  machine.local_index = [](const char* file, int line, const char* type, long long index) {
    State::running->fail("out of bounds: element " + std::to_string(index) + " of a local array " +
                         type + " at " + Place{0, file, line}.where());
  };
  machine.fail = [](const char* text) { State::running->fail(text); };
}

Execution::~Execution() = default;

kiln_emulated::Machine* Execution::machine() { return &state_->machine; }
Counts Execution::counts() const { return state_->counts; }
void Execution::set_access_limit(int64_t limit) { state_->access_limit = limit; }
void Execution::set_observer(LaunchObserver observer) { state_->observer = std::move(observer); }

std::string Execution::run(const Kernel& kernel, const Shape& shape,
                           const std::vector<Parameter>& parameters) {
  State& state = *state_;
  KILN_CHECK(State::running == nullptr);
  State::running = &state;
  state.kernel = &kernel;
  state.parameters = &parameters;
  state.finding.clear();
  state.accesses = 0;
  state.now.launch_start = (state.steps + 1) * kMaxCluster;
  state.make_blocks(kernel.cluster_blocks);
  kiln_emulated::Machine& machine = state.machine;
  for (int i = 0; i < 3; ++i) {
    machine.block_dim[i] = shape.block[static_cast<size_t>(i)];
    machine.grid_dim[i] = shape.grid[static_cast<size_t>(i)];
  }
  for (machine.block[2] = 0; machine.block[2] < shape.grid[2]; ++machine.block[2]) {
    for (machine.block[1] = 0; machine.block[1] < shape.grid[1]; ++machine.block[1]) {
      for (machine.block[0] = 0; machine.block[0] < shape.grid[0];
           machine.block[0] += kernel.cluster_blocks) {
        if (state.finding.empty()) state.run_cluster(shape);
      }
    }
  }
  if (state.observer && state.finding.empty()) state.observer(kernel, shape);
  ++state.counts.launches;
  state.counts.accesses += state.accesses;
  State::running = nullptr;
  return std::move(state.finding);
}

}  // namespace kiln::emulator
