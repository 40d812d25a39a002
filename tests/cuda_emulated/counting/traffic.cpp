// Counts what the kernels read and write, as a GPU's memories see it: by the 32 lanes of a warp at a time.
//
// The kernels are compiled with -fsanitize=thread, which calls a function before every access to memory that others
// might see. The functions are these here, not the sanitizer's. The k-th access of a warp's lanes at one place of the
// code is one request:
//
//     global memory    32-byte sectors that the request touches; those that its bytes would fill
//     shared memory    cycles, one for 32 banks of 4 bytes: as many as the busiest bank has different words, for each
//                      32, 16 or 8 lanes, of which 4, 8 or 16 bytes go together; and those without conflicts
//
// Lanes that leave a loop earlier than others are taken to do so in its last turns. Instructions that are functions
// here (ldmatrix, cp.async, TMA) say themselves what they access. What wgmma reads is not counted: TMA's swizzle is
// what it wants.
#include "emulated/traffic.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "emulated/machine.h"
#include "emulated/shared.h"

// Of the library, by the linker.
extern "C" __attribute__((visibility("hidden"))) char __ehdr_start, _end;

namespace emulated {

namespace {

constexpr uintptr_t kSector = 32, kBankBytes = 4, kBanks = 32;

enum class Space { none, global, shared, distributed };

struct Access {
  const void* site;
  Space space;
  bool write;
  int bytes;
  auto operator<=>(const Access&) const = default;
};

struct Count {
  int64_t requests = 0, lanes = 0, units = 0, least = 0;  // units: sectors or cycles
  Count& operator+=(const Count& other) {
    requests += other.requests, lanes += other.lanes, units += other.units, least += other.least;
    return *this;
  }
};

using Sectors = std::unordered_set<uintptr_t>;

struct Totals {
  std::map<Access, Count> accesses;
  Sectors sectors[2];  // of global memory, read and written
  int64_t box_bytes = 0, flops = 0;
};

struct Request {
  uint32_t lanes = 0;
  std::array<uintptr_t, kWarpThreads> address;
};

// Of one warp and one access.
struct Pending {
  int64_t first = 0;  // number of the first request in the queue
  std::array<int64_t, kWarpThreads> made{};
  std::deque<Request> requests;
};

struct Hash {
  size_t operator()(const Access& access) const {
    return std::hash<const void*>{}(access.site) ^ static_cast<size_t>(access.bytes) << 3 ^ access.write;
  }
};

struct OfThread {  // of the CPU
  Totals totals;
  std::vector<std::unordered_map<Access, Pending, Hash>> warps;  // of the cluster at hand
};

std::mutex mutex;  // of what follows
std::vector<std::pair<const void*, Totals>> launches;
uintptr_t stack_begin, stack_end;  // of the thread that launches: arguments and the grid are there
thread_local OfThread own;

template <typename T>
bool within(uintptr_t address, const std::vector<T>& items) {
  const auto begin = reinterpret_cast<uintptr_t>(items.data());
  return address >= begin && address < begin + items.size() * sizeof(T);
}

bool in_image(uintptr_t address) {
  return address >= reinterpret_cast<uintptr_t>(&__ehdr_start) && address < reinterpret_cast<uintptr_t>(&_end);
}

// none: the emulation's own and what a GPU has in registers, constants or not at all.
Space space_of(uintptr_t address) {
  const Thread& self = *current;
  const Cluster& cluster = *self.block->cluster;
  for (const Block& block : cluster.blocks) {
    const auto shared = reinterpret_cast<uintptr_t>(block.shared);
    if (address >= shared && address < shared + static_cast<uintptr_t>(cluster.grid->shared_bytes)) {
      return &block == self.block ? Space::shared : Space::distributed;
    }
  }
  const auto stack = reinterpret_cast<uintptr_t>(self.fiber.stack), at = reinterpret_cast<uintptr_t>(&cluster);
  if (address >= stack && address < stack + self.fiber.stack_bytes) return Space::none;
  if (address >= stack_begin && address < stack_end) return Space::none;
  if (address >= at && address < at + sizeof cluster) return Space::none;
  if (within(address, cluster.threads) || within(address, cluster.blocks)) return Space::none;
  if (address == reinterpret_cast<uintptr_t>(&current) || in_image(address)) return Space::none;
  return Space::global;
}

void touch(Sectors& sectors, uintptr_t address, int64_t bytes) {
  for (uintptr_t sector = address / kSector; sector <= (address + static_cast<uintptr_t>(bytes) - 1) / kSector;
       ++sector) {
    sectors.insert(sector);
  }
}

Count of_global(const Access& access, const Request& request, Sectors& seen) {
  Sectors sectors, bytes;
  for (uint32_t lanes = request.lanes; lanes != 0; lanes &= lanes - 1) {
    const uintptr_t address = request.address[static_cast<size_t>(std::countr_zero(lanes))];
    touch(sectors, address, access.bytes);
    bytes.insert(address);
  }
  seen.insert(sectors.begin(), sectors.end());
  const auto full = (bytes.size() * static_cast<size_t>(access.bytes) + kSector - 1) / kSector;
  return {1, std::popcount(request.lanes), static_cast<int64_t>(sectors.size()), static_cast<int64_t>(full)};
}

Count of_shared(const Access& access, const Request& request) {
  const int together = access.bytes <= 4 ? 32 : 128 / access.bytes;
  Count count{1, std::popcount(request.lanes), 0, 0};
  for (int first = 0; first < kWarpThreads; first += together) {
    std::array<std::unordered_set<uintptr_t>, kBanks> words;
    for (int lane = first; lane < first + together; ++lane) {
      if ((request.lanes >> lane & 1u) == 0) continue;
      const uintptr_t address = request.address[static_cast<size_t>(lane)];
      for (uintptr_t word = address / kBankBytes;
           word <= (address + static_cast<uintptr_t>(access.bytes) - 1) / kBankBytes; ++word) {
        words[word % kBanks].insert(word);
      }
    }
    size_t most = 0;
    for (const auto& of_bank : words) most = std::max(most, of_bank.size());
    count.units += static_cast<int64_t>(most), count.least += most > 0;
  }
  return count;
}

void account(const Access& access, const Request& request) {
  Totals& totals = own.totals;
  totals.accesses[access] += access.space == Space::global ? of_global(access, request, totals.sectors[access.write])
                                                           : of_shared(access, request);
}

std::string text_of(const void* kernel, const Totals& totals) {
  const auto offset = [](const void* pointer) {
    Dl_info info{};
    dladdr(pointer, &info);
    return static_cast<long long>(static_cast<const char*>(pointer) - static_cast<const char*>(info.dli_fbase));
  };
  std::string text;
  char line[256];
  snprintf(line, sizeof line, "kernel %llx %zu %zu %lld %lld\n", offset(kernel), totals.sectors[0].size(),
           totals.sectors[1].size(), static_cast<long long>(totals.box_bytes), static_cast<long long>(totals.flops));
  text += line;
  for (const auto& [access, count] : totals.accesses) {
    snprintf(line, sizeof line, "%llx %d %d %d %lld %lld %lld %lld\n", offset(access.site),
             static_cast<int>(access.space), access.write, access.bytes, static_cast<long long>(count.requests),
             static_cast<long long>(count.lanes), static_cast<long long>(count.units),
             static_cast<long long>(count.least));
    text += line;
  }
  return text;
}

}  // namespace

void count_access(const void* site, const void* pointer, int bytes, bool write) {
  if (current == nullptr || bytes == 0) return;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const Access access{site, space_of(address), write, bytes};
  if (access.space == Space::none) return;
  const auto warp = static_cast<size_t>(current->warp->index), lane = static_cast<size_t>(current->lane);
  if (own.warps.size() <= warp) own.warps.resize(warp + 1);
  Pending& pending = own.warps[warp][access];
  const auto place = static_cast<size_t>(pending.made[lane]++ - pending.first);
  if (pending.requests.size() <= place) pending.requests.resize(place + 1);
  Request& request = pending.requests[place];
  request.lanes |= 1u << lane;
  request.address[lane] = address;
  while (!pending.requests.empty() && pending.requests.front().lanes == kAllLanes) {
    account(access, pending.requests.front());
    pending.requests.pop_front();
    ++pending.first;
  }
}

void count_box(const void* first, int64_t rows, int64_t row_stride, int64_t row_bytes) {
  const auto address = reinterpret_cast<uintptr_t>(first);
  for (int64_t row = 0; row < rows; ++row) {
    touch(own.totals.sectors[0], address + static_cast<uintptr_t>(row * row_stride), row_bytes);
  }
  own.totals.box_bytes += rows * row_bytes;
}

void count_flops(int64_t flops) { own.totals.flops += flops; }

void begin_traffic(const void* kernel) {
  const std::lock_guard<std::mutex> lock(mutex);
  launches.push_back({kernel, {}});
  pthread_attr_t attributes;
  void* begin = nullptr;
  size_t bytes = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &begin, &bytes);
  pthread_attr_destroy(&attributes);
  stack_begin = reinterpret_cast<uintptr_t>(begin), stack_end = stack_begin + bytes;
}

