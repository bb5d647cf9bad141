// Machine code of a plan's kernels that a file brings along: what stands in the `kernels` folder of
// docs/engine_file.md. Only files that somebody trusts have theirs loaded.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/json.h"
#include "base/status.h"
#include "runtime/plan.h"

namespace kiln {

// Of the family and its parameters: kernels of equal descriptions are one kernel.
Hash128 hash_of(const KernelDesc& kernel);

struct NativeKernel {
  Hash128 kernel;      // hash_of() its description
  std::string family;  // for people and for the runtime's own kernels
  std::string entry;   // name of the function in the image
  Hash128 code;        // hash128(image), which the entry in the file is named after
  std::string_view image;
  std::shared_ptr<const void> owner;  // of the image
};

struct NativeCode {
  std::string isa;         // "sm_90": what it runs on
  std::string convention;  // of the launches that it was compiled for; another one does not fit
  std::string compiler;    // "NVRTC 13.0", for people
  std::vector<NativeKernel> kernels;

  const NativeKernel* find(const KernelDesc& kernel) const;
};

// "kernels/HASH.cubin".
std::string native_entry_name(const Hash128& code);
// The list of a plan's code, without the images.
Json to_json(const NativeCode& code);
// Images are still to be found, by native_entry_name(). K3012, K3104.
Result<NativeCode> native_code_from_json(const Json& json);

}  // namespace kiln
