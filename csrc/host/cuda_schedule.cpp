#include "host/cuda_schedule.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>

#include "cuda/numeric.h"
#include "cuda/schedule/fusion.h"
#include "cuda/schedule/gram_apply.h"
#include "cuda/schedule/panels.h"
#include "cuda/schedule/shared_tile.h"
#include "cuda/schedule/splits.h"
#include "cuda/schedule/standardize.h"
#include "cuda/schedule/tiles.h"

namespace py = pybind11;
using namespace bt::cuda;

namespace {

py::tuple as_tuple(TileIndex index) { return py::make_tuple(index.row, index.column); }
py::tuple as_tuple(TermWeights weights) { return py::make_tuple(weights.on_diagonal, weights.off_diagonal); }
py::tuple as_tuple(FeatureGradient factors) { return py::make_tuple(factors.product, factors.other, factors.own); }

const float* pointer(const std::optional<float>& x) { return x ? &*x : nullptr; }

template <typename T, int ROWS, int COLUMNS>
void add_tile(py::dict& tiles) {
  using Tile = SharedTile<T, ROWS, COLUMNS>;
  py::cpp_function offset([](int row, int column) { return Tile::offset(row, column); });
  py::cpp_function offset_from([](int first, int row, int column) { return Tile::offset(first, row, column); });
  tiles[py::make_tuple(sizeof(T), ROWS, COLUMNS)] = py::make_tuple(Tile::kBytes, offset, offset_from);
}

// Those of the products' operands and of the backward's tiles, for operands of one size.
template <typename T>
void add_tiles(py::dict& tiles) {
  constexpr int kStep = kBoxBytes / static_cast<int>(sizeof(T));
  add_tile<T, 128, kStep>(tiles);
  add_tile<T, 256, kStep>(tiles);
  add_tile<T, kStep, 128>(tiles);
  add_tile<T, kStep, 256>(tiles);
  add_tile<T, 128, 128>(tiles);
  add_tile<T, 256, 128>(tiles);
}

void add_tiles_and_splits(py::module_& m) {
  m.def("triangle_size", &triangle_size, py::arg("side"));
  m.def("packed_offset", &packed_offset, py::arg("row"), py::arg("column"), py::arg("side"));
  m.def("triangle_tile", [](int index) { return as_tuple(triangle_tile(index)); }, py::arg("index"));
  m.def(
      "grouped_tile",
      [](int64_t index, int rows, int columns, int group) {
        return as_tuple(grouped_tile(index, rows, columns, group));
      },
      py::arg("index"), py::arg("rows"), py::arg("columns"), py::arg("group"));
  m.def(
      "gram_tiles_count", [](int rows, int columns, int64_t n) { return GramTiles{rows, columns}.count(n); },
      py::arg("rows"), py::arg("columns"), py::arg("n"));
  m.def(
      "gram_tiles_origin",
      [](int rows, int columns, int index) { return as_tuple(GramTiles{rows, columns}.origin(index)); },
      py::arg("rows"), py::arg("columns"), py::arg("index"));
  m.attr("MAX_SPLITS") = kMaxSplits;
  m.def(
      "choose_splits",
      [](int64_t tiles, int64_t length, int step, int64_t slots, int64_t tile_bytes, int64_t budget) {
        const Splits splits = choose_splits(tiles, length, step, slots, tile_bytes, budget);
        return py::make_tuple(splits.count, splits.share);
      },
      py::arg("tiles"), py::arg("length"), py::arg("step"), py::arg("slots"), py::arg("tile_bytes"), py::arg("budget"));
  m.def("combining_warps", &combining_warps, py::arg("pieces"), py::arg("splits"), py::arg("multiprocessors"),
        py::arg("most"));
}

void add_panels_and_memory(py::module_& m) {
  m.attr("PANEL_BYTES") = kPanelBytes;
  m.attr("PANEL_BYTES_AT_LEAST") = kPanelBytesAtLeast;
  m.def("product_panel", &product_panel, py::arg("n"), py::arg("d"), py::arg("views"), py::arg("ldt"),
        py::arg("itemsize"), py::arg("multiple"));
  m.def("correlation_panel", &correlation_panel, py::arg("n"), py::arg("d"), py::arg("multiple"));
  m.attr("FUSED_SAMPLES") = kFusedSamples;
  m.attr("FUSED_ROUNDS") = kFusedRounds;
  m.attr("FUSED_TILE_BYTES") = kFusedTileBytes;
  m.attr("FUSED_BYTES_AT_LEAST") = kFusedBytesAtLeast;
  m.def("fused_blocks", &fused_blocks, py::arg("n"), py::arg("d"), py::arg("itemsize"), py::arg("multiprocessors"));

  py::dict tiles;
  add_tiles<uint16_t>(tiles);
  add_tiles<float>(tiles);
  m.attr("shared_tiles") = tiles;  // (itemsize, rows, columns) -> (bytes, offset(row, column), the same from a row on)
  m.attr("APPLY_SAMPLES") = kApplySamples;
  m.def("gram_apply_features", &gram_apply_features, py::arg("itemsize"));
  m.def("crossed", &crossed, py::arg("sample"), py::arg("piece"));
}

void add_standardize(py::module_& m) {
  m.attr("STANDARDIZE_WARPS") = kStandardizeWarps;
  m.attr("ROWS_AT_ONCE") = kRowsAtOnce;
  m.attr("ROUND_ROWS") = kRoundRows;
  m.attr("GOOD_SHARE") = kGoodShare;
  m.attr("RESERVED_BYTES") = kReservedBytes;
  const auto def_plan = [&](const char* name, auto plan_of) {
    m.def(
        name,
        [plan_of](int64_t n, int64_t d, int itemsize, int multiprocessors, int shared_bytes, int max_cluster) {
          const StandardizePlan plan = plan_of(n, d, itemsize, multiprocessors, shared_bytes, max_cluster);
          return py::make_tuple(plan.cluster, plan.share, plan.chunk);
        },
        py::arg("n"), py::arg("d"), py::arg("itemsize"), py::arg("multiprocessors"), py::arg("shared_bytes"),
        py::arg("max_cluster"));
  };
  def_plan("standardize_plan", &standardize_plan);
  def_plan("standardize_given_plan", &standardize_given_plan);
  m.def("standardize_shared_bytes", &standardize_shared_bytes, py::arg("chunk"), py::arg("itemsize"));
  m.def("standardize_rows_in", &standardize_rows_in, py::arg("shared_bytes"), py::arg("itemsize"));
  m.def("rows_of_block", &rows_of_block, py::arg("n"), py::arg("share"), py::arg("rank"));
  m.def("rows_of_warp", &rows_of_warp, py::arg("rows"), py::arg("warp"));
}

void add_arithmetic(py::module_& m) {
  using Weights = std::pair<float, float>;
  m.def("round_to_tf32", py::vectorize([](float x) { return round_to_tf32(x); }), py::arg("x"));
  m.def("power_of_two_below", py::vectorize([](float x) { return power_of_two_below(x); }), py::arg("x"));
  m.def(
      "term_weights",
      [](std::optional<float> loss, std::optional<float> on_diagonal, std::optional<float> off_diagonal, float lambd,
         float scale) {
        return as_tuple(term_weights(pointer(loss), pointer(on_diagonal), pointer(off_diagonal), lambd, scale));
      },
      py::arg("loss"), py::arg("on_diagonal"), py::arg("off_diagonal"), py::arg("lambd"), py::arg("scale"));
  m.def(
      "diagonal_weight",
      [](float c_ii, Weights weights) { return diagonal_weight(c_ii, {weights.first, weights.second}); },
      py::arg("c_ii"), py::arg("weights"));
  m.def(
      "gram_feature",
      [](float sum, float c_ii, float rstd, float shift, Weights weights, float eps, int64_t n, float variance_divisor,
         bool standardized) {
        return as_tuple(gram_feature(sum, c_ii, rstd, shift, {weights.first, weights.second}, eps, n, variance_divisor,
                                     standardized));
      },
      py::arg("sum"), py::arg("c_ii"), py::arg("rstd"), py::arg("shift"), py::arg("weights"), py::arg("eps"),
      py::arg("n"), py::arg("variance_divisor"), py::arg("standardized"));
  m.def(
      "correlation_feature",
      [](float squares, float c_ii, float rstd, Weights weights, int64_t n, float variance_divisor, bool standardized) {
        return as_tuple(correlation_feature(squares, c_ii, rstd, {weights.first, weights.second}, n, variance_divisor,
                                            standardized));
      },
      py::arg("squares"), py::arg("c_ii"), py::arg("rstd"), py::arg("weights"), py::arg("n"),
      py::arg("variance_divisor"), py::arg("standardized"));
  m.def(
      "feature_gradient",
      [](float of_product, float of_other, float of_own, float product, float y_own, float y_other) {
        return feature_gradient({of_product, of_other, of_own}, product, y_own, y_other);
      },
      py::arg("of_product"), py::arg("of_other"), py::arg("of_own"), py::arg("product"), py::arg("y_own"),
      py::arg("y_other"));
  m.def("gram_off_diagonal", &gram_off_diagonal, py::arg("inner"), py::arg("squares"), py::arg("n"));
  m.def(
      "loss_terms",
      [](double on_diagonal, double off_diagonal, double lambd, double scale) {
        const LossTerms terms = loss_terms(on_diagonal, off_diagonal, lambd, scale);
        return py::make_tuple(terms.loss, terms.on_diagonal, terms.off_diagonal);
      },
      py::arg("on_diagonal"), py::arg("off_diagonal"), py::arg("lambd"), py::arg("scale"));
}

}  // namespace

void add_cuda_schedule(py::module_& host) {
  py::module_ m =
      host.def_submodule("cuda", "Schedules and arithmetic of the CUDA kernels: csrc/cuda/schedule, numeric.h.");
  add_tiles_and_splits(m);
  add_panels_and_memory(m);
  add_standardize(m);
  add_arithmetic(m);
}
