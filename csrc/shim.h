// Calls of libtorch's C functions are checked by STABLE_TORCH_ERROR_CODE_CHECK, which repeats what the error said. The
// headers of torch 2.10 to 2.12 have only a check that names the call.
#pragma once

#include <torch/csrc/stable/tensor.h>

#ifndef STABLE_TORCH_ERROR_CODE_CHECK
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif
