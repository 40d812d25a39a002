// Launches: the clusters of a grid on the CPU's threads, and what the tests choose of the emulated GPU.
#include "emulated/launch.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <thread>

#include "emulated/machine.h"
#include "emulated/traffic.h"

namespace emulated {

namespace {

constexpr uint64_t kSeed = 1;
constexpr int kMostFibers = 32 * 1024;  // at a time: 256 KB of addresses each

std::mutex mutex;  // of all below
Properties gpu{90, 4, 232448, 16};
Mode chosen{Asynchrony::random, kSeed};
std::string failure;
std::vector<std::unique_ptr<Cluster>> idle;  // their stacks and shared memory are used again

std::unique_ptr<Cluster> take_cluster() {
  const std::lock_guard<std::mutex> lock(mutex);
  if (idle.empty()) return std::make_unique<Cluster>();
  std::unique_ptr<Cluster> cluster = std::move(idle.back());
  idle.pop_back();
  return cluster;
}

void give_back(std::unique_ptr<Cluster> cluster) {
  const std::lock_guard<std::mutex> lock(mutex);
  idle.push_back(std::move(cluster));
}

int64_t shuffled(int64_t index, int64_t count, const Grid& grid) {
  switch (order_of(grid.asynchrony)) {
    case Order::ascending: return index;
    case Order::descending: return count - 1 - index;
    case Order::random: break;
  }
  // A step without common factor with the count reaches every cluster once.
  int64_t step = count / 2 + static_cast<int64_t>(grid.seed % 7) + 1;
  const auto common = [](int64_t a, int64_t b) {
    while (b != 0) a %= b, std::swap(a, b);
    return a;
  };
  while (common(step, count) != 1) ++step;
  return static_cast<int64_t>(static_cast<unsigned __int128>(index) * static_cast<uint64_t>(step) %
                              static_cast<uint64_t>(count));
}

}  // namespace

Properties properties() {
  const std::lock_guard<std::mutex> lock(mutex);
  return gpu;
}

Mode mode() {
  const std::lock_guard<std::mutex> lock(mutex);
  return chosen;
}

const char* last_failure() {
  static thread_local std::string text;
  const std::lock_guard<std::mutex> lock(mutex);
  text = failure;
  return text.c_str();
}

Result launch(const void* name, int64_t blocks, int threads, int shared_bytes, int cluster, bool dependent,
              void (*kernel)(const void*), const void* arguments) {
  const Properties on = properties();
  if (shared_bytes < 0 || shared_bytes > on.shared_bytes || (dependent && on.capability < 90)) {
    return Result::invalid_value;
  }
  if (blocks < 1 || blocks > 0x7FFFFFFF || threads < 1 || threads > kMostThreads || cluster < 1 ||
      cluster > on.max_cluster || blocks % cluster != 0 || (on.capability < 90 && cluster > 1)) {
    return Result::invalid_configuration;
  }
  const Mode when = mode();
  const Grid grid{blocks,        threads,         shared_bytes, cluster, dependent,
                  on.capability, when.asynchrony, when.seed,    kernel,  arguments};
  begin_traffic(name);
  const int64_t clusters = blocks / cluster;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    std::unique_ptr<Cluster> own = take_cluster();
    for (int64_t index = next++; index < clusters && !failed; index = next++) {
      try {
        run_cluster(*own, grid, shuffled(index, clusters, grid));
        end_cluster_traffic();
      } catch (const std::exception& caught) {
        failed = true;
        const std::lock_guard<std::mutex> lock(mutex);
        failure = caught.what();
      }
    }
    end_thread_traffic();
    give_back(std::move(own));
  };
  const int64_t most = std::min<int64_t>(std::max(1u, std::thread::hardware_concurrency()),
                                         std::max(1, kMostFibers / (threads * cluster)));
  std::vector<std::thread> others;
  for (int64_t i = 1; i < std::min(most, clusters); ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  if (failed) fprintf(stderr, "emulated GPU: %s\n", last_failure());
  return failed ? Result::failed : Result::success;
}

}  // namespace emulated

#define BT_EXPORTED extern "C" __attribute__((visibility("default")))

// 0 early, 1 late, 2 random (at first), 3 crossed, and from 4 on random with that seed: asynchrony.h.
BT_EXPORTED void bt_emulated_asynchrony(int mode) {
  using emulated::Asynchrony;
  const std::lock_guard<std::mutex> lock(emulated::mutex);
  emulated::chosen = {mode == 0   ? Asynchrony::early
                      : mode == 1 ? Asynchrony::late
                      : mode == 3 ? Asynchrony::crossed
                                  : Asynchrony::random,
                      mode > 3 ? static_cast<uint64_t>(mode) : emulated::kSeed};
}

BT_EXPORTED void bt_emulated_gpu(int capability, int multiprocessors, int shared_bytes, int max_cluster) {
  const std::lock_guard<std::mutex> lock(emulated::mutex);
  emulated::gpu = {capability, multiprocessors, shared_bytes, max_cluster};
}

// What went wrong with the last kernel that failed; empty if none did.
BT_EXPORTED const char* bt_emulated_failure() { return emulated::last_failure(); }
