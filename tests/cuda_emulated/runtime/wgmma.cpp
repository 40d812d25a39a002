// wgmma: products of a warpgroup whose operands lie in shared memory, read through descriptors as the tensor cores do.
//
// An issued product waits in the warpgroup's queue. When it is carried out it reads shared memory as it is then, and
// adds to the threads' accumulators through their pointers.
#include <cstring>

#include "emulated/machine.h"
#include "emulated/matrices.h"
#include "emulated/multiversion.h"
#include "emulated/shared.h"
#include "emulated/traffic.h"

namespace emulated {

namespace {

constexpr int kRows = 64, kMostN = 256, kDepthBytes = 32, kRowBytes = 128;
constexpr int kVector = 16;  // accumulators in a vector register
constexpr int kStrip = 64;   // and in four, whose additions do not wait for each other

struct Operand {
  int64_t start, leading, stride;  // bytes
};

Operand decode(uint64_t descriptor, bool mn) {
  if (descriptor >> 62 != 1) {
    fail("wgmma: the descriptor %016llx has no 128-byte swizzle", static_cast<unsigned long long>(descriptor));
  }
  if ((descriptor >> 49 & 7) != 0) {
    fail("wgmma: the descriptor %016llx has a base offset", static_cast<unsigned long long>(descriptor));
  }
  const auto field = [&](int bit) { return static_cast<int64_t>(descriptor >> bit & 0x3FFF) << 4; };
  const Operand operand{field(0), field(16), field(32)};
  // Across k an operand may begin within the 128 bytes of a row; along its rows the pattern begins at whole 1024 bytes.
  if ((operand.start >> 7 & 7) != 0 || (mn && operand.start % 1024 != 0)) {
    fail("wgmma: an operand at address %lld does not begin where the swizzle's pattern does",
         static_cast<long long>(operand.start));
  }
  if (operand.stride % 1024 != 0 || (mn && operand.leading % 1024 != 0)) {
    fail("wgmma: strides of %lld and %lld bytes are not whole patterns of the swizzle",
         static_cast<long long>(operand.leading), static_cast<long long>(operand.stride));
  }
  return operand;
}

// Address of number (row, k) of an operand.
int64_t address(const Operand& operand, bool mn, int bytes, int row, int k) {
  const int per_box = kRowBytes / bytes;
  return swizzled(mn ? operand.start + row / per_box * operand.leading + row % per_box * bytes +
                           k / 8 * operand.stride + k % 8 * kRowBytes
                     : operand.start + row / 8 * operand.stride + row % 8 * kRowBytes + k * bytes);
}

// put(row, k, value) for each number of an operand, by the 16-byte pieces that the swizzle leaves in one.
template <Number NUMBER, typename Put>
void read_operand(const Block& block, uint64_t descriptor, bool mn, int rows, const Put& put) {
  constexpr int kBytes = bytes_of(NUMBER), kPiece = 16 / kBytes;
  const Operand operand = decode(descriptor, mn);
  const int size = block.cluster->grid->shared_bytes;
  const int step_k = mn ? 1 : kPiece, step_row = mn ? kPiece : 1;
  for (int k = 0; k < kDepthBytes / kBytes; k += step_k) {
    for (int row = 0; row < rows; row += step_row) {
      const int64_t offset = address(operand, mn, kBytes, row, k) - kSharedWindow;
      if (offset < 0 || offset + 16 > size) {
        fail("wgmma reads at offset %lld of %d bytes of shared memory", static_cast<long long>(offset), size);
      }
      const char* piece = block.shared + offset;
      if (std::memcmp(piece, block.async_view.data() + offset, 16) != 0) {
        fail("wgmma reads at offset %lld of shared memory what was stored there without fence_async_shared",
             static_cast<long long>(offset));
      }
      for (int i = 0; i < kPiece; ++i) {
        const float value = operand_value(NUMBER, piece + i * kBytes);
        mn ? put(row + i, k, value) : put(row, k + i, value);
      }
    }
  }
}

// The same for a in registers, as tf32: of its warp's 16 rows lane l has l / 4 and l / 4 + 8, of k l % 4 and l % 4 + 4.
// They are read when the product is carried out: until then they have to keep.
template <typename Put>
void read_registers(const Product& product, const Put& put) {
  for (int thread = 0; thread < kWarpgroupThreads; ++thread) {
    const int row = thread / kWarpThreads * 16 + thread % kWarpThreads / 4;
    for (int i = 0; i < 4; ++i) {
      put(row + i % 2 * 8, thread % 4 + i / 2 * 4, operand_value(Number::tf32, product.left[thread] + i));
    }
  }
}

// One thread's accumulators: d[4 j + i] is row l / 4 + 8 (i / 2), column 8 j + 2 (l % 4) + i % 2 of its warp's 16 rows.
// a: per k the factors of 16 accumulators, the same for every 16; b: per k those of all accumulators.
BT_EMULATED_MULTIVERSION
void accumulate(float* __restrict__ d, const float* __restrict__ a, const float* __restrict__ b, int count, int depth) {
  for (int first = 0; first < count; first += kStrip) {
    float sum[kStrip];
    for (int i = 0; i < kStrip; ++i) sum[i] = d[first + i];
    for (int k = 0; k < depth; ++k) {
      const float *a_k = a + k * kVector, *b_k = b + k * count + first;
#pragma GCC unroll 4
      for (int v = 0; v < kStrip; v += kVector) {
        for (int i = 0; i < kVector; ++i) sum[v + i] += a_k[i] * b_k[v + i];
      }
    }
    for (int i = 0; i < kStrip; ++i) d[first + i] = sum[i];
  }
}

template <Number NUMBER>
void carry_out(const Block& block, const Product& product) {
  constexpr int kDepth = kDepthBytes / bytes_of(NUMBER);
  const ProductShape& shape = product.shape;
  const int count = shape.n / 2;
  std::vector<float>& memory = block.cluster->operands;
  memory.resize(kDepth * (kRows + 2 * kMostN));
  float *const a = memory.data(), *const b = a + kDepth * kRows;
  // b[l % 4][k][accumulator]: a column is two rows' accumulators'.
  const auto put_a = [&](int row, int k, float value) { a[k * kRows + row] = value; };
  shape.a_in_registers ? read_registers(product, put_a)
                       : read_operand<NUMBER>(block, shape.a, shape.a_mn, kRows, put_a);
  read_operand<NUMBER>(block, shape.b, shape.b_mn, shape.n, [&](int column, int k, float value) {
    float* to = b + (column % 8 / 2 * kDepth + k) * count + column / 8 * 4 + column % 2;
    to[0] = to[2] = value;
  });
  for (int group = 0; group < kWarpgroupThreads / 4; ++group) {
    float rows[kDepth * kVector];
    const int row = group / 8 * 16 + group % 8;
    for (int k = 0; k < kDepth; ++k) {
      const float low = a[k * kRows + row], high = a[k * kRows + row + 8];
      const float factors[4] = {low, low, high, high};
      for (int i = 0; i < kVector; i += 4) std::memcpy(rows + k * kVector + i, factors, sizeof factors);
    }
    for (int pair = 0; pair < 4; ++pair) {
      accumulate(product.accumulators[group * 4 + pair], rows, b + pair * kDepth * count, count, kDepth);
    }
  }
}

void carry_out(const Block& block, const Product& product) {
  switch (static_cast<Number>(product.shape.type)) {
    case Number::bfloat16: return carry_out<Number::bfloat16>(block, product);
    case Number::float16: return carry_out<Number::float16>(block, product);
    case Number::tf32: return carry_out<Number::tf32>(block, product);
  }
}

// All up to the count-th that the warpgroup ever issued, in order.
void finish_products(const Block& block, Warpgroup& group, int64_t count) {
  while (group.done < count && !group.issued.empty()) {
    carry_out(block, group.issued.front());
    group.issued.pop_front();
    ++group.done;
  }
}

bool at_issue(Cluster& cluster) {
  switch (cluster.grid->asynchrony) {
    case Asynchrony::early: return true;
    case Asynchrony::random: return cluster.random.below(2) == 0;
    default: return false;
  }
}

Warpgroup& warpgroup(const char* call) {
  // sm_90a's alone: later GPUs have other instructions.
  const int capability = current->block->cluster->grid->capability;
  if (capability / 10 != 9) fail("%s on a GPU of capability %d", call, capability);
  if (current->warpgroup == nullptr) {
    fail("%s: the block's %d threads do not make up its warpgroup", call, current->block->threads);
  }
  return *current->warpgroup;
}

}  // namespace

uint64_t matrix_descriptor(const void* shared, int leading_bytes, int stride_bytes) {
  const auto address = static_cast<uint64_t>(shared_address(shared));
  if (address % 16 != 0 || leading_bytes % 16 != 0 || stride_bytes % 16 != 0 || leading_bytes < 0 || stride_bytes < 0 ||
      leading_bytes >> 18 != 0 || stride_bytes >> 18 != 0) {
    fail("matrix_descriptor(shared + %lld, %d, %d): fields are multiples of 16 below 2^18",
         static_cast<long long>(address) - static_cast<long long>(kSharedWindow), leading_bytes, stride_bytes);
  }
  return uint64_t{1} << 62 | address >> 4 | static_cast<uint64_t>(leading_bytes >> 4) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4) << 32;
}

