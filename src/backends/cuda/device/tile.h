// What tile kernels include.
#pragma once

#include "device/convert.h"
#include "device/fault.h"
#include "device/index.h"
#include "device/math.h"
#include "device/platform.h"
#include "device/reduce.h"
#include "device/vector.h"
