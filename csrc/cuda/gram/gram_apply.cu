#include "cuda/gram/gram_apply.h"

#include "cuda/gram/gram_apply.cuh"
#include "cuda/instructions/launch.cuh"

namespace bt::cuda {

namespace {

template <typename T>
cudaError_t launch_gram_apply(const GramApply& apply, const Gpu& gpu, cudaStream_t stream) {
  const auto aligned = [&](const void* dz) { return reinterpret_cast<uintptr_t>(dz) % 16 == 0; };
  const GramBackward& backward = apply.backward;
  const int64_t tiles = ceil_div(apply.width, GramApplyShared<T>::kFeatures);
  GramApplyArguments arguments{};
  arguments.apply = apply, arguments.tiles = static_cast<int>(tiles);
  arguments.aligned = backward.d % Piece<T>::kNumbers == 0 && aligned(backward.dz_a) && aligned(backward.dz_b);
  const Launch shape{tiles * ceil_div(backward.n, kApplySamples),
                     kApplyThreads,
                     static_cast<int>(sizeof(GramApplyShared<T>)),
                     1,
                     gpu.capability >= 90,
                     stream};
  return launch(gram_apply_kernel<T>, shape, arguments);
}

}  // namespace

cudaError_t gram_apply(Operands operands, const GramApply& apply, const Gpu& gpu, cudaStream_t stream) {
  switch (operands) {
    case Operands::ieee:
    case Operands::tf32: return launch_gram_apply<float>(apply, gpu, stream);
    case Operands::bfloat16: return launch_gram_apply<bf16>(apply, gpu, stream);
    case Operands::float16: return launch_gram_apply<half_t>(apply, gpu, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace bt::cuda
