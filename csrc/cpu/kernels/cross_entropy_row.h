// Cross-entropy of one row of logits: what it is scored against, its loss and its gradient. cross_entropy and
// linear_cross_entropy are made of these; the formulas stand in ops/cross_entropy.h.
//
// Against a class id without smoothing, a row's q is one number. Otherwise q has a part along the whole row, the soft
// part, which is read beside the logits.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
#pragma once

#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

// --- class ids -------------------------------------------------------------------------------------------------------

FASTATTN_INLINE int64_t target_at(const fa_tensor& t, int64_t i) {
  i = row_offset(t, 0, i);
  return t.dtype == FA_I32 ? data<int32_t>(t)[i] : data<int64_t>(t)[i];
}

FASTATTN_INLINE void append(char* text, int& n, const char* more) {
  while (*more != 0 && n < FA_REASON_SIZE - 1) text[n++] = *more++;
  text[n] = 0;
}
FASTATTN_INLINE void append(char* text, int& n, int64_t value) {
  char digits[24];
  int at = sizeof digits - 1;
  digits[at] = 0;
  uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  do {
    digits[--at] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  if (value < 0) digits[--at] = '-';
  append(text, n, digits + at);
}

// The number of rows that are not ignored, or -1 after a failure is recorded.
inline int64_t count_rows(const fa_tensor& target, int64_t C, int64_t ignore_index, fa_launch& launch) {
  int64_t count = 0;
  for (int64_t i = 0, n_rows = num_rows(target, 0); i < n_rows; ++i) {
    const int64_t t = target_at(target, i);
    if (t == ignore_index) continue;
    if (t < 0 || t >= C) {
      int n = 0;
      append(launch.reason, n, "target ");
      append(launch.reason, n, t);
      append(launch.reason, n, " at position ");
      append(launch.reason, n, i);
      append(launch.reason, n, " is outside 0..");
      append(launch.reason, n, C - 1);
      return -1;
    }
    ++count;
  }
  return count;
}

// --- what a row is scored against ------------------------------------------------------------------------------------

// q of one row: at_id at class id, and the soft part: weight_c (on_target y_c + everywhere).
template <class T>
struct RowLabel {
  using A = compute_t<T>;
  using V = Vec<A>;
  int64_t id;  // -1: probabilities
  A at_id;
  const T* y;       // probabilities or nullptr
  const A* weight;  // or nullptr
  A on_target, everywhere;

  FASTATTN_INLINE bool soft() const { return y != nullptr || everywhere != 0; }
  // The soft part at n lanes from class i on; the others are 0.
  FASTATTN_INLINE V soft_at(int64_t i, int n) const {
    V q = V::set(everywhere);
    if (y != nullptr) q = fma(load_lanes(y + i, n), V::set(on_target), q);
    if (weight != nullptr) q = q * load_lanes(weight + i, n);
    return n == V::kLanes ? q : select(Mask<A>::first(n), q, V::zero());
  }
  FASTATTN_INLINE A soft_total(int64_t C) const {
    return sum_row<A>(C, [&](int64_t i, int n) { return soft_at(i, n); });
  }
};

// The labels of a call.
template <class T>
struct Labels {
  using A = compute_t<T>;
  fa_tensor target;
  const A* weight;  // (C) or nullptr
  int64_t C, ignore_index;
  A on_target, everywhere;
  A smoothed;  // total of the soft part of a row with a class id
  bool probabilities;

  Labels(const fa_tensor& target_, const A* weight_, int64_t C_, int64_t ignore, double smoothing)
      : target(target_),
        weight(weight_),
        C(C_),
        ignore_index(ignore),
        on_target(static_cast<A>(1 - smoothing)),
        everywhere(C_ > 0 ? static_cast<A>(smoothing / static_cast<double>(C_)) : A(0)),
        probabilities(target_.dtype != FA_I32 && target_.dtype != FA_I64) {
    smoothed = everywhere == 0 ? A(0) : RowLabel<T>{0, 0, nullptr, weight, on_target, everywhere}.soft_total(C);
  }

  FASTATTN_INLINE bool ignored(int64_t row) const { return !probabilities && target_at(target, row) == ignore_index; }
  FASTATTN_INLINE RowLabel<T> of(int64_t row) const {
    if (probabilities) {
      return {-1, 0, data<T>(target) + row_offset(target, 1, row), weight, on_target, everywhere};
    }
    const int64_t id = target_at(target, row);
    return {id, weight == nullptr ? on_target : on_target * weight[id], nullptr, weight, on_target, everywhere};
  }
  FASTATTN_INLINE A soft_total(const RowLabel<T>& label) const {
    return probabilities ? label.soft_total(C) : smoothed;
  }
  // What a mean divides by; count: rows not ignored.
  A divisor(int64_t count) const {
    if (probabilities || weight == nullptr) return static_cast<A>(count);
    double sum = 0;
    for (int64_t i = 0, n_rows = num_rows(target, 0); i < n_rows; ++i) {
      const int64_t id = target_at(target, i);
      if (id != ignore_index) sum += static_cast<double>(weight[id]);
    }
    return static_cast<A>(sum);
  }
};

// --- a row -----------------------------------------------------------------------------------------------------------

constexpr int64_t kRowChunk = 2048;  // elements: 8 or 16 KB, so that two chunks fit in L1

// Of a row x: m = max, or 0 for a row of -inf; l = sum of exp(x - m); soft = sum of the soft part * (reference - x).
template <class A>
struct RowSums {
  A m, l, soft, reference;
  FASTATTN_INLINE A lse() const { return m + log_of(l); }
};

// The row is read from DRAM once: in chunks that stay in L1, the chunk's maximum first, then its exponentials, with the
// running sum rescaled when the maximum rises; the next chunk is prefetched meanwhile.
template <class T, class L>
FASTATTN_INLINE RowSums<compute_t<T>> row_sums(const T* row, int64_t stride, int64_t C, const RowLabel<L>& label) {
  using A = compute_t<T>;
  using V = Vec<A>;
  alignas(64) T buffer[kRowChunk];
  const bool soft = label.soft();
  RowSums<A> sums{-kInf<A>, 0, 0, 0};
  for (int64_t begin = 0; begin < C; begin += kRowChunk) {
    const int64_t n_chunk = min_of(kRowChunk, C - begin);
    const T* x = row + begin * stride;
    if (stride != 1) {
      for (int64_t i = 0; i < n_chunk; ++i) buffer[i] = x[i * stride];
      x = buffer;
    }
    auto logits = [&](int64_t i, int n) {
      return n == V::kLanes ? V::load(x + i) : select(Mask<A>::first(n), V::load(x + i, n), V::set(-kInf<A>));
    };
    const A chunk_max = max_row<A>(n_chunk, logits);
    if (chunk_max > sums.m) {
      if (sums.m != -kInf<A>) sums.l *= exp_of(sums.m - chunk_max);  // else l is 0, or NaN
      sums.m = chunk_max;
    }
    const V shift = V::set(finite_max(sums.m));
    sums.l += sum_row<A>(n_chunk, [&](int64_t i, int n) {
      __builtin_prefetch(x + i + kRowChunk);
      return exp_negative(logits(i, n) - shift);
    });
    if (!soft) continue;
    // Relative to a logit of the row's own size, so that large ones cost no digits.
    if (begin == 0) sums.reference = finite_max(sums.m);
    const V reference = V::set(sums.reference);
    sums.soft += sum_row<A>(n_chunk, [&](int64_t i, int n) {
      const V q = label.soft_at(begin + i, n);
      return select(q == V::zero(), q, q * (reference - logits(i, n)));
    });
  }
  sums.m = finite_max(sums.m);
  return sums;
}

// total: of the label's soft part. The large m cancels before log(l) is added, so that logits of 1e4 cost no digits.
template <class T, class L>
FASTATTN_INLINE compute_t<T> row_loss(const RowSums<compute_t<T>>& sums, const T* row, int64_t stride,
                                      const RowLabel<L>& label, compute_t<T> total) {
  using A = compute_t<T>;
  const A log_l = log_of(sums.l);
  A loss = 0;
  if (label.id >= 0 && label.at_id != 0) loss = label.at_id * ((sums.m - widen(row[label.id * stride])) + log_l);
  if (label.soft() && total != 0) loss += total * ((sums.m - sums.reference) + log_l) + sums.soft;
  return loss;
}

// dx_c = g (exp(x_c - lse) sum(q) - q_c). dx may be x. total: of the label's soft part. stream: dx goes past the
// caches.
template <class T, class D, class L>
FASTATTN_INLINE void row_gradient(const T* x, int64_t stride, int64_t C, const RowLabel<L>& label, compute_t<T> total,
                                  compute_t<T> lse, compute_t<T> g, D* dx, bool stream) {
  using A = compute_t<T>;
  using V = Vec<A>;
  alignas(64) T buffer[V::kLanes];
  const V shift = V::set(lse), slope = V::set(g), sum = V::set(label.at_id + total), factor = slope * sum;
  const bool soft = label.soft();
  A at_target = 0;
  if (label.id >= 0) {  // read first: dx may be x
    const A weight = exp_of(widen(x[label.id * stride]) - lse);
    at_target = g * (label.at_id * (weight - 1));
    if (soft) {
      const A q = label.weight == nullptr ? label.everywhere : label.everywhere * label.weight[label.id];
      at_target += g * (total * weight - q);
    }
  }
  auto gradient = [&](V logits, int64_t i, int n) __attribute__((always_inline)) {
    const V weight = exp_negative(logits - shift);
    return soft ? slope * fma(sum, weight, -label.soft_at(i, n)) : factor * weight;
  };
  if (stride == 1) {
    store_row(dx, C, stream, [&](int64_t i, int n) { return gradient(load_lanes(x + i, n), i, n); });
  } else {
    store_row(dx, C, stream, [&](int64_t i, int n) {
      for (int k = 0; k < n; ++k) buffer[k] = x[(i + k) * stride];
      return gradient(load_lanes(buffer, n), i, n);
    });
  }
  if (label.id >= 0) dx[label.id] = narrow<D>(at_target);
}

template <class D>
FASTATTN_INLINE void clear_row(D* dx, int64_t C) {
  store_row(dx, C, false, [](int64_t, int) { return Vec<compute_t<D>>::zero(); });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
