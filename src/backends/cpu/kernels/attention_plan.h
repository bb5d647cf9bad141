// How one attention call is cut up and where its scratch lies; private to
// attention.cpp, in a header because that file is compiled once for each SIMD
// target.
#pragma once

#include <cstdint>

namespace kiln::cpu {

struct AttentionPlan {
  enum class Kind : uint8_t {
    kDecode,     // few query rows: keys and values read in place, blocks of keys in
                 // parallel
    kPackEach,   // a key/value head a unit: packs its keys and values, then
                 // attends all its rows
    kPackShared  // packs all heads first, then blocks of query rows in parallel
  };
  Kind kind = Kind::kPackEach;
  int64_t parts = 1;        // pieces of scratch, and of work running at a time
  int64_t q_rows = 0;       // query rows of a block
  int64_t key_blocks = 0;   // blocks of kDepthBlock keys
  int64_t value_pitch = 0;  // row pitch of the sums
  int64_t k_pack_size = 0,
          v_pack_size = 0;  // of one head; all sizes and offsets in elements
  int64_t q_offset = 0, scores_offset = 0, mask_offset = 0,
          sums_offset = 0;  // within a part
  int64_t tail_offset = 0, pack_offset = 0;
  int64_t part_size = 0, shared_offset = 0, total_size = 0;
};

}  // namespace kiln::cpu
