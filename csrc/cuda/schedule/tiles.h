// Which tile of a matrix a block computes: triangles for K, groups of rows for everything else; and where a number of a
// packed triangle is.
#pragma once

#include <cmath>

#include "cuda/host_device.h"

namespace bt::cuda {

struct TileIndex {
  int row, column;
};

BT_HOST_DEVICE constexpr int64_t triangle_size(int64_t side) { return side * (side + 1) / 2; }

// Where (row, column), row <= column, of a symmetric matrix is in its upper triangle, kept row by row.
BT_HOST_DEVICE constexpr int64_t packed_offset(int64_t row, int64_t column, int64_t side) {
  return row * (2 * side - 1 - row) / 2 + column;
}

// The index-th tile on or above the diagonal of side x side tiles, column by column: (0,0), (0,1), (1,1), (0,2), ...
// The root gives the column but for its rounding, which the two loops mend.
BT_HOST_DEVICE TileIndex triangle_tile(int index) {
  int column = static_cast<int>((sqrtf(8.0f * static_cast<float>(index) + 1.0f) - 1.0f) * 0.5f);
  while (triangle_size(column) > index) --column;
  while (triangle_size(column + 1) <= index) ++column;
  return {index - static_cast<int>(triangle_size(column)), column};
}

// The index-th of rows x columns tiles, `group` rows at a time: blocks that run together share operands in L2.
BT_HOST_DEVICE TileIndex grouped_tile(int64_t index, int rows, int columns, int group) {
  const int64_t in_group = static_cast<int64_t>(group) * columns;
  const int first = static_cast<int>(index / in_group) * group;
  const int height = rows - first < group ? rows - first : group;
  const int within = static_cast<int>(index % in_group);
  return {first + within % height, within / height};
}

// K's tiles: rows x columns numbers each, columns a multiple of rows. Those that one square of `columns` numbers a side
// is made of follow each other, so that they can be a cluster; squares below the diagonal do not exist.
struct GramTiles {
  int rows, columns;

  BT_HOST_DEVICE constexpr int per_square() const { return columns / rows; }
  BT_HOST_DEVICE constexpr int count(int64_t n) const {
    return static_cast<int>(triangle_size(ceil_div(n, columns))) * per_square();
  }
  // First row and first column of the index-th tile.
  BT_HOST_DEVICE TileIndex origin(int index) const {
    const TileIndex square = triangle_tile(index / per_square());
    return {square.row * columns + index % per_square() * rows, square.column * columns};
  }
};

}  // namespace bt::cuda
