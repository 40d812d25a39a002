// standardize: statistics, y_a, y_b, C_ii and the sums over features that follow from them.
//
//     mean, m2   per feature over the batch (rows.cuh), those of warps and blocks merged by Chan's update
//     rstd       1 / sqrt(m2 / (N or N - 1) + eps)
//     y          (z - mean) rstd, rounded once to the operand type of the matrix products
//     C_ii       sum_n y_a y_b / N, of y before that rounding
//     sums       sum_i (1 - C_ii)^2, sum_i C_ii^2, sum_ni y_a^2 / N, sum_ni y_b^2 / N, the last three of y as rounded,
//                as it enters the products that they are compared with
//
// Mean and rstd may be given instead; then the rows may be a part of the batch, and C_ii and sums are their part.
//
// z waits in shared memory, as it came, and y takes its place before it leaves in 16-byte pieces. Numbers of a thread
// (z, y, its sums over its rows) are float32 in registers; moments of warps and all that is merged from them, and all
// sums over warps, blocks and columns, are float64. The mean is subtracted as float32 and the rest that this leaves:
// subtracting a rounded mean of 1e4 would leave columns of y that do not sum to zero. A constant feature gives y = 0
// exactly: its merged mean is the constant itself. NaN or Inf makes its feature's y NaN, and so the loss.
//
// Grid: clusters; a cluster has all rows of both views of 128 bytes of columns, each block a share
// (schedule/standardize.h). Blocks meet twice, over distributed shared memory: for the moments, and for the sums, while
// y is on its way out.
//
// Bytes: z once, y once, 8 N D for 16-bit operands where the share fits into shared memory. At N = 1024, D = 8192 that
// is 67 MB, 16 us at the H200's 4.3 TB/s. The loops have 18 instructions a number, and what a block does once is as
// much again for its 128 rows: 34 a number are 19 us if all schedulers always had one to issue. Blocks of more rows
// have fewer instructions and less to hide behind.
#pragma once

#include "cuda/instructions/grid.cuh"
#include "cuda/standardize/exchange.cuh"
#include "cuda/standardize/standardize.h"

