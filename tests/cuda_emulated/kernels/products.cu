// Test kernels: wgmma on operands in every layout, and pipelines of it with a wait taken out.
#include "cuda/instructions/barrier.cuh"
#include "cuda/instructions/wgmma.cuh"
#include "cuda/schedule/shared_tile.h"
#include "exported.h"

using namespace bt::cuda;

namespace {

constexpr int kM = 64, kThreads = 128;

// Writes a matrix into boxes: row-major (rows, columns) of which the columns are contiguous.
template <typename T, int ROWS, int COLUMNS>
__device__ void fill(char* shared, const T* matrix) {
  using Tile = SharedTile<T, ROWS, COLUMNS>;
  for (int i = static_cast<int>(threadIdx.x); i < ROWS * COLUMNS; i += kThreads) {
    *reinterpret_cast<T*>(shared + Tile::offset(i / COLUMNS, i % COLUMNS)) = matrix[i];
  }
}

// A tile's rows are the operand's where k is contiguous, and else k.
template <typename T, Major MAJOR, int OWN, int DEPTH>
struct Operand {
  static constexpr bool kDeep = MAJOR == Major::k;
  using Tile = SharedTile<T, kDeep ? OWN : DEPTH, kDeep ? DEPTH : OWN>;

  static __device__ void load(char* shared, const T* matrix) {
    fill<T, kDeep ? OWN : DEPTH, kDeep ? DEPTH : OWN>(shared, matrix);
  }
  // The step-th 32 bytes of k.
  static __device__ uint64_t descriptor(const char* shared, int step) {
    constexpr int kSteps = kBoxBytes / 32;  // in a row of a box
    if constexpr (kDeep) {
      return matrix_descriptor(shared + step / kSteps * Tile::kBytesPerBox + step % kSteps * 32, 0, 8 * kBoxBytes);
    }
    return matrix_descriptor(shared + step * (32 / static_cast<int>(sizeof(T))) * kBoxBytes, Tile::kBytesPerBox,
                             8 * kBoxBytes);
  }
};

enum Mistake { kNone, kWait, kEarlyOverwrite, kCommit, kFence, kSplit, kAsyncFence };

// d (64, N) += A B for A (64, DEPTH) or its transpose, B^T (N, DEPTH) or its transpose. kEarlyOverwrite: the operands'
// memory is used for something else as soon as the products are issued.
template <typename T, int N, int DEPTH, Major A, Major B>
__global__ void product_kernel(const T* a, const T* b, float* d, Mistake mistake) {
  using OperandA = Operand<T, A, kM, DEPTH>;
  using OperandB = Operand<T, B, N, DEPTH>;
  char *shared_a = dynamic_shared<char>(), *shared_b = shared_a + OperandA::Tile::kBytes;
  const int thread = static_cast<int>(threadIdx.x);
  OperandA::load(shared_a, a);
  OperandB::load(shared_b, b);
  if (mistake != kAsyncFence) fence_async_shared();
  sync_block();
  const int row = thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
  const auto place = [&](int i) { return (row + i / 2 % 2 * 8) * N + i / 4 * 8 + column + i % 2; };
  float sum[N / 2];
  for (int i = 0; i < N / 2; ++i) sum[i] = d[place(i)];
  if (mistake != kFence) wgmma_fence();
  constexpr int kSteps = DEPTH * static_cast<int>(sizeof(T)) / 32;
  for (int step = 0; step < kSteps; ++step) {
    const int own = mistake == kSplit && thread >= 96 ? 0 : step;
    wgmma<T, N, A, B>(sum, OperandA::descriptor(shared_a, own), OperandB::descriptor(shared_b, own));
  }
  if (mistake != kCommit) wgmma_commit();
  if (mistake == kEarlyOverwrite) {
    for (int i = thread; i < OperandB::Tile::kBytes; i += kThreads) shared_b[i] = 0;
  }
  if (mistake != kWait) wgmma_wait<0>();
  for (int i = 0; i < N / 2; ++i) d[place(i)] = sum[i];
  if (mistake == kWait) wgmma_wait<0>();
}

// The same in tf32 for A in registers. kEarlyOverwrite: those are used for something else before the products are done.
template <int N>
__global__ void register_product_kernel(const float* a, const float* b, float* d, Mistake mistake) {
  constexpr int kDepth = 64, kSteps = kDepth / 8;
  using OperandB = Operand<float, Major::k, N, kDepth>;
  char* shared = dynamic_shared<char>();
  OperandB::load(shared, b);
  fence_async_shared();
  sync_block();
  const int thread = static_cast<int>(threadIdx.x), row = thread / 32 * 16 + thread % 32 / 4, t = thread % 4;
  const auto place = [&](int i) { return (row + i / 2 % 2 * 8) * N + i / 4 * 8 + t * 2 + i % 2; };
  float sum[N / 2];
  for (int i = 0; i < N / 2; ++i) sum[i] = d[place(i)];
  uint32_t left[kSteps][4];
  for (int step = 0; step < kSteps; ++step) {
    for (int i = 0; i < 4; ++i) left[step][i] = float_bits(a[(row + i % 2 * 8) * kDepth + step * 8 + t + i / 2 * 4]);
  }
  wgmma_fence();
  for (int step = 0; step < kSteps; ++step) wgmma_tf32<N>(sum, left[step], OperandB::descriptor(shared, step));
  wgmma_commit();
  if (mistake == kEarlyOverwrite) left[0][0] = 0;
  wgmma_wait<0>();
  for (int i = 0; i < N / 2; ++i) d[place(i)] = sum[i];
}

template <typename T, int N, Major A, Major B>
int product(const void* a, const void* b, float* d, int mistake) {
  constexpr int kDepth = 256 / static_cast<int>(sizeof(T));  // two boxes where k is contiguous
  constexpr int kBytes = (kM + N) * kDepth * static_cast<int>(sizeof(T));
  return launch(product_kernel<T, N, kDepth, A, B>, {1, kThreads, kBytes, 1, false, nullptr}, static_cast<const T*>(a),
                static_cast<const T*>(b), d, static_cast<Mistake>(mistake));
}

template <typename T, int N>
int product(const void* a, const void* b, float* d, bool a_mn, bool b_mn, int mistake) {
  if (a_mn && b_mn) return product<T, N, Major::mn, Major::mn>(a, b, d, mistake);
  if (a_mn) return product<T, N, Major::mn, Major::k>(a, b, d, mistake);
  if (b_mn) return product<T, N, Major::k, Major::mn>(a, b, d, mistake);
  return product<T, N, Major::k, Major::k>(a, b, d, mistake);
}

__global__ void registers_kernel(int) {
  const unsigned warpgroup = threadIdx.x / 128;
  if (warpgroup == 0) lower_registers<40>();
  if (warpgroup == 1) raise_registers<232>();
  if (warpgroup == 2) raise_registers<256>();
}

}  // namespace

