// How programs inside torch's files are loaded; see program_object.h.
#pragma once

#include <kiln/program.h>

namespace kiln {

// While one lives, this thread loads programs with these options; without one, as files from
// strangers are. The host is always torch.
class ScopedLoadOptions {
 public:
  explicit ScopedLoadOptions(LoadOptions options);
  ~ScopedLoadOptions();
  ScopedLoadOptions(const ScopedLoadOptions&) = delete;
  ScopedLoadOptions& operator=(const ScopedLoadOptions&) = delete;

 private:
  LoadOptions options_;
  const LoadOptions* outer_;
};

}  // namespace kiln
