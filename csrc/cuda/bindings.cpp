// The ATen side of the CUDA ops: checks, allocation, device and stream, errors. The kernels see raw pointers and sizes.
// Schemas: bt_kernels/backends/cuda/ops.py. The tests compile the kernels for the CPU and this file with BT_EMULATED,
// where it implements the same ops for embeddings on the CPU.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <optional>
#include <tuple>
#include <vector>

#include "cuda/host_device.h"
#include "cuda/instructions/gpu.cuh"
#include "cuda/loss.h"

#ifndef BT_EMULATED
// In libtorch_cuda: weak, so that the library also loads beside a torch without it, to say there what is missing.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);
#endif

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using namespace bt::cuda;

#ifdef BT_EMULATED
constexpr int64_t kScratchSlack = 256;  // torch aligns memory of the CPU to 64 bytes alone
#else
constexpr int64_t kScratchSlack = 0;
#endif

// One op's run: the embeddings' device made current, its stream, and memory there.
class Run final : public Scratch {
 public:
  Run(const char* op, const Tensor& z, bool tf32) : op_(op), device_(z.get_device_index()), guard_(device_) {
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(z.get(), &dtype_));
    switch (z.scalar_type()) {
      case ScalarType::Float:
        operands_ = tf32 ? Operands::tf32 : Operands::ieee;
        break;
      case ScalarType::BFloat16:
        operands_ = Operands::bfloat16;
        break;
      case ScalarType::Half:
        operands_ = Operands::float16;
        break;
      default:
        STD_TORCH_CHECK(false, "embeddings must be float32, bfloat16 or float16");
    }
#ifdef BT_EMULATED
    check(describe_gpu(0, &gpu_));
#else
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, op_, ": this torch was built without CUDA");
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
    // Torch's guard does nothing where the device is current already, as in a fresh thread of autograd, which has no
    // context then: kernels would get one by themselves, tensor maps are refused without.
    check(cudaSetDevice(device_));
    check(describe_gpu(device_, &gpu_));
#endif
  }

  Operands operands() const { return operands_; }
  const Gpu& gpu() const { return gpu_; }
  cudaStream_t stream() const { return stream_; }

  // Uninitialized and contiguous. The shim's own call: the stable ABI's new_empty looks its op up by name each time.
  Tensor empty(std::initializer_list<int64_t> sizes, int32_t dtype) const {
    std::vector<int64_t> strides(sizes.size(), 1);
    for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes.begin()[i];
#ifdef BT_EMULATED
    const int32_t type = aoti_torch_device_type_cpu(), index = 0;
#else
    const int32_t type = aoti_torch_device_type_cuda(), index = device_;
#endif
    AtenTensorHandle handle;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.begin(),
                                                           strides.data(), dtype, type, index, &handle));
    return Tensor(handle);
  }

  Tensor float32(std::initializer_list<int64_t> sizes) const { return empty(sizes, aoti_torch_dtype_float32()); }
  Tensor like_embeddings(std::initializer_list<int64_t> sizes) const { return empty(sizes, dtype_); }

  // The memory goes back to torch when the op returns, while its kernels may not have run yet. That is safe: torch
  // gives it out again to the stream it was taken on alone, which is the kernels', and what uses it there runs after
  // them. A CUDA graph that captures the op has a pool of its own, which holds it for the graph's replays.
  void* take(int64_t bytes) override {
    scratch_.push_back(empty({bytes + kScratchSlack}, aoti_torch_dtype_uint8()));
    const auto address = reinterpret_cast<uintptr_t>(scratch_.back().mutable_data_ptr());
    return reinterpret_cast<void*>((address + kScratchSlack) / 256 * 256);
  }

  // Throws what went wrong, in one sentence.
  void check(cudaError_t error) const {
    if (error == cudaSuccess) return;
    constexpr int kNoKernelImage = 209;  // cudaErrorNoKernelImageForDevice, which the emulation does not know
    STD_TORCH_CHECK(static_cast<int>(error) != kNoKernelImage, op_,
                    ": the CUDA kernels were not built for compute capability ", gpu_.capability / 10, ".",
                    gpu_.capability % 10, "; python -m bt_kernels.info says for which they were");
    STD_TORCH_CHECK(false, op_, ": ", cudaGetErrorString(error));
  }

 private:
  const char* op_;
  int32_t device_, dtype_ = 0;
#ifdef BT_EMULATED
  struct NoGuard {
    explicit NoGuard(int32_t) {}
  } guard_;
#else
  torch::stable::accelerator::DeviceGuard guard_;
#endif
  Operands operands_ = Operands::ieee;
  Gpu gpu_{};
  cudaStream_t stream_{};
  std::vector<Tensor> scratch_;
};

