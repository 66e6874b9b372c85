// The machine's own limits, measured: what a kernel's rate is divided by. python/fastattn/_ceilings.py calls it.
//
// - fa_peak: FLOP/s of loops of multiply-adds that stay in registers, one loop for every thread.
// - fa_bandwidth: bytes/s of reading, copying or updating in place memory that each thread has its own share of.
//
// Each thread works in pieces until the time is up; the rate is all the work over the time from the common start to the
// last thread's end, so a thread that the machine gave to somebody else counts as it would in a kernel.

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

template <class T, int kBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
};

// An FMA takes 4 cycles and two start in each: 8 chains keep the units busy, and 12 fit into 16 registers.
constexpr int kChains = 12;
constexpr int64_t kSteps = 4096;

#define FASTATTN_MULTIPLY_ADDS(name, isa, T, bytes)                                                       \
  __attribute__((target(isa), optimize("fp-contract=fast"))) double name() {                              \
    using V = VectorOf<T, bytes>::type;                                                                   \
    V chain[kChains];                                                                                     \
    V factor, term;                                                                                       \
    for (int i = 0; i < kChains; ++i) chain[i] = V{} + static_cast<T>(i);                                 \
    factor = V{} + static_cast<T>(0.5);                                                                   \
    term = V{} + static_cast<T>(0.25);                                                                    \
    asm volatile("" : "+x"(factor), "+x"(term)); /* unknown to the compiler: nothing folds */             \
    for (int64_t step = 0; step < kSteps; ++step) {                                                       \
      _Pragma("GCC unroll 12") for (int i = 0; i < kChains; ++i) { chain[i] = chain[i] * factor + term; } \
    }                                                                                                     \
    for (int i = 0; i < kChains; ++i) asm volatile("" ::"x"(chain[i])); /* the result is used */          \
    return 2.0 * kChains * kSteps * (bytes / sizeof(T));                                                  \
  }

FASTATTN_MULTIPLY_ADDS(xmm_f32, "sse2", float, 16)
FASTATTN_MULTIPLY_ADDS(xmm_f64, "sse2", double, 16)
FASTATTN_MULTIPLY_ADDS(ymm_f32, "avx2,fma", float, 32)
FASTATTN_MULTIPLY_ADDS(ymm_f64, "avx2,fma", double, 32)
FASTATTN_MULTIPLY_ADDS(zmm_f32, "avx512f", float, 64)
FASTATTN_MULTIPLY_ADDS(zmm_f64, "avx512f", double, 64)
#undef FASTATTN_MULTIPLY_ADDS

// Pairs of bf16, multiplied and added to f32: two FLOPs more an element of the sum.
__attribute__((target("avx512f,avx512bf16"))) double zmm_bf16() {
  __m512 chain[kChains];
  __m512i factor = _mm512_set1_epi32(0x3f003f00), term = _mm512_set1_epi32(0x3e803e80);  // 0.5 and 0.25, twice
  for (int i = 0; i < kChains; ++i) chain[i] = _mm512_set1_ps(static_cast<float>(i));
  asm volatile("" : "+v"(factor), "+v"(term));
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chain[i] = _mm512_dpbf16_ps(chain[i], (__m512bh)factor, (__m512bh)term);
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"v"(chain[i]));
  return 4.0 * kChains * kSteps * 16;
}

// Memory, 32 bytes at a time: DRAM and the outer caches are slower than one such load or store a cycle.
typedef __m256i Line;
constexpr size_t kPiece = size_t{64} << 10;  // bytes between two looks at the clock

__attribute__((target("avx2"))) void read_memory(const char* from, size_t bytes) {
  Line sum[4] = {};
  for (size_t i = 0; i < bytes; i += 4 * sizeof(Line)) {
    for (int j = 0; j < 4; ++j) sum[j] = _mm256_xor_si256(sum[j], _mm256_load_si256((const Line*)(from + i) + j));
  }
  for (int j = 0; j < 4; ++j) asm volatile("" ::"x"(sum[j]));
}

__attribute__((target("avx2"))) void copy_memory(char* to, const char* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += sizeof(Line)) {
    _mm256_store_si256((Line*)(to + i), _mm256_load_si256((const Line*)(from + i)));
    asm volatile("" ::: "memory");  // otherwise it becomes a call of memcpy, which may stream
  }
}

__attribute__((target("avx2"))) void stream_memory(char* to, const char* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += sizeof(Line)) {
    _mm256_stream_si256((Line*)(to + i), _mm256_load_si256((const Line*)(from + i)));
  }
  _mm_sfence();
}

