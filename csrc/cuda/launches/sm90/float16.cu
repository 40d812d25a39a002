#include "cuda/launches/sm90/family.cuh"

namespace bt::cuda {

const ProductLaunches& hopper_float16_launches() {
  static const FamilyLaunches<HopperFamily<half_t>> launches;
  return launches;
}

}  // namespace bt::cuda
