// Physical arrangement of a tensor's elements.
//
//   strided(order)              dense, dims stored from outermost to innermost in `order`
//   blocked(order; axis:block)  as strided, with `axis` split by `block`, the remainder padded with
//                               zeros and the inner part innermost (nChw16c)
//   packed(provider, key)       opaque; exists only between an init-graph pack node and its anchor
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kiln {

struct Layout {
  std::vector<int> order;  // empty: the logical order (contiguous)
  int block_axis = -1;     // -1: not blocked
  int block = 0;
  std::string packed;      // "provider:key"; not empty: opaque

  bool operator==(const Layout&) const = default;
  bool is_contiguous() const { return order.empty() && block_axis < 0 && packed.empty(); }
  bool is_strided() const { return block_axis < 0 && packed.empty(); }

  // "" for contiguous, else "nhwc", "ndhwc", "nwc" where it is one of those, "order(1,0,2)",
  // "order(0,1,2,3;1:16)", "packed(provider:key)".
  std::string to_string() const;
  static std::optional<Layout> from_string(std::string_view text);

  // Channels-last for a tensor of rank 3, 4 or 5.
  static Layout channels_last(int rank);
};

}  // namespace kiln
