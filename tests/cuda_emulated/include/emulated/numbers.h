// bfloat16 and float16 by their bits: to nearest, ties to even; NaN stays NaN, in CUDA's one pattern 0x7FFF.
#pragma once

#include <bit>
#include <cstdint>

namespace emulated {

constexpr uint16_t kNan16 = 0x7FFF;

constexpr float bfloat16_to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

constexpr uint16_t bfloat16_from_float(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (x != x) return kNan16;
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

// The exponent and mantissa in a float's place are 2^-112 of the number, also where it is subnormal.
constexpr float float16_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7FFFu) << 13;
  const float finite = std::bit_cast<float>(magnitude) * 0x1p112f;
  const uint32_t value = magnitude >= 0x0F800000u ? magnitude | 0x7F800000u : std::bit_cast<uint32_t>(finite);
  return std::bit_cast<float>(sign | value);
}

constexpr uint16_t float16_from_float(float x) {
  if (x != x) return kNan16;
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // 65520 and more
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 1/2 leaves the multiple of 2^-24 in the low bits, rounded
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u));
  }
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u)) >> 13));
}

}  // namespace emulated
