#include "base/status.h"

namespace kiln {
namespace {
const std::string kEmpty;
const std::vector<std::string> kNoOrigin;
}  // namespace

const std::string& Status::code() const { return rep_ ? rep_->code : kEmpty; }
const std::string& Status::message() const { return rep_ ? rep_->message : kEmpty; }
const std::string& Status::hint() const { return rep_ ? rep_->hint : kEmpty; }
const std::vector<std::string>& Status::origin() const { return rep_ ? rep_->origin : kNoOrigin; }

std::string Status::to_string() const {
  if (!rep_) return "ok";
  std::string text = rep_->code + ": " + rep_->message;
  if (!rep_->origin.empty()) {
    text += " (at ";
    for (size_t i = 0; i < rep_->origin.size(); ++i) {
      if (i != 0) text += ", ";
      text += rep_->origin[i];
    }
    text += ")";
  }
  if (!rep_->hint.empty()) text += "; hint: " + rep_->hint;
  return text;
}

}  // namespace kiln
