// Test kernels: cp.async, and pipelines of it with a wait or a barrier taken out.
#include "cuda/instructions/copy_async.cuh"
#include "cuda/instructions/grid.cuh"
#include "exported.h"

using namespace bt::cuda;

namespace {

constexpr int kThreads = 64, kPiece = 4;  // numbers of 16 bytes

// Each thread's 16 bytes, of which only bytes[thread] are copied and the others zero.
__global__ void zero_fill_kernel(const float* in, float* out, const int* bytes, int shift) {
  float* shared = dynamic_shared<float>();
  const int thread = static_cast<int>(threadIdx.x);
  copy_async_16(shared + thread * kPiece, in + thread * kPiece + shift, bytes[thread]);
  copy_async_commit();
  copy_async_wait<0>();
  sync_block();
  for (int i = 0; i < kPiece; ++i) out[thread * kPiece + i] = shared[thread * kPiece + i];
}

// What is left out of the pipeline.
enum Mistake { kNone, kWait, kBarrierBefore, kBarrierAfter };

// out[i] = sum over steps of in[step][i reversed], two stages: the copies of step s + 1 run while step s is summed up.
__global__ void pipeline_kernel(const float* in, float* out, int steps, Mistake mistake) {
  wait_for_previous_grid();
  float* shared = dynamic_shared<float>();
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int kStage = kThreads * kPiece;
  const auto issue = [&](int step) {
    if (step < steps) {
      copy_async_16(shared + step % 2 * kStage + thread * kPiece, in + step * kStage + thread * kPiece, 16);
    }
    copy_async_commit();
  };
  issue(0);
  float sum[kPiece] = {};
  for (int step = 0; step < steps; ++step) {
    issue(step + 1);
    if (mistake != kWait) copy_async_wait<1>();
    if (mistake != kBarrierBefore) sync_block();
    const float* stage = shared + step % 2 * kStage + (kThreads - 1 - thread) * kPiece;
    for (int i = 0; i < kPiece; ++i) sum[i] += stage[i];
    if (mistake != kBarrierAfter) sync_block();
  }
  for (int i = 0; i < kPiece; ++i) out[thread * kPiece + i] = sum[i];
}

__global__ void hasty_kernel(const float* in) { copy_async_16(dynamic_shared<float>(), in, 16); }

}  // namespace

EXPORTED int zero_fill(const float* in, float* out, const int* bytes, int threads, int shift) {
  return launch(zero_fill_kernel, {1, threads, threads * 16, 1, false, nullptr}, in, out, bytes, shift);
}

EXPORTED int pipeline(const float* in, float* out, int steps, int mistake) {
  return launch(pipeline_kernel, {1, kThreads, kThreads * 32, 1, true, nullptr}, in, out, steps,
                static_cast<Mistake>(mistake));
}

EXPORTED int hasty(const float* in, bool dependent) {
  return launch(hasty_kernel, {1, 32, 64, 1, dependent, nullptr}, in);
}