void check_embeddings(const Tensor& z_a, const Tensor& z_b) {
  STD_TORCH_CHECK(z_a.dim() == 2 && z_b.dim() == 2, "z_a and z_b must have shape (N, D)");
  STD_TORCH_CHECK(z_a.size(0) == z_b.size(0) && z_a.size(1) == z_b.size(1), "z_a and z_b must have the same shape");
  STD_TORCH_CHECK(z_a.scalar_type() == z_b.scalar_type(), "z_a and z_b must have the same dtype");
  STD_TORCH_CHECK(z_a.device() == z_b.device(), "z_a and z_b must have the same device");
  STD_TORCH_CHECK(z_a.size(0) >= 2 && z_a.size(1) >= 1, "the loss needs N >= 2 samples and D >= 1 features");
}

// Data of a tensor that the forward returned: the kernels take its size, its type and 16-byte alignment for granted.
template <typename T = float>
T* saved_data(const Tensor& saved, const char* name, int64_t numel, ScalarType dtype, const Tensor& z) {
  STD_TORCH_CHECK(saved.numel() == numel && saved.scalar_type() == dtype && saved.is_contiguous(), name,
                  " is not what the forward returned: expected ", numel, " contiguous numbers, got ", saved.numel());
  STD_TORCH_CHECK(saved.device() == z.device(), name, " is not what the forward returned: it is on another device");
  void* data = saved.mutable_data_ptr();
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(data) % 16 == 0, name,
                  " is not what the forward returned: it does not start at a multiple of 16 bytes");
  return static_cast<T*>(data);
}

const float* gradient(const OptionalTensor& gradient, const Tensor& z) {
  if (!gradient) return nullptr;
  STD_TORCH_CHECK(gradient->numel() == 1, "the gradient of a scalar must be a scalar");
  STD_TORCH_CHECK(gradient->scalar_type() == ScalarType::Float, "the gradient of the loss must be float32");
  STD_TORCH_CHECK(gradient->device() == z.device(), "the gradient of the loss must be on the embeddings' device");
  return static_cast<const float*>(gradient->const_data_ptr());
}

Embeddings embeddings(const Tensor& z_a, const Tensor& z_b) {
  return {z_a.const_data_ptr(), z_b.const_data_ptr(), z_a.size(0),   z_a.size(1),
          z_a.stride(0),        z_a.stride(1),        z_b.stride(0), z_b.stride(1)};
}

