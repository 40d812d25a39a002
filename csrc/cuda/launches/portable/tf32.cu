#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const ProductLaunches& tf32_launches() {
  static const FamilyLaunches<PortableFamily<Tf32Multiply, true>> launches;
  return launches;
}

}  // namespace bt::cuda
