#include "emulator/races.h"

namespace kiln::emulator {
namespace {

using kiln_emulated::Cell;

constexpr uint32_t kThreadMask = 0xffff;

// Whether something that `thread` did in this phase comes before what happens now.
bool ordered(uint32_t thread, uint32_t warp_phase, const Now& now) {
  return thread == now.thread || (thread / 32 == now.thread / 32 && warp_phase != now.warp_phase);
}

std::string by_thread(uint32_t thread, const char* did) {
  return "thread " + std::to_string(thread & kThreadMask) + " of the block " + did +
         " with no barrier between";
}

// Whether a phase is of another block of the cluster.
bool of_peer(uint32_t phase, const Now& now) {
  return phase % kMaxCluster != now.phase % kMaxCluster && phase >= now.block_start;
}

// What the cell's last write, in this launch, has against an access now.
std::string against_write(const Cell& cell, const Now& now, bool shared) {
  if (shared && cell.copying == now.block_start) {
    return "a copy is under way to, or which holds an asynchronous barrier";
  }
  if (cell.write_phase < now.block_start) {
    if (shared || cell.write_phase < now.launch_start) return {};
    return "another block of the launch wrote";
  }
  if (of_peer(cell.write_phase, now)) {
    if (cell.write_phase < now.cluster_barrier) return {};
    return "another block of the cluster wrote with no barrier of the cluster between";
  }
  if (cell.write_phase != now.phase) return {};
  const uint32_t writer = cell.writer & kThreadMask;
  return ordered(writer, cell.write_warp_phase, now) ? std::string() : by_thread(writer, "wrote");
}

std::string against_reads(const Cell& cell, const Now& now, bool shared) {
  if (!shared && cell.first_read >= now.launch_start && cell.first_read < now.block_start) {
    return "another block of the launch reads";
  }
  const bool by_peers = (cell.reader & Cell::kOfCluster) && cell.read_phase >= now.block_start;
  if (by_peers || of_peer(cell.read_phase, now)) {
    if (cell.read_phase < now.cluster_barrier) return {};
    return "another block of the cluster reads with no barrier of the cluster between";
  }
  if (cell.read_phase != now.phase) return {};
  if (cell.reader & Cell::kOfBlock) return "threads of several warps read with no barrier between";
  if (cell.reader & Cell::kOfWarp) {
    const uint32_t warp = cell.reader & 31;
    if (warp == now.thread / 32 && cell.read_warp_phase != now.warp_phase) return {};
    return "threads of warp " + std::to_string(warp) + " read with no barrier between";
  }
  return ordered(cell.reader, cell.read_warp_phase, now) ? std::string()
                                                         : by_thread(cell.reader, "reads");
}

void note_write(Cell& cell, const Now& now, uint32_t flags) {
  cell.write_phase = now.phase;
  cell.write_warp_phase = now.warp_phase;
  cell.writer = now.thread | flags;
}

}  // namespace

std::string mark_read(Cell& cell, const Now& now, bool shared, bool constant) {
  if (shared && cell.write_phase < now.block_start) return "nobody has written";
  if (constant && cell.write_phase >= now.launch_start) {
    return "the launch itself has written, though the argument is In";
  }
  std::string race = against_write(cell, now, shared);
  if (!race.empty()) return race;
  if (cell.first_read < now.launch_start) cell.first_read = now.phase;
  const bool again = cell.read_phase == now.phase;
  const uint32_t warp = now.thread / 32;
  const bool by_peers = (cell.reader & Cell::kOfCluster) || of_peer(cell.read_phase, now);
  if (by_peers && cell.read_phase >= now.cluster_barrier && cell.read_phase >= now.block_start) {
    cell.reader = Cell::kOfCluster;
  } else if (!again) {
    cell.reader = now.thread;
  } else if (cell.reader & Cell::kOfBlock) {
    return {};
  } else {
    const bool many = cell.reader & Cell::kOfWarp;
    const uint32_t other_warp = many ? cell.reader & 31 : cell.reader / 32;
    if (other_warp != warp) {
      cell.reader = Cell::kOfBlock;
    } else if (cell.read_warp_phase != now.warp_phase) {
      cell.reader = now.thread;  // the earlier reads come before all that this warp does from now
    } else if (many || cell.reader != now.thread) {
      cell.reader = Cell::kOfWarp | warp;
    }
  }
  cell.read_phase = now.phase;
  cell.read_warp_phase = now.warp_phase;
  return {};
}

std::string mark_write(Cell& cell, const Now& now, bool shared) {
  std::string race = against_write(cell, now, shared);
  if (race.empty()) race = against_reads(cell, now, shared);
  if (!race.empty()) return race;
  note_write(cell, now, 0);
  return {};
}

std::string mark_atomic(Cell& cell, const Now& now, bool shared) {
  if (shared && cell.write_phase < now.block_start) return "nobody has written";
  const bool atomic = cell.write_phase >= now.launch_start && (cell.writer & Cell::kAtomic);
  std::string race = atomic ? std::string() : against_write(cell, now, shared);
  if (race.empty()) race = against_reads(cell, now, shared);
  if (!race.empty()) return race;
  note_write(cell, now, Cell::kAtomic);
  return {};
}

}  // namespace kiln::emulator
