#include "core/layout.h"

#include <charconv>
#include <numeric>

#include "base/check.h"

namespace kiln {
namespace {

std::string_view channels_last_name(size_t rank) {
  return rank == 3 ? "nwc" : rank == 4 ? "nhwc" : "ndhwc";
}

bool parse_int(std::string_view& text, int& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

}  // namespace

Layout Layout::channels_last(int rank) {
  KILN_CHECK(rank >= 3 && rank <= 5);
  Layout layout;
  layout.order.push_back(0);
  for (int i = 2; i < rank; ++i) layout.order.push_back(i);
  layout.order.push_back(1);
  return layout;
}

std::string Layout::to_string() const {
  if (!packed.empty()) return "packed(" + packed + ")";
  if (is_contiguous()) return "";
  if (block_axis < 0 && order.size() >= 3 && order.size() <= 5 &&
      *this == channels_last(static_cast<int>(order.size()))) {
    return std::string(channels_last_name(order.size()));
  }
  std::string text = "order(";
  for (size_t i = 0; i < order.size(); ++i) {
    if (i != 0) text += ",";
    text += std::to_string(order[i]);
  }
  if (block_axis >= 0) text += ";" + std::to_string(block_axis) + ":" + std::to_string(block);
  return text + ")";
}

std::optional<Layout> Layout::from_string(std::string_view text) {
  if (text.empty()) return Layout();
  for (int rank = 3; rank <= 5; ++rank) {
    if (text == channels_last_name(static_cast<size_t>(rank))) return channels_last(rank);
  }
  Layout layout;
  if (text.starts_with("packed(") && text.ends_with(")")) {
    layout.packed = text.substr(7, text.size() - 8);
    if (layout.packed.empty()) return std::nullopt;
    return layout;
  }
  if (!text.starts_with("order(") || !text.ends_with(")")) return std::nullopt;
  text = text.substr(6, text.size() - 7);
  while (!text.empty() && text[0] != ';') {
    int dim = 0;
    if (!parse_int(text, dim)) return std::nullopt;
    layout.order.push_back(dim);
    if (!text.empty() && text[0] == ',') text.remove_prefix(1);
  }
  if (!text.empty()) {
    text.remove_prefix(1);
    if (!parse_int(text, layout.block_axis) || text.empty() || text[0] != ':') return std::nullopt;
    text.remove_prefix(1);
    if (!parse_int(text, layout.block) || !text.empty() || layout.block < 1) return std::nullopt;
  }
  std::vector<bool> seen(layout.order.size(), false);
  for (int dim : layout.order) {
    if (dim < 0 || dim >= static_cast<int>(seen.size()) || seen[static_cast<size_t>(dim)]) {
      return std::nullopt;
    }
    seen[static_cast<size_t>(dim)] = true;
  }
  if (layout.block_axis >= static_cast<int>(layout.order.size())) return std::nullopt;
  return layout;
}

}  // namespace kiln
