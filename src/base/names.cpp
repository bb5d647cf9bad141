#include "base/names.h"

#include <algorithm>

namespace kiln {
namespace {

std::vector<std::string_view> views(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the usual table: distances of a's first i-2, i-1 and i letters.
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = previous[j - 1] + (a[i - 1] != b[j - 1]);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, substituted});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::vector<std::string> nearest_names(std::string_view name,
                                       std::span<const std::string_view> candidates,
                                       size_t max_count) {
  struct Scored {
    size_t distance;
    std::string_view text;
  };
  std::vector<Scored> near;
  const size_t limit = std::max<size_t>(2, name.size() / 3);
  for (std::string_view candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    const bool prefix = name.size() >= 3 && candidate.size() >= 3 &&
                        (candidate.starts_with(name) || name.starts_with(candidate));
    // A distance as long as the name means that nothing of it was kept.
    const bool resembles = distance <= limit && distance < std::max<size_t>(1, name.size());
    if (resembles || prefix) near.push_back({distance, candidate});
  }
  std::stable_sort(near.begin(), near.end(),
                   [](const Scored& a, const Scored& b) { return a.distance < b.distance; });
  std::vector<std::string> result;
  for (size_t i = 0; i < std::min(max_count, near.size()); ++i) result.emplace_back(near[i].text);
  return result;
}

std::vector<std::string> nearest_names(std::string_view name,
                                       const std::vector<std::string>& candidates,
                                       size_t max_count) {
  return nearest_names(name, views(candidates), max_count);
}

std::string unknown_name_hint(std::string_view name, std::span<const std::string_view> candidates) {
  const std::vector<std::string> near = nearest_names(name, candidates);
  std::string text;
  if (!near.empty()) {
    text = "did you mean ";
    for (size_t i = 0; i < near.size(); ++i) {
      if (i != 0) text += i + 1 == near.size() ? " or " : ", ";
      text += near[i];
    }
    return text + "?";
  }
  if (candidates.empty()) return "none is known here";
  text = "known: ";
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (i != 0) text += ", ";
    text += candidates[i];
  }
  return text;
}

std::string unknown_name_hint(std::string_view name, const std::vector<std::string>& candidates) {
  return unknown_name_hint(name, views(candidates));
}

}  // namespace kiln
