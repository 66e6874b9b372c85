// A row of results that goes past the caches (row.h) while the next row is read: stores that wait for memory, and
// arithmetic or loads that do not, then take their time together instead of in turns.
#pragma once

#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

template <class T>
class RowBehind {
  using V = Vec<compute_t<T>>;
  static constexpr int kLanes = V::kLanes;

 public:
  RowBehind() = default;
  FASTATTN_INLINE RowBehind(T* to, int64_t length) : out(to), C(length) {
    constexpr uintptr_t kBytes = kLanes * sizeof(T);
    const uintptr_t to_line = (kBytes - reinterpret_cast<uintptr_t>(out) % kBytes) % kBytes / sizeof(T);
    ahead = min_of(C, static_cast<int64_t>(to_line));
    vectors = (C - ahead) / kLanes * kLanes;
  }
  FASTATTN_INLINE bool is_none() const { return out == nullptr; }

  // f(i, n): n results from element i on.

  // What comes before and after whole vectors. `x`: the row that is read meanwhile. Results that lie just above its
  // elements in their pages go out ahead of them: a load waits for a store shortly before it to the same place in
  // another page. The first ones then go out last; or first of all, where what they are made of will not last.
  template <class F>
  FASTATTN_INLINE void begin(const T* x, bool lasts, F&& f) {
    constexpr uintptr_t kNear = 1024;
    const int64_t end = ahead + vectors;
    if (ahead > 0) f(int64_t{0}, static_cast<int>(ahead)).store(out, static_cast<int>(ahead));
    if (end < C) f(end, static_cast<int>(C - end)).store(out + end, static_cast<int>(C - end));
    const uintptr_t above = (reinterpret_cast<uintptr_t>(out + ahead) - reinterpret_cast<uintptr_t>(x)) % 4096;
    turn = kNear / sizeof(T);
    if (above >= kNear || turn >= vectors) turn = 0;
    around = lasts ? turn : 0;
    for (int64_t i = around; i < turn; i += kLanes) f(ahead + i, kLanes).stream(out + ahead + i);
  }
  // With each whole vector of the row that is read: one of results.
  template <class F>
  FASTATTN_INLINE void stream(int64_t i, F&& f) const {
    const int64_t at = ahead + (i + turn < vectors ? i + turn : i + turn - vectors);
    if (i + turn < vectors + around) f(at, kLanes).stream(out + at);
  }
  // All of it, where no row follows.
  template <class F>
  FASTATTN_INLINE void finish(F&& f) {
    begin(out, true, f);
    for (int64_t i = 0; i < vectors; i += kLanes) stream(i, f);
  }

 private:
  T* out = nullptr;
  int64_t C = 0;
  int64_t ahead = 0;    // elements before the first vector that may be streamed
  int64_t vectors = 0;  // elements in such vectors
  int64_t turn = 0;     // elements by which results are ahead of those that are read
  int64_t around = 0;   // elements of those that go out last
};

}  // namespace fastattn::cpu::FASTATTN_ISA
