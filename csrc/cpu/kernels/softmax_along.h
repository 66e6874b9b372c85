// A row of softmax along its contiguous axis: the logits that every pass starts from, and the passes.
#pragma once

#include "row_behind.h"

namespace fastattn::cpu::FASTATTN_ISA {

enum class MaskKind { kNone, kKeep, kAdd };

// The masked, scaled logits at an index of a row (or of a line of rows): what every pass starts from.
template <class T, MaskKind kMask>
struct Logits {
  using A = compute_t<T>;
  using V = Vec<A>;
  const T* x;
  const void* mask;
  bool mask_steps;  // false: one mask value for the whole line
  V scale;

  // n lanes; the others are -inf.
  FASTATTN_INLINE V load(int64_t i, int n) const {
    return select(Mask<A>::first(n), masked(V::load(x + i, n), i, n), V::set(-kInf<A>));
  }
  FASTATTN_INLINE V load(int64_t i) const { return masked(V::load(x + i), i, V::kLanes); }

 private:
  FASTATTN_INLINE V masked(V value, int64_t i, int n) const {
    const V hidden = V::set(-kInf<A>);
    if constexpr (kMask == MaskKind::kKeep) {
      const uint8_t* keep = static_cast<const uint8_t*>(mask);
      if (!mask_steps) return *keep ? value * scale : hidden;
      return select(load_mask<A>(keep + i, n), value * scale, hidden);
    } else if constexpr (kMask == MaskKind::kAdd) {
      const T* add = static_cast<const T*>(mask);
      V added = !mask_steps ? V::set(widen(*add)) : n == V::kLanes ? V::load(add + i) : V::load(add + i, n);
      // A mask of -inf hides NaN and inf too.
      return select(added == hidden, hidden, fma(value, scale, added));
    } else {
      return value * scale;
    }
  }
};

// What is subtracted before exp: the maximum, or 0 for one of -inf. logsumexp of a row with inf is inf, which needs 0
// too.
template <class A>
FASTATTN_INLINE A shift_of(A m, fa_softmax_form form) {
  return form == FA_LOGSUMEXP && m == kInf<A> ? A(0) : finite_max(m);
}
template <class A>
FASTATTN_INLINE Vec<A> shift_of(Vec<A> m, fa_softmax_form form) {
  const Vec<A> shift = finite_max(m);
  return form == FA_LOGSUMEXP ? select(m == Vec<A>::set(kInf<A>), Vec<A>::zero(), shift) : shift;
}

// exps: where the exponentials wait: C elements of out itself, or whole vectors of a buffer.
template <class T, MaskKind kMask>
FASTATTN_INLINE void row_along(const Logits<T, kMask>& s, T* out, compute_t<T>* exps, bool buffered, const T* next_x,
                               int64_t C, fa_softmax_form form) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int kLanes = V::kLanes;
  auto logits = [&](int64_t i, int n) { return n == kLanes ? s.load(i) : s.load(i, n); };
  const A m = shift_of(max_row<A>(C, logits), form);
  const V row_max = V::set(m);

  const A l = sum_row<A>(C, [&](int64_t i, int n) {
    __builtin_prefetch(next_x + i, 0, 2);
    const V below = logits(i, n) - row_max;
    const V e = form == FA_LOGSUMEXP ? exp(below) : exp_negative(below);
    if (form == FA_SOFTMAX) buffered ? e.store(exps + i) : store_lanes(e, exps + i, n);
    return e;
  });

  if (form == FA_LOGSUMEXP) {
    *out = narrow<T>(l == 0 ? -kInf<A> : m + log_of(l));
  } else if (form == FA_LOG_SOFTMAX) {
    const V lse = V::set(m + log_of(l));
    const bool empty = l == 0;
    map_row<A>(C, [&](int64_t i, int n) { store_lanes(empty ? V::set(-kInf<A>) : logits(i, n) - lse, out + i, n); });
  } else {
    const V inverse = V::set(l == 0 ? A(0) : 1 / l);
    map_row<A>(C, [&](int64_t i, int n) {
      store_lanes((buffered ? V::load(exps + i) : load_lanes(exps + i, n)) * inverse, out + i, n);
    });
  }
}

