// What every kernel source starts from: the op's contract, vectors, parallel_for, dtype dispatch, and how to answer a
// query.
//
// A kernel is   fa_status NAME(const fa_NAME_params& p, fa_launch& launch)   in fastattn::cpu::FASTATTN_ISA. It gets
// arguments that the caller has validated. It describes itself first and stops there on a query:
//
//   return visit_float(p.x.dtype, launch, [&]<class T>() {
//     describe<T>(launch, "softmax_fwd", {.workspace = ..., .flops = ..., .bytes = ...});
//     if (launch.query) return FA_OK;
//     parallel_for(launch, num_items, [&](int64_t item, int worker) { ... });
//     return FA_OK;
//   });
//
// The bitwise rule: num_items, and the order inside every reduction, depend on shapes, dtype and ISA only.
#pragma once

#include <type_traits>

#include "cpu/simd/simd.h"
#include "cpu/thread_pool.h"
#include "ops/fastattn.h"

// The kernels of this instruction set; one may be made of others. A variant finds what it has no kernel of its own for
// in the set below.
#define FA_DECLARE(op) fa_status op(const fa_##op##_params&, fa_launch&);
#if defined(FASTATTN_ISA_BELOW)
namespace fastattn::cpu::FASTATTN_ISA_BELOW {
FA_OPS(FA_DECLARE)
}
namespace fastattn::cpu::FASTATTN_ISA {
using namespace FASTATTN_ISA_BELOW;
FA_DECLARE(attention_bwd)
FA_DECLARE(attention_fwd)
FA_DECLARE(matmul)
}  // namespace fastattn::cpu::FASTATTN_ISA
#else
namespace fastattn::cpu::FASTATTN_ISA {
FA_OPS(FA_DECLARE)
}
#endif
#undef FA_DECLARE

namespace fastattn::cpu::FASTATTN_ISA {

// f(item, worker) for every item, on launch.num_threads threads.
template <class F>
FASTATTN_INLINE void parallel_for(const fa_launch& launch, int64_t num_items, F&& f) {
  using Fn = std::remove_reference_t<F>;
  run_parallel(
      num_items, launch.num_threads,
      [](void* context, int64_t item, int worker) { (*static_cast<Fn*>(context))(item, worker); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

template <class T>
struct Name {
  static constexpr const char* kText = sizeof(T) == 8            ? "f64"
                                       : sizeof(T) == 4          ? "f32"
                                       : std::is_same_v<T, bf16> ? "bf16"
                                                                 : "f16";
};

// The parts of a kernel's name, joined at compile time: op_dtype_isa.
template <size_t kN>
struct FixedString {
  char text[kN];
  constexpr FixedString(const char (&s)[kN]) {
    for (size_t i = 0; i < kN; ++i) text[i] = s[i];
  }
};
template <FixedString kOp, class T>
struct KernelName {
  static constexpr size_t kMax = 64;
  struct Text {
    char text[kMax];
  };
  static constexpr Text make() {
    Text t{};
    size_t n = 0;
    auto append = [&](const char* s) {
      while (*s) t.text[n++] = *s++;
    };
    append(kOp.text);
    append("_");
    append(Name<T>::kText);
    append("_" FASTATTN_ISA_NAME);
    return t;
  }
  static constexpr Text kValue = make();
};

struct Work {
  size_t workspace = 0;  // bytes
  double flops = 0;
  double bytes = 0;  // compulsory traffic
};

// Records which kernel answers, and on a query what it needs and does. A kernel calls this before any work.
template <FixedString kOp, class T>
FASTATTN_INLINE void describe(fa_launch& launch, Work work = {}) {
  launch.kernel = KernelName<kOp, T>::kValue.text;
  if (launch.query) {
    launch.workspace_bytes = work.workspace;
    launch.flops = work.flops;
    launch.bytes = work.bytes;
    launch.num_threads = num_threads();
  }
}

FASTATTN_INLINE fa_status fail(fa_launch& launch, fa_status status, const char* text) {
  int i = 0;
  for (; text[i] != 0 && i < FA_REASON_SIZE - 1; ++i) launch.reason[i] = text[i];
  launch.reason[i] = 0;
  return status;
}

// Calls f.template operator()<T>() with the C++ type of a floating dtype: what lies in memory. A kernel computes in
// compute_t<T>, and keeps statistics and workspaces in it.
template <class F>
FASTATTN_INLINE fa_status visit_float(int32_t dtype, fa_launch& launch, F&& f) {
  switch (dtype) {
    case FA_F32: return f.template operator()<float>();
    case FA_F64: return f.template operator()<double>();
    case FA_BF16: return f.template operator()<bf16>();
    case FA_F16: return f.template operator()<f16>();
    default: return fail(launch, FA_UNSUPPORTED, "the CPU backend has this op in floating dtypes only");
  }
}

FASTATTN_INLINE int64_t num_elements(const fa_tensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.ndim; ++i) n *= t.shape[i];
  return n;
}
template <class T>
FASTATTN_INLINE T* data(const fa_tensor& t) {
  return static_cast<T*>(t.data);
}

// Hands out 64-byte aligned pieces of a workspace. With base = nullptr it only counts.
struct Carver {
  char* base;
  size_t bytes = 0;
  template <class T>
  FASTATTN_INLINE T* take(int64_t n) {
    T* piece = base == nullptr ? nullptr : reinterpret_cast<T*>(base + bytes);
    bytes += (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
