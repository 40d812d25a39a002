#include "cuda/launches/product_launches.h"

namespace bt::cuda {

const Products& products(Operands operands, const Gpu& gpu) {
#if BT_SM90
  if (gpu.capability == 90) {
    switch (operands) {
      case Operands::tf32: return hopper_tf32_products();
      case Operands::bfloat16: return hopper_bfloat16_products();
      case Operands::float16: return hopper_float16_products();
      default: break;
    }
  }
#endif
  switch (operands) {
    case Operands::ieee: return ieee_products();
    case Operands::tf32: return tf32_products();
    case Operands::bfloat16: return bfloat16_products();
    default: return float16_products();
  }
}

}  // namespace bt::cuda
