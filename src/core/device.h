// Where a tensor lives (kiln/tensor.h).
#pragma once

#include <kiln/tensor.h>