__attribute__((target("avx2"))) void update_memory(char* at, size_t bytes) {
  const Line one = _mm256_set1_epi8(1);
  for (size_t i = 0; i < bytes; i += sizeof(Line)) {
    Line* p = (Line*)(at + i);
    _mm256_store_si256(p, _mm256_xor_si256(_mm256_load_si256(p), one));
  }
}

// Holds the calling thread on one of the CPUs that the process may use, and lets it go again. A new thread starts
// beside its parent, and the scheduler may leave both on one CPU for longer than a measurement lasts.
class OnItsOwnCpu {
 public:
  explicit OnItsOwnCpu(int thread) {
    if (pthread_getaffinity_np(pthread_self(), sizeof before_, &before_) != 0) return;
    int skip = thread % CPU_COUNT(&before_);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &before_) || skip-- > 0) continue;
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      held_ = pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0;
      return;
    }
  }
  ~OnItsOwnCpu() {
    if (held_) pthread_setaffinity_np(pthread_self(), sizeof before_, &before_);
  }
  OnItsOwnCpu(const OnItsOwnCpu&) = delete;

 private:
  cpu_set_t before_;
  bool held_ = false;
};

// Work per second of `piece(thread, round)`, each returning how much it did, on `threads` threads for `seconds`.
template <class Piece>
double rate(int threads, double seconds, Piece&& piece) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<double> work(static_cast<size_t>(threads), 0.0);
  Clock::time_point start;
  auto warm_up = [&](int thread) { piece(thread, 0); };  // clocks, caches, page tables
  auto run = [&](int thread) {
    const auto end = start + std::chrono::duration<double>(seconds);
    double done = 0;
    for (int64_t round = 1; Clock::now() < end; ++round) done += piece(thread, round);
    work[static_cast<size_t>(thread)] = done;
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) {
    others.emplace_back([&, i] {
      const OnItsOwnCpu held(i);
      warm_up(i);
      ready.fetch_add(1);
      while (!go.load()) _mm_pause();
      run(i);
    });
  }
  const OnItsOwnCpu held(0);  // after the others are made: they would inherit it
  warm_up(0);
  while (ready.load() < threads - 1) std::this_thread::yield();
  start = Clock::now();
  go.store(true);
  run(0);
  for (auto& other : others) other.join();
  const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  double total = 0;
  for (double w : work) total += w;
  return total / elapsed;
}

}  // namespace

#define FASTATTN_EXPORT extern "C" __attribute__((visibility("default")))

// 64 (AVX-512), 32 (AVX2 and FMA) or 16: the widest vectors of this machine, in bytes.
FASTATTN_EXPORT int fa_widest_vector() {
  if (__builtin_cpu_supports("avx512f")) return 64;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 32 : 16;
}

// FLOP/s with vectors of `bytes` bytes and elements of `item` bytes: 4 or 8; 2 for pairs of bf16, with 64 bytes alone.
FASTATTN_EXPORT double fa_peak(int bytes, int item, int threads, double seconds) {
  double (*loop)() = item == 2     ? zmm_bf16
                     : bytes == 64 ? (item == 4 ? zmm_f32 : zmm_f64)
                     : bytes == 32 ? (item == 4 ? ymm_f32 : ymm_f64)
                                   : (item == 4 ? xmm_f32 : xmm_f64);
  return rate(threads, seconds, [&](int, int64_t) { return loop(); });
}

enum Traffic { kRead, kCopy, kStream, kUpdate };

// Bytes/s, read and written ones both counted, over `memory`: `bytes` bytes, a multiple of 128 KiB a thread, aligned to
// 64. A copy is from the first half of a thread's share to the second, kStream with non-temporal stores.
FASTATTN_EXPORT double fa_bandwidth(int traffic, char* memory, size_t bytes, int threads, double seconds) {
  const size_t share = bytes / static_cast<size_t>(threads);
  const size_t reach = traffic == kCopy || traffic == kStream ? share / 2 : share;
  const int64_t pieces = static_cast<int64_t>(reach / kPiece);
  return rate(threads, seconds, [&](int thread, int64_t round) -> double {
    char* at = memory + static_cast<size_t>(thread) * share + static_cast<size_t>(round % pieces) * kPiece;
    switch (traffic) {
      case kRead: read_memory(at, kPiece); return kPiece;
      case kCopy: copy_memory(at + reach, at, kPiece); return 2.0 * kPiece;
      case kStream: stream_memory(at + reach, at, kPiece); return 2.0 * kPiece;
      default: update_memory(at, kPiece); return 2.0 * kPiece;
    }
  });
}
