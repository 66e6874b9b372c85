// The emulator as a test sees it: how hard to try, and what a wrong kernel throws.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace fastattn::emulator {

// Which of the ready lanes runs next. All are random among the ready at least now and then: a strict priority would
// starve a loop that polls. kForward and kBackward lean to low and to high threads, kLag holds one warp of a block
// back.
enum class LaneOrder { kRandom, kForward, kBackward, kLag };
const char* name_of(LaneOrder order);

struct Options {
  uint64_t seed = 0;                     // FASTATTN_EMULATOR_SEED of the test program
  LaneOrder order = LaneOrder::kRandom;  // set_seed takes one by seed
  int resident_blocks = 3;               // how many blocks run at the same time
  int yield_one_in = 64;          // a plain load or store lets another lane run this often (hooks build); 0: never
  int land_early_one_in = 4;      // an asynchronous copy that lands at once; 0: none does
  uint64_t poll_limit = 1 << 20;  // polls with nothing else happening before it is called a livelock
};
// Read by the next launch.
Options& options();
// A seed, and the order that goes with it.
void set_seed(uint64_t seed);

// What is wrong with a kernel: who, where (FILE:LINE), and the seed that shows it again.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What this build can see.
bool sees_races();
bool sees_bounds();

}  // namespace fastattn::emulator
