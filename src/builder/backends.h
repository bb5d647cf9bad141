// The only place that knows which backends exist.
#pragma once

#include <memory>

#include <kiln/builder.h>

namespace kiln {

class Backend;

// By BuildOptions::target; K2010 for an unknown one, naming those there are.
Result<std::unique_ptr<Backend>> make_backend(const BuildOptions& options);

}  // namespace kiln
