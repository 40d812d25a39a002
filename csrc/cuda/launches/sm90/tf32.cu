#include "cuda/launches/sm90/family.cuh"

namespace bt::cuda {

const ProductLaunches& hopper_tf32_launches() {
  static const FamilyLaunches<HopperTf32Family> launches;
  return launches;
}

}  // namespace bt::cuda
