// kiln._native's capture builder.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include <kiln/tensor.h>

namespace kiln {

void bind_capture(nanobind::module_& m);
// "f32"; raises K1108 for another text.
DType dtype_of(const std::string& name);

}  // namespace kiln
