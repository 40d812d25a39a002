// What the backward's epilogues do with a tile of dz: rows of the product's tile are features, its columns samples.
//
//     own(i, j), other(i, j)   y_own and y_other where the thread's numbers of pieces (i, j) and (i, j + 1) are
//     put(i, j, dz)            dz in the same place
//
// The product's tile is the transpose of z's, so that a feature's sum over the batch is a sum along a row of pieces:
// registers and two shuffles. 16-bit numbers cross over in shared memory: whole rows of z and dz are moved 16 bytes at
// a time, and ldmatrix transposes. float32 needs no detour: eight lanes move the 32 bytes of a sector.
#pragma once

#include "cuda/instructions/matrix.cuh"
#include "cuda/product/copy_tile.cuh"

namespace bt::cuda {

// Of piece j + b / 2, the pair of samples in feature row g + 8 (b % 2): accumulators 2 (b % 2) and 2 (b % 2) + 1.
struct FourPairs {
  Pair pairs[4];
};

// dz and what its tile is made from.
struct BackwardPlace {
  Matrix y;  // (2, N, D)
  void* dz;  // (N, D)
  int view;  // 0: dz is that of z_a
  int first_feature, first_sample;
};

template <typename Product, typename T = typename Product::Element>
class BackwardTile {
  using Pieces = Fragment<Product>;
  using Tile = SharedTile<T, Product::kColumns, Product::kRows>;  // rows: samples

 public:
  static constexpr int kSharedBytes = 2 * Tile::kBytes;

  __device__ __forceinline__ BackwardTile(const BackwardPlace& place, unsigned char* shared)
      : place_(place), shared_(shared) {}

  // Starts to copy y_own and, if BOTH, y_other; ready() waits for them.
  template <bool BOTH>
  __device__ __forceinline__ void fetch() {
    fetch_view(shared_, place_.view);
    if (BOTH) fetch_view(shared_ + Tile::kBytes, 1 - place_.view);
    copy_async_commit();
  }
  __device__ __forceinline__ void ready() {
    copy_async_wait<0>();
    Product::sync_workers();
  }

  __device__ __forceinline__ FourPairs own(int i, int j) const { return load(shared_, i, j); }
  __device__ __forceinline__ FourPairs other(int i, int j) const { return load(shared_ + Tile::kBytes, i, j); }

  // In place of y_own, which no other warp reads there.
  __device__ __forceinline__ void put(int i, int j, const FourPairs& dz) {
    uint32_t r[4];
#pragma unroll
    for (int b = 0; b < 4; ++b) r[b] = pack<T>(dz.pairs[b].low, dz.pairs[b].high);
    if constexpr (Product::kStoresMatrices) {
      store_matrix_x4_transposed(shared_ + block_offset(i, j), r);
    } else {
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const int feature = Pieces::first_row() + 16 * i + 8 * (b % 2),
                  sample = Pieces::first_column() + 8 * (j + b / 2);
        *reinterpret_cast<uint16_t*>(shared_ + Tile::offset(sample, feature)) = static_cast<uint16_t>(r[b]);
        *reinterpret_cast<uint16_t*>(shared_ + Tile::offset(sample + 1, feature)) = static_cast<uint16_t>(r[b] >> 16);
      }
    }
  }

  // All workers, after the last put.
  __device__ __forceinline__ void finish() {
    Product::sync_workers();
    constexpr int kPiece = 16 / static_cast<int>(sizeof(T)), kAcross = Product::kRows / kPiece;
    constexpr int kDown = Product::kWorkers / kAcross;  // between a thread's samples: the same place of the swizzle
    static_assert(kDown % 8 == 0 && Product::kColumns % kDown == 0);
    const int down = static_cast<int>(threadIdx.x / kAcross);
    const int feature = static_cast<int>(threadIdx.x % kAcross) * kPiece;
    const int64_t n = place_.y.rows, d = place_.y.columns;
    const int64_t row = place_.first_sample + down, column = place_.first_feature + feature;
    if (column >= d) return;
    const int samples = n - row < Product::kColumns ? static_cast<int>(n - row) : Product::kColumns;
    const unsigned char* source = shared_ + Tile::offset(down, feature);
    T* target = static_cast<T*>(place_.dz) + row * d + column;
    // dz is (N, D) as it is: rows begin at 16 bytes only where D is a multiple of 8.
    if (d % kPiece == 0 && reinterpret_cast<uintptr_t>(place_.dz) % 16 == 0) {
#pragma unroll 4
      for (int i = 0; i < Product::kColumns / kDown; ++i) {
        const Sixteen numbers = *reinterpret_cast<const Sixteen*>(source + i * kDown * kBoxBytes);
        if (i * kDown < samples) *reinterpret_cast<Sixteen*>(target) = numbers;
        target += kDown * d;
      }
    } else {
      const int numbers = d - column < kPiece ? static_cast<int>(d - column) : kPiece;
#pragma unroll 1
      for (int sample = 0; sample < samples; sample += kDown) {
        const T* from = reinterpret_cast<const T*>(source + sample * kBoxBytes);
#pragma unroll 1
        for (int e = 0; e < numbers; ++e) target[e] = from[e];
        target += kDown * d;
      }
    }
  }

