#include "cuda/launches/sm90/family.cuh"

namespace bt::cuda {

const Products& hopper_float16_products() {
  static const ProductsOf<HopperFamily<half_t>> products;
  return products;
}

}  // namespace bt::cuda
