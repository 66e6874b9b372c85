// Arrays behind each other in a call's workspace.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastattn::cuda {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// With base nullptr, in a query, they are nullptr too, and only their bytes are counted.
struct Carver {
  char* base;
  size_t bytes = 0;

  explicit Carver(void* workspace) : base(static_cast<char*>(workspace)) {}
  template <class E>
  E* take(int64_t n) {
    constexpr int64_t kAlign = 256;
    E* const array = base == nullptr ? nullptr : reinterpret_cast<E*>(base + bytes);
    bytes += static_cast<size_t>(round_up(n * int64_t{sizeof(E)}, kAlign));
    return array;
  }
  // What follows them.
  void* rest() const { return base == nullptr ? nullptr : base + bytes; }
};

}  // namespace fastattn::cuda
