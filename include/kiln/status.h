// Status and Result<T>: how expected failures travel.
//
// A failure that a caller can provoke (unsupported op, bad option, damaged file, I/O) is a Status
// with a stable code such as "K3104"; a bug is an InternalError and is thrown, to be caught at the
// borders. An OK status is a null pointer, so the good path costs one comparison.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kiln {

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(const Status& other) : rep_(other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr) {}
  Status& operator=(const Status& other) {
    if (this != &other) rep_ = other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr;
    return *this;
  }
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;

  // `code` is "K" and four digits; `message` is lower case, static text first, values last.
  static Status error(std::string_view code, std::string message, std::string hint = {}) {
    Status status;
    status.rep_ = std::make_unique<Rep>();
    status.rep_->code = code;
    status.rep_->message = std::move(message);
    status.rep_->hint = std::move(hint);
    return status;
  }

  bool ok() const { return rep_ == nullptr; }
  const std::string& code() const;     // "" when ok
  const std::string& message() const;  // "" when ok
  const std::string& hint() const;     // what the user can do about it; may be empty
  // Where it happened, innermost first (module path, file:line of the user's Python, file entry).
  const std::vector<std::string>& origin() const;

  // Adds one more place to the origin chain as the error rises; no effect when ok.
  Status&& at(std::string place) && {
    if (rep_) rep_->origin.push_back(std::move(place));
    return std::move(*this);
  }

  // "K1203: message (at a, b); hint: ..."; "ok" when ok.
  std::string to_string() const;

 private:
  struct Rep {
    std::string code, message, hint;
    std::vector<std::string> origin;
  };
  std::unique_ptr<Rep> rep_;
};

// A value or the Status that explains its absence. `value()` on an error is a bug.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}            // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}    // NOLINT(google-explicit-constructor)

  bool ok() const { return status_.ok(); }
  const Status& status() const& { return status_; }
  Status&& status() && { return std::move(status_); }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace kiln
