// rope: pairs (a, b) of a row of x turned by the angle of its position: out_a = a cos - b sin, out_b = b cos + a sin.
//
//   x, out (rows, D)   cos, sin (rows, R / 2), rows = all axes but the last, with whatever strides
//
// An item is a fixed number of rows. Halves that lie in order are read where they are; interleaved pairs and other
// strides go through two small buffers, one for each side of the pairs, so that the arithmetic, and its rounding, is
// the same for all. The inverse rotation is the same with -sin. Traffic: x read once, out written once; the tables come
// from cache (a head's serve the next head).
//
// Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), section 3.4.2.
#include "elementwise.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kItemElements = 16384;
constexpr int64_t kPairs = 128;  // that go through the buffers at a time

// The view without its last axis.
fa_tensor rows_of(const fa_tensor& t) {
  fa_tensor r = t;
  --r.ndim;
  return r;
}

// Where element k of the first or the second side of the pairs is, in a row: first + k * step.
struct Side {
  int64_t first, step;
};

template <class T>
struct Rotation {
  using A = compute_t<T>;
  using V = Vec<A>;

  int64_t D, pairs;
  int64_t x_step, out_step, cos_step, sin_step;
  bool interleaved;
  V sign;

  explicit Rotation(const fa_rope_params& p)
      : D(row_length(p.x)),
        pairs(row_length(p.cos)),
        x_step(step_of(p.x)),
        out_step(step_of(p.out)),
        cos_step(step_of(p.cos)),
        sin_step(step_of(p.sin)),
        interleaved(p.interleaved != 0),
        sign(V::set(p.inverse ? A(-1) : A(1))) {}

  void turn_row(const T* x, T* out, const A* cos, const A* sin) const {
    for (int64_t first = 0; first < pairs; first += kPairs) {
      turn(x, out, cos + first * cos_step, sin + first * sin_step, first, min_of(kPairs, pairs - first));
    }
    if (x_step == 1 && out_step == 1) {
      for (int64_t i = 2 * pairs; i < D; ++i) out[i] = x[i];
    } else {
      for (int64_t i = 2 * pairs; i < D; ++i) out[i * out_step] = x[i * x_step];
    }
  }

 private:
  static int64_t step_of(const fa_tensor& t) { return t.strides[t.ndim - 1]; }

  FASTATTN_INLINE Side side(bool second, int64_t pair, int64_t step) const {
    if (interleaved) return {(2 * pair + second) * step, 2 * step};
    return {(pair + (second ? pairs : 0)) * step, step};
  }

  // n pairs from `pair` on.
  void turn(const T* x, T* out, const A* cos, const A* sin, int64_t pair, int64_t n) const {
    alignas(64) T buffer[4][kPairs];
    alignas(64) A table[2][kPairs];
    const Side in_a = side(false, pair, x_step), in_b = side(true, pair, x_step);
    const Side out_a = side(false, pair, out_step), out_b = side(true, pair, out_step);
    const T* a = in_order(x + in_a.first, in_a.step, buffer[0], n);
    const T* b = in_order(x + in_b.first, in_b.step, buffer[1], n);
    cos = in_order(cos, cos_step, table[0], n);
    sin = in_order(sin, sin_step, table[1], n);
    T* to_a = out_a.step == 1 ? out + out_a.first : buffer[2];
    T* to_b = out_b.step == 1 ? out + out_b.first : buffer[3];
    map_row<A>(n, [&](int64_t i, int lanes) {
      const V va = load_lanes(a + i, lanes), vb = load_lanes(b + i, lanes);
      const V c = load_lanes(cos + i, lanes), s = load_lanes(sin + i, lanes) * sign;
      store_lanes(fnma(vb, s, va * c), to_a + i, lanes);
      store_lanes(fma(va, s, vb * c), to_b + i, lanes);
    });
    if (out_a.step != 1) scatter(buffer[2], out + out_a.first, out_a.step, n);
    if (out_b.step != 1) scatter(buffer[3], out + out_b.first, out_b.step, n);
  }

  template <class E>
  static FASTATTN_INLINE const E* in_order(const E* from, int64_t step, E* buffer, int64_t n) {
    if (step == 1) return from;
    gather(from, step, buffer, n);
    return buffer;
  }
};

}  // namespace

fa_status rope(const fa_rope_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    const double n = static_cast<double>(num_elements(p.x)), turned = static_cast<double>(num_elements(p.cos));
    describe<"rope", T>(launch, {.flops = 6 * turned, .bytes = 2 * sizeof(T) * n});
    if (launch.query) return FA_OK;
    const fa_tensor x = rows_of(p.x), cos = rows_of(p.cos), sin = rows_of(p.sin), out = rows_of(p.out);
    const StridedShape<4> rows({&x, &cos, &sin, &out}, AxisOrder::kAny);
    const Rotation<T> rotation(p);
    const int64_t per_item = max_of<int64_t>(1, kItemElements / max_of<int64_t>(1, rotation.D));
    parallel_for(launch, ceil_div(rows.size, per_item), [&](int64_t item, int) {
      const int64_t begin = item * per_item, end = min_of(rows.size, begin + per_item);
      StridedCursor<4> at(rows, begin);
      for (int64_t row = begin; row < end; ++row) {
        rotation.turn_row(data<T>(p.x) + at.offset[0], data<T>(p.out) + at.offset[3], data<A>(p.cos) + at.offset[1],
                          data<A>(p.sin) + at.offset[2]);
        at.advance(1);
      }
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
