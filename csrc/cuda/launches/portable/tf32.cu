#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const Products& tf32_products() {
  static const ProductsOf<PortableFamily<Tf32Multiply, true>> products;
  return products;
}

}  // namespace bt::cuda