// Rows past the caches, one after the other: while a row is exponentiated, the results of the one before go out.
template <class T, MaskKind kMask>
class StreamedRows {
  using A = compute_t<T>;
  using V = Vec<A>;
  static constexpr int kLanes = V::kLanes;

 public:
  // Two buffers of whole vectors, for the exponentials of the row that is read and of the one behind. Of long rows they
  // are one, which leaves L2 the rows: what goes out makes room as it goes.
  FASTATTN_INLINE StreamedRows(int64_t num, A* first, A* second, fa_softmax_form form)
      : C(num), exps{first, second}, is_log(form == FA_LOG_SOFTMAX) {}

  FASTATTN_INLINE void add(const Logits<T, kMask>& s, T* out, const T* next_x) {
    auto logits = [&](int64_t i, int n) { return n == kLanes ? s.load(i) : s.load(i, n); };
    const A m = finite_max(max_row<A>(C, logits));
    const V row_max = V::set(m);
    A* const to = exps[0];
    auto sum = [&](auto meanwhile) __attribute__((always_inline)) {
      return sum_row<A>(
          C, [&](int64_t i, int n) __attribute__((always_inline)) {
            __builtin_prefetch(next_x + i, 0, 2);
            const V e = exp_negative(logits(i, n) - row_max);
            meanwhile(i);
            if (!is_log) e.store(to + i);
            return e;
          });
    };
    A l;
    if (behind.is_none()) {
      l = sum([](int64_t) {});
    } else {
      behind.begin(s.x, is_log || exps[0] != exps[1], results());
      l = sum([&](int64_t i) __attribute__((always_inline)) { behind.stream(i, results()); });
    }
    behind = {out, C};
    before = s;
    normaliser = V::set(is_log ? (l == 0 ? kInf<A> : m + log_of(l)) : l == 0 ? A(0) : 1 / l);
    exps[0] = exps[1];
    exps[1] = to;
  }
  FASTATTN_INLINE void finish() {
    if (!behind.is_none()) behind.finish(results());
  }

 private:
  // As in row_along, of the row behind.
  FASTATTN_INLINE auto results() const {
    return [this](int64_t i, int n) __attribute__((always_inline)) {
      if (is_log) return (n == kLanes ? before.load(i) : before.load(i, n)) - normaliser;
      return load_lanes(exps[1] + i, n) * normaliser;
    };
  }

  int64_t C;
  A* exps[2];  // of the row that is read, and of the one behind
  bool is_log;
  RowBehind<T> behind;
  Logits<T, kMask> before{};  // the row behind
  V normaliser = V::zero();   // its inverse; or its log, with the maximum: inf of an empty row
};

// The row of `out` and `dout` that follows is called for with this one's results.
template <class T>
FASTATTN_INLINE void row_along_bwd(const T* out, const T* dout, T* dx, const T* next_out, const T* next_dout, int64_t C,
                                   compute_t<T> scale, bool log_form, bool stream) {
  using A = compute_t<T>;
  using V = Vec<A>;
  const V sum = V::set(sum_row<A>(C, [&](int64_t i, int n) {
    V g = load_lanes(dout + i, n);
    return log_form ? g : g * load_lanes(out + i, n);
  }));
  const V factor = V::set(scale);
  store_row(dx, C, stream, [&](int64_t i, int n) {
    __builtin_prefetch(next_out + i, 0, 2);
    __builtin_prefetch(next_dout + i, 0, 2);
    const V y = load_lanes(out + i, n), g = load_lanes(dout + i, n);
    return log_form ? select(y == V::set(-kInf<A>), V::zero(), factor * fnma(exp_negative(y), sum, g))
                    : factor * y * (g - sum);
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