// Gathers the 128 threads. A GPU's four warps need not meet, but the product is not done before all have come.
void wgmma(Number number, int n, bool a_mn, bool b_mn, float* d, uint64_t a, uint64_t b, const uint32_t* left) {
  Thread& self = *current;
  Warpgroup& group = warpgroup("wgmma");
  if (!self.products_fenced) fail("wgmma without a wgmma_fence since the accumulators were last free to be used");
  Product& next = group.next;
  const ProductShape shape{a, b, static_cast<int>(number), n, a_mn, b_mn, left != nullptr};
  if (group.arrived == 0) next.shape = shape;
  if (shape != next.shape) fail("the threads of a warpgroup issue different wgmma");
  next.accumulators[self.index.x % kWarpgroupThreads] = d;
  next.left[self.index.x % kWarpgroupThreads] = left;
  ++self.products;
  if (++group.arrived < kWarpgroupThreads) return suspend({"wgmma"});
  group.arrived = 0;
  group.issued.push_back(next);
  count_flops(int64_t{2} * kRows * n * (kDepthBytes / bytes_of(number)));
  fence_async_view(*self.block);
  if (at_issue(*self.block->cluster)) finish_products(*self.block, group, self.products);
  Thread* first = &self - self.index.x % kWarpgroupThreads;
  for (int thread = 0; thread < kWarpgroupThreads; ++thread) wake(first[thread]);
  may_yield();
}

