// mbarriers: a phase ends when as many arrivals as it was initialized for and all bytes that were announced are in.
#include <cstring>

#include "emulated/machine.h"
#include "emulated/threads.h"

namespace emulated {

namespace {

// The 64-bit word in shared memory. PTX gives the counts 20 bits each and the bytes as many and a sign.
struct Word {
  uint64_t state : 2;  // kUnfenced, kReady; anything else is no barrier, poison among it
  uint64_t phase : 1;
  uint64_t expected : 20;
  uint64_t pending : 20;
  int64_t bytes : 21;
};
static_assert(sizeof(Word) == sizeof(uint64_t));

constexpr uint64_t kUnfenced = 1, kReady = 2;
constexpr int kMostArrivals = (1 << 20) - 1, kMostBytes = (1 << 20) - 1;

Word read(const uint64_t* barrier) {
  Word word;
  std::memcpy(&word, barrier, sizeof word);
  return word;
}

void write(uint64_t* barrier, Word word) { std::memcpy(barrier, &word, sizeof word); }

int64_t offset_of(const Block& block, const uint64_t* barrier, const char* call) {
  return shared_offset(block, barrier, 8, 8, call);
}

Word read_checked(const Block& block, const uint64_t* barrier, const char* call, bool by_others) {
  const auto offset = static_cast<long long>(offset_of(block, barrier, call));
  const Word word = read(barrier);
  if (word.state != kUnfenced && word.state != kReady) {
    fail("%s: no barrier was initialized at shared + %lld", call, offset);
  }
  if (by_others && word.state != kReady) {
    fail("%s: the barrier at shared + %lld was initialized without barrier_init_fence", call, offset);
  }
  return word;
}

void update(Block& block, uint64_t* barrier, Word word, int arrivals, int64_t bytes, const char* call) {
  const auto offset = static_cast<long long>(offset_of(block, barrier, call));
  if (arrivals > static_cast<int>(word.pending)) fail("%s: more arrivals than expected at shared + %lld", call, offset);
  const int64_t sum = word.bytes + bytes;
  if (sum > kMostBytes || sum < -kMostBytes) fail("%s: too many bytes at shared + %lld", call, offset);
  word.pending -= static_cast<unsigned>(arrivals);
  word.bytes = sum;
  const bool ended = word.pending == 0 && sum == 0;
  if (ended) {
    word.phase ^= 1u;
    word.pending = word.expected;
  }
  write(barrier, word);
  if (!ended) return;
  std::vector<Thread*>& waiting = block.at_mbarriers;
  size_t kept = 0;
  for (Thread* thread : waiting) {
    if (thread->waiting.operand[0] == offset) {
      wake(*thread);
    } else {
      waiting[kept++] = thread;
    }
  }
  waiting.resize(kept);
}

}  // namespace

void barrier_init(uint64_t* barrier, int count) {
  Block& block = *current->block;
  needs_hopper("barrier_init");
  offset_of(block, barrier, "barrier_init");
  if (count < 1 || count > kMostArrivals) fail("barrier_init for %d arrivals", count);
  const auto arrivals = static_cast<unsigned>(count);
  write(barrier, {kUnfenced, 0, arrivals, arrivals, 0});
  block.unfenced_mbarriers.emplace_back(barrier, current);
}

void barrier_init_fence() {
  for (const auto& [barrier, initialized_by] : current->block->unfenced_mbarriers) {
    if (initialized_by != current) continue;
    Word word = read(barrier);
    word.state = kReady;
    write(barrier, word);
  }
}

void barrier_expect_bytes(uint64_t* barrier, int bytes) {
  constexpr const char* kCall = "barrier_expect_bytes";
  Block& block = *current->block;
  const Word word = read_checked(block, barrier, kCall, false);
  if (bytes < 0) fail("%s: %d bytes", kCall, bytes);
  update(block, barrier, word, 1, bytes, kCall);
}

void barrier_arrive(uint64_t* barrier) {
  Block& block = *current->block;
  update(block, barrier, read_checked(block, barrier, "barrier_arrive", false), 1, 0, "barrier_arrive");
}

void barrier_arrive_at(uint64_t* barrier, int rank) {
  constexpr const char* kCall = "barrier_arrive_at";
  needs_hopper(kCall);
  const int64_t offset = offset_of(*current->block, barrier, kCall);
  Block& block = block_of_cluster(rank, kCall);
  uint64_t* theirs = reinterpret_cast<uint64_t*>(block.shared + offset);
  update(block, theirs, read_checked(block, theirs, kCall, true), 1, 0, kCall);
}

void complete_bytes(Block& block, uint64_t* barrier, int bytes) {
  update(block, barrier, read_checked(block, barrier, "load_tensor", true), 0, -bytes, "load_tensor");
}

// Looks again after it was woken: a thread that comes two phases late waits for a third, as on a GPU.
void barrier_wait(uint64_t* barrier, int parity) {
  constexpr const char* kCall = "barrier_wait";
  Block& block = *current->block;
  if (parity != 0 && parity != 1) fail("%s: parity %d", kCall, parity);
  may_yield();
  while (static_cast<int>(read_checked(block, barrier, kCall, false).phase) == parity) {
    block.at_mbarriers.push_back(current);
    suspend({kCall, 2, {static_cast<int>(offset_of(block, barrier, kCall)), parity}});
  }
}

}  // namespace emulated
