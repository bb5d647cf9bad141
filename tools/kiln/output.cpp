#include "tools/kiln/output.h"

#include <algorithm>
#include <cstdio>

#include "base/check.h"

namespace kiln::tool {
namespace {

std::string format(const char* pattern, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), pattern, value);
  return buffer;
}

}  // namespace

void print_error(const Status& status) {
  std::fprintf(stderr, "kiln: %s: %s\n", status.code().c_str(), status.message().c_str());
  for (const std::string& place : status.origin()) {
    if (!place.empty()) std::fprintf(stderr, "  at %s\n", place.c_str());
  }
  if (!status.hint().empty()) std::fprintf(stderr, "  hint: %s\n", status.hint().c_str());
}

void print_json(const Json& json) { std::fputs(json.dump_pretty().c_str(), stdout); }

std::string show_bytes(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes >= uint64_t{1} << 30) return format("%.2f GiB", value / (1 << 30));
  if (bytes >= uint64_t{1} << 20) return format("%.1f MiB", value / (1 << 20));
  if (bytes >= uint64_t{1} << 10) return format("%.1f KiB", value / (1 << 10));
  return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

std::string show_seconds(double seconds) {
  if (seconds >= 1) return format("%.2f s", seconds);
  if (seconds >= 1e-3) return format("%.3f ms", seconds * 1e3);
  return format("%.1f us", seconds * 1e6);
}

std::string show_percent(double share) { return format("%.1f %%", share * 100); }

std::string join(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? "" : separator) + parts[i];
  return text;
}

Table::Table(std::vector<std::string> headers) : headers_(std::move(headers)) {
  for (std::string& header : headers_) {
    right_.push_back(header.starts_with(">"));
    if (right_.back()) header.erase(0, 1);
  }
}

void Table::add(std::vector<std::string> row) {
  KILN_CHECK_EQ(row.size(), headers_.size());
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<size_t> widths(headers_.size());
  for (size_t c = 0; c < headers_.size(); ++c) {
    widths[c] = headers_[c].size();
    for (const auto& row : rows_) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string out = "  ";
    for (size_t c = 0; c < cells.size(); ++c) {
      const std::string padding(widths[c] - cells[c].size(), ' ');
      out += (c == 0 ? "" : "  ") + (right_[c] ? padding + cells[c] : cells[c] + padding);
    }
    out.erase(out.find_last_not_of(' ') + 1);
    text += out + "\n";
  };
  line(headers_);
  for (const auto& row : rows_) line(row);
  return text;
}

}  // namespace kiln::tool
