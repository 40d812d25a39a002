#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const Products& bfloat16_products() {
  static const ProductsOf<PortableFamily<NarrowMultiply<bf16>, false>> products;
  return products;
}

}  // namespace bt::cuda