namespace bt::cuda {

// Where mean and rstd come from: rows that stay in shared memory, a block's share of them being one chunk; rows that
// are read a second time for y; or the caller.
enum class Moments { resident, chunked, given };

template <typename T>
struct StandardizeView {
  const T* z;
  int64_t stride_n, stride_d;
};

template <typename T>
struct StandardizeArguments {
  StandardizeView<T> views[2];
  int64_t n, d, share;
  int chunk;
  int64_t samples;
  double eps, variance_divisor;
  Statistics statistics;  // Moments::given
  float *c_diagonal, *rstd;
  T* y;
  int64_t ld;
  double* sums;
  int64_t column_blocks;
  uint32_t* counter;
};

template <typename T>
StandardizeArguments<T> standardize_arguments(const Embeddings& z, double eps, const Batch& batch,
                                              const Statistics& statistics, const StandardizeOutputs& outputs,
                                              int64_t share, int chunk) {
  StandardizeArguments<T> arguments{};
  arguments.views[0] = {static_cast<const T*>(z.z_a), z.stride_an, z.stride_ad};
  arguments.views[1] = {static_cast<const T*>(z.z_b), z.stride_bn, z.stride_bd};
  arguments.n = z.n, arguments.d = z.d, arguments.share = share, arguments.chunk = chunk;
  arguments.samples = batch.samples, arguments.eps = eps, arguments.variance_divisor = batch.variance_divisor;
  arguments.statistics = statistics;
  arguments.c_diagonal = outputs.c_diagonal, arguments.rstd = outputs.rstd;
  arguments.y = static_cast<T*>(outputs.y), arguments.ld = row_stride(z.d);
  arguments.sums = outputs.sums, arguments.column_blocks = ceil_div(z.d, kBlockColumns<T>);
  arguments.counter = outputs.counter;
  return arguments;
}

template <typename T, bool TF32, Moments MOMENTS>
__global__ void __launch_bounds__(kStandardizeThreads, MOMENTS == Moments::chunked ? 2 : 4)
    standardize_kernel(const __grid_constant__ StandardizeArguments<T> arguments) {
  constexpr bool kResident = MOMENTS == Moments::resident;
  start_next_grid();
  wait_for_previous_grid();
  if (blockIdx.x == 0 && threadIdx.x == 0) *arguments.counter = 0;

  constexpr int kColumns = kBlockColumns<T>;
  const int chunk = arguments.chunk, rank = cluster_rank();
  const BatchRows batch{arguments.n, arguments.share, cluster_size(), arguments.samples, arguments.variance_divisor};
  const int64_t column_block = blockIdx.x / batch.cluster, first_column = column_block * kColumns;
  const int64_t there = arguments.d - first_column;
  const int columns = there < kColumns ? static_cast<int>(there) : kColumns;
  const int64_t first_row = rank * batch.share;
  const int rows = static_cast<int>(rows_of_block(batch.n, batch.share, rank));
  unsigned char* memory = dynamic_shared<unsigned char>();
  unsigned char* const tiles[2] = {memory, memory + chunk * kBoxBytes};
  auto& shared = *reinterpret_cast<StandardizeShared<kColumns>*>(memory + 2 * chunk * kBoxBytes);

  const auto rows_from = [&](int begin) { return kResident || rows - begin < chunk ? rows - begin : chunk; };
  const auto load = [&](int begin) {
    sync_warp();  // the warp has read what was there
#pragma unroll 1
    for (int view = 0; view < 2; ++view) {
      const auto [z, stride_n, stride_d] = arguments.views[view];
      load_rows(memory + view * chunk * kBoxBytes, z + (first_row + begin) * stride_n + first_column * stride_d,
                stride_n, stride_d, rows_from(begin), columns);
    }
    copy_async_commit();
    copy_async_wait<0>();
    sync_warp();
  };
  const auto store = [&](int begin) {
#pragma unroll 1
    for (int view = 0; view < 2; ++view) {
      T* y = arguments.y + (view * batch.n + first_row + begin) * arguments.ld + first_column;
      store_rows(memory + view * chunk * kBoxBytes, y, arguments.ld, rows_from(begin));
    }
  };
  const auto for_each_chunk = [&](auto&& f) {
    int begin = 0;
    do f(begin);
    while (!kResident && (begin += chunk) < rows);
  };

  float* rstd = rank == 0 ? arguments.rstd + first_column : nullptr;
  if constexpr (MOMENTS == Moments::given) {
    take_statistics(shared, arguments.statistics.mean + first_column, arguments.statistics.rstd + first_column, columns,
                    rstd, arguments.d);
  } else {
    for_each_chunk([&](int begin) {
      load(begin);
      add_moments<T, kResident>(tiles, rows_from(begin), rows_of_warp(begin, warp_id()),
                                shared.warps.moments[warp_id()]);
    });
    sync_block();
    combine_warps(shared, rows);
    cluster_sync();
    combine_blocks(shared, batch, arguments.eps, columns, rstd, arguments.d);
  }
  sync_block();

  const ColumnStatistics<T> statistics[2] = {column_statistics<T>(shared, 0), column_statistics<T>(shared, 1)};
  ProductSums<T> sums{};
  for_each_chunk([&](int begin) {
    if (!kResident) load(begin);
    standardize_rows<T, TF32>(tiles, rows_from(begin), statistics, sums);
    sync_warp();
    if (!kResident) store(begin);
  });
  share_sums<T>(shared, sums);
  sync_block();
  combine_sums(shared);
  cluster_arrive();
  if (kResident) store(0);  // before the barrier it would have to wait for the memory
  cluster_wait();
  if (rank == 0) {
    write_sums(shared, batch, columns, arguments.c_diagonal + first_column, arguments.sums + column_block,
               arguments.column_blocks);
  }
  cluster_meet();  // the others' shared memory lasts as long as they do
}

}  // namespace bt::cuda
