#include "cuda/instructions/launch.cuh"
#include "cuda/standardize/standardize.cuh"
#include "cuda/standardize/standardize.h"

namespace bt::cuda {

namespace {

template <typename T, bool TF32>
cudaError_t launch_standardize(const Embeddings& z, double eps, const Batch& batch, const Statistics& statistics,
                               const StandardizeOutputs& outputs, const Gpu& gpu, cudaStream_t stream) {
  constexpr int kItemsize = static_cast<int>(sizeof(T));
  const bool given = statistics.mean != nullptr;
  const auto planned = [&](int max_cluster, auto&& f) {
    const auto plan_of = given ? standardize_given_plan : standardize_plan;
    const StandardizePlan plan = plan_of(z.n, z.d, kItemsize, gpu.multiprocessors, gpu.shared_bytes, max_cluster);
    const StandardizeArguments<T> arguments =
        standardize_arguments<T>(z, eps, batch, statistics, outputs, plan.share, plan.chunk);
    const Launch shape{arguments.column_blocks * plan.cluster,
                       kStandardizeThreads,
                       standardize_shared_bytes(plan.chunk, kItemsize),
                       plan.cluster,
                       false,
                       stream,
                       gpu.shared_bytes};
    return f(given                      ? standardize_kernel<T, TF32, Moments::given>
             : plan.chunk >= plan.share ? standardize_kernel<T, TF32, Moments::resident>
                                        : standardize_kernel<T, TF32, Moments::chunked>,
             shape, arguments);
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

cudaError_t standardize(Operands operands, const Embeddings& z, double eps, const Batch& batch,
                        const Statistics& statistics, const StandardizeOutputs& outputs, const Gpu& gpu,
                        cudaStream_t stream) {
  const auto launch_with = [&](auto launcher) { return launcher(z, eps, batch, statistics, outputs, gpu, stream); };
  switch (operands) {
    case Operands::ieee: return launch_with(launch_standardize<float, false>);
    case Operands::tf32: return launch_with(launch_standardize<float, true>);
    case Operands::bfloat16: return launch_with(launch_standardize<bf16, false>);
    case Operands::float16: return launch_with(launch_standardize<half_t, false>);
  }
  return cudaErrorInvalidValue;
}

}  // namespace bt::cuda