void end_cluster_traffic() {
  for (const auto& warp : own.warps) {
    for (const auto& [access, pending] : warp) {
      for (const Request& request : pending.requests) account(access, request);
    }
  }
  own.warps.clear();
}

void end_thread_traffic() {
  const std::lock_guard<std::mutex> lock(mutex);
  Totals& all = launches.back().second;
  for (const auto& [access, count] : own.totals.accesses) all.accesses[access] += count;
  for (int i = 0; i < 2; ++i) all.sectors[i].merge(own.totals.sectors[i]);
  all.box_bytes += own.totals.box_bytes, all.flops += own.totals.flops;
  own.totals = {};
}

}  // namespace emulated

// Of the launches since the last call: a line for each kernel, and one for each of its accesses.
extern "C" __attribute__((visibility("default"))) const char* bt_emulated_traffic() {
  static std::string text;
  const std::lock_guard<std::mutex> lock(emulated::mutex);
  text.clear();
  for (const auto& [kernel, totals] : emulated::launches) text += emulated::text_of(kernel, totals);
  emulated::launches.clear();
  return text.c_str();
}

#define BT_ACCESS(NAME, BYTES, WRITE)                                           \
  extern "C" void __tsan_##NAME(void* pointer) {                                \
    emulated::count_access(__builtin_return_address(0), pointer, BYTES, WRITE); \
  }
