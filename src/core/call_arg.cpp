#include "core/call_arg.h"

#include <array>

#include "core/text.h"

namespace kiln {
namespace {

constexpr std::array<std::string_view, 4> kMemoryFormatNames = {
    "contiguous", "preserve", "channels_last", "channels_last_3d"};
constexpr int kMaxListDepth = 32;

// Grammar of one argument:
//   none | true | false | 12 | ?s0 | ?(s0 + 1) | 1.5 | "text" | %3 | [a, b]
//   dtype:f32 | device:cuda:1 | memory_format:channels_last | layout:strided
void append_arg(std::string& out, const CallArg& arg) {
  struct Visitor {
    std::string& out;
    void operator()(const CallArg::None&) const { out += "none"; }
    void operator()(bool v) const { out += v ? "true" : "false"; }
    void operator()(const DimExpr& v) const { out += dim_to_text(v); }
    void operator()(double v) const { out += double_to_text(v); }
    void operator()(const std::string& v) const { out += quote_text(v); }
    void operator()(DType v) const { out += "dtype:" + std::string(dtype_name(v)); }
    void operator()(const Device& v) const { out += "device:" + v.to_string(); }
    void operator()(MemoryFormat v) const {
      out += "memory_format:" + std::string(memory_format_name(v));
    }
    void operator()(const CallArg::Layout& v) const { out += "layout:" + v.name; }
    void operator()(const CallArg::Operand& v) const { out += "%" + std::to_string(v.index); }
    void operator()(const CallArg::List& v) const {
      out += "[";
      for (size_t i = 0; i < v.size(); ++i) {
        if (i != 0) out += ", ";
        append_arg(out, v[i]);
      }
      out += "]";
    }
  };
  std::visit(Visitor{out}, arg.value);
}

bool parse_device(TextCursor& cursor, Device* out) {
  if (cursor.accept_word("cpu")) {
    *out = Device{};
    return true;
  }
  int64_t index = 0;
  if (!cursor.accept("cuda:") || !cursor.integer(&index) || index < 0 || index > 1024) return false;
  *out = Device{DeviceKind::kCuda, static_cast<int>(index)};
  return true;
}

bool parse_arg(TextCursor& cursor, CallArg* out, int depth) {
  if (cursor.accept("%")) {
    int64_t index = 0;
    if (!cursor.integer(&index) || index < 0 || index > 1 << 24) return false;
    out->value = CallArg::Operand{static_cast<int>(index)};
    return true;
  }
  if (cursor.accept("[")) {
    if (depth >= kMaxListDepth) return false;
    CallArg::List list;
    while (!cursor.accept("]")) {
      if (!list.empty() && !cursor.accept(",")) return false;
      CallArg item;
      if (!parse_arg(cursor, &item, depth + 1)) return false;
      list.push_back(std::move(item));
    }
    out->value = std::move(list);
    return true;
  }
  if (cursor.accept("dtype:")) {
    std::string name;
    if (!cursor.identifier(&name)) return false;
    const auto dtype = dtype_from_name(name);
    if (!dtype) return false;
    out->value = *dtype;
    return true;
  }
  if (cursor.accept("device:")) {
    Device device;
    if (!parse_device(cursor, &device)) return false;
    out->value = device;
    return true;
  }
  if (cursor.accept("memory_format:")) {
    std::string name;
    if (!cursor.identifier(&name)) return false;
    const auto format = memory_format_from_name(name);
    if (!format) return false;
    out->value = *format;
    return true;
  }
  if (cursor.accept("layout:")) {
    std::string name;
    if (!cursor.identifier(&name, ".")) return false;
    out->value = CallArg::Layout{std::move(name)};
    return true;
  }
  if (cursor.accept("?")) {
    Result<DimExpr> dim = DimExpr::parse(cursor.until(",]"));
    if (!dim.ok()) return false;
    out->value = *dim;
    return true;
  }
  if (cursor.accept_word("none")) {
    out->value = CallArg::None{};
    return true;
  }
  if (cursor.accept_word("true")) {
    out->value = true;
    return true;
  }
  if (cursor.accept_word("false")) {
    out->value = false;
    return true;
  }
  int64_t integer = 0;
  if (cursor.integer(&integer)) {
    out->value = DimExpr(integer);
    return true;
  }
  double number = 0;
  if (cursor.number(&number)) {
    out->value = number;
    return true;
  }
  std::string text;
  if (!cursor.quoted(&text)) return false;
  out->value = std::move(text);
  return true;
}

}  // namespace

std::string_view memory_format_name(MemoryFormat format) {
  return kMemoryFormatNames[static_cast<size_t>(format)];
}

std::optional<MemoryFormat> memory_format_from_name(std::string_view name) {
  for (size_t i = 0; i < kMemoryFormatNames.size(); ++i) {
    if (kMemoryFormatNames[i] == name) return static_cast<MemoryFormat>(i);
  }
  return std::nullopt;
}

std::string Call::to_string() const {
  std::string out = full_name() + "(";
  for (size_t i = 0; i < args.size(); ++i) {
    if (i != 0) out += ", ";
    append_arg(out, args[i]);
  }
  return out + ")";
}

Result<Call> Call::parse(std::string_view text) {
  TextCursor cursor(text);
  auto fail = [&] {
    return Status::error("K2103",
                         "call does not parse at " + cursor.place() + ": " + std::string(text));
  };
  Call call;
  std::string full;
  if (!cursor.identifier(&full, ":.")) return fail();
  // "aten::add.Tensor": the overload follows the first dot after the namespace.
  const size_t colons = full.find("::");
  const size_t dot = full.find('.', colons == std::string::npos ? 0 : colons);
  call.name = full.substr(0, dot);
  if (dot != std::string::npos) call.overload = full.substr(dot + 1);
  if (call.name.empty() || (dot != std::string::npos && call.overload.empty())) return fail();
  if (!cursor.accept("(")) return fail();
  while (!cursor.accept(")")) {
    if (!call.args.empty() && !cursor.accept(",")) return fail();
    CallArg arg;
    if (!parse_arg(cursor, &arg, 0)) return fail();
    call.args.push_back(std::move(arg));
  }
  if (!cursor.at_end()) return fail();
  return call;
}

}  // namespace kiln
