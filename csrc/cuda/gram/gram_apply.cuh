// backward, Gram form, more samples than one cluster holds, behind gram_product: dz of a panel of features from its T
// and column sums.
//
//     q    = alpha unit sum_n T y + d C_ii                              alpha = 2 w_off / N^2, unit that of K_other
//     dz   = rstd (alpha unit T + y_other d / N - y (q / M - alpha shift_other eps rstd^2))
//
// T is float32 with its samples next to each other, as the product's accumulators lay; it crosses over in shared
// memory, where neither direction meets the same bank twice: 4-byte column n of a feature lies at n ^ 4 piece, piece
// being the 16 bytes of a row of z that the feature is in. y and dz move 16 bytes a thread, whole 128-byte lines a row,
// both views in one block, so that y is read once. All arithmetic is float32, dz is rounded once.
//
// Grid: tiles of kSamples samples by 128 bytes of features, features first. Bytes from memory: y once, dz once, 8 N D
// for 16-bit operands; T is in L2. At N = 4096, D = 8192 that is 268 MB and 62 us at the H200's 4.3 TB/s, beside 268 MB
// of T.
#pragma once

#include "cuda/gram/gram_apply.h"
#include "cuda/instructions/copy_async.cuh"
#include "cuda/instructions/grid.cuh"
#include "cuda/instructions/numbers.cuh"
#include "cuda/schedule/gram_apply.h"

namespace bt::cuda {

struct GramApplyArguments {
  GramApply apply;
  int tiles;     // of features
  bool aligned;  // rows of dz to 16 bytes
};

// 16 bytes of operands.
template <typename T>
struct alignas(16) Piece {
  static constexpr int kNumbers = 16 / static_cast<int>(sizeof(T));

  uint32_t words[4];

  __device__ __forceinline__ float operator[](int i) const {
    if constexpr (sizeof(T) == 4)
      return float_of(words[i]);
    else
      return i % 2 == 0 ? unpack<T>(words[i / 2]).low : unpack<T>(words[i / 2]).high;
  }
};

template <typename T>
__device__ __forceinline__ void store_piece(T* target, const float (&x)[Piece<T>::kNumbers]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4)
      words[i] = bits_of(x[i]);
    else
      words[i] = pack<T>(x[2 * i], x[2 * i + 1]);
  }
  const Piece<T> piece{{words[0], words[1], words[2], words[3]}};
  *reinterpret_cast<Piece<T>*>(target) = piece;
}

template <typename T>
struct GramApplyShared {
  static constexpr int kFeatures = gram_apply_features(static_cast<int>(sizeof(T)));

  struct alignas(16) Four {
    float x[4];
  };

  float product[2][kFeatures][kApplySamples];
  Four factors[2][3][Piece<T>::kNumbers / 4][kFeatures / Piece<T>::kNumbers];  // product, other, own

  // Lanes read the factors of neighbouring pieces, so those are neighbours.
  __device__ __forceinline__ float& factor(int slot, int kind, int feature) {
    constexpr int kNumbers = Piece<T>::kNumbers;
    return factors[slot][kind][feature % kNumbers / 4][feature / kNumbers].x[feature % 4];
  }
};

// Starts to copy T of the tile.
template <typename T>
__device__ __forceinline__ void fetch_product(GramApplyShared<T>& shared, const GramApply& apply, int64_t within,
                                              int64_t first_sample) {
  constexpr int kAcross = kApplySamples / 4, kSteps = GramApplyShared<T>::kFeatures * kAcross / kApplyThreads;
  const int across = static_cast<int>(threadIdx.x) % kAcross, down = static_cast<int>(threadIdx.x) / kAcross;
  const int64_t sample = first_sample + 4 * across;
  for (int slot = 0; slot < apply.backward.views; ++slot) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int feature = down + step * (kApplyThreads / kAcross);
      const bool exists = within + feature < apply.width && sample < apply.ldt;
      const int64_t row = slot * apply.width + within + feature;
      const float* source = exists ? apply.product + row * apply.ldt + sample : apply.product;
      const int place = crossed(4 * across, feature / Piece<T>::kNumbers);
      copy_async_16(&shared.product[slot][feature][place], source, exists ? 16 : 0);
    }
  }
  copy_async_commit();
}

