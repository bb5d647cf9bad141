// How the kiln tool prints: errors, sizes, times, tables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace kiln::tool {

// "kiln: K1234: message", the origin chain and the hint, on standard error.
void print_error(const Status& status);
// A JSON document on standard output, indented.
void print_json(const Json& json);

std::string show_bytes(uint64_t bytes);    // "97.5 MiB", "12 bytes"
std::string show_seconds(double seconds);  // "1.234 ms", "850 us", "2.50 s"
std::string show_percent(double share);    // 0.256 -> "25.6 %"
std::string join(const std::vector<std::string>& parts, const std::string& separator);

// Left-aligned text columns (numeric ones right-aligned), widths as needed. Cells of the last
// column are never padded.
class Table {
 public:
  // `headers` starting with '>' are right-aligned columns.
  explicit Table(std::vector<std::string> headers);
  void add(std::vector<std::string> row);
  std::string text() const;

 private:
  std::vector<std::string> headers_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace kiln::tool
