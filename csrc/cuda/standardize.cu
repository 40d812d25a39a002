#include "cuda/instructions/launch.cuh"
#include "cuda/standardize.cuh"
#include "cuda/standardize.h"

namespace bt::cuda {

namespace {

template <typename T, bool TF32>
cudaError_t launch_standardize(const Embeddings& z, double eps, bool unbiased, const StandardizeOutputs& outputs,
                               const Gpu& gpu, cudaStream_t stream) {
  constexpr int kItemsize = static_cast<int>(sizeof(T));
  const auto planned = [&](int max_cluster, auto&& f) {
    const StandardizePlan plan =
        standardize_plan(z.n, z.d, kItemsize, gpu.multiprocessors, gpu.shared_bytes, max_cluster);
    const StandardizeArguments<T> arguments =
        standardize_arguments<T>(z, eps, unbiased, outputs, plan.share, plan.chunk);
    const Launch shape{arguments.column_blocks * plan.cluster,
                       kStandardizeThreads,
                       standardize_shared_bytes(plan.chunk, kItemsize),
                       plan.cluster,
                       false,
                       stream,
                       gpu.shared_bytes};
    return f(plan.chunk >= plan.share ? standardize_kernel<T, TF32, true> : standardize_kernel<T, TF32, false>, shape,
             arguments);
  };
  const bool fits = planned(gpu.max_cluster, [](auto kernel, const Launch& shape, const auto&) {
    return shape.cluster <= kPortableCluster || cluster_fits(kernel, shape);
  });
  return planned(
      fits ? gpu.max_cluster : kPortableCluster,
      [](auto kernel, const Launch& shape, const auto& arguments) { return launch(kernel, shape, arguments); });
}

}  // namespace

int64_t standardize_blocks(Operands operands, int64_t, int64_t d, const Gpu&) {
  return ceil_div(d, column_block(static_cast<int>(operand_bytes(operands))));
}

cudaError_t standardize(Operands operands, const Embeddings& z, double eps, bool unbiased,
                        const StandardizeOutputs& outputs, const Gpu& gpu, cudaStream_t stream) {
  switch (operands) {
    case Operands::ieee:
      return launch_standardize<float, false>(z, eps, unbiased, outputs, gpu, stream);
    case Operands::tf32:
      return launch_standardize<float, true>(z, eps, unbiased, outputs, gpu, stream);
    case Operands::bfloat16:
      return launch_standardize<bf16, false>(z, eps, unbiased, outputs, gpu, stream);
    case Operands::float16:
      return launch_standardize<half_t, false>(z, eps, unbiased, outputs, gpu, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace bt::cuda
