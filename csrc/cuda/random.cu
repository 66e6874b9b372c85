// random_fill: out_i = low + (high - low) * uniform_i, or mean + std * normal_i, from the Philox stream (seed, offset).
//
//   out (n), contiguous
//
//   uniform_k   the upper 24, 11 or 8 bits of word k, in float32, float16 and bfloat16, as a fraction
//   normal_i    sqrt(-2 log(1 - u_2i)) * cos(2 pi u_(2i+1)),  u the 24-bit fractions, whatever out's dtype
//
// A thread owns a pack of 16 bytes: one or two blocks of four words, twice as many for normal. Uniform numbers are the
// CPU's to the bit; normal ones to the last places of log. Traffic: one write; ten rounds of Philox for 16 bytes of
// float32 take less than DRAM does, normal numbers two blocks, a logarithm and a root for every two words.
//
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011); Box and Muller, "A note on the
// generation of random normal deviates" (1958).
#include "common/philox.h"
#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {
namespace {

constexpr int kThreads = 256, kBlock = 4;  // words of a block

template <class T>
struct Problem {
  T* out;
  int64_t n;
  float a, b;  // low and high - low, or mean and standard deviation
  uint64_t seed, offset;
};

// The upper bits of a word, as many as keep T below 1.
template <class T>
__device__ inline float fraction(uint32_t word) {
  constexpr int kBits = sizeof(T) == 4 ? 24 : std::is_same_v<T, bf16> ? 8 : 11;
  return static_cast<float>(word >> (32 - kBits)) * (1.0f / (1 << kBits));
}

// cos(2 pi u), 0 <= u < 1, as the CPU's (cpu/kernels/random.simd.cpp): sin(2 pi y), y = |u - 1/2| - 1/4, by a Chebyshev
// fit of sin(2 pi y) / y in y^2, whose error, 1e-10, is below the rounding's.
__device__ inline float cos_turn(float u) {
  const float y = fabsf(u - 0.5f) - 0.25f, z = y * y;
  float p = fmaf(-14.393966f, z, 42.009779f);
  p = fmaf(p, z, -76.704280f);
  p = fmaf(p, z, 81.6052262f);
  p = fmaf(p, z, -41.3417021f);
  p = fmaf(p, z, 6.28318531f);
  return p * y;
}

template <class T, bool kNormal, bool kPacks>
__global__ void __launch_bounds__(kThreads) random_kernel(Problem<T> p) {
  constexpr int kVec = 16 / sizeof(T), kPerBlock = kNormal ? kBlock / 2 : kBlock;
  const int64_t step = int64_t{gridDim.x} * kThreads * kVec;
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec; i < p.n; i += step) {
    float y[kVec];
#pragma unroll
    for (int v = 0; v < kVec; v += kPerBlock) {
      const PhiloxBlock random = philox(p.seed, p.offset, static_cast<uint64_t>((i + v) / kPerBlock));
#pragma unroll
      for (int k = 0; k < kPerBlock; ++k) {
        if constexpr (kNormal) {
          const float radius = sqrtf(-2.0f * logf(1.0f - fraction<float>(random.word[2 * k])));
          y[v + k] = fmaf(radius * cos_turn(fraction<float>(random.word[2 * k + 1])), p.b, p.a);
        } else {
          y[v + k] = p.a + __fmul_rn(p.b, fraction<T>(random.word[k]));
        }
      }
    }
    store_pack<kPacks>(p.out, y, i, p.n);
  }
}

template <class T>
constexpr KernelName kUniformName{"random_uniform", kTypeName<T>};
template <class T>
constexpr KernelName kNormalName{"random_normal", kTypeName<T>};

}  // namespace

fa_status random_fill(const fa_random_fill_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    const bool normal = p.distribution == FA_NORMAL;
    if (!normal && p.distribution != FA_UNIFORM) {
      return fail(launch, FA_UNSUPPORTED, "distribution: the CUDA backend has uniform and normal");
    }
    const Problem<T> problem{static_cast<T*>(p.out.data),
                             Rows<1>({&p.out}, -1).size,
                             static_cast<float>(p.a),
                             static_cast<float>(normal ? p.b : p.b - p.a),
                             p.seed,
                             p.offset};
    launch.kernel = normal ? kNormalName<T>.text : kUniformName<T>.text;
    launch.workspace_bytes = 0;
    launch.flops = 0;
    launch.bytes = static_cast<double>(problem.n) * sizeof(T);
    if (launch.query || problem.n == 0) return FA_OK;
    constexpr int64_t kPerBlock = kThreads * (16 / sizeof(T));
    const int64_t blocks = (problem.n + kPerBlock - 1) / kPerBlock;
    const LaunchConfig config{dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX)), dim3(kThreads), 0,
                              launch.stream};
    const bool packs = reinterpret_cast<uintptr_t>(p.out.data) % 16 == 0;
    auto normals = packs ? random_kernel<T, true, true> : random_kernel<T, true, false>;
    auto uniforms = packs ? random_kernel<T, false, true> : random_kernel<T, false, false>;
    const char* error = cuda::launch(normal ? normals : uniforms, config, problem);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
