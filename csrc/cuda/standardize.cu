#include "cuda/standardize.h"

#include "cuda/instructions/launch.cuh"
#include "cuda/standardize.cuh"

namespace bt::cuda {

namespace {

template <typename T, bool TF32>
cudaError_t launch_standardize(const Embeddings& z, double eps, bool unbiased, const StandardizeOutputs& outputs,
                               const Gpu& gpu, cudaStream_t stream) {
  constexpr int kItemsize = static_cast<int>(sizeof(T));
  const StandardizePlan plan =
      standardize_plan(z.n, z.d, kItemsize, gpu.multiprocessors, gpu.shared_bytes, gpu.max_cluster);
  const StandardizeArguments<T> arguments = standardize_arguments<T>(z, eps, unbiased, outputs, plan.share, plan.chunk);
  const Launch shape{arguments.column_blocks * plan.cluster,
                     kStandardizeThreads,
                     standardize_shared_bytes(plan.chunk, kItemsize),
                     plan.cluster,
                     false,
                     stream};
  return plan.chunk >= plan.share ? launch(standardize_kernel<T, TF32, true>, shape, arguments)
                                  : launch(standardize_kernel<T, TF32, false>, shape, arguments);
}

}  // namespace

int64_t standardize_blocks(Operands operands, int64_t, int64_t d, const Gpu&) {
  return ceil_div(d, column_block(static_cast<int>(operand_bytes(operands))));
}

cudaError_t standardize(Operands operands, const Embeddings& z, double eps, bool unbiased,
                        const StandardizeOutputs& outputs, const Gpu& gpu, cudaStream_t stream) {
  switch (operands) {
    case Operands::ieee: return launch_standardize<float, false>(z, eps, unbiased, outputs, gpu, stream);
    case Operands::tf32: return launch_standardize<float, true>(z, eps, unbiased, outputs, gpu, stream);
    case Operands::bfloat16: return launch_standardize<bf16, false>(z, eps, unbiased, outputs, gpu, stream);
    case Operands::float16: return launch_standardize<half_t, false>(z, eps, unbiased, outputs, gpu, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace bt::cuda
