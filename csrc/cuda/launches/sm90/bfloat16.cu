#include "cuda/launches/sm90/family.cuh"

namespace bt::cuda {

const Products& hopper_bfloat16_products() {
  static const ProductsOf<HopperFamily<bf16>> products;
  return products;
}

}  // namespace bt::cuda
