// ldmatrix, stmatrix, movmatrix and mma.sync. Fragments are as the PTX manual draws them: of an 8 x 8 matrix of 16-bit
// numbers lane l holds two neighbours of row l / 4, and the operands of mma are made of such matrices, one per
// register.
#include <cstring>

#include "emulated/machine.h"
#include "emulated/matrices.h"
#include "emulated/multiversion.h"
#include "emulated/traffic.h"

namespace emulated {

namespace {

constexpr int kSide = 8, kMatrices = 4, kRowBytes = 16;

struct Rows {
  uint32_t* r;
  void* row;
};

// Offset of the two numbers that lane holds of a matrix; transposed: of the first of two.
int in_row(int lane) { return lane % 4 * 4; }

void* checked_row(void* const* arguments, int matrix, int row, const char* call) {
  void* address = static_cast<const Rows*>(arguments[matrix * kSide + row])->row;
  shared_offset(*current->block, address, kRowBytes, kRowBytes, call);
  return address;
}

void carry_out_load(void* const* arguments) {
  for (int matrix = 0; matrix < kMatrices; ++matrix) {
    for (int lane = 0; lane < kWarpThreads; ++lane) {
      const char* row = static_cast<const char*>(checked_row(arguments, matrix, lane / 4, "load_matrix"));
      std::memcpy(static_cast<Rows*>(arguments[lane])->r + matrix, row + in_row(lane), 4);
    }
  }
}

// The two numbers are below each other: (2 (l % 4), l / 4) and (2 (l % 4) + 1, l / 4).
void carry_out_load_transposed(void* const* arguments) {
  for (int matrix = 0; matrix < kMatrices; ++matrix) {
    for (int lane = 0; lane < kWarpThreads; ++lane) {
      uint16_t pair[2];
      for (int i = 0; i < 2; ++i) {
        const void* row = checked_row(arguments, matrix, lane % 4 * 2 + i, "load_matrix");
        std::memcpy(&pair[i], static_cast<const char*>(row) + lane / 4 * 2, 2);
      }
      std::memcpy(static_cast<Rows*>(arguments[lane])->r + matrix, pair, 4);
    }
  }
}

void carry_out_store_transposed(void* const* arguments) {
  for (int matrix = 0; matrix < kMatrices; ++matrix) {
    for (int lane = 0; lane < kWarpThreads; ++lane) {
      uint16_t pair[2];
      std::memcpy(pair, static_cast<const Rows*>(arguments[lane])->r + matrix, 4);
      for (int i = 0; i < 2; ++i) {
        void* row = checked_row(arguments, matrix, lane % 4 * 2 + i, "store_matrix");
        std::memcpy(static_cast<char*>(row) + lane / 4 * 2, &pair[i], 2);
      }
    }
  }
}

void carry_out_transpose(void* const* arguments) {
  uint16_t numbers[kSide][kSide];
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    std::memcpy(&numbers[lane / 4][lane % 4 * 2], arguments[lane], 4);
  }
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    const uint16_t pair[2] = {numbers[lane % 4 * 2][lane / 4], numbers[lane % 4 * 2 + 1][lane / 4]};
    std::memcpy(arguments[lane], pair, 4);
  }
}

struct Multiply {
  float* d;
  const uint32_t *a, *b;
};

constexpr int kM = 16, kN = 8, kMostK = 16;

// d (16, 8) += a (16, k) b (k, 8), one product after the other.
BT_EMULATED_MULTIVERSION
void accumulate(float* __restrict__ d, const float* __restrict__ a, const float* __restrict__ b, int depth) {
  for (int row = 0; row < kM; ++row) {
    float sum[kN];
    for (int n = 0; n < kN; ++n) sum[n] = d[row * kN + n];
    for (int k = 0; k < depth; ++k) {
      for (int n = 0; n < kN; ++n) sum[n] += a[row * kMostK + k] * b[k * kN + n];
    }
    for (int n = 0; n < kN; ++n) d[row * kN + n] = sum[n];
  }
}

template <Number NUMBER>
void carry_out_multiply(void* const* arguments) {
  constexpr int kPerRegister = 4 / bytes_of(NUMBER), kHalf = 4 * kPerRegister;  // of k
  float a[kM * kMostK], b[kMostK * kN], d[kM * kN];
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    const Multiply& own = *static_cast<const Multiply*>(arguments[lane]);
    const int group = lane / 4, k = lane % 4 * kPerRegister;
    for (int i = 0; i < kPerRegister; ++i) {
      const auto value = [&](const uint32_t& r) {
        return operand_value(NUMBER, reinterpret_cast<const char*>(&r) + i * bytes_of(NUMBER));
      };
      for (int r = 0; r < 4; ++r) a[(group + r % 2 * 8) * kMostK + k + i + r / 2 * kHalf] = value(own.a[r]);
      for (int r = 0; r < 2; ++r) b[(k + i + r * kHalf) * kN + group] = value(own.b[r]);
    }
    for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * kN + lane % 4 * 2 + i % 2] = own.d[i];
  }
  accumulate(d, a, b, 2 * kHalf);
  count_flops(2 * kM * kN * 2 * kHalf);
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    float* own = static_cast<const Multiply*>(arguments[lane])->d;
    for (int i = 0; i < 4; ++i) own[i] = d[(lane / 4 + i / 2 * 8) * kN + lane % 4 * 2 + i % 2];
  }
}

}  // namespace

void load_matrices(uint32_t* r, const void* row, bool transposed) {
  count_access(__builtin_return_address(0), row, kRowBytes, false);
  Rows argument{r, const_cast<void*>(row)};
  transposed ? warp_instruction("load_matrix_x4_transposed", carry_out_load_transposed, &argument)
             : warp_instruction("load_matrix_x4", carry_out_load, &argument);
}

void store_matrices_transposed(void* row, const uint32_t* r) {
  needs_hopper("store_matrix_x4_transposed");
  count_access(__builtin_return_address(0), row, kRowBytes, true);
  Rows argument{const_cast<uint32_t*>(r), row};
  warp_instruction("store_matrix_x4_transposed", carry_out_store_transposed, &argument);
}

uint32_t transposed_matrix(uint32_t r) {
  warp_instruction("transpose_matrix", carry_out_transpose, &r);
  return r;
}

void multiply(Number number, float* d, const uint32_t* a, const uint32_t* b) {
  Multiply argument{d, a, b};
  switch (number) {
    case Number::bfloat16:
      return warp_instruction("multiply_16<bf16>", carry_out_multiply<Number::bfloat16>, &argument);
    case Number::float16:
      return warp_instruction("multiply_16<half_t>", carry_out_multiply<Number::float16>, &argument);
    case Number::tf32: return warp_instruction("multiply_tf32", carry_out_multiply<Number::tf32>, &argument);
  }
}

}  // namespace emulated
