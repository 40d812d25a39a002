#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const ProductLaunches& float16_launches() {
  static const FamilyLaunches<PortableFamily<NarrowMultiply<half_t>, false>> launches;
  return launches;
}

}  // namespace bt::cuda
