// The key of a captured program: a hash of everything that a front end hands to CaptureBuilder but
// the bytes of weights, in order. The importer knows nothing else, so equal hashes mean equal
// imports by the same build of Kiln.
#pragma once

#include <string_view>
#include <vector>

#include <kiln/capture.h>

#include "base/hash.h"

namespace kiln {

class CaptureHash {
 public:
  void symbol(std::string_view name, int64_t min, int64_t max);
  void condition(std::string_view relation, std::string_view left, std::string_view right,
                 std::string_view text);
  void input(std::string_view name, const CaptureMeta& meta);
  void scalar_input(std::string_view name, const CaptureMeta& meta, std::string_view expr);
  // `sharing`: the weights before it (by number) whose memory overlaps.
  void weight(std::string_view name, const CaptureWeight& weight, std::string_view kind,
              const std::vector<int32_t>& sharing);
  void call(std::string_view name, std::string_view overload, const std::vector<CaptureArg>& args,
            const std::vector<CaptureMeta>& results, const CaptureOrigin& origin,
            std::string_view schema);
  void output(int32_t value, std::string_view name);
  void mutates_input(std::string_view target, int32_t value);
  void mutates_buffer(std::string_view target, int32_t value);
  void device(DeviceKind kind);
  void keep_in_torch(const std::vector<std::string>& ops, const std::vector<std::string>& modules);

  Hash128 finish() const { return hasher_.finish(); }

 private:
  void add_texts(const std::vector<std::string>& texts);
  void add_meta(const CaptureMeta& meta);
  void add_arg(const CaptureArg& arg);

  Hasher128 hasher_;
};

}  // namespace kiln
