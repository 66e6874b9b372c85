// What the race detector remembers of two bytes of memory.
#pragma once

#include <cstdint>

#include "emulator/state.h"

namespace fastattn::emulator {

inline constexpr size_t kCellBytes = 2;

struct Event {
  uint32_t block = 0;  // serial; 0: never
  uint32_t clock = 0;
  Where where = Where::kNowhere;
  uint16_t lane = 0;
  uint8_t bytes = 0;  // which of the two
  bool atomic = false;
};

struct Cell {
  Event write, read;
  Event copy;  // an asynchronous copy into it that has not been waited for
};

}  // namespace fastattn::emulator
