#include "cuda/launches/sm90/family.cuh"

namespace bt::cuda {

const ProductLaunches& hopper_bfloat16_launches() {
  static const FamilyLaunches<HopperFamily<bf16>> launches;
  return launches;
}

}  // namespace bt::cuda