 private:
  struct alignas(16) Sixteen {
    uint32_t words[4];
  };

  __device__ __forceinline__ void fetch_view(unsigned char* tile, int view) {
    copy_tile<T, Product::kColumns, Product::kRows, Product::kWorkers>(tile, place_.y, view, place_.first_sample,
                                                                       place_.first_feature);
  }

  // Where the calling lane's 16 bytes of the four blocks begin that ldmatrix and stmatrix move.
  static __device__ __forceinline__ int block_offset(int i, int j) {
    const int sample = warp_id() % Pieces::kWarpsAcross * Product::kWarpColumns + 8 * (lane_id() / 16);
    const int feature = warp_id() / Pieces::kWarpsAcross * Product::kWarpRows + 8 * (lane_id() / 8 % 2);
    return Tile::offset(sample + 8 * j, lane_id() % 8, feature + 16 * i);
  }

  static __device__ __forceinline__ FourPairs load(const unsigned char* tile, int i, int j) {
    uint32_t r[4];
    load_matrix_x4_transposed(r, tile + block_offset(i, j));
    return {{unpack<T>(r[0]), unpack<T>(r[1]), unpack<T>(r[2]), unpack<T>(r[3])}};
  }

  BackwardPlace place_;
  unsigned char* shared_;
};

// float32: straight from and to global memory. Offsets are 32 bits times 32 bits from the thread's first number on, and
// what exists is counted from there too: 64-bit ones would take the registers that the accumulators leave.
template <typename Product>
class BackwardTile<Product, float> {
  using Pieces = Fragment<Product>;

 public:
  static constexpr int kSharedBytes = 0;

  __device__ __forceinline__ BackwardTile(const BackwardPlace& place, unsigned char*) {
    const int64_t sample = place.first_sample + Pieces::first_column(),
                  feature = place.first_feature + Pieces::first_row();
    const float* y = static_cast<const float*>(place.y.data) + sample * place.y.row_stride + feature;
    own_ = y + place.view * place.y.view_stride;
    other_ = y + (1 - place.view) * place.y.view_stride;
    dz_ = static_cast<float*>(place.dz) + sample * place.y.columns + feature;
    stride_ = static_cast<int>(place.y.row_stride);
    dz_stride_ = static_cast<int>(place.y.columns);
    samples_ = static_cast<int>(place.y.rows - sample);
    features_ = static_cast<int>(place.y.columns - feature);
  }

  template <bool BOTH>
  __device__ __forceinline__ void fetch() {}
  __device__ __forceinline__ void ready() {}
  __device__ __forceinline__ void finish() {}

  __device__ __forceinline__ FourPairs own(int i, int j) const { return load(own_, i, j); }
  __device__ __forceinline__ FourPairs other(int i, int j) const { return load(other_, i, j); }

  __device__ __forceinline__ void put(int i, int j, const FourPairs& dz) {
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const int feature = 16 * i + 8 * (b % 2), sample = 8 * (j + b / 2);
      if (feature >= features_) continue;
      if (sample < samples_) at(dz_, dz_stride_, sample, feature) = dz.pairs[b].low;
      if (sample + 1 < samples_) at(dz_, dz_stride_, sample + 1, feature) = dz.pairs[b].high;
    }
  }

 private:
  template <typename Number>
  static __device__ __forceinline__ Number& at(Number* first, int stride, int sample, int feature) {
    return first[static_cast<int64_t>(sample) * stride + feature];
  }

  __device__ __forceinline__ FourPairs load(const float* first, int i, int j) const {
    FourPairs found{};
    // Or the addresses of the first pass over the tile are kept for the second one, in registers that there are not.
    const int samples = compute_anew(samples_), stride = compute_anew(stride_);
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const int feature = 16 * i + 8 * (b % 2), sample = 8 * (j + b / 2);
      if (feature >= features_) continue;
      if (sample < samples) found.pairs[b].low = at(first, stride, sample, feature);
      if (sample + 1 < samples) found.pairs[b].high = at(first, stride, sample + 1, feature);
    }
    return found;
  }

  const float *own_, *other_;
  float* dz_;
  int stride_, dz_stride_, samples_, features_;
};

}  // namespace bt::cuda
