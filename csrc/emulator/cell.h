// What the race detector remembers of two bytes of memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulator/state.h"

namespace fastattn::emulator {

inline constexpr size_t kCellBytes = 2;
// The least that cp.async copies, and to a multiple of it.
inline constexpr size_t kCopyBytes = 4;

// A place in the code by its number, 0 to 2^kPlaceBits - 1 (race.cpp).
inline constexpr int kPlaceBits = 18;

// Twelve bytes, as there are two for every two bytes of memory that a kernel touches: which of the two bytes, whether
// by an atomic, the lane and the place share a word.
struct Event {
  uint32_t block = 0;  // serial; 0: never
  uint32_t moment = 0;
  uint32_t tag = 0;

  static constexpr uint32_t kAtomic = 4;
  static uint32_t tag_of(int lane, uint32_t place, bool atomic) {
    return place << 13 | static_cast<uint32_t>(lane) << 3 | (atomic ? kAtomic : 0);
  }
  int lane() const { return static_cast<int>(tag >> 3 & (kMaxThreads - 1)); }
  uint32_t place() const { return tag >> 13; }
  bool operator==(const Event&) const = default;
};
static_assert(kMaxThreads == 1 << 10 && 13 + kPlaceBits <= 32);

struct Cell {
  Event write, read;
  bool operator==(const Cell& other) const { return std::memcmp(this, &other, sizeof *this) == 0; }  // without branches
};
static_assert(std::has_unique_object_representations_v<Cell>);

}  // namespace fastattn::emulator
