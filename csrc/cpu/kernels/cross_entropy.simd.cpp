// cross_entropy of logits (rows..., C) against class ids (rows...), forward and backward.
//
//   loss_i = lse_i - logits[i, target_i],  lse_i = log(sum(exp(logits_i)))
//   dlogits_i = g_i (exp(logits_i - lse_i) - onehot(target_i)),  g_i = dloss [/ number of rows not ignored]
//
// A row belongs to one thread. Forward reads it from DRAM once: in chunks that stay in L1, the chunk's maximum first,
// then its exponentials, with the running sum rescaled when the maximum rises; the next chunk is prefetched meanwhile.
// Backward reads logits and writes dlogits, once each. Row losses go through the workspace and are summed in row order.
// Targets are checked before anything is written.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kItemElements = 16384;
constexpr int64_t kChunk = 2048;  // elements: 8 or 16 KB, so that two chunks fit in L1

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
int64_t count_rows(const fa_tensor& target, int64_t C, int64_t ignore_index, fa_launch& launch) {
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

// m and l of a row: max, and sum of exp(x - m). m = 0 for a row of -inf.
template <class T>
struct Normaliser {
  T m, l;
};
template <class T>
FASTATTN_INLINE Normaliser<compute_t<T>> normaliser(const T* row, int64_t stride, int64_t C) {
  using A = compute_t<T>;
  using V = Vec<A>;
  alignas(64) T buffer[kChunk];
  A m = -kInf<A>, l = 0;
  for (int64_t begin = 0; begin < C; begin += kChunk) {
    const int64_t n_chunk = min_of(kChunk, C - begin);
    const T* x = row + begin * stride;
    if (stride != 1) {
      for (int64_t i = 0; i < n_chunk; ++i) buffer[i] = x[i * stride];
      x = buffer;
    }
    auto logits = [&](int64_t i, int n) {
      return n == V::kLanes ? V::load(x + i) : select(Mask<A>::first(n), V::load(x + i, n), V::set(-kInf<A>));
    };
    const A chunk_max = max_row<A>(n_chunk, logits);
    if (chunk_max > m) {
      if (m != -kInf<A>) l *= exp_of(m - chunk_max);  // else l is 0, or NaN
      m = chunk_max;
    }
    const V shift = V::set(finite_max(m));
    l += sum_row<A>(n_chunk, [&](int64_t i, int n) {
      __builtin_prefetch(x + i + kChunk);
      return exp(logits(i, n) - shift);
    });
  }
  return {finite_max(m), l};
}

}  // namespace

fa_status cross_entropy_fwd(const fa_cross_entropy_fwd_params& p, fa_launch& launch) {
  return visit_float(p.logits.dtype, launch, [&]<class T>() {
    const int64_t N = num_rows(p.logits, 1), C = row_length(p.logits);
    const double n = static_cast<double>(N) * static_cast<double>(C);
    const bool none = p.reduction == FA_REDUCE_NONE;
    using A = compute_t<T>;
    describe<"cross_entropy_fwd", T>(launch,
                                     {.workspace = none ? 0 : N * sizeof(A), .flops = 4 * n, .bytes = sizeof(T) * n});
    if (launch.query) return FA_OK;
    const int64_t count = count_rows(p.target, C, p.ignore_index, launch);
    if (count < 0) return FA_INVALID;

    A* losses = none ? data<A>(p.loss) : static_cast<A*>(launch.workspace);
    const int64_t per_item = max_of<int64_t>(1, kItemElements / max_of<int64_t>(1, C));
    parallel_for(launch, ceil_div(N, per_item), [&](int64_t item, int) {
      for (int64_t r = item * per_item; r < min_of(N, (item + 1) * per_item); ++r) {
        const T* row = data<T>(p.logits) + row_offset(p.logits, 1, r);
        const int64_t stride = p.logits.strides[p.logits.ndim - 1], t = target_at(p.target, r);
        const bool ignored = t == p.ignore_index;
        A loss = 0;
        if (!ignored || p.lse.data != nullptr) {
          const Normaliser<A> norm = normaliser(row, stride, C);
          const A log_l = log_of(norm.l);
          // The large m cancels before log(l) is added, so that logits of 1e4 cost no digits.
          if (!ignored) loss = (norm.m - widen(row[t * stride])) + log_l;
          if (p.lse.data != nullptr) data<A>(p.lse)[row_offset(p.lse, 0, r)] = norm.m + log_l;
        }
        losses[none ? row_offset(p.loss, 0, r) : r] = loss;
      }
    });
    if (!none) {
      const A sum = sum_row<A>(N, [&](int64_t i, int n) { return load_lanes(losses + i, n); });
      *data<A>(p.loss) = p.reduction == FA_REDUCE_MEAN ? sum / static_cast<A>(count) : sum;
    }
    return FA_OK;
  });
}

fa_status cross_entropy_bwd(const fa_cross_entropy_bwd_params& p, fa_launch& launch) {
  return visit_float(p.logits.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    using V = Vec<A>;
    const int64_t N = num_rows(p.logits, 1), C = row_length(p.logits);
    const double n = static_cast<double>(N) * static_cast<double>(C);
    describe<"cross_entropy_bwd", T>(launch, {.flops = 4 * n, .bytes = 2 * sizeof(T) * n});
    if (launch.query) return FA_OK;
    const int64_t count = count_rows(p.target, C, p.ignore_index, launch);
    if (count < 0) return FA_INVALID;

    const int64_t per_item = max_of<int64_t>(1, kItemElements / max_of<int64_t>(1, C));
    parallel_for(launch, ceil_div(N, per_item), [&](int64_t item, int) {
      alignas(64) T buffer[V::kLanes];
      for (int64_t r = item * per_item; r < min_of(N, (item + 1) * per_item); ++r) {
        const T* x = data<T>(p.logits) + row_offset(p.logits, 1, r);
        T* dx = data<T>(p.dlogits) + row_offset(p.dlogits, 1, r);
        const int64_t stride = p.logits.strides[p.logits.ndim - 1], t = target_at(p.target, r);
        if (t == p.ignore_index) {
          map_row<A>(C, [&](int64_t i, int n) { store_lanes(V::zero(), dx + i, n); });
          continue;
        }
        const A dloss = data<A>(p.dloss)[p.reduction == FA_REDUCE_NONE ? row_offset(p.dloss, 0, r) : 0];
        const A g = p.reduction == FA_REDUCE_MEAN ? dloss / static_cast<A>(count) : dloss;
        const A lse = data<A>(p.lse)[row_offset(p.lse, 0, r)];
        const V shift = V::set(lse), factor = V::set(g);
        const A at_target = exp_of(widen(x[t * stride]) - lse) - 1;  // read first: dlogits may be logits
        if (stride == 1) {
          map_row<A>(C, [&](int64_t i, int n) { store_lanes(factor * exp(load_lanes(x + i, n) - shift), dx + i, n); });
        } else {
          map_row<A>(C, [&](int64_t i, int n) {
            for (int k = 0; k < n; ++k) buffer[k] = x[(i + k) * stride];
            store_lanes(factor * exp(load_lanes(buffer, n) - shift), dx + i, n);
          });
        }
        dx[t] = narrow<T>(g * at_target);
      }
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