BT_ACCESS(read1, 1, false)
BT_ACCESS(read2, 2, false)
BT_ACCESS(read4, 4, false)
BT_ACCESS(read8, 8, false)
BT_ACCESS(read16, 16, false)
BT_ACCESS(write1, 1, true)
BT_ACCESS(write2, 2, true)
BT_ACCESS(write4, 4, true)
BT_ACCESS(write8, 8, true)
BT_ACCESS(write16, 16, true)
BT_ACCESS(unaligned_read2, 2, false)
BT_ACCESS(unaligned_read4, 4, false)
BT_ACCESS(unaligned_read8, 8, false)
BT_ACCESS(unaligned_read16, 16, false)
BT_ACCESS(unaligned_write2, 2, true)
BT_ACCESS(unaligned_write4, 4, true)
BT_ACCESS(unaligned_write8, 8, true)
BT_ACCESS(unaligned_write16, 16, true)
#undef BT_ACCESS

// A struct of another size than an instruction's: by pieces of 16 or of 4 bytes, one after the other.
static void count_range(const void* site, const void* pointer, unsigned long bytes, bool write) {
  const unsigned long piece = bytes % 16 == 0 && reinterpret_cast<uintptr_t>(pointer) % 16 == 0 ? 16 : 4;
  for (unsigned long at = 0; at < bytes; at += piece) {
    emulated::count_access(site, static_cast<const char*>(pointer) + at, static_cast<int>(piece), write);
  }
}

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* pointer, unsigned long bytes) {
  count_range(__builtin_return_address(0), pointer, bytes, false);
}
void __tsan_write_range(void* pointer, unsigned long bytes) {
  count_range(__builtin_return_address(0), pointer, bytes, true);
}
uint8_t __tsan_atomic8_load(const volatile uint8_t* address, int) { return __atomic_load_n(address, __ATOMIC_SEQ_CST); }
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
uint32_t __tsan_atomic32_fetch_add(volatile uint32_t* address, uint32_t value, int) {
  emulated::count_access(__builtin_return_address(0), const_cast<uint32_t*>(address), 4, true);
  return __atomic_fetch_add(address, value, __ATOMIC_SEQ_CST);
}
}
