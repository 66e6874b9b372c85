/* fastattn.h: the one C interface of every backend.
 *
 * libfastattn.so (CPU) and libfastattn_cuda.so each export one symbol, fa_get_table(version), which returns a table of
 * functions over the plain params structs of the ops, or NULL for a version that the library does not have. A caller
 * needs this header and dlopen.
 */
#ifndef FASTATTN_H
#define FASTATTN_H

#include "activation.h"
#include "adam.h"
#include "attention.h"
#include "batch_norm.h"
#include "binary.h"
#include "cast.h"
#include "conv.h"
#include "cross_entropy.h"
#include "dropout.h"
#include "embedding.h"
#include "grad_norm.h"
#include "layer_norm.h"
#include "linear_cross_entropy.h"
#include "matmul.h"
#include "pool.h"
#include "random.h"
#include "recurrent.h"
#include "rms_norm.h"
#include "rope.h"
#include "sgd.h"
#include "softmax.h"
#include "sum.h"
#include "swiglu.h"
#include "types.h"
#include "unary.h"

enum { FA_TABLE_VERSION = 2 };

/* Every op of the table, one line each: X(name) declares name(const fa_name_params*, fa_launch*). */
#define FA_OPS(X)             \
  X(adam_step)                \
  X(activation_fwd)           \
  X(activation_bwd)           \
  X(attention_fwd)            \
  X(attention_bwd)            \
  X(batch_norm_fwd)           \
  X(batch_norm_bwd)           \
  X(binary)                   \
  X(cast)                     \
  X(conv_fwd)                 \
  X(conv_bwd_input)           \
  X(conv_bwd_weight)          \
  X(cross_entropy_fwd)        \
  X(cross_entropy_bwd)        \
  X(dropout)                  \
  X(embedding_fwd)            \
  X(embedding_bwd)            \
  X(grad_norm)                \
  X(grad_scale)               \
  X(layer_norm_fwd)           \
  X(layer_norm_bwd)           \
  X(linear_cross_entropy)     \
  X(linear_cross_entropy_bwd) \
  X(matmul)                   \
  X(pool_fwd)                 \
  X(pool_bwd)                 \
  X(random_fill)              \
  X(recurrent_fwd)            \
  X(recurrent_bwd)            \
  X(rms_norm_fwd)             \
  X(rms_norm_bwd)             \
  X(rope)                     \
  X(sgd_step)                 \
  X(softmax_fwd)              \
  X(softmax_bwd)              \
  X(sum)                      \
  X(swiglu_fwd)               \
  X(swiglu_bwd)               \
  X(unary)

typedef struct fa_table {
  uint32_t version;
  uint32_t size;       /* sizeof(fa_table) of the library */
  const char* backend; /* "cpu" or "cuda" */

  /* Devices; the CPU is one, number 0. unavailable: NULL, or in one line why there is none to run on. device_info:
   * FA_INVALID for a number that is no device, or one that the kernels do not run on. synchronize: waits for all that a
   * device has been given; what it says went wrong, or NULL. */
  const char* (*unavailable)(void);
  int32_t (*device_count)(void);
  fa_status (*device_info)(int32_t device, fa_device_info* info);
  const char* (*synchronize)(int32_t device);

  /* Variants (instruction sets on the CPU). list: comma-separated, what this machine can run, best first. force: one of
   * them or NULL for the best; FA_INVALID for any other, and nothing changes. */
  const char* (*variant_list)(void);
  const char* (*variant_active)(void);
  fa_status (*variant_force)(const char* name);

  /* Threads of a parallel region; set_num_threads(0) = the default of the environment. */
  int32_t (*num_threads)(void);
  void (*set_num_threads)(int32_t n);

  /* The caching allocator: 64-byte aligned memory of a device, usable and freed in the order of a stream (which the CPU
   * has none of); NULL when the system has none. cache_bytes: what is kept for reuse; live_bytes: what is handed out.
   */
  void* (*alloc)(size_t bytes, int32_t device, void* stream);
  void (*free)(void* ptr, int32_t device, void* stream);
  void (*empty_cache)(void);
  size_t (*cache_bytes)(void);
  size_t (*live_bytes)(void);

#define FA_ENTRY(name) fa_status (*name)(const fa_##name##_params*, fa_launch*);
  FA_OPS(FA_ENTRY)
#undef FA_ENTRY
} fa_table;

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const fa_table*
fa_get_table(uint32_t version);
#ifdef __cplusplus
}
#endif

#endif
