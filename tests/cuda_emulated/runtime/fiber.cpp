#include "emulated/fiber.h"

#include <sys/mman.h>

#include <new>

namespace emulated {

namespace {

// Accumulators of a warpgroup's product (512 bytes) many times over: without optimization every inlined function has a
// frame of its own, and the address sanitizer pads them.
constexpr size_t kStackBytes = 256 * 1024;

}  // namespace

Stacks::~Stacks() {
  if (memory_ != nullptr) munmap(memory_, static_cast<size_t>(count_) * kStackBytes);
}

void Stacks::reserve(int count) {
  if (count <= count_) return;
  if (memory_ != nullptr) munmap(memory_, static_cast<size_t>(count_) * kStackBytes);
  memory_ = nullptr, count_ = 0;
  void* memory = mmap(nullptr, static_cast<size_t>(count) * kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  count_ = count;
}

#ifdef __x86_64__

// Pushes what a callee must keep, changes the stack and pops what the other had pushed. The jump, unlike a return, is
// predicted by where it went last.
asm(R"(
.text
.p2align 4
.globl bt_emulated_switch
.hidden bt_emulated_switch
.type bt_emulated_switch, @function
bt_emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size bt_emulated_switch, . - bt_emulated_switch
)");
void Stacks::start(Fiber& fiber, int index, void (*entry)()) {
  fiber.stack = memory_ + static_cast<size_t>(index) * kStackBytes;
  fiber.stack_bytes = kStackBytes;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(fiber.stack, kStackBytes);  // what the last fiber on it did not return from
#endif
  // Stacks begin at different places of their pages: otherwise all would meet in the same few lines of the caches.
  const size_t shift = static_cast<size_t>(index % 64) * 1088;
  auto* top = reinterpret_cast<void**>(fiber.stack + kStackBytes - shift - 64);
  *--top = nullptr;  // where entry() would return to: the stack is as after a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
}

#else

void Stacks::start(Fiber& fiber, int index, void (*entry)()) {
  fiber.stack = memory_ + static_cast<size_t>(index) * kStackBytes;
  fiber.stack_bytes = kStackBytes;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
}

#endif

}  // namespace emulated
