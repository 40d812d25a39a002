#include "cuda/launches/product_launches.h"

namespace bt::cuda {

const ProductLaunches& product_launches(Operands operands, const Gpu& gpu) {
#if BT_SM90
  if (gpu.capability == 90) {
    switch (operands) {
      case Operands::tf32: return hopper_tf32_launches();
      case Operands::bfloat16: return hopper_bfloat16_launches();
      case Operands::float16: return hopper_float16_launches();
      default: break;
    }
  }
#endif
  switch (operands) {
    case Operands::ieee: return ieee_launches();
    case Operands::tf32: return tf32_launches();
    case Operands::bfloat16: return bfloat16_launches();
    default: return float16_launches();
  }
}

}  // namespace bt::cuda
