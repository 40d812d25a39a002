// TMA: boxes of matrices into the shared memory of one block or several, each on its own and in any order.
#include "emulated/tensor.h"

#include <algorithm>
#include <cstring>

#include "emulated/machine.h"
#include "emulated/shared.h"
#include "emulated/traffic.h"

namespace emulated {

namespace {

constexpr int kRowBytes = 128, kPieceBytes = 16, kMostBox = 256;

// 128 bytes of a box: the numbers from (view, row, column) on, zeros outside of the matrix.
void read_row(const TensorMap& map, int64_t column, int64_t row, int64_t view, char* bytes) {
  std::memset(bytes, 0, kRowBytes);
  if (row < 0 || row >= map.sizes[1] || view < 0 || view >= map.sizes[2]) return;
  const int64_t first = std::max<int64_t>(column, 0), last = std::min<int64_t>(column + map.box[0], map.sizes[0]);
  if (first >= last) return;
  const char* from = map.base + view * map.strides[2] + row * map.strides[1] + first * map.itemsize;
  std::memcpy(bytes + (first - column) * map.itemsize, from, static_cast<size_t>((last - first) * map.itemsize));
}

// What a box has within the matrix.
void count(const TensorMap& map, int64_t column, int64_t row, int64_t view) {
  const int64_t columns = std::min<int64_t>(map.box[0], map.sizes[0] - column);
  const int64_t rows = std::min<int64_t>(map.box[1], map.sizes[1] - row);
  if (columns <= 0 || rows <= 0) return;
  count_box(map.base + view * map.strides[2] + row * map.strides[1] + column * map.itemsize, rows, map.strides[1],
            columns * map.itemsize);
}

void carry_out(const Transfer& transfer) {
  const TensorMap& map = *transfer.map;
  for (int row = 0; row < map.box[1]; ++row) {
    char bytes[kRowBytes];
    read_row(map, transfer.column, int64_t{transfer.row} + row, transfer.view, bytes);
    for (int piece = 0; piece < kRowBytes; piece += kPieceBytes) {
      const int64_t offset = swizzled(kSharedWindow + transfer.shared + row * kRowBytes + piece) - kSharedWindow;
      std::memcpy(transfer.to->shared + offset, bytes + piece, kPieceBytes);
      std::memcpy(transfer.to->async_view.data() + offset, bytes + piece, kPieceBytes);
    }
  }
  complete_bytes(*transfer.to, reinterpret_cast<uint64_t*>(transfer.to->shared + transfer.barrier),
                 map.box[1] * kRowBytes);
}

bool at_issue(Cluster& cluster) {
  switch (cluster.grid->asynchrony) {
    case Asynchrony::late: return false;
    case Asynchrony::random: return cluster.random.below(2) == 0;
    default: return true;
  }
}

}  // namespace

bool valid(const TensorMap& map) {
  if (reinterpret_cast<uintptr_t>(map.base) % 16 != 0 || map.base == nullptr) return false;
  for (const int64_t size : map.sizes) {
    if (size < 1 || size > int64_t{1} << 32) return false;
  }
  for (int i = 1; i < 3; ++i) {
    if (map.strides[i] % 16 != 0 || map.strides[i] < 0 || map.strides[i] >= int64_t{1} << 40) return false;
  }
  for (const int box : map.box) {
    if (box < 1 || box > kMostBox) return false;
  }
  return map.box[0] * map.itemsize == kRowBytes;
}

void load_tensor(const char* call, void* shared, const TensorMap& map, uint64_t* barrier, int column, int row, int view,
                 uint32_t blocks) {
  Block& own = *current->block;
  Cluster& cluster = *own.cluster;
  needs_hopper(call);
  needs_previous_grid(call);
  const int64_t to = shared_offset(own, shared, int64_t{map.box[1]} * kRowBytes, kRowBytes, call);
  const int64_t counted = shared_offset(own, barrier, 8, 8, call);
  if (blocks == 0 || blocks >> cluster.blocks.size() != 0) {
    fail("%s to blocks %04x of a cluster of %zu", call, blocks, cluster.blocks.size());
  }
  count(map, column, row, view);
  // The map lies among the kernel's arguments, which this thread may leave before the copy is done.
  const auto copy = std::make_shared<const TensorMap>(map);
  for (uint32_t rank = 0; rank < cluster.blocks.size(); ++rank) {
    if ((blocks >> rank & 1u) == 0) continue;
    const Transfer transfer{copy, &block_of_cluster(static_cast<int>(rank), call), to, counted, column, row, view};
    if (at_issue(cluster)) {
      carry_out(transfer);
    } else {
      cluster.transfers.push_back(transfer);
    }
  }
}

uint32_t own_block() { return 1u << current->block->rank; }

void prefetch_tensor_map(const void*) { needs_hopper("prefetch_tensor_map"); }

void finish_transfer(Cluster& cluster) {
  const size_t count = cluster.transfers.size();
  const size_t index =
      cluster.grid->asynchrony == Asynchrony::random ? cluster.random.below(static_cast<uint32_t>(count)) : count - 1;
  const Transfer transfer = cluster.transfers[index];
  cluster.transfers.erase(cluster.transfers.begin() + static_cast<std::ptrdiff_t>(index));
  carry_out(transfer);
}

}  // namespace emulated
