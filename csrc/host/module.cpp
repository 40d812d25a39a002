// bt_kernels._host: the host side of the kernels without torch, for the tests and for bt_kernels.info.
#include <pybind11/pybind11.h>

#include "cpu/multiversion.h"
#include "cpu/schedule.h"
#include "host/cuda_schedule.h"

#define BT_TEXT_(x) #x
#define BT_TEXT(x) BT_TEXT_(x)

namespace {

const char* compiler() {
#if defined(__clang__)  // __clang_version__ has the distribution's build behind it, if only a space
  return "clang " BT_TEXT(__clang_major__) "." BT_TEXT(__clang_minor__) "." BT_TEXT(__clang_patchlevel__);
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown compiler";
#endif
}

}  // namespace

PYBIND11_MODULE(_host, m) {
  m.doc() = "Schedules and build information of the compiled kernels.";
  m.def("compiler", &compiler, "The compiler that built the C++ library, with its version.");
  m.def(
      "instruction_sets", [] { return sizeof(BT_TEXT(BT_MULTIVERSION)) > 1 ? "default, avx2, avx512f" : "default"; },
      "The instruction sets that the CPU passes were compiled for.");
  namespace py = pybind11;
  m.def("panel_width", &bt::cpu::panel_width, py::arg("n"), py::arg("d"), py::arg("threads"), py::arg("itemsize"),
        "Columns of a panel of (n, d) numbers of itemsize bytes.");
  m.def("triangle_block", &bt::cpu::triangle_block, py::arg("n"), "Rows of a row block of the upper triangle of K.");
  m.def("gram_splits", &bt::cpu::gram_splits, py::arg("n"), py::arg("d"), py::arg("threads"),
        "Gram matrices over shares of the features that fit beside the embeddings.");
  m.def("correlation_rows", &bt::cpu::correlation_rows, py::arg("n"), py::arg("d"),
        "Rows of C to form at a time when it is not kept.");
  m.def("share_begin", &bt::cpu::share_begin, py::arg("count"), py::arg("parts"), py::arg("index"),
        "First item of a share when count items are cut into parts.");
  add_cuda_schedule(m);
}
