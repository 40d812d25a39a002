#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const ProductLaunches& bfloat16_launches() {
  static const FamilyLaunches<PortableFamily<NarrowMultiply<bf16>, false>> launches;
  return launches;
}

}  // namespace bt::cuda
