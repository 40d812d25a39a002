#include "cuda/gram/gram_apply.h"

#include "cuda/gram/gram_apply.cuh"
#include "cuda/instructions/launch.cuh"

namespace bt::cuda {

namespace {

template <typename T>
cudaError_t launch_gram_apply(const GramApply& apply, const Gpu& gpu, cudaStream_t stream) {
  const auto aligned = [&](const void* dz) { return reinterpret_cast<uintptr_t>(dz) % 16 == 0; };
  const int64_t tiles = ceil_div(apply.width, GramApplyShared<T>::kFeatures);
  const GramApplyArguments<T> arguments{
      apply.product,
      apply.column_sums,
      static_cast<int>(apply.count),
      apply.width,
      apply.first_column,
      apply.ldt,
      apply.upstream,
      apply.c_diagonal,
      apply.rstd,
      apply.shifts,
      static_cast<const T*>(apply.y),
      row_stride(apply.d),
      {static_cast<T*>(apply.dz_a), static_cast<T*>(apply.dz_b)},
      apply.n,
      apply.d,
      static_cast<float>(apply.lambd),
      static_cast<float>(apply.scale),
      static_cast<float>(apply.eps),
      static_cast<float>(apply.variance_divisor),
      apply.standardized,
      apply.first_view,
      apply.views,
      static_cast<int>(tiles),
      apply.d % Piece<T>::kNumbers == 0 && aligned(apply.dz_a) && aligned(apply.dz_b)};
  const Launch shape{tiles * ceil_div(apply.n, kApplySamples),
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
