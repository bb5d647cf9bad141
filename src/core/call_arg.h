// One argument of an ATen (or custom) operator call, as captured.
//
// Shared by the capture interface, the aten.call node and the host step of a plan, so that a call
// reaches the dispatcher with exactly what the user wrote.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/device.h"
#include "core/dim.h"
#include "core/dtype.h"

namespace kiln {

enum class MemoryFormat : uint8_t { kContiguous, kPreserve, kChannelsLast, kChannelsLast3d };
std::string_view memory_format_name(MemoryFormat format);  // "contiguous", "channels_last", ...
std::optional<MemoryFormat> memory_format_from_name(std::string_view name);

struct CallArg {
  struct None {
    bool operator==(const None&) const = default;
  };
  // A value of the program: index into the operands of the node / inputs of the step.
  struct Operand {
    int index = 0;
    bool operator==(const Operand&) const = default;
  };
  struct Layout {  // torch.strided and friends, by torch's name
    std::string name;
    bool operator==(const Layout&) const = default;
  };
  using List = std::vector<CallArg>;

  // An integer is a DimExpr, constant or symbolic.
  std::variant<None, bool, DimExpr, double, std::string, DType, Device, MemoryFormat, Layout,
               Operand, List>
      value;

  CallArg() = default;
  template <typename T>
  CallArg(T v) : value(std::move(v)) {}              // NOLINT(google-explicit-constructor)
  CallArg(int v) : value(DimExpr(v)) {}              // NOLINT(google-explicit-constructor)
  CallArg(int64_t v) : value(DimExpr(v)) {}          // NOLINT(google-explicit-constructor)
  CallArg(const char* v) : value(std::string(v)) {}  // NOLINT(google-explicit-constructor)

  bool operator==(const CallArg&) const = default;
  template <typename T>
  const T* get() const {
    return std::get_if<T>(&value);
  }
  bool is_none() const { return std::holds_alternative<None>(value); }
};

// A whole call. `args` follow the schema's order, defaults filled in.
struct Call {
  std::string name;      // "aten::linear"
  std::string overload;  // "" for the default overload
  CallArg::List args;

  bool operator==(const Call&) const = default;
  std::string full_name() const { return overload.empty() ? name : name + "." + overload; }
  // `aten::add.Tensor(%0, %1, 1)`: operands as %index, expressions as ?e; parse() inverts it.
  std::string to_string() const;
  static Result<Call> parse(std::string_view text);
};

}  // namespace kiln
