#include "cuda/launches/sm90/family.cuh"

namespace bt::cuda {

const Products& hopper_tf32_products() {
  static const ProductsOf<HopperTf32Family> products;
  return products;
}

}  // namespace bt::cuda
