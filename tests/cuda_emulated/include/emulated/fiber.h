// Fibers: stacks that one thread of the CPU runs by turns.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef __x86_64__
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulated {

struct Fiber {
#ifdef __x86_64__
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  char* stack = nullptr;  // null: that of the thread of the CPU
  size_t stack_bytes = 0;
  void* address_sanitizer = nullptr;
};

// Stacks in one piece of memory, of which only what is used is ever there.
class Stacks {
 public:
  Stacks() = default;
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  ~Stacks();

  void reserve(int count);
  // A fiber on the index-th stack that will begin with entry(), which must not return.
  void start(Fiber&, int index, void (*entry)());

 private:
  char* memory_ = nullptr;
  int count_ = 0;
};

// What the emulation's own functions, printf among them, get along with.
constexpr size_t kLeastStack = 32 * 1024;

// Of the fiber that runs: looked at wherever it waits, and so before it can have run into the next stack by far.
inline bool nearly_full(const Fiber& fiber) {
  return static_cast<char*>(__builtin_frame_address(0)) < fiber.stack + kLeastStack;
}

#ifdef __x86_64__
extern "C" void bt_emulated_switch(void** from, void* to);
#endif

// Goes on with `to`; returns when something switches back. last: nothing will.
inline void switch_fiber(Fiber& from, Fiber& to, [[maybe_unused]] bool last = false) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(last ? nullptr : &from.address_sanitizer, to.stack, to.stack_bytes);
#endif
#ifdef __x86_64__
  bt_emulated_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.address_sanitizer, nullptr, nullptr);
#endif
}

// The first thing that entry() has to call. scheduler: the fiber that the first of all was switched to from.
inline void started_fiber([[maybe_unused]] Fiber& scheduler) {
#ifdef __SANITIZE_ADDRESS__
  const void* stack = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &stack, &bytes);
  if (scheduler.stack != nullptr) return;
  scheduler.stack = static_cast<char*>(const_cast<void*>(stack));
  scheduler.stack_bytes = bytes;
#endif
}

}  // namespace emulated
