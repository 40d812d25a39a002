// The emulated GPU's side of csrc/cuda/instructions/numbers.cuh.
#pragma once

#include "cuda/instructions/cuda.cuh"
#include "emulated/numbers.h"

namespace bt::cuda {

struct bf16 {
  uint16_t bits;
};
struct half_t {
  uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) { return emulated::bfloat16_to_float(x.bits); }
inline float to_float(half_t x) { return emulated::float16_to_float(x.bits); }

template <typename T>
T from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
template <>
inline bf16 from_float<bf16>(float x) {
  return {emulated::bfloat16_from_float(x)};
}
template <>
inline half_t from_float<half_t>(float x) {
  return {emulated::float16_from_float(x)};
}

struct alignas(8) Pair {
  float low, high;
};

template <typename T>
uint32_t pack(float low, float high) {
  return from_float<T>(low).bits | static_cast<uint32_t>(from_float<T>(high).bits) << 16;
}

template <typename T>
Pair unpack(uint32_t both) {
  return {to_float(T{static_cast<uint16_t>(both)}), to_float(T{static_cast<uint16_t>(both >> 16)})};
}

inline uint32_t float_bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float float_from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }

}  // namespace bt::cuda