void wgmma_fence() {
  warpgroup("wgmma_fence");
  current->products_fenced = true;
}

void wgmma_commit() {
  warpgroup("wgmma_commit");
  current->product_groups.push_back(current->products);
}

void wgmma_wait(int pending) {
  Thread& self = *current;
  Warpgroup& group = warpgroup("wgmma_wait");
  std::vector<int64_t>& groups = self.product_groups;
  const auto finished = static_cast<int64_t>(groups.size()) - pending;
  if (finished > 0) {
    finish_products(*self.block, group, groups[static_cast<size_t>(finished) - 1]);
    groups.erase(groups.begin(), groups.begin() + finished);
  }
  if (pending == 0) self.products_fenced = false;
  may_yield();
}

void check_no_products(const Thread& thread) {
  if (thread.warpgroup != nullptr && thread.warpgroup->done < thread.products) {
    fail("returns before its wgmma are done");
  }
}

// setmaxnreg: the warpgroups of a block share what it was launched with, of 65536 registers at most.
void set_registers(int count) {
  warpgroup("setmaxnreg");
  if (count % 8 != 0 || count < 24 || count > 256) fail("setmaxnreg to %d registers", count);
  Block& block = *current->block;
  std::vector<int>& registers = block.warpgroup_registers;
  registers[current->index.x / kWarpgroupThreads] = count;
  int sum = 0;
  for (int own : registers) sum += own * kWarpgroupThreads;
  if (sum > 64 * 1024) fail("setmaxnreg: %d registers in a block", sum);
}

}  // namespace emulated
