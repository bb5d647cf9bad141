#include "backends/cuda/compile/tile_indices.h"

#include <algorithm>

#include "backends/cuda/compile/tile_expression.h"

namespace kiln::cuda {
namespace {

using Size = TileKernel::Size;

std::string num(int64_t value) { return std::to_string(value); }
std::string dim_name(size_t dim) { return std::to_string(dim); }

}  // namespace

std::string TileIndices::size(const Size& size) {
  return size.known() ? int_literal(size.value) : "n" + num(size.argument);
}

std::optional<int64_t> TileIndices::known_steps(size_t dim) const {
  if (!kernel_.extents[dim].known()) return {};
  const int64_t step = kernel_.step_size(dim);
  return std::max<int64_t>((kernel_.extents[dim].value + step - 1) / step, 1);
}

std::string TileIndices::steps(size_t dim) const {
  if (const auto known = known_steps(dim)) return num(*known);
  const int64_t step = kernel_.step_size(dim);
  if (step == 1) return extent(dim);
  const bool partial =
      kernel_.schedule.tail || kernel_.schedule.kind == TileSchedule::Kind::kTranspose;
  if (!partial) return "(" + extent(dim) + " / " + num(step) + ")";
  return "((" + extent(dim) + " + " + num(step - 1) + ") / " + num(step) + ")";
}

std::string TileIndices::step_count(size_t begin, size_t end, std::optional<int64_t>* known) const {
  int64_t product = 1;
  std::string text;
  bool all = true;
  for (size_t d = begin; d < end; ++d) {
    if (kernel_.extents[d].known()) {
      product *= kernel_.extents[d].is(0) ? 0 : *known_steps(d);
    } else {
      all = false;
      text += (text.empty() ? "" : " * ") + steps(d);
    }
  }
  known->reset();
  if (all) *known = product;
  if (all) return num(product);
  return product == 1 ? text : text + " * " + num(product);
}

std::string TileIndices::block() const {
  return kernel_.schedule.wide ? "block_x()" : "static_cast<int32>(block_x())";
}

// Of the counter by the steps of `dim`.
std::string TileIndices::quotient(const std::string& counter, size_t dim) const {
  const std::string n = dim_name(dim);
  if (const auto known = known_steps(dim)) return "divide_by<" + num(*known) + ">(" + counter + ")";
  if (kernel_.schedule.wide) return "divide(" + counter + ", " + steps(dim) + ")";
  return "divide(" + counter + ", multiply" + n + ", shift" + n + ")";
}

void TileIndices::define(size_t begin, size_t end, std::string counter, SourceText& out) const {
  const std::string constant = "const " + type() + " ";
  for (size_t d = end; d-- > begin;) {
    const std::string n = dim_name(d);
    const int64_t size = kernel_.step_size(d);
    const std::string times = size == 1 ? "" : " * " + num(size);
    if (d == begin) {
      out.line(constant + "i" + n + " = " + counter + times + ";");
      return;
    }
    out.line(constant + "q" + n + " = " + quotient(counter, d) + ";");
    const std::string rest = counter + " - q" + n + " * " + steps(d);
    out.line(constant + "i" + n + " = " + (times.empty() ? rest : "(" + rest + ")") + times + ";");
    counter = "q" + n;
  }
}

void TileIndices::define_tile(SourceText& out) const {
  const size_t rank = kernel_.extents.size();
  const std::string constant = "const " + type() + " ";
  std::string counter = "x";
  for (const auto& [d, tile] : {std::pair(rank - 1, "tile_x"), std::pair(rank - 2, "tile_y")}) {
    const std::string n = dim_name(d);
    if (d == 0) {
      out.line(constant + tile + " = " + counter + " * " + num(kTransposeTile) + ";");
      return;
    }
    out.line(constant + "q" + n + " = " + quotient(counter, d) + ";");
    out.line(constant + tile + " = (" + counter + " - q" + n + " * " + steps(d) + ") * " +
             num(kTransposeTile) + ";");
    counter = "q" + n;
  }
  if (rank > 2) define(0, rank - 2, counter, out);
}

std::string TileIndices::stride(size_t access, size_t dim) const {
  return size(kernel_.accesses[access].strides[dim]);
}

// The address of lane 0 of an access, relative to the operand; "" for 0.
std::string TileIndices::offset(size_t access) const {
  std::string text;
  const auto add = [&](const std::string& term) { text += (text.empty() ? "" : " + ") + term; };
  const TileKernel::Access& at = kernel_.accesses[access];
  if (!at.offset.is(0)) add(size(at.offset));
  for (size_t d = 0; d < at.strides.size(); ++d) {
    if (at.strides[d].is(0)) continue;
    const std::string i = "i" + dim_name(d);
    add(at.strides[d].is(1) ? i : i + " * " + stride(access, d));
  }
  return text;
}

// What lane v adds.
std::string TileIndices::lane_offset(size_t access) const {
  const int dim = kernel_.vector_dim();
  if (kernel_.schedule.vector == 1 || dim < 0) return "";
  const Size& known = kernel_.accesses[access].strides[static_cast<size_t>(dim)];
  if (known.is(0)) return "";
  return known.is(1) ? "v" : "v * " + stride(access, static_cast<size_t>(dim));
}

std::string TileIndices::element(const std::string& operand, size_t access, bool lane,
                                 const std::string& more) const {
  std::string text = offset(access);
  const auto add = [&](const std::string& term) {
    if (!term.empty()) text += (text.empty() ? "" : " + ") + term;
  };
  if (lane) add(lane_offset(access));
  add(more);
  return operand + "[" + (text.empty() ? "0" : text) + "]";
}

std::string TileIndices::pointer(const std::string& operand, size_t access) const {
  const std::string text = offset(access);
  if (text.empty()) return operand;
  return operand + " + " + (text.find(' ') == std::string::npos ? text : "(" + text + ")");
}

}  // namespace kiln::cuda
