#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const Products& float16_products() {
  static const ProductsOf<PortableFamily<NarrowMultiply<half_t>, false>> products;
  return products;
}

}  // namespace bt::cuda