float* float_data(const Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

// What both forwards return beside their own.
struct Outputs {
  Tensor loss, on_diagonal, off_diagonal, c_diagonal, rstd, y;
  void* y_data;

  Outputs(Run& run, int64_t n, int64_t d, bool keep_y)
      : loss(run.float32({})),
        on_diagonal(run.float32({})),
        off_diagonal(run.float32({})),
        c_diagonal(run.float32({d})),
        rstd(run.float32({2, d})),
        y(keep_y ? run.like_embeddings({2, n, row_stride(d)}) : run.like_embeddings({0})),
        y_data(keep_y ? y.mutable_data_ptr() : run.take(2 * n * row_stride(d) * operand_bytes(run.operands()))) {}

  Terms terms() const { return {float_data(loss), float_data(on_diagonal), float_data(off_diagonal)}; }
  Standardized standardized() const { return {float_data(c_diagonal), float_data(rstd), y_data}; }
};

Standardized saved_standardized(const Tensor& z, const Tensor& c_diagonal, const Tensor& rstd, const Tensor& y) {
  const int64_t n = z.size(0), d = z.size(1);
  return {saved_data(c_diagonal, "c_diagonal", d, ScalarType::Float, z),
          saved_data(rstd, "rstd", 2 * d, ScalarType::Float, z),
          saved_data<void>(y, "y", 2 * n * row_stride(d), z.scalar_type(), z)};
}

struct Gradients {
  Tensor dz_a, dz_b;
  void *a, *b;

  Gradients(const Run& run, const Tensor& z, bool needs_a, bool needs_b)
      : dz_a(needs_a ? run.like_embeddings({z.size(0), z.size(1)}) : run.like_embeddings({0})),
        dz_b(needs_b ? run.like_embeddings({z.size(0), z.size(1)}) : run.like_embeddings({0})),
        a(needs_a ? dz_a.mutable_data_ptr() : nullptr),
        b(needs_b ? dz_b.mutable_data_ptr() : nullptr) {}
};

using TwoTensors = std::tuple<Tensor, Tensor>;
using EightTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using NineTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

EightTensors gram_forward_op(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps,
                             bool unbiased, bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  Run run("gram_forward", z_a, tf32);
  Outputs out(run, n, d, needs_backward);
  Tensor shifts = run.float32({2});
  Tensor k = needs_backward ? run.like_embeddings({2, n, row_stride(n)}) : run.like_embeddings({0});
  const GramSaved saved{out.standardized(), float_data(shifts), needs_backward ? k.mutable_data_ptr() : nullptr};
  run.check(gram_forward(run.operands(), embeddings(z_a, z_b), {lambd, scale, eps, unbiased}, out.terms(), saved, run,
                         run.gpu(), run.stream()));
  return {out.loss, out.on_diagonal, out.off_diagonal, out.c_diagonal, out.rstd, shifts, out.y, k};
}

TwoTensors gram_backward_op(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                            const OptionalTensor& grad_off, const Tensor& z, const Tensor& c_diagonal,
                            const Tensor& rstd, const Tensor& shifts, const Tensor& y, const Tensor& k, double lambd,
                            double scale, double eps, bool unbiased, bool tf32, bool needs_a, bool needs_b) {
  check_embeddings(z, z);
  const int64_t n = z.size(0), d = z.size(1);
  const Upstream upstream{gradient(grad_loss, z), gradient(grad_on, z), gradient(grad_off, z)};
  const GramSaved saved{saved_standardized(z, c_diagonal, rstd, y),
                        saved_data(shifts, "shifts", 2, ScalarType::Float, z),
                        saved_data<void>(k, "k", 2 * n * row_stride(n), z.scalar_type(), z)};
  Run run("gram_backward", z, tf32);
  Gradients dz(run, z, needs_a, needs_b);
  if (needs_a || needs_b) {
    run.check(gram_backward(run.operands(), upstream, n, d, {lambd, scale, eps, unbiased}, saved, dz.a, dz.b, run,
                            run.gpu(), run.stream()));
  }
  return {dz.dz_a, dz.dz_b};
}

NineTensors correlation_forward_op(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps,
                                   bool unbiased, bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const bool keep = needs_backward && n >= d;  // where C is not larger than an embedding
  Run run("correlation_forward", z_a, tf32);
  Outputs out(run, n, d, needs_backward);
  Tensor c = keep ? run.like_embeddings({d, row_stride(d)}) : run.like_embeddings({0});
  const auto squares = [&] { return keep ? run.float32({ceil_div(d, kSquaresShare), d}) : run.float32({0}); };
  Tensor row_squares = squares(), column_squares = squares();
  CorrelationSaved saved{out.standardized(), nullptr, nullptr, nullptr};
  if (keep) {
    saved.c = c.mutable_data_ptr();
    saved.row_squares = float_data(row_squares);
    saved.column_squares = float_data(column_squares);
  }
  run.check(correlation_forward(run.operands(), embeddings(z_a, z_b), {lambd, scale, eps, unbiased}, out.terms(), saved,
                                run, run.gpu(), run.stream()));
  return {out.loss, out.on_diagonal, out.off_diagonal, out.c_diagonal, out.rstd, out.y, c, row_squares, column_squares};
}

TwoTensors correlation_backward_op(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                                   const OptionalTensor& grad_off, const Tensor& z, const Tensor& c_diagonal,
                                   const Tensor& rstd, const Tensor& y, const Tensor& c, const Tensor& row_squares,
                                   const Tensor& column_squares, double lambd, double scale, bool unbiased, bool tf32,
                                   bool needs_a, bool needs_b) {
  check_embeddings(z, z);
  const int64_t n = z.size(0), d = z.size(1);
  const bool kept = n >= d;
  const int64_t squares = kept ? ceil_div(d, kSquaresShare) * d : 0;
  const Upstream upstream{gradient(grad_loss, z), gradient(grad_on, z), gradient(grad_off, z)};
  CorrelationSaved saved{
      saved_standardized(z, c_diagonal, rstd, y),
      saved_data<void>(c, "c", kept ? d * row_stride(d) : 0, z.scalar_type(), z),
      saved_data(row_squares, "row_squares", squares, ScalarType::Float, z),
      saved_data(column_squares, "column_squares", squares, ScalarType::Float, z),
  };
  if (!kept) saved.c = nullptr, saved.row_squares = saved.column_squares = nullptr;
  Run run("correlation_backward", z, tf32);
  Gradients dz(run, z, needs_a, needs_b);
  if (needs_a || needs_b) {
    constexpr double kNoEps = 0;  // is in rstd, and in nothing else of this formulation
    run.check(correlation_backward(run.operands(), upstream, n, d, {lambd, scale, kNoEps, unbiased}, saved, dz.a, dz.b,
                                   run, run.gpu(), run.stream()));
  }
  return {dz.dz_a, dz.dz_b};
}

}  // namespace

#ifdef BT_EMULATED
STABLE_TORCH_LIBRARY_IMPL(bt_kernels_cuda, CPU, m) {
#else
STABLE_TORCH_LIBRARY_IMPL(bt_kernels_cuda, CUDA, m) {
#endif
  m.impl("gram_forward", TORCH_BOX(&gram_forward_op));
  m.impl("gram_backward", TORCH_BOX(&gram_backward_op));
  m.impl("correlation_forward", TORCH_BOX(&correlation_forward_op));
  m.impl("correlation_backward", TORCH_BOX(&correlation_backward_op));
}
