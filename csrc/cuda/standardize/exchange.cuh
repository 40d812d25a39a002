// standardize, what the warps and the blocks of a cluster tell each other about the columns of a column block: moments
// for the mean and rstd, unless those are given, then the sums of products for C_ii and the traces. Everything is added
// in the order of warps and ranks.
#pragma once

#include "cuda/instructions/cluster.cuh"
#include "cuda/standardize/rows.cuh"

namespace bt::cuda {

// Columns of view a, then those of view b, where there are both.
template <int COLUMNS>
struct StandardizeShared {
  static constexpr int kBoth = 2 * COLUMNS;
  union {
    ColumnMoments<COLUMNS> moments[kStandardizeWarps];
    struct {
      float products[kStandardizeWarps][COLUMNS], rounded_products[kStandardizeWarps][COLUMNS],
          traces[kStandardizeWarps][2];
    } sums;
  } warps;
  ColumnMoments<COLUMNS> moments;                                  // of the block's rows
  double products[COLUMNS], rounded_products[COLUMNS], traces[2];  // likewise, sums
  alignas(8) float centre[kBoth], rstd[kBoth], rest[kBoth];        // of all rows: ColumnStatistics
};
static_assert(sizeof(StandardizeShared<64>) == standardize_statistics_bytes(2));
static_assert(sizeof(StandardizeShared<32>) == standardize_statistics_bytes(4));

struct PartMoments {
  double count, mean, m2;
};

// Chan's update for any number of parts, asked for in order, about the mean of the first, which is not empty.
template <typename F>
__device__ __forceinline__ PartMoments combine_moments(int parts, F&& part) {
  const PartMoments first = part(0);
  double count = first.count, sum = 0, square = 0, m2 = first.m2;
#pragma unroll 4
  for (int k = 1; k < parts; ++k) {
    const PartMoments next = part(k);
    const double delta = next.mean - first.mean;
    count += next.count;
    sum += next.count * delta;
    square += next.count * delta * delta;
    m2 += next.m2;
  }
  const double rest = count > 0 ? sum / count : 0, between = square - sum * rest;
  return {count, first.mean + rest, m2 + (between < 0 ? 0 : between)};
}

template <typename T>
using StandardizeSharedOf = StandardizeShared<kBlockColumns<T>>;

// After sync_block(): the block's moments from its warps'. rows: the block's.
template <int COLUMNS>
__device__ __forceinline__ void combine_warps(StandardizeShared<COLUMNS>& shared, int rows) {
  const int column = static_cast<int>(threadIdx.x);
  if (column >= 2 * COLUMNS) return;
  const PartMoments moments = combine_moments(kStandardizeWarps, [&](int warp) {
    return PartMoments{static_cast<double>(rows_of_warp(rows, warp)), shared.warps.moments[warp].mean[column],
                       shared.warps.moments[warp].m2[column]};
  });
  shared.moments.mean[column] = moments.mean;
  shared.moments.m2[column] = moments.m2;
}

struct BatchRows {
  int64_t n, share;  // of a block of the cluster
  int cluster;
  int64_t samples;  // N: n, or more where the rows are a part of the batch
  double variance_divisor;
};

// What y is made with: mean and r for a column, 0 and 0 for one that does not exist. rstd: where r goes, or null.
template <int COLUMNS>
__device__ __forceinline__ void set_statistics(StandardizeShared<COLUMNS>& shared, unsigned column, double mean,
                                               float r, float* rstd) {
  const float centre = static_cast<float>(mean);
  shared.centre[column] = centre;
  shared.rstd[column] = r;
  shared.rest[column] = static_cast<float>((mean - centre) * r);
  if (rstd != nullptr) *rstd = r;
}

// After cluster_sync(): mean and rstd over the whole batch. Of the columns only the first `columns` exist; those beyond
// get y = 0 whatever eps is. rstd: (2, D) at the first column, or null.
template <int COLUMNS>
__device__ __forceinline__ void combine_blocks(StandardizeShared<COLUMNS>& shared, const BatchRows& batch, double eps,
                                               int columns, float* rstd, int64_t d) {
  const unsigned column = threadIdx.x, view = column / COLUMNS, within = column % COLUMNS;
  if (column >= 2 * COLUMNS) return;
  int64_t left = batch.n;  // rows of the part and those behind it: rows_of_block
  const PartMoments moments = combine_moments(batch.cluster, [&](int rank) {
    const int rows = static_cast<int>(left < batch.share ? left : batch.share);
    left -= rows;
    return PartMoments{static_cast<double>(rows), load_cluster(&shared.moments.mean[column], rank),
                       load_cluster(&shared.moments.m2[column], rank)};
  });
  const bool exists = within < static_cast<unsigned>(columns);
  const float r = exists ? static_cast<float>(1.0 / square_root(moments.m2 / batch.variance_divisor + eps)) : 0.0f;
  set_statistics(shared, column, moments.mean, r, exists && rstd != nullptr ? rstd + view * d + within : nullptr);
}

// In its place where they are given. mean, given_rstd: (2, D) at the first column.
template <int COLUMNS>
__device__ __forceinline__ void take_statistics(StandardizeShared<COLUMNS>& shared, const double* mean,
                                                const double* given_rstd, int columns, float* rstd, int64_t d) {
  const unsigned column = threadIdx.x, view = column / COLUMNS, within = column % COLUMNS;
  if (column >= 2 * COLUMNS) return;
  const bool exists = within < static_cast<unsigned>(columns);
  const int64_t place = view * d + within;
  set_statistics(shared, column, exists ? mean[place] : 0, exists ? static_cast<float>(given_rstd[place]) : 0.0f,
                 exists && rstd != nullptr ? rstd + place : nullptr);
}

// After sync_block(), for the columns of a lane.
template <typename T>
__device__ __forceinline__ ColumnStatistics<T> column_statistics(const StandardizeSharedOf<T>& shared, int view) {
  const int first = view * kBlockColumns<T>;
  return {own_columns<T>(shared.centre + first), own_columns<T>(shared.rstd + first),
          own_columns<T>(shared.rest + first)};
}

// Every warp, before sync_block().
template <typename T>
__device__ __forceinline__ void share_sums(StandardizeSharedOf<T>& shared, const ProductSums<T>& sums) {
  const int warp = warp_id();
  auto& warps = shared.warps.sums;
  own_columns<T>(warps.products[warp]) = sums.products;
  own_columns<T>(warps.rounded_products[warp]) = sums.rounded_products;
#pragma unroll
  for (int view = 0; view < 2; ++view) {
    float trace = sums.traces[view];
    for (int mask = 16; mask > 0; mask /= 2) trace += shuffle_xor(trace, mask);
    if (lane_id() == 0) warps.traces[warp][view] = trace;
  }
}

// After it: the block's sums from its warps'.
template <int COLUMNS>
__device__ __forceinline__ void combine_sums(StandardizeShared<COLUMNS>& shared) {
  const unsigned column = threadIdx.x % COLUMNS;
  const auto sum = [](const float* first, int stride) {
    double total = 0;
#pragma unroll
    for (int warp = 0; warp < kStandardizeWarps; ++warp) total += first[warp * stride];
    return total;
  };
  const auto& warps = shared.warps.sums;
  switch (threadIdx.x / COLUMNS) {
    case 0: shared.products[column] = sum(&warps.products[0][column], COLUMNS); break;
    case 1: shared.rounded_products[column] = sum(&warps.rounded_products[0][column], COLUMNS); break;
    case 2:
      if (column < 2) shared.traces[column] = sum(&warps.traces[0][column], 2);
      break;
    default: break;
  }
}

// After the cluster's barrier, by one block: C_ii (from the first column on) and the block of columns' four sums,
// `stride` apart: (1 - C_ii)^2, C_ii^2 of the rounded y, y_a^2 / N, y_b^2 / N.
template <int COLUMNS>
__device__ __forceinline__ void write_sums(const StandardizeShared<COLUMNS>& shared, const BatchRows& batch,
                                           int columns, float* c_diagonal, double* sums, int64_t stride) {
  const int lane = lane_id(), cluster = batch.cluster;
  const double samples = static_cast<double>(batch.samples);
  if (warp_id() == 0) {
    double on_diagonal = 0, squares = 0;
#pragma unroll 1
    for (int column = lane; column < COLUMNS; column += 32) {
      double c_ii = 0, rounded_c_ii = 0;
#pragma unroll 4
      for (int rank = 0; rank < cluster; ++rank) {
        c_ii += load_cluster(&shared.products[column], rank);
        rounded_c_ii += load_cluster(&shared.rounded_products[column], rank);
      }
      if (column >= columns) continue;
      c_ii /= samples, rounded_c_ii /= samples;
      c_diagonal[column] = static_cast<float>(c_ii);
      on_diagonal += (1 - c_ii) * (1 - c_ii);
      squares += rounded_c_ii * rounded_c_ii;
    }
    for (int mask = 16; mask > 0; mask /= 2) {
      on_diagonal += shuffle_xor(on_diagonal, mask);
      squares += shuffle_xor(squares, mask);
    }
    if (lane == 0) sums[0] = on_diagonal, sums[stride] = squares;
  } else if (warp_id() == 1 && lane < 2) {
    double trace = 0;
    for (int rank = 0; rank < cluster; ++rank) trace += load_cluster(&shared.traces[lane], rank);
    sums[(2 + lane) * stride] = trace / samples;
  }
}

}  // namespace bt::cuda
