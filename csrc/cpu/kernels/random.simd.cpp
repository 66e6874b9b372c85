// random_fill: out_i = low + (high - low) * uniform_i, or mean + std * normal_i, from the Philox stream (seed, offset).
//
//   out (n), contiguous
//
//   uniform_k   f32, f16, bf16: the upper 24, 11, 8 bits of word k as a fraction
//               f64: words 2k (low) and 2k + 1 (high) as a 53-bit fraction
//   normal_i    sqrt(-2 log(1 - uniform_2i)) * cos(2 pi uniform_(2i+1));   1 - uniform is in (0, 1], so log is finite
//
// Items are runs of kItem elements. A worker makes words by the window, in L1. Traffic: one write; uniform in f32 is
// bound by the generator (ten rounds for 16 bytes), normal by log and the polynomial of cos.
// Uniform numbers have the same bits for every ISA; normal ones differ in the last places between scalar, which has no
// fused multiply-add, and the others.
// Source: Salmon et al. (2011); Box and Muller, "A note on the generation of random normal deviates" (1958).
#include "cpu/simd/math.h"
#include "cpu/simd/philox.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kItem = 16 * 1024;  // elements; a multiple of the window for both dtypes

template <class T>
constexpr int64_t kWordsPerUniform = sizeof(T) / sizeof(uint32_t);
template <class T>
constexpr int64_t kUniformsPerWindow = PhiloxWindow::kWords / kWordsPerUniform<T>;

// Uniform k of the window. The conversions are of signed integers: those have an instruction.
template <class T>
FASTATTN_INLINE T uniform(const uint32_t* word, int64_t k);
template <>
FASTATTN_INLINE float uniform<float>(const uint32_t* word, int64_t k) {
  return static_cast<float>(static_cast<int32_t>(philox_fraction(word[k]))) * 0x1p-24f;
}
template <>
FASTATTN_INLINE double uniform<double>(const uint32_t* word, int64_t k) {
  const uint64_t bits = static_cast<uint64_t>(word[2 * k + 1]) << 32 | word[2 * k];
  return static_cast<double>(static_cast<int64_t>(bits >> 11)) * 0x1p-53;
}

// Of 16-bit elements the upper bits of the word, as many as keep it below 1.
template <>
FASTATTN_INLINE f16 uniform<f16>(const uint32_t* word, int64_t k) {
  return narrow<f16>(static_cast<float>(static_cast<int32_t>(word[k] >> 21)) * 0x1p-11f);
}
template <>
FASTATTN_INLINE bf16 uniform<bf16>(const uint32_t* word, int64_t k) {
  return narrow<bf16>(static_cast<float>(static_cast<int32_t>(word[k] >> 24)) * 0x1p-8f);
}

// cos(2 pi u), 0 <= u < 1, as sin(2 pi y), y = |u - 1/2| - 1/4: both differences are exact, |y| <= 1/4, and one odd
// polynomial serves the whole circle. Coefficients: Chebyshev fits of sin(2 pi y) / y in y^2; their errors, 1e-10 and
// 2e-21, are below the rounding's.
FASTATTN_INLINE VecF cos_turn(VecF u) {
  const VecF y = abs(u - VecF::set(0.5f)) - VecF::set(0.25f), z = y * y;
  VecF p = VecF::set(-14.393966f);
  p = fma(p, z, VecF::set(42.009779f));
  p = fma(p, z, VecF::set(-76.704280f));
  p = fma(p, z, VecF::set(81.6052262f));
  p = fma(p, z, VecF::set(-41.3417021f));
  p = fma(p, z, VecF::set(6.28318531f));
  return p * y;
}
FASTATTN_INLINE VecD cos_turn(VecD u) {
  const VecD y = abs(u - VecD::set(0.5)) - VecD::set(0.25), z = y * y;
  VecD p = VecD::set(-0.011683082881307492);
  p = fma(p, z, VecD::set(0.10418309087064648));
  p = fma(p, z, VecD::set(-0.71811892189106583));
  p = fma(p, z, VecD::set(3.8199524348668090));
  p = fma(p, z, VecD::set(-15.094642572701974));
  p = fma(p, z, VecD::set(42.058693944828701));
  p = fma(p, z, VecD::set(-76.705859753062309));
  p = fma(p, z, VecD::set(81.605249276075051));
  p = fma(p, z, VecD::set(-41.341702240399760));
  p = fma(p, z, VecD::set(6.2831853071795865));
  return p * y;
}

template <class T>
void fill_uniform(const fa_random_fill_params& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const A low = static_cast<A>(p.a), span = static_cast<A>(p.b - p.a);
  PhiloxWindow window;
  for (int64_t e = begin; e < end; e += kUniformsPerWindow<A>) {
    window.fill(p.seed, p.offset, e * kWordsPerUniform<A>, end * kWordsPerUniform<A>);
    T* out = data<T>(p.out) + e;
    const int64_t n = min_of(end - e, kUniformsPerWindow<A>);
    for (int64_t k = 0; k < n; ++k) out[k] = narrow<T>(low + span * widen(uniform<T>(window.word, k)));
  }
}

template <class T>
void fill_normal(const fa_random_fill_params& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int64_t kElements = kUniformsPerWindow<A> / 2;
  static_assert(kElements % V::kLanes == 0);
  const V mean = V::set(static_cast<A>(p.a)), deviation = V::set(static_cast<A>(p.b));
  PhiloxWindow window;
  alignas(64) A radial[kElements] = {}, angular[kElements] = {};
  for (int64_t e = begin; e < end; e += kElements) {
    window.fill(p.seed, p.offset, 2 * e * kWordsPerUniform<A>, 2 * end * kWordsPerUniform<A>);
    T* out = data<T>(p.out) + e;
    const int64_t n = min_of(end - e, kElements);
    for (int64_t k = 0; k < n; ++k) {
      radial[k] = A(1) - uniform<A>(window.word, 2 * k);
      angular[k] = uniform<A>(window.word, 2 * k + 1);
    }
    for (int64_t k = 0; k < n; k += V::kLanes) {
      const V radius = sqrt(log(V::load(radial + k)) * V::set(A(-2)));
      const V value = fma(radius * cos_turn(V::load(angular + k)), deviation, mean);
      if (n - k >= V::kLanes) {
        value.store(out + k);
      } else {
        value.store(out + k, static_cast<int>(n - k));
      }
    }
  }
}

}  // namespace

fa_status random_fill(const fa_random_fill_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    const int64_t n = num_elements(p.out);
    const double bytes = static_cast<double>(n) * static_cast<double>(sizeof(T));
    if (p.distribution != FA_UNIFORM && p.distribution != FA_NORMAL) {
      return fail(launch, FA_UNSUPPORTED, "distribution: the CPU backend has uniform and normal");
    }
    const bool normal = p.distribution == FA_NORMAL;
    if (normal) {
      describe<"random_normal", T>(launch, {.bytes = bytes});
    } else {
      describe<"random_uniform", T>(launch, {.bytes = bytes});
    }
    if (launch.query) return FA_OK;
    parallel_for(launch, ceil_div(n, kItem), [&](int64_t item, int) {
      const int64_t begin = item * kItem, end = min_of(n, begin + kItem);
      if (normal) {
        fill_normal<T>(p, begin, end);
      } else {
        fill_uniform<T>(p, begin, end);
      }
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
