// The border between kernels compiled for the host and the emulator that runs them
// (tests/emulator). Each library of kernels holds one pointer to the emulator's Machine; all that a
// kernel does to memory or with other threads goes through it, so that the library links nothing.
// Plain types only: this header is part of every kernel's translation unit.
#pragma once

namespace kiln_emulated {

enum Space : int { kGlobal, kShared };
enum Access : int { kValue, kIn, kOut, kInOut };  // of a kernel's parameter

// Who touched an element last; the emulator's own, in tests/emulator/races.h.
struct Cell;

// What one pointer may touch: one view of a launch, or one array in shared memory.
struct Region {
  unsigned char* begin;
  unsigned char* end;
  Cell* cells;       // one a byte, the first is that of `begin`; null: races are not looked for
  int space;
  int access;        // kIn: nobody writes it while the launch runs
  int argument;      // of the kernel; -1 for shared memory
  const char* name;  // of shared arrays
};

// A declaration by KILN_SHARED; a static object of the declaring function.
struct SharedSite {
  const char* name;
  unsigned long long bytes;
  unsigned long long block;  // the block that `region` belongs to
  Region* region;
};

enum WarpOp : int { kWarpBarrier, kShuffle, kShuffleXor, kShuffleUp, kShuffleDown, kVote, kBallot };

struct Machine {
  // Where the running thread is.
  int thread[3];
  int block_dim[3];
  long long block[3];
  long long grid_dim[3];
  int cluster_rank;  // of the block among those of its cluster

  // One access of `count` elements side by side. None returns when something is wrong.
  void (*read)(const Region*, const void* address, void* to, int count, int element_bytes);
  void (*write)(const Region*, void* address, const void* from, int count, int element_bytes);
  // Before an atomic read and write of one element.
  void (*atomic)(const Region*, void* address, int element_bytes);

  void (*barrier)(const char* file, int line);
  // Asynchronous barriers, known by their words in shared memory.
  void (*async_barrier_init)(const Region*, void* word, int arrivals);
  void (*async_barrier_arrive)(const Region*, void* word, int bytes);
  void (*async_barrier_wait)(const Region*, void* word, unsigned parity, const char* file,
                             int line);
  void (*fence_async_barriers)();
  // A box of the tensor of a map (cuTensorMapEncodeTiled), which `word` waits for.
  void (*copy_box)(const Region* region, void* to, const void* map, long long row,
                   long long column, const Region* barrier, void* word);
  // Lets the block's other threads that can go on do so first.
  void (*let_others_go_on)();
  // From here on a copy to these elements is under way, or no longer.
  void (*copy_under_way)(const Region*, void* address, int count, int element_bytes, bool is);
  // Of all threads of the cluster.
  void (*cluster_barrier)(const char* file, int line);
  // As `read`, from the dynamic shared memory of block `rank` of the cluster; region and address
  // are those of the block's own.
  void (*read_peer)(const Region*, int rank, const void* address, void* to, int count,
                    int element_bytes);
  // Waits until all lanes of the warp are here; gives what each of them brought, 16 bytes a lane.
  const unsigned char (*(*exchange)(int op, const void* value, int bytes, const char* file,
                                    int line))[16];
  Region* (*shared_array)(SharedSite*);
  Region* (*dynamic_shared)();
  // An index into an array of registers that the array does not have; does not return.
  void (*local_index)(const char* file, int line, const char* type, long long index);
  // Ends the launch with this finding; does not return.
  void (*fail)(const char* text);
};

// Hidden: one in each library of kernels.
__attribute__((visibility("hidden"))) inline Machine* machine = nullptr;

// A kernel's parameter as the driver hands it to the thunk.
struct Parameter {
  const void* bytes;
  const Region* region;  // of pointers
};

struct ParameterType {
  int access;
  int bytes;          // of the parameter
  int element_bytes;  // of what a pointer points at
};

// How to start one thread of a kernel.
struct Kernel {
  const char* name;
  void (*run)(const Parameter*);
  int max_threads;
  int cluster_blocks;  // of one cluster, along x
  int parameters;
  const ParameterType* types;
};

}  // namespace kiln_emulated
