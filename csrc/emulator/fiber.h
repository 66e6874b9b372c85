// A thread of a block: a stack of its own and a switch of the six registers that a call must keep. Everything runs on
// the one OS thread that launched the grid, so a fiber never meets another's thread-local state.
#pragma once

#include <cstddef>

namespace fastattn::emulator {

class Fiber {
 public:
  Fiber();  // a stack for as long as the process lives
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes the fiber ready to run entry() from the start. entry never returns: it leaves by a last switch_out. What its
  // locals read before they are set is 0xFF, a NaN in every float type.
  void reset(void (*entry)());

  // From the scheduler's stack into the fiber, and back. A fiber calls arrive() first thing in its entry.
  void switch_in();
  void switch_out(bool last);
  void arrive();
  // All that entry() called has returned: nothing but the last switch_out is left to do.
  void returns() { returned_ = true; }

  // Whether it lies on the stack of a fiber, whichever.
  static bool on_a_stack(const void* address) {
    return static_cast<const char*>(address) >= region && static_cast<const char*>(address) < region + kRegionBytes;
  }

  static constexpr size_t kStackBytes = 256 << 10;

 private:
  static constexpr size_t kRegionBytes = size_t{4}
                                         << 30;  // address space, not memory: room for all stacks in one place
  static char* region;

  void clean();

  char* stack_;  // above a guard page, so that an overflow faults instead of writing into a neighbour
  char* top_;
  void* pointer_ = nullptr;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  bool returned_ = true;
};

}  // namespace fastattn::emulator
