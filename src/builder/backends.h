// The only place that knows which backends exist.
#pragma once

#include <memory>

#include <kiln/builder.h>

#include "runtime/native_code.h"

namespace kiln {

class Backend;

// By BuildOptions::target; K2010 for an unknown one, naming those there are.
Result<std::unique_ptr<Backend>> make_backend(const BuildOptions& options);

// Machine code of the kernels that running the plan on its target takes. K2011 for a target whose
// plans have none; K5305, K5306.
Result<NativeCode> compile_kernels(const EnginePlan& plan);

}  // namespace kiln
