#include "emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "emulator/sanitizer.h"

// Saves what the System V ABI says a callee keeps, stores the stack pointer in *save, and continues on the other stack.
// 9 ns; ucontext needs 190, for a system call that keeps a signal mask nobody changes.
asm(R"(
  .text
  .p2align 4
  .type fastattn_emulator_switch, @function
fastattn_emulator_switch:
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
  ret
  .size fastattn_emulator_switch, . - fastattn_emulator_switch
)");
extern "C" void fastattn_emulator_switch(void** save, void* load);

namespace fastattn::emulator {
namespace {

void* scheduler_pointer = nullptr;
void* scheduler_fake_stack = nullptr;
const void* scheduler_bottom = nullptr;
size_t scheduler_size = 0;

// How much of a stack reads as 0xFF at the start, and the steps in which what was written is looked for.
constexpr size_t kPoisonedBytes = 24 << 10, kCleanedBytes = 1 << 10;

// Not std::memset: AddressSanitizer's first looks at the shadow of all that it is to write.
void fill(char* p, size_t bytes) {
  size_t words = bytes / 8;
  asm volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(~uint64_t{0}) : "memory");
}
// From the high end, where what was written last lies.
bool filled(const char* p, size_t bytes) {
  const auto* words = reinterpret_cast<const uint64_t*>(p);
  for (size_t i = bytes / 8; i > 0; i -= 8) {
    uint64_t all = ~uint64_t{0};
    for (size_t j = 1; j <= 8; ++j) all &= words[i - j];
    if (all != ~uint64_t{0}) return false;
  }
  return true;
}

}  // namespace

char* Fiber::region = nullptr;

Fiber::Fiber() {
  static size_t used = 0, fibers = 0;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (region == nullptr) {
    void* p = mmap(nullptr, kRegionBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    region = static_cast<char*>(p);
  }
  stack_ = region + used + page;
  used += page + kStackBytes;
  if (used > kRegionBytes || mprotect(stack_, kStackBytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  // Not all at the same offset in a page: the caches would have a few sets for what hundreds of fibers use at once.
  constexpr size_t kLine = 64, kColours = 64;
  top_ = stack_ + kStackBytes - fibers++ * 5 % kColours * kLine;
  fill(top_ - kPoisonedBytes, kPoisonedBytes);
}

void Fiber::reset(void (*entry)()) {
  if (!returned_) {  // frames that a failed launch left behind
    asan::unpoison(stack_, kStackBytes);
    fill(top_ - kPoisonedBytes, kPoisonedBytes);
  }
  returned_ = false;
  auto* slot = reinterpret_cast<uintptr_t*>(top_);
  slot[-1] = 0;  // no caller: a backtrace ends here
  slot[-2] = reinterpret_cast<uintptr_t>(entry);
  slot[-3] = 0;  // rbp
  pointer_ = slot - 8;
  fake_stack_ = nullptr;
}

// Most kernels use little of what must read as 0xFF: down to where nothing was written for a while.
void Fiber::clean() {
  for (char* p = top_ - kCleanedBytes; p >= top_ - kPoisonedBytes && !filled(p, kCleanedBytes); p -= kCleanedBytes) {
    fill(p, kCleanedBytes);
  }
}

void Fiber::switch_in() {
  asan::start_switch(&scheduler_fake_stack, stack_, kStackBytes);
  fastattn_emulator_switch(&scheduler_pointer, pointer_);
  asan::finish_switch(scheduler_fake_stack, nullptr, nullptr);
  if (returned_) clean();
}

void Fiber::arrive() { asan::finish_switch(fake_stack_, &scheduler_bottom, &scheduler_size); }

void Fiber::switch_out(bool last) {
  asan::start_switch(last ? nullptr : &fake_stack_, scheduler_bottom, scheduler_size);
  fastattn_emulator_switch(&pointer_, scheduler_pointer);
  arrive();
}

}  // namespace fastattn::emulator