// One feature of one view per thread.
template <typename T>
__device__ __forceinline__ void make_factors(GramApplyShared<T>& shared, const GramApply& apply, int64_t within) {
  constexpr int kFeatures = GramApplyShared<T>::kFeatures;
  const int slot = static_cast<int>(threadIdx.x) / kFeatures, feature = static_cast<int>(threadIdx.x) % kFeatures;
  const int64_t column = apply.first_column + within + feature;
  if (slot >= apply.backward.views || within + feature >= apply.width || column >= apply.backward.d) return;
  const int view = apply.backward.first_view + slot;
  const float* part = apply.column_sums + int64_t{slot} * apply.sample_tiles * apply.width + within + feature;
  float sum = 0;
#pragma unroll 8
  for (int i = 0; i < apply.sample_tiles; ++i) sum += part[i * apply.width];
  const FeatureGradient factors = feature_factors(apply.backward, load_feature(apply.backward, view, column), sum);
  shared.factor(slot, 0, feature) = factors.product;
  shared.factor(slot, 1, feature) = factors.other;
  shared.factor(slot, 2, feature) = factors.own;
}

template <typename T>
__global__ void __launch_bounds__(kApplyThreads, 3)
    gram_apply_kernel(const __grid_constant__ GramApplyArguments arguments) {
  constexpr int kNumbers = Piece<T>::kNumbers, kFeatures = GramApplyShared<T>::kFeatures;
  constexpr int kAcross = kFeatures / kNumbers, kRows = kApplyThreads / kAcross, kSteps = kApplySamples / kRows;
  start_next_grid();
  wait_for_previous_grid();
  const GramApply& apply = arguments.apply;
  const GramBackward& backward = apply.backward;
  auto& shared = *dynamic_shared<GramApplyShared<T>>();
  const int block = static_cast<int>(blockIdx.x);
  const int64_t within = block % arguments.tiles * kFeatures;
  const int64_t first_sample = block / arguments.tiles * int64_t{kApplySamples};
  const int piece = static_cast<int>(threadIdx.x) % kAcross, row = static_cast<int>(threadIdx.x) / kAcross;
  const int64_t column = apply.first_column + within + piece * kNumbers;
  const int64_t left = apply.width - (within + piece * kNumbers), behind = backward.d - column;
  const int64_t columns = left < behind ? left : behind;  // of the thread's that exist

  fetch_product(shared, apply, within, first_sample);
  Piece<T> y[2][kSteps]{};  // from memory, the longest way: on its way before the factors are made
#pragma unroll
  for (int i = 0; i < 2 * kSteps; ++i) {
    const int64_t sample = first_sample + row + i / 2 * kRows;
    const T* source =
        static_cast<const T*>(backward.y.data) + (i % 2 * backward.n + sample) * backward.y.row_stride + column;
    if (sample < backward.n && columns > 0) y[i % 2][i / 2] = *reinterpret_cast<const Piece<T>*>(source);
  }
  make_factors(shared, apply, within);
  copy_async_wait<0>();
  sync_block();

#pragma unroll
  for (int view = 0; view < 2; ++view) {
    const int slot = view - backward.first_view;
    if (slot < 0 || slot >= backward.views) continue;
    FeatureGradient factors[kNumbers];
#pragma unroll
    for (int four = 0; four < kNumbers / 4; ++four) {
      const auto& of_slot = shared.factors[slot];
      const auto product = of_slot[0][four][piece], other = of_slot[1][four][piece], own = of_slot[2][four][piece];
#pragma unroll
      for (int i = 0; i < 4; ++i) factors[4 * four + i] = {product.x[i], other.x[i], own.x[i]};
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int64_t sample = first_sample + row + step * kRows;
      if (sample >= backward.n) continue;
      float dz[kNumbers];
#pragma unroll
      for (int i = 0; i < kNumbers; ++i) {
        const float t = shared.product[slot][piece * kNumbers + i][crossed(row + step * kRows, piece)];
        dz[i] = feature_gradient(factors[i], t, y[view][step][i], y[1 - view][step][i]);
      }
      T* target = static_cast<T*>(view == 0 ? backward.dz_a : backward.dz_b) + sample * backward.d + column;
      if (arguments.aligned && columns >= kNumbers) {
        store_piece(target, dz);
      } else {
#pragma unroll
        for (int i = 0; i < kNumbers; ++i) {
          if (i < columns) target[i] = from_float<T>(dz[i]);
        }
      }
    }
  }
}

}  // namespace bt::cuda
