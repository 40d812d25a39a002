#include "cpu/sums.h"

#include "cpu/multiversion.h"

namespace bt::cpu {

template <typename T>
BT_MULTIVERSION double dot(const T* x, const T* y, int64_t count) {
  constexpr int64_t kLanes = 16;
  double lanes[kLanes] = {}, sum = 0;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(x[i + l]) * static_cast<double>(y[i + l]);
  }
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  for (double lane : lanes) sum += lane;
  return sum;
}

template double dot<float>(const float*, const float*, int64_t);
template double dot<double>(const double*, const double*, int64_t);

}  // namespace bt::cpu
