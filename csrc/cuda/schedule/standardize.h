// How standardize shares the rows of a column block out: over the blocks of a cluster, and in each over its shared
// memory.
//
// A column block is 128 bytes of a row of z, a whole line of the caches. The rows of both views wait in shared memory,
// as boxes of 128-byte rows (shared_tile.h), while their mean and variance are found: z is read once as long as a
// block's share of the rows fits. Beyond it, a chunk of them at a time, which makes two reads.
#pragma once

#include "cuda/schedule/shared_tile.h"

namespace bt::cuda {

// Warps take rows by fours, in turn: 32 rows to a round, which a chunk is a multiple of, so that the rows of a warp do
// not depend on the chunk.
constexpr int kStandardizeThreads = 256, kStandardizeWarps = kStandardizeThreads / 32;
constexpr int kRowsAtOnce = 4, kRoundRows = kRowsAtOnce * kStandardizeWarps;

// Rows of a block that leave room for four blocks on a multiprocessor of Hopper, so that one computes while others
// load; and those below which what a block costs beyond its rows would show.
constexpr int kGoodShare = 128, kSmallShare = 64;

// Blocks of a cluster that every GPU with clusters can run. Twice as many only where the rows would not fit otherwise.
constexpr int kUsualCluster = 8;

constexpr int kReservedBytes = 1024;  // of shared memory, by the system for each block

struct StandardizePlan {
  int cluster;
  int64_t share;  // rows of a block of the cluster
  int chunk;      // rows in shared memory at a time; z is read once if they are all of the share
};

BT_HOST_DEVICE constexpr int column_block(int itemsize) { return kBoxBytes / itemsize; }

// What a block keeps beside the rows: StandardizeShared.
BT_HOST_DEVICE constexpr int standardize_statistics_bytes(int itemsize) {
  return column_block(itemsize) * (2 * 16 * (kStandardizeWarps + 1) + 2 * 12 + 16) + 16;
}

BT_HOST_DEVICE constexpr int standardize_shared_bytes(int chunk, int itemsize) {
  return 2 * kBoxBytes * chunk + standardize_statistics_bytes(itemsize);
}

// Rows whose two views fit into this much shared memory, a multiple of kRoundRows.
BT_HOST_DEVICE constexpr int64_t standardize_rows_in(int shared_bytes, int itemsize) {
  return (shared_bytes - standardize_statistics_bytes(itemsize)) / (2 * kBoxBytes) / kRoundRows * kRoundRows;
}

// Rows at a time of a block that shares a multiprocessor with another one.
BT_HOST_DEVICE constexpr int standardize_chunk(int shared_bytes, int itemsize) {
  const int64_t half = standardize_rows_in(shared_bytes / 2 - kReservedBytes, itemsize);
  return static_cast<int>(half > kGoodShare ? kGoodShare : half < kRoundRows ? kRoundRows : half);
}

BT_HOST_DEVICE StandardizePlan standardize_plan(int64_t n, int64_t d, int itemsize, int multiprocessors,
                                                int shared_bytes, int max_cluster) {
  const int64_t column_blocks = ceil_div(d, column_block(itemsize));
  const int64_t most = standardize_rows_in(shared_bytes, itemsize);
  int cluster = 1;
  while (2 * cluster <= max_cluster) {
    const int64_t share = ceil_div(n, cluster);
    const bool idle = column_blocks * cluster < 2 * multiprocessors;
    const bool worthwhile = share > kGoodShare || (idle && share > kSmallShare);
    if (cluster < kUsualCluster ? !worthwhile : share <= most) break;
    cluster *= 2;
  }
  const int64_t share = ceil_div(n, cluster);
  if (share <= most) return {cluster, share, static_cast<int>(ceil_div(share, kRoundRows) * kRoundRows)};
  return {cluster, share, standardize_chunk(shared_bytes, itemsize)};
}

// The same where the statistics are given: a row leaves as soon as it has come, so there is nothing to hold.
BT_HOST_DEVICE StandardizePlan standardize_given_plan(int64_t n, int64_t d, int itemsize, int multiprocessors,
                                                      int shared_bytes, int max_cluster) {
  const int most = max_cluster < kUsualCluster ? max_cluster : kUsualCluster;
  StandardizePlan plan = standardize_plan(n, d, itemsize, multiprocessors, shared_bytes, most);
  const int chunk = standardize_chunk(shared_bytes, itemsize);
  if (plan.chunk > chunk) plan.chunk = chunk;
  return plan;
}

// Rows that the cluster's block `rank` has.
BT_HOST_DEVICE constexpr int64_t rows_of_block(int64_t n, int64_t share, int rank) {
  const int64_t left = n - rank * share;
  return left < 0 ? 0 : left < share ? left : share;
}

// Rows of the first `rows` that are a warp's.
BT_HOST_DEVICE constexpr int rows_of_warp(int rows, int warp) {
  const int left = rows % kRoundRows - warp * kRowsAtOnce;
  return rows / kRoundRows * kRowsAtOnce + (left < 0 ? 0 : left < kRowsAtOnce ? left : kRowsAtOnce);
}

}  // namespace bt::cuda
