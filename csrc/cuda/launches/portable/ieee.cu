#include "cuda/launches/portable/family.cuh"

namespace bt::cuda {

const ProductLaunches& ieee_launches() {
  static const FamilyLaunches<PortableFamily<IeeeMultiply, false>> launches;
  return launches;
}

}  // namespace bt::cuda