EXPORTED int product_bfloat16(const void* a, const void* b, float* d, int n, bool a_mn, bool b_mn, int mistake) {
  return n == 128 ? product<bf16, 128>(a, b, d, a_mn, b_mn, mistake) : product<bf16, 256>(a, b, d, a_mn, b_mn, mistake);
}

EXPORTED int product_float16(const void* a, const void* b, float* d, bool a_mn, bool b_mn) {
  return product<half_t, 128>(a, b, d, a_mn, b_mn, kNone);
}

EXPORTED int product_float32(const void* a, const void* b, float* d, int n) {
  return n == 128 ? product<float, 128, Major::k, Major::k>(a, b, d, kNone)
                  : product<float, 256, Major::k, Major::k>(a, b, d, kNone);
}

EXPORTED int product_of_registers(const float* a, const float* b, float* d, int n, int mistake) {
  const Launch shape{1, kThreads, n * 256, 1, false, nullptr};
  return n == 128 ? launch(register_product_kernel<128>, shape, a, b, d, static_cast<Mistake>(mistake))
                  : launch(register_product_kernel<256>, shape, a, b, d, static_cast<Mistake>(mistake));
}

EXPORTED int registers(int threads) { return launch(registers_kernel, {1, threads, 0, 1, false, nullptr}, 0); }
