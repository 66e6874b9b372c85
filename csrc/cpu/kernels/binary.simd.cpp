// binary: out = f(a, b), element by element: sum, difference, product, quotient, maximum, minimum; any strides,
// broadcast operands, or a number in the place of one.
//
// Traffic: each operand read once (a broadcast one from cache), out written once; one operation an element.
#include "elementwise.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

struct Add {
  template <class V>
  static FASTATTN_INLINE V value(V a, V b) {
    return a + b;
  }
};
struct Sub {
  template <class V>
  static FASTATTN_INLINE V value(V a, V b) {
    return a - b;
  }
};
struct Mul {
  template <class V>
  static FASTATTN_INLINE V value(V a, V b) {
    return a * b;
  }
};
struct Div {
  template <class V>
  static FASTATTN_INLINE V value(V a, V b) {
    return a / b;
  }
};
// max and min give b where either is NaN.
struct Maximum {
  template <class V>
  static FASTATTN_INLINE V value(V a, V b) {
    return select(is_nan(a), a, max(a, b));
  }
};
struct Minimum {
  template <class V>
  static FASTATTN_INLINE V value(V a, V b) {
    return select(is_nan(a), a, min(a, b));
  }
};

template <class F>
FASTATTN_INLINE bool visit_function(int32_t function, F&& f) {
  switch (function) {
    case FA_ADD: f(Add{}); return true;
    case FA_SUB: f(Sub{}); return true;
    case FA_MUL: f(Mul{}); return true;
    case FA_DIV: f(Div{}); return true;
    case FA_MAXIMUM: f(Maximum{}); return true;
    case FA_MINIMUM: f(Minimum{}); return true;
    default: return false;
  }
}

template <class T, class Function>
void run(const fa_binary_params& p, const fa_launch& launch) {
  using V = Vec<compute_t<T>>;
  const V scalar = V::set(static_cast<compute_t<T>>(p.scalar));
  if (p.b.data == nullptr) {
    elementwise<T>(launch, {&p.a}, {&p.out}, AxisOrder::kAny, [&](const T* const* in, T* const* out, const Run& run) {
      map_run(in[0], out[0], run, [&](V a) { return Function::value(a, scalar); });
    });
  } else if (p.a.data == nullptr) {
    elementwise<T>(launch, {&p.b}, {&p.out}, AxisOrder::kAny, [&](const T* const* in, T* const* out, const Run& run) {
      map_run(in[0], out[0], run, [&](V b) { return Function::value(scalar, b); });
    });
  } else {
    elementwise<T>(launch, {&p.a, &p.b}, {&p.out}, AxisOrder::kAny,
                   [&](const T* const* in, T* const* out, const Run& run) {
                     map_run(in[0], in[1], out[0], run, [](V a, V b) { return Function::value(a, b); });
                   });
  }
}

}  // namespace

fa_status binary(const fa_binary_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.out));
    const int operands = (p.a.data != nullptr) + (p.b.data != nullptr);
    describe<"binary", T>(launch, {.flops = n, .bytes = (operands + 1) * sizeof(T) * n});
    const bool known = visit_function(p.function, [&]<class Function>(Function) {
      if (!launch.query) run<T, Function>(p, launch);
    });
    return known ? FA_OK : fail(launch, FA_UNSUPPORTED, "no such binary function");
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
