// Where the numbers of a matrix's tile lie in shared memory: boxes of 128-byte rows with TMA's 128-byte swizzle.
//
// A box is `rows` rows of 128 bytes; 16-byte piece p of row r lies at piece p ^ (r % 8). So eight rows' pieces of one
// column are in eight different groups of banks, and rows and columns of 8 pieces are read without conflicts. The
// pattern repeats every 1024 bytes, to which boxes are aligned. Tiles wider than 128 bytes are several boxes.
#pragma once

#include "cuda/host_device.h"

namespace bt::cuda {

constexpr int kBoxBytes = 128;

// Byte of a box at which byte `byte` (0 .. 127) of row `row` lies.
BT_HOST_DEVICE constexpr int swizzled(int row, int byte) { return row * kBoxBytes + (byte ^ ((row & 7) << 4)); }

template <typename T, int ROWS, int COLUMNS>
struct SharedTile {
  static constexpr int kBoxColumns = kBoxBytes / static_cast<int>(sizeof(T));
  static constexpr int kBoxes = COLUMNS / kBoxColumns;
  static constexpr int kBytesPerBox = ROWS * kBoxBytes;
  static constexpr int kBytes = kBoxes * kBytesPerBox;
  static_assert(COLUMNS % kBoxColumns == 0 && ROWS % 8 == 0);

  BT_HOST_DEVICE static constexpr int offset(int row, int column) {
    return column / kBoxColumns * kBytesPerBox + swizzled(row, column % kBoxColumns * static_cast<int>(sizeof(T)));
  }

  // The same of row first_row + row, first_row a multiple of 8 and row below 8: where first_row is known to the
  // compiler it is part of the instruction, not of the address.
  BT_HOST_DEVICE static constexpr int offset(int first_row, int row, int column) {
    return first_row * kBoxBytes + offset(row, column);
  }
};

}  // namespace bt::cuda
