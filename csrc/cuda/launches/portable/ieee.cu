#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const Products& ieee_products() {
  static const ProductsOf<PortableFamily<IeeeMultiply, false>> products;
  return products;
}

}  // namespace bt::cuda
