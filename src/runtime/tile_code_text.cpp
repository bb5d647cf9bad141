// Text form of tile code.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "runtime/tile_code.h"

namespace kiln {
namespace {

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, end.ptr);
}

template <typename T>
bool parse_number(std::string_view text, T* value) {
  const auto end = std::from_chars(text.data(), text.data() + text.size(), *value);
  return end.ec == std::errc() && end.ptr == text.data() + text.size();
}

bool parse_prefixed(std::string_view text, std::string_view prefix, int32_t* value) {
  return text.starts_with(prefix) && parse_number(text.substr(prefix.size()), value) && *value >= 0;
}

bool parse_lane_type(std::string_view text, LaneType* type) {
  for (LaneType candidate : {LaneType::kF32, LaneType::kF64, LaneType::kI64, LaneType::kBool})
    if (lane_type_name(candidate) == text) return *type = candidate, true;
  return false;
}

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find(separator), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : lines_(split(text, '\n')) {}

  Result<TileCode> parse() {
    if (lines_.size() < 3) return error(0, "missing header");
    auto words = split(lines_[0], ' ');
    if (words.size() != 3 || words[0] != "tile" ||
        !parse_prefixed(words[1], "rank=", &code_.rank) ||
        !parse_prefixed(words[2], "row=", &code_.row_rank))
      return error(0, "expected 'tile rank=N row=N'");
    KILN_RETURN_IF_ERROR(parse_types(1, "in", &code_.inputs));
    KILN_RETURN_IF_ERROR(parse_types(2, "out", &code_.outputs));
    for (size_t i = 3; i < lines_.size(); ++i) KILN_RETURN_IF_ERROR(parse_instr(i));
    KILN_RETURN_IF_ERROR(verify_tile_code(code_));
    return std::move(code_);
  }

 private:
  static Status error(size_t line, std::string_view what) {
    return Status::error("K4404", "cannot parse tile code: " + std::string(what) + ": line " +
                                      std::to_string(line + 1));
  }

  Status parse_types(size_t line, std::string_view keyword, std::vector<DType>* types) {
    const auto words = split(lines_[line], ' ');
    if (words.empty() || words[0] != keyword) return error(line, "expected operand types");
    for (size_t w = 1; w < words.size(); ++w) {
      const auto dtype = dtype_from_name(words[w]);
      if (!dtype) return error(line, "unknown type");
      types->push_back(*dtype);
    }
    return {};
  }

  Status parse_instr(size_t line) {
    auto words = split(lines_[line], ' ');
    TileInstr instr;
    size_t w = 0;
    if (words.size() >= 3 && words[1] == "=") {
      if (!parse_prefixed(words[0], "%", &instr.dst) || instr.dst >= kMaxTileRegisters)
        return error(line, "bad register");
      w = 2;
    }
    if (w >= words.size()) return error(line, "empty statement");
    const auto parts = split(words[w++], '.');
    if (parts.size() < 2) return error(line, "expected operation.type");
    int op = 0;
    while (op < kTileOpCount && tile_op_info(static_cast<TileOp>(op)).name != parts[0]) ++op;
    if (op == kTileOpCount) return error(line, "unknown operation");
    instr.op = static_cast<TileOp>(op);
    if (!parse_lane_type(parts[1], &instr.type)) return error(line, "unknown type");
    const TileOpInfo& info = tile_op_info(instr.op);
    LaneType result = info.result >= 0 ? static_cast<LaneType>(info.result) : instr.type;
    const bool suffix = instr.op == TileOp::kCast || instr.op == TileOp::kRoundTo;
    if (parts.size() != (suffix ? 3u : 2u)) return error(line, "wrong number of types");
    if (instr.op == TileOp::kCast && !parse_lane_type(parts[2], &result))
      return error(line, "unknown type");
    if (instr.op == TileOp::kRoundTo) {
      const auto dtype = dtype_from_name(parts[2]);
      if (!dtype) return error(line, "unknown type");
      instr.storage = *dtype;
    }
    if (info.kind == TileOpKind::kMemory) {
      const std::string_view prefix = instr.op == TileOp::kStore ? "out" : "in";
      if (w >= words.size() || !parse_prefixed(words[w++], prefix, &instr.operand))
        return error(line, "expected an operand");
    }
    for (int s = 0; s < 3 && w < words.size() && words[w].starts_with('%'); ++s)
      if (!parse_prefixed(words[w++], "%", &instr.src[s])) return error(line, "bad register");
    if (instr.op == TileOp::kConst &&
        (instr.type == LaneType::kF32 || instr.type == LaneType::kF64)) {
      if (w >= words.size() || !parse_number(words[w++], &instr.params[0]))
        return error(line, "expected a number");
    } else if (instr.op == TileOp::kConst || instr.op == TileOp::kIota) {
      if (w >= words.size() || !parse_number(words[w++], &instr.integer))
        return error(line, "expected an integer");
    }
    for (int p = 0; p < info.params; ++p)
      if (w >= words.size() || !parse_number(words[w++], &instr.params[p]))
        return error(line, "expected a number");
    if (w != words.size()) return error(line, "unexpected words at the end");
    if (instr.dst >= 0) {
      if (instr.dst >= static_cast<int32_t>(code_.registers.size()))
        code_.registers.resize(instr.dst + 1, LaneType::kF32);
      code_.registers[instr.dst] = result;
    }
    code_.instrs.push_back(instr);
    return {};
  }

  std::vector<std::string_view> lines_;
  TileCode code_;
};

}  // namespace

std::string print_tile_code(const TileCode& code) {
  std::ostringstream out;
  out << "tile rank=" << code.rank << " row=" << code.row_rank << "\nin";
  for (DType dtype : code.inputs) out << ' ' << dtype_name(dtype);
  out << "\nout";
  for (DType dtype : code.outputs) out << ' ' << dtype_name(dtype);
  out << '\n';
  for (const TileInstr& instr : code.instrs) {
    const TileOpInfo& info = tile_op_info(instr.op);
    if (instr.dst >= 0) out << '%' << instr.dst << " = ";
    out << info.name << '.' << lane_type_name(instr.type);
    if (instr.op == TileOp::kCast) out << '.' << lane_type_name(code.registers[instr.dst]);
    if (instr.op == TileOp::kRoundTo) out << '.' << dtype_name(instr.storage);
    if (info.kind == TileOpKind::kMemory)
      out << (instr.op == TileOp::kStore ? " out" : " in") << instr.operand;
    for (int32_t reg : instr.src)
      if (reg >= 0) out << " %" << reg;
    if (instr.op == TileOp::kConst &&
        (instr.type == LaneType::kF32 || instr.type == LaneType::kF64))
      out << ' ' << float_text(instr.params[0]);
    else if (instr.op == TileOp::kConst || instr.op == TileOp::kIota)
      out << ' ' << instr.integer;
    for (int p = 0; p < info.params; ++p) out << ' ' << float_text(instr.params[p]);
    out << '\n';
  }
  return out.str();
}

Result<TileCode> parse_tile_code(std::string_view text) { return Parser(text).parse(); }

}  // namespace kiln
