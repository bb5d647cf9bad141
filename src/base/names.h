// Suggestions for misspelt names: options, areas, passes, dims, files' targets.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kiln {

// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal
// string alignment).
size_t edit_distance(std::string_view a, std::string_view b);

// Up to `max_count` of `candidates` that resemble `name`, nearest first, ties in the given order:
// at most a third of the letters differ (at least two may), or one begins with the other.
std::vector<std::string> nearest_names(std::string_view name,
                                       std::span<const std::string_view> candidates,
                                       size_t max_count = 3);
std::vector<std::string> nearest_names(std::string_view name,
                                       const std::vector<std::string>& candidates,
                                       size_t max_count = 3);

// The hint of an error about an unknown name: "did you mean a or b?", or, when nothing is near,
// "known: a, b, c" (all of them).
std::string unknown_name_hint(std::string_view name, std::span<const std::string_view> candidates);
std::string unknown_name_hint(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace kiln
