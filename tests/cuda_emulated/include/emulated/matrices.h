// What the replaced instructions call for matrix products.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "emulated/numbers.h"

namespace emulated {

enum class Number { bfloat16, float16, tf32 };

constexpr int bytes_of(Number number) { return number == Number::tf32 ? 4 : 2; }

// As the tensor cores read an operand: the low 13 bits of tf32 are not looked at.
inline float operand_value(Number number, const void* address) {
  if (number == Number::tf32) {
    uint32_t bits;
    std::memcpy(&bits, address, sizeof bits);
    return std::bit_cast<float>(bits & 0xFFFFE000u);
  }
  uint16_t bits;
  std::memcpy(&bits, address, sizeof bits);
  return number == Number::bfloat16 ? bfloat16_to_float(bits) : float16_to_float(bits);
}

void load_matrices(uint32_t* r, const void* row, bool transposed);
void store_matrices_transposed(void* row, const uint32_t* r);
uint32_t transposed_matrix(uint32_t r);
void multiply(Number, float* d, const uint32_t* a, const uint32_t* b);

uint64_t matrix_descriptor(const void* shared, int leading_bytes, int stride_bytes);
// left: a in registers, null: by its descriptor.
void wgmma(Number, int n, bool a_mn, bool b_mn, float* d, uint64_t a, uint64_t b, const uint32_t* left = nullptr);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int pending);
void set_registers(int count);

}  // namespace emulated
