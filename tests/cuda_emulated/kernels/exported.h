// For the test kernels: functions that Python calls through ctypes.
#pragma once

#include "cuda/instructions/launch.cuh"

#define EXPORTED extern "C" __attribute__((visibility("default")))
