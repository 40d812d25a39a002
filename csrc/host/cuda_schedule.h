// bt_kernels._host.cuda: what the CUDA kernels and their host side compute with plain C++, for the tests.
#pragma once

#include <pybind11/pybind11.h>

void add_cuda_schedule(pybind11::module_& host);
