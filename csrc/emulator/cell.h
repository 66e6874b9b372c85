// What the race detector remembers of two bytes of memory.
#pragma once

#include <cstdint>

#include "emulator/state.h"

namespace fastattn::emulator {

inline constexpr size_t kCellBytes = 2;

// A place in the code by its number, 0 to 2^kPlaceBits - 1 (race.cpp).
inline constexpr int kPlaceBits = 18;

// Twelve bytes, as there are two for every two bytes of memory that a kernel touches.
struct Event {
  uint32_t block = 0;  // serial; 0: never
  uint32_t moment = 0;
  uint32_t place : kPlaceBits = 0;
  uint32_t lane : 10 = 0;
  uint32_t bytes : 2 = 0;  // which of the two
  uint32_t atomic : 1 = 0;
  bool operator==(const Event&) const = default;
};
static_assert(sizeof(Event) == 12 && kMaxThreads <= 1 << 10);

struct Cell {
  Event write, read;
};

}  // namespace fastattn::emulator
